package group

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Machine is the state of one partition of __consumer_offsets: the groups that belong to it and their offsets.
//
// What has to survive (offsets; a group's generation, members and assignments) changes only in Replay. What a rebalance
// is about until it ends (who has joined, who waits for what, timers) is volatile: it lives in the groups, decisions
// change it directly, and a new coordinator starts without it, as Kafka's does.
type Machine struct {
	config Config
	topics Topics
	world  world
	// leading is false while the log is read: then records make groups; later they change groups that live.
	leading bool
	groups  map[string]group

	// mu is held by Replay when it writes offsets, and by readers that are not on the shard's loop.
	mu      sync.RWMutex
	offsets map[string]topicOffsets // by group; never empty inside
}

// topicOffsets are a group's offsets by topic and partition.
type topicOffsets map[string]map[int32]offset

// world is where a machine finds time, chance and timers.
type world interface {
	now() time.Time
	// after lets the machine decide once wait has passed. stop, called in a decision, makes certain that it will not.
	after(wait time.Duration, decide func(d *decision)) (stop func())
	// uuid is a random unique name.
	uuid() string
}

// decision collects what the machine decides in one turn: records, and answers to give once those are committed.
type decision struct {
	records []Record
	answers []func(error)
}

func (d *decision) append(records ...Record) { d.records = append(d.records, records...) }

// answer calls f with nil once everything decided so far is committed, or with an error if it will not be.
func (d *decision) answer(f func(error)) { d.answers = append(d.answers, f) }

func newMachine(config Config, topics Topics, w world) *Machine {
	return &Machine{
		config: config, topics: topics, world: w,
		groups: map[string]group{}, offsets: map[string]topicOffsets{},
	}
}

// Replay applies a record. Records that it does not know, or cannot read, change nothing.
func (m *Machine) Replay(_ int64, r Record) {
	switch keyKind(r.Key) {
	case 0, keyOffset:
		key := kmsg.NewOffsetCommitKey()
		if key.ReadFrom(r.Key) == nil {
			m.replayOffset(key, r.Value)
		}
	case keyGroup:
		key := kmsg.NewGroupMetadataKey()
		if key.ReadFrom(r.Key) == nil {
			m.replayGroup(key.Group, r.Value)
		}
	}
}

func (m *Machine) replayOffset(key kmsg.OffsetCommitKey, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value == nil {
		m.forgetOffset(key.Group, key.Topic, key.Partition)
		return
	}
	o, ok := readOffset(value)
	if !ok {
		return
	}
	topics := m.offsets[key.Group]
	if topics == nil {
		topics = topicOffsets{}
		m.offsets[key.Group] = topics
	}
	if topics[key.Topic] == nil {
		topics[key.Topic] = map[int32]offset{}
	}
	topics[key.Topic][key.Partition] = o
	if m.groups[key.Group] == nil {
		m.groups[key.Group] = newClassicGroup(m, key.Group) // a simple group: offsets without members
	}
}

func (m *Machine) forgetOffset(group, topic string, partition int32) {
	topics := m.offsets[group]
	delete(topics[topic], partition)
	if len(topics[topic]) == 0 {
		delete(topics, topic)
	}
	if len(topics) == 0 {
		delete(m.offsets, group)
	}
}

func (m *Machine) replayGroup(id string, value []byte) {
	if value == nil {
		if g := m.groups[id]; g != nil {
			g.close(kafka.UnknownMemberID)
			delete(m.groups, id)
		}
		return
	}
	v := kmsg.NewGroupMetadataValue()
	if v.ReadFrom(value) != nil {
		return
	}
	g, ok := m.groups[id].(*classicGroup)
	if !ok {
		g = newClassicGroup(m, id)
		m.groups[id] = g
	}
	g.replay(&v)
}

// lead begins to live: every member that the log knows gets a fresh session.
// Nobody waits for anything yet, so there is nothing to answer or to write down.
func (m *Machine) lead() {
	m.leading = true
	for _, id := range m.groupIDs() {
		m.groups[id].loaded()
	}
	m.scheduleExpiry()
}

// close answers everybody who waits, when the shard is over.
func (m *Machine) close(code kafka.ErrorCode) {
	m.leading = false
	for _, id := range m.groupIDs() {
		m.groups[id].close(code)
	}
}

func (m *Machine) groupIDs() []string { return slices.Sorted(maps.Keys(m.groups)) }

// forgetIfUnused drops a group that a refused request has made.
func (m *Machine) forgetIfUnused(g *classicGroup) {
	if g.generation == 0 && g.idle() && m.offsets[g.id] == nil {
		delete(m.groups, g.id)
	}
}

func (m *Machine) nowMs() int64 { return m.world.now().UnixMilli() }
