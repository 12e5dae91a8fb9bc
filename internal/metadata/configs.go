package metadata

import (
	"slices"
	"strings"
)

// ResourceType is what a config is set for, by its number on the wire.
type ResourceType int8

const (
	TopicResource         ResourceType = 2
	BrokerResource        ResourceType = 4 // the name is a broker's id, or "" for all brokers
	ClientMetricsResource ResourceType = 16
	GroupResource         ResourceType = 32
)

// Resource is one thing that configs are set for.
type Resource struct {
	Type ResourceType
	Name string
}

// key orders resources by type, then by name.
func (r Resource) key() string { return string([]byte{byte(r.Type)}) + r.Name }

func resourceOfKey(key string) Resource { return Resource{ResourceType(key[0]), key[1:]} }

// Compare orders by type, then by name.
func (r Resource) Compare(other Resource) int { return strings.Compare(r.key(), other.key()) }

// Configs is what is set for one resource: an immutable list of keys and values, sorted by key.
type Configs struct{ entries []ConfigEntry }

// ConfigEntry is one key that is set.
type ConfigEntry struct{ Key, Value string }

var noConfigs Configs

func (c *Configs) find(key string) (int, bool) {
	return slices.BinarySearchFunc(c.entries, key, func(e ConfigEntry, key string) int { return strings.Compare(e.Key, key) })
}

// Get returns the value of a key, if it is set.
func (c *Configs) Get(key string) (value string, ok bool) {
	i, ok := c.find(key)
	if !ok {
		return "", false
	}
	return c.entries[i].Value, true
}

// Len is how many keys are set.
func (c *Configs) Len() int { return len(c.entries) }

// All visits the keys in order until visit returns false. It can be ranged over.
func (c *Configs) All(visit func(key, value string) bool) {
	for _, e := range c.entries {
		if !visit(e.Key, e.Value) {
			return
		}
	}
}

// with returns configs that differ in one key.
func (c *Configs) with(key, value string, remove bool) *Configs {
	i, found := c.find(key)
	switch {
	case remove && !found:
		return c
	case remove:
		return &Configs{slices.Delete(slices.Clone(c.entries), i, i+1)}
	case found:
		entries := slices.Clone(c.entries)
		entries[i].Value = value
		return &Configs{entries}
	default:
		return &Configs{slices.Insert(slices.Clone(c.entries), i, ConfigEntry{key, value})}
	}
}

// NewConfigs makes a list of keys and values; of a key that comes twice the last value counts.
func NewConfigs(entries []ConfigEntry) *Configs {
	c := &noConfigs
	for _, e := range entries {
		c = c.with(e.Key, e.Value, false)
	}
	return c
}
