package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
)

func configCommand() *cobra.Command {
	r := &remote{}
	c := family(&cobra.Command{
		Use:   "config",
		Short: "Get, set and unset settings of topics, brokers and groups",
		Example: `  gregor config get --topic orders
  gregor config set --topic orders retention.ms=3600000
  gregor config unset --topic orders retention.ms`,
	}, configGet(r), configSet(r), configUnset(r))
	r.flags(c.PersistentFlags())
	return c
}

const (
	kindTopic  = kmsg.ConfigResourceTypeTopic
	kindBroker = kmsg.ConfigResourceTypeBroker
	kindGroup  = kmsg.ConfigResourceTypeGroupConfig
)

// resource is what has settings. A broker's name is its id; the one without a name is all brokers.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

func (r resource) String() string {
	switch {
	case r.kind == kindTopic:
		return "topic " + r.name
	case r.kind == kindGroup:
		return "group " + r.name
	case r.name == "":
		return "all brokers"
	}
	return "broker " + r.name
}

// resourceFlags say which resource a command is about.
type resourceFlags struct {
	topic, broker, group string
	brokerDefaults       bool
}

func (x *resourceFlags) flags(c *cobra.Command, r *remote) {
	f := c.Flags()
	f.StringVar(&x.topic, "topic", "", "settings of a topic, by `name`")
	f.StringVar(&x.broker, "broker", "", "settings of one broker, by `id`")
	f.BoolVar(&x.brokerDefaults, "broker-defaults", false, "settings that all brokers have while they run")
	f.StringVar(&x.group, "group", "", "settings of a group, by `name`")
	_ = c.RegisterFlagCompletionFunc("topic", r.completeTopics)
	_ = c.RegisterFlagCompletionFunc("group", r.completeGroups)
}

func (x *resourceFlags) resource(f *pflag.FlagSet) (resource, error) {
	var chosen []resource
	for flag, r := range map[string]resource{"topic": {kindTopic, x.topic}, "broker": {kindBroker, x.broker}, // any order
		"group": {kindGroup, x.group}, "broker-defaults": {kindBroker, ""}} {
		if f.Changed(flag) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) != 1 {
		return resource{}, wrongUsage("say whose settings, with one of --topic NAME, --broker ID, --broker-defaults and --group NAME")
	}
	if _, err := strconv.Atoi(x.broker); x.broker != "" && err != nil {
		return resource{}, wrongUsage("--broker is the id of a broker, a number, and not %q", x.broker)
	}
	return chosen[0], nil
}

// configEntry is one key as a broker describes it.
type configEntry struct {
	Key       string  `json:"key"`
	Value     *string `json:"value"` // null: not set, or secret
	Source    string  `json:"source"`
	Default   *string `json:"default"`
	Type      string  `json:"type"`
	ReadOnly  bool    `json:"read_only"`
	Sensitive bool    `json:"sensitive"`
	Doc       string  `json:"doc,omitempty"`
}

func (e configEntry) text() string {
	switch {
	case e.Sensitive:
		return "(secret)"
	case e.Value == nil:
		return ""
	}
	return *e.Value
}

var sources = map[kmsg.ConfigSource]string{
	kmsg.ConfigSourceDynamicTopicConfig:         "topic",
	kmsg.ConfigSourceDynamicBrokerConfig:        "broker",
	kmsg.ConfigSourceDynamicDefaultBrokerConfig: "broker-defaults",
	kmsg.ConfigSourceStaticBrokerConfig:         "start",
	kmsg.ConfigSourceDefaultConfig:              "default",
	kmsg.ConfigSourceDynamicBrokerLoggerConfig:  "logger",
	kmsg.ConfigSourceClientMetricsConfig:        "client-metrics",
	kmsg.ConfigSourceGroupConfig:                "group",
}

