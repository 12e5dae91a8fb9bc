package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Source says where a value comes from, by its number in DescribeConfigs.
type Source int8

const (
	FromTopic          Source = 1
	FromBroker         Source = 2 // set for this broker while it runs
	FromDefaultBroker  Source = 3 // set for all brokers while they run
	FromStatic         Source = 4 // set at start
	FromDefault        Source = 5
	FromBrokerLogger   Source = 6
	FromClientMetrics  Source = 7
	FromGroup          Source = 8
	maxPropertiesBytes        = 1 << 20
)

// Layer is keys and values set in one place. It may be nil.
type Layer func(key string) (value string, ok bool)

func (l Layer) get(key string) (string, bool) {
	if l == nil {
		return "", false
	}
	return l(key)
}

// Layers are the places where a broker's keys are set, and a topic's.
type Layers struct {
	Topic         Layer
	Broker        Layer
	DefaultBroker Layer
	Static        Layer
}

// Value is one value of a key, and where it comes from. Name is the key that was set there, which may be a synonym.
type Value struct {
	Name   string
	Value  string
	Null   bool
	Source Source
}

// Values are all the values that a key has, the one in effect first; the last is the default (KIP-226).
func (l Layers) Values(k *Key, topic bool) []Value {
	var all []Value
	if topic {
		if v, ok := l.Topic.get(k.Name); ok {
			all = append(all, Value{k.Name, v, false, FromTopic})
		}
	}
	names := k.Synonyms
	if !topic {
		names = append([]Synonym{{k.Name, 1}}, names...)
	}
	for _, place := range []struct {
		layer  Layer
		source Source
	}{{l.Broker, FromBroker}, {l.DefaultBroker, FromDefaultBroker}, {l.Static, FromStatic}} {
		for _, s := range names {
			if v, ok := place.layer.get(s.Name); ok {
				all = append(all, Value{s.Name, scaled(v, s.Scale), false, place.source})
			}
		}
	}
	return append(all, l.fallback(k, topic))
}

// fallback is a key's default. A topic's is that of the broker key behind it, which goes by that name.
func (l Layers) fallback(k *Key, topic bool) Value {
	if topic {
		for _, s := range k.Synonyms {
			if b := BrokerKey(s.Name); b != nil && !b.Null {
				return Value{s.Name, scaled(b.Default, s.Scale), false, FromDefault}
			}
		}
		return Value{k.Name, k.Default, k.Null, FromDefault}
	}
	if k.Null {
		for _, s := range k.Synonyms {
			if b := BrokerKey(s.Name); b != nil && !b.Null {
				return Value{s.Name, scaled(b.Default, s.Scale), false, FromDefault}
			}
		}
	}
	return Value{k.Name, k.Default, k.Null, FromDefault}
}

func scaled(value string, scale int64) string {
	if scale == 1 {
		return value
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || n < 0 {
		return value // -1 means no limit in every unit
	}
	return strconv.FormatInt(n*scale, 10)
}

// Get is the value in effect, "" where there is none.
func (l Layers) Get(k *Key, topic bool) string { return l.Values(k, topic)[0].Value }

// TopicInt, TopicFloat, TopicBool, TopicString and TopicList are a topic key's value in effect. Values were checked
// when they were set, so that a value which does not parse is the default's.
func (l Layers) TopicInt(name string) int64 {
	return asInt(l.Get(TopicKey(name), true), TopicKey(name))
}

func (l Layers) TopicFloat(name string) float64 {
	v, _ := strconv.ParseFloat(strings.TrimSpace(l.Get(TopicKey(name), true)), 64)
	return v
}

func (l Layers) TopicBool(name string) bool {
	return strings.EqualFold(strings.TrimSpace(l.Get(TopicKey(name), true)), "true")
}
func (l Layers) TopicString(name string) string { return l.Get(TopicKey(name), true) }
func (l Layers) TopicList(name string) []string { return SplitList(l.Get(TopicKey(name), true)) }

// Int, Bool, String and List are a broker key's value in effect.
func (l Layers) Int(name string) int64 { return asInt(l.Get(BrokerKey(name), false), BrokerKey(name)) }
func (l Layers) Bool(name string) bool {
	return strings.EqualFold(strings.TrimSpace(l.Get(BrokerKey(name), false)), "true")
}
func (l Layers) String(name string) string { return l.Get(BrokerKey(name), false) }
func (l Layers) List(name string) []string { return SplitList(l.Get(BrokerKey(name), false)) }

func asInt(value string, k *Key) int64 {
	if v, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
		return v
	}
	v, _ := strconv.ParseInt(k.Default, 10, 64)
	return v
}

// Static is what was set at start.
type Static map[string]string

// Layer is the map as a layer.
func (s Static) Layer() Layer {
	return func(key string) (string, bool) { v, ok := s[key]; return v, ok }
}

// Check looks at every key that was set. Notices name keys that are known and mean nothing here.
func (s Static) Check() (notices []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		k := BrokerKey(name)
		if k == nil {
			if prefixed(name) {
				notices = append(notices, fmt.Sprintf("%s is accepted and has no effect: there are no pluggable classes here", name))
				continue
			}
			return nil, UnknownKey(name, brokerKeys)
		}
		if err := k.Check(s[name]); err != nil {
			return nil, err
		}
		if k.Idle {
			notices = append(notices, name+": "+strings.ToLower(k.Doc[:1])+k.Doc[1:])
		}
	}
	return notices, nil
}

// prefixed reports whether a key is of a family whose names Kafka leaves open: per listener, or for a plug-in.
func prefixed(name string) bool {
	for _, prefix := range []string{"listener.name.", "rlmm.config.", "rsm.config.", "config.providers.", "zookeeper.", "confluent."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// ParseProperties reads a Java properties file: key=value lines, # and ! comments, lines that end in a backslash go on.
func ParseProperties(text string) (Static, error) {
	if len(text) > maxPropertiesBytes {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxPropertiesBytes)
	}
	values := Static{}
	pending := ""
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimLeft(line, " \t\f")
		if pending == "" && (trimmed == "" || trimmed[0] == '#' || trimmed[0] == '!') {
			continue
		}
		line = pending + trimmed
		if strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`) {
			pending = line[:len(line)-1]
			continue
		}
		pending = ""
		key, value, err := splitProperty(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		values[key] = value
	}
	if pending != "" {
		return nil, fmt.Errorf("line %d: the last line ends in a backslash and nothing follows", number)
	}
	return values, nil
}

func splitProperty(line string) (key, value string, err error) {
	i := strings.IndexAny(line, "=: \t")
	if i <= 0 {
		return "", "", fmt.Errorf("%q is not key=value", line)
	}
	key = line[:i]
	rest := strings.TrimLeft(line[i:], " \t")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = rest[1:]
	}
	return key, unescape(strings.TrimSpace(rest)), nil
}

var escapes = strings.NewReplacer(`\\`, `\`, `\:`, `:`, `\=`, `=`, `\#`, `#`, `\!`, `!`, `\t`, "\t", `\n`, "\n", `\ `, " ")

func unescape(s string) string { return escapes.Replace(s) }

// EnvironmentKey is the key that an environment variable such as GREGOR_LOG_RETENTION_MS sets; ok is false for others.
func EnvironmentKey(variable string) (key string, ok bool) {
	name, ok := strings.CutPrefix(variable, "GREGOR_")
	if !ok {
		return "", false
	}
	return strings.ReplaceAll(strings.ToLower(name), "_", "."), true
}
