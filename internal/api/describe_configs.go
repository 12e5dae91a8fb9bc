package api

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// brokerLoggerResource is the loggers of a broker, as a resource of DescribeConfigs (KIP-412).
const brokerLoggerResource = 8

// DescribeConfigs tells configs, where their values come from, and what else stands behind them (KIP-133, KIP-226, KIP-569).
func handleDescribeConfigs(a *API, r *request) {
	req := r.body.(*kmsg.DescribeConfigsRequest)
	resp := kmsg.NewPtrDescribeConfigsResponse()
	for i := range req.Resources {
		resp.Resources = append(resp.Resources, a.describeResource(req, &req.Resources[i]))
	}
	r.reply(resp)
}

func (a *API) describeResource(req *kmsg.DescribeConfigsRequest, want *kmsg.DescribeConfigsRequestResource) kmsg.DescribeConfigsResponseResource {
	resource := kmsg.NewDescribeConfigsResponseResource()
	resource.ResourceType, resource.ResourceName = want.ResourceType, want.ResourceName
	d := describer{api: a, image: a.Image(), req: req, want: want}
	code, why := kafka.None, ""
	switch int8(want.ResourceType) {
	case int8(metadata.TopicResource):
		resource.Configs, code, why = d.topic()
	case int8(metadata.BrokerResource):
		resource.Configs, code, why = d.broker()
	case brokerLoggerResource:
		resource.Configs, code, why = d.loggers()
	case int8(metadata.GroupResource), int8(metadata.ClientMetricsResource):
		resource.Configs = d.setOnly(metadata.ResourceType(want.ResourceType), want.ResourceName, config.FromGroup)
	default:
		code, why = kafka.InvalidRequest, fmt.Sprintf("there is no config resource of type %d", want.ResourceType)
	}
	resource.ErrorCode, resource.ErrorMessage = code.Code(), message(why)
	return resource
}

// describer describes one resource.
type describer struct {
	api   *API
	image *metadata.Image
	req   *kmsg.DescribeConfigsRequest
	want  *kmsg.DescribeConfigsRequestResource
}

type describedConfigs = []kmsg.DescribeConfigsResponseResourceConfig

func (d *describer) asked(name string) bool {
	return len(d.want.ConfigNames) == 0 || slices.Contains(d.want.ConfigNames, name)
}

func (d *describer) topic() (describedConfigs, kafka.ErrorCode, string) {
	name := d.want.ResourceName
	switch {
	case !validTopicName(name):
		return nil, kafka.InvalidTopicException, fmt.Sprintf("%q is not a topic name", name)
	case d.image.Topic(name) == nil:
		return nil, kafka.UnknownTopicOrPartition, ""
	}
	layers := d.api.Layers(d.image, name)
	var all describedConfigs
	for _, k := range config.TopicKeys() {
		if d.asked(k.Name) {
			all = append(all, d.entry(k, layers.Values(k, true), false))
		}
	}
	return all, kafka.None, ""
}

func (d *describer) broker() (describedConfigs, kafka.ErrorCode, string) {
	if d.want.ResourceName == "" {
		return d.setOnly(metadata.BrokerResource, "", config.FromDefaultBroker), kafka.None, ""
	}
	if why := d.checkNode(); why != "" {
		return nil, kafka.InvalidRequest, why
	}
	layers := d.api.Layers(d.image, "")
	var all describedConfigs
	for _, k := range config.BrokerKeys() {
		if d.asked(k.Name) {
			all = append(all, d.entry(k, layers.Values(k, false), !k.Dynamic))
		}
	}
	return all, kafka.None, ""
}

// checkNode says what is wrong with a resource name that must be this node's id.
func (d *describer) checkNode() string {
	id, err := strconv.ParseInt(d.want.ResourceName, 10, 32)
	if err != nil {
		return fmt.Sprintf("broker id must be an integer, but it is: %s", d.want.ResourceName)
	}
	if kafka.NodeID(id) != d.api.Node {
		return fmt.Sprintf("unexpected broker id, expected %d or the empty string, but received %d", d.api.Node, id)
	}
	return ""
}

