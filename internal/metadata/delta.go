package metadata

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Delta is an image in the making: a base, the records replayed since, and what they changed. It belongs to one
// goroutine until Image is called, which ends the making; from then on it only says what changed.
type Delta struct {
	base, next *Image
	done       bool

	// Topics that were made by this delta, and so may be changed in place; and partitions likewise.
	ownTopics     map[kafka.TopicID]*Topic
	ownPartitions map[*Partition]bool

	topics   map[kafka.TopicID]bool
	changed  map[PartitionID]bool
	configs  map[Resource]bool
	brokers  map[kafka.NodeID]bool
	features map[string]bool
}

// PartitionID names a partition of one incarnation of a topic.
type PartitionID struct {
	Topic     kafka.TopicID
	Partition int32
}

// Compare orders by topic id, then by partition.
func (p PartitionID) Compare(other PartitionID) int {
	if c := bytes.Compare(p.Topic[:], other.Topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(p.Partition, other.Partition)
}

// PartitionUpdate is a partition with the topic it is of, as changed by a delta.
type PartitionUpdate struct {
	Topic    *Topic     // as it is now
	Old, New *Partition // Old is nil for a partition that is new
}

// Base is the image that the delta began with.
func (d *Delta) Base() *Image { return d.base }

// Image is the image with everything replayed.
func (d *Delta) Image() *Image {
	d.done = true
	d.ownTopics, d.ownPartitions = nil, nil
	return d.next
}

// TopicsCreated are the topics that are new, by name. A topic that was deleted and created again is deleted and created.
func (d *Delta) TopicsCreated() []*Topic { return d.topicsOnlyIn(d.next, d.base) }

// TopicsDeleted are the topics that are gone, as they were, by name.
func (d *Delta) TopicsDeleted() []*Topic { return d.topicsOnlyIn(d.base, d.next) }

func (d *Delta) topicsOnlyIn(in, notIn *Image) []*Topic {
	var topics []*Topic
	for id := range d.topics { // any order
		if t := in.TopicByID(id); t != nil && notIn.TopicByID(id) == nil {
			topics = append(topics, t)
		}
	}
	slices.SortFunc(topics, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
	return topics
}

// PartitionsChanged are the partitions that are new or different, by topic name and number. Partitions of deleted topics
// are not among them.
func (d *Delta) PartitionsChanged() []PartitionUpdate {
	var updates []PartitionUpdate
	for id := range d.changed { // any order
		t := d.next.TopicByID(id.Topic)
		p := t.Partition(id.Partition)
		if p == nil {
			continue
		}
		updates = append(updates, PartitionUpdate{t, d.base.TopicByID(id.Topic).Partition(id.Partition), p})
	}
	slices.SortFunc(updates, func(a, b PartitionUpdate) int {
		return cmp.Or(cmp.Compare(a.Topic.Name, b.Topic.Name), cmp.Compare(a.New.Number, b.New.Number))
	})
	return updates
}

// ConfigsChanged are the resources for which some key was set or removed.
func (d *Delta) ConfigsChanged() []Resource {
	return sorted(d.configs, Resource.Compare)
}

// BrokersChanged are the brokers that were registered, changed or removed.
func (d *Delta) BrokersChanged() []kafka.NodeID { return sorted(d.brokers, cmp.Compare[kafka.NodeID]) }

// FeaturesChanged are the features whose level was set.
func (d *Delta) FeaturesChanged() []string { return sorted(d.features, cmp.Compare[string]) }

func sorted[K comparable](set map[K]bool, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(set))
	for k := range set { // any order
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}