// describeConfigs asks for all settings of a resource, by key.
func (q *call) describeConfigs(of resource) ([]configEntry, error) {
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.IncludeSynonyms, request.IncludeDocumentation = true, true
	one := kmsg.NewDescribeConfigsRequestResource()
	one.ResourceType, one.ResourceName = of.kind, of.name
	request.Resources = append(request.Resources, one)
	response, err := request.RequestWith(q.ctx, q.client)
	if err != nil {
		return nil, err
	}
	if len(response.Resources) != 1 {
		return nil, fmt.Errorf("the broker said nothing about %s", of)
	}
	answer := response.Resources[0]
	if answer.ErrorCode != 0 {
		return nil, q.configError(of, kerr.ErrorForCode(answer.ErrorCode), answer.ErrorMessage)
	}
	entries := []configEntry{}
	for _, c := range answer.Configs {
		e := configEntry{Key: c.Name, Value: c.Value, Source: sources[c.Source], Type: strings.ToLower(c.ConfigType.String()), ReadOnly: c.ReadOnly, Sensitive: c.IsSensitive}
		if c.Documentation != nil {
			e.Doc = *c.Documentation
		}
		for _, s := range c.ConfigSynonyms {
			if s.Source == kmsg.ConfigSourceDefaultConfig {
				e.Default = s.Value
			}
		}
		if c.Source == kmsg.ConfigSourceDefaultConfig && e.Default == nil {
			e.Default = c.Value
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b configEntry) int { return cmp.Compare(a.Key, b.Key) })
	return entries, nil
}

func (q *call) configError(of resource, err error, message *string) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) && of.kind == kindTopic {
		return q.noTopic(of.name)
	}
	words := ""
	if message != nil {
		words = *message
	}
	return fmt.Errorf("%s: %w", of, because(err, words))
}

// configChange sets a key, or unsets it where the value is nil.
type configChange struct {
	key   string
	value *string
}

func readChanges(set, unset []string, flag string) ([]configChange, error) {
	values, keys, err := settings(set, flag)
	if err != nil {
		return nil, err
	}
	var changes []configChange
	for _, key := range keys {
		changes = append(changes, configChange{key, values[key]})
	}
	for _, key := range unset {
		if _, twice := values[key]; twice || strings.Contains(key, "=") {
			return nil, wrongUsage("%q cannot be unset: give the name of a key that is not set in the same command", key)
		}
		changes = append(changes, configChange{key, nil})
	}
	return changes, nil
}

// alterConfigs makes all changes or none.
func (q *call) alterConfigs(of resource, changes []configChange, dryRun bool) error {
	if len(changes) == 0 {
		return nil
	}
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.ValidateOnly = dryRun
	one := kmsg.NewIncrementalAlterConfigsRequestResource()
	one.ResourceType, one.ResourceName = of.kind, of.name
	for _, change := range changes {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value, c.Op = change.key, change.value, kmsg.IncrementalAlterConfigOpSet
		if change.value == nil {
			c.Op = kmsg.IncrementalAlterConfigOpDelete
		}
		one.Configs = append(one.Configs, c)
	}
	request.Resources = append(request.Resources, one)
	response, err := request.RequestWith(q.ctx, q.client)
	if err != nil {
		return err
	}
	for _, answer := range response.Resources {
		if answer.ErrorCode != 0 {
			err := q.configError(of, kerr.ErrorForCode(answer.ErrorCode), answer.ErrorMessage)
			return fmt.Errorf("%w%s", err, q.meantKey(of, changes, err))
		}
	}
	return nil
}

// meantKey names the key that was probably meant, if one was refused that does not exist. If the broker has named it,
// there is nothing to add.
func (q *call) meantKey(of resource, changes []configChange, refused error) string {
	if strings.Contains(refused.Error(), "did you mean") {
		return ""
	}
	entries, err := q.describeConfigs(of)
	if err != nil {
		return ""
	}
	var names, keys []string
	for _, e := range entries {
		names = append(names, e.Key)
	}
	for _, change := range changes {
		keys = append(keys, change.key)
	}
	return meant(keys, names)
}

// meantTopicKey is meantKey for a topic that does not exist yet.
func meantTopicKey(keys []string, refused string) string {
	if strings.Contains(refused, "did you mean") {
		return ""
	}
	var names []string
	for _, k := range config.TopicKeys() {
		names = append(names, k.Name)
	}
	return meant(keys, names)
}

func meant(keys, names []string) string {
	for _, key := range keys {
		if near := nearest(key, names); near != "" && !slices.Contains(names, key) {
			return fmt.Sprintf(": did you mean %q?", near)
		}
	}
	return ""
}

func writeChanges(w io.Writer, of resource, changes []configChange) {
	for _, c := range changes {
		if c.value == nil {
			fmt.Fprintf(w, "%s: unset %s\n", of, c.key)
		} else {
			fmt.Fprintf(w, "%s: set %s=%s\n", of, c.key, *c.value)
		}
	}
}