// loggers tells the one logger there is.
func (d *describer) loggers() (describedConfigs, kafka.ErrorCode, string) {
	if why := d.checkNode(); why != "" {
		return nil, kafka.InvalidRequest, why
	}
	if !d.asked("root") {
		return nil, kafka.None, ""
	}
	root := kmsg.NewDescribeConfigsResponseResourceConfig()
	root.Name, root.Value, root.ReadOnly = "root", kmsg.StringPtr("INFO"), true
	root.Source, root.ConfigType = kmsg.ConfigSource(config.FromBrokerLogger), kmsg.ConfigType(config.String)
	return describedConfigs{root}, kafka.None, ""
}

// setOnly tells only what is set for a resource, which has no defaults of its own.
func (d *describer) setOnly(kind metadata.ResourceType, name string, source config.Source) describedConfigs {
	var all describedConfigs
	for key, value := range d.image.Configs(kind, name).All {
		if !d.asked(key) {
			continue
		}
		k := config.BrokerKey(key)
		if k == nil || kind != metadata.BrokerResource {
			k = &config.Key{Name: key, Type: config.String}
		}
		all = append(all, d.entry(k, []config.Value{{Name: key, Value: value, Source: source}}, false))
	}
	return all
}

func (d *describer) entry(k *config.Key, values []config.Value, readOnly bool) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.ReadOnly, c.IsSensitive = k.Name, readOnly, k.Sensitive()
	c.Value = d.value(k, values[0])
	c.Source, c.ConfigType = kmsg.ConfigSource(values[0].Source), kmsg.ConfigType(k.Type)
	c.IsDefault = values[0].Source == config.FromDefault
	if d.req.IncludeSynonyms {
		for _, v := range values {
			if v.Null && v.Source == config.FromDefault {
				continue
			}
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Value, s.Source = v.Name, d.value(k, v), kmsg.ConfigSource(v.Source)
			c.ConfigSynonyms = append(c.ConfigSynonyms, s)
		}
	}
	if d.req.IncludeDocumentation {
		c.Documentation = message(k.Doc)
	}
	return c
}

func (d *describer) value(k *config.Key, v config.Value) *string {
	if k.Sensitive() || v.Null {
		return nil
	}
	return kmsg.StringPtr(v.Value)
}

// ListConfigResources names what configs are set for (KIP-1142). Version 0 knew only client metrics.
func handleListConfigResources(a *API, r *request) {
	req := r.body.(*kmsg.ListConfigResourcesRequest)
	resp := kmsg.NewPtrListConfigResourcesResponse()
	image := a.Image()
	types := req.ResourceTypes
	if req.Version == 0 {
		types = []int8{int8(metadata.ClientMetricsResource)}
	} else if len(types) == 0 {
		types = []int8{int8(metadata.TopicResource), int8(metadata.BrokerResource), brokerLoggerResource, int8(metadata.ClientMetricsResource), int8(metadata.GroupResource)}
	}
	add := func(kind int8, name string) {
		c := kmsg.NewListConfigResourcesResponseConfigResource()
		c.Type, c.Name = kind, name
		resp.ConfigResources = append(resp.ConfigResources, c)
	}
	for _, kind := range types {
		switch kind {
		case int8(metadata.TopicResource):
			image.Topics(func(t *metadata.Topic) bool { add(kind, t.Name); return true })
		case int8(metadata.BrokerResource), brokerLoggerResource:
			image.Brokers(func(b *metadata.Broker) bool { add(kind, strconv.Itoa(int(b.ID))); return true })
		case int8(metadata.ClientMetricsResource), int8(metadata.GroupResource):
			image.ConfiguredResources(metadata.ResourceType(kind), func(name string, _ *metadata.Configs) bool { add(kind, name); return true })
		default:
			resp.ErrorCode, resp.ConfigResources = kafka.UnsupportedVersion.Code(), nil
			r.reply(resp)
			return
		}
	}
	r.reply(resp)
}
