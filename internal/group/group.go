// Package group is the group coordinator: who belongs to a consumer group, who of them reads what, and how far they have
// read. It speaks the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) and keeps committed offsets.
//
// It promises that an answer rests only on what its partition of __consumer_offsets has committed; that groups and
// offsets survive a change of coordinator; that the topic holds Kafka's own records, so whatever reads Kafka's can read
// ours; and that each request is answered exactly once. Its state machine is pure: the same requests at the same times
// lead to the same records.
// Package api calls a Service, one method per API; package node tells it which partitions it leads. Its methods may be
// called from anywhere. A request must not change before it is answered; nothing of it is kept afterwards.
// It does not authorize, does not assign partitions (members do), does not read what members tell each other except for
// a consumer's topics, and does not know how its log is replicated.
package group

import (
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Config is what an operator can set, under Kafka's names.
type Config struct {
	Partitions             int32         // offsets.topic.num.partitions, where the topic does not exist yet
	MinSessionTimeout      time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout      time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay  time.Duration // group.initial.rebalance.delay.ms
	MaxSize                int           // group.max.size
	OffsetMetadataMaxBytes int           // offset.metadata.max.bytes, which counts characters
	OffsetsRetention       time.Duration // offsets.retention.minutes
	OffsetsRetentionCheck  time.Duration // offsets.retention.check.interval.ms
}

// DefaultConfig is Kafka's.
func DefaultConfig() Config {
	return Config{
		Partitions:             50,
		MinSessionTimeout:      6 * time.Second,
		MaxSessionTimeout:      30 * time.Minute,
		InitialRebalanceDelay:  3 * time.Second,
		MaxSize:                1<<31 - 1,
		OffsetMetadataMaxBytes: 4096,
		OffsetsRetention:       7 * 24 * time.Hour,
		OffsetsRetentionCheck:  10 * time.Minute,
	}
}

// newMemberTimeout is how long a member that has just been added waits for its first generation. It is longer than any
// session because a rebalance can take that long; it ends members whose client is gone.
const newMemberTimeout = 5 * time.Minute

// Client is who sent a request, as far as a group shows it to people.
type Client struct {
	ID   string
	Host string // in Kafka's form, "/10.0.0.1"
}

// Topics is what the coordinator asks about the cluster's topics. It may be asked from anywhere, at any time.
type Topics interface {
	// PartitionCount is 0 where there is no such topic.
	PartitionCount(topic string) int32
	// NameOf finds a topic by its id.
	NameOf(id kafka.TopicID) (name string, ok bool)
	// IDOf is the zero id where there is no such topic.
	IDOf(name string) kafka.TopicID
}

// group is one group, whatever its protocol: what everything that serves all protocols asks of it.
type group interface {
	// listing is how ListGroups shows it.
	listing() listing
	// checkCommit judges who commits offsets. A member that may is alive: its session starts anew.
	checkCommit(c committer) kafka.ErrorCode
	// checkDelete judges whether the group may be deleted now.
	checkDelete() kafka.ErrorCode
	// checkOffsetDelete judges whether any of its offsets may be deleted now, and subscribes whether one topic's may not.
	checkOffsetDelete() kafka.ErrorCode
	subscribes(topic string) bool
	// expiresFrom is the time from which the retention of an offset counts (KIP-211), false where it does not count now.
	expiresFrom(topic string, o *offset) (ms int64, ok bool)
	// idle reports whether nobody would miss the group if it had no offsets.
	idle() bool
	// tombstone is the record that deletes it.
	tombstone() Record
	// loaded is called once, when the log has been read and the group is to be led from now on.
	loaded()
	// close stops the group's timers and answers everybody who waits.
	close(code kafka.ErrorCode)
}

// listing is what every kind of group has to show.
type listing struct{ protocolType, state, kind string }

// committer says in whose name offsets are committed.
type committer struct {
	memberID   string
	instanceID *string
	generation int32
}
