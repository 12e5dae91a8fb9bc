package replica

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Replicas that are copied, because they were reassigned or because a node was away, can be held to a rate, so that clients keep
// their share of disks and network (KIP-73). Both sides keep an account of what they send or take for the replicas that are
// named, those in sync too, and while that is more than the rate, replicas that are not in sync wait. Those that are never do:
// they would hold producers up.

// Throttle is what the configs say about copying the replicas of a topic.
type Throttle struct {
	// Leader and Follower are leader.replication.throttled.replicas and follower.replication.throttled.replicas.
	Leader, Follower ReplicaSet
	// LeaderRate and FollowerRate are leader.replication.throttled.rate and follower.replication.throttled.rate, in bytes a second.
	LeaderRate, FollowerRate int64
}

// ReplicaSet is a list of replicas as the configs spell it: "*" for all, or PARTITION:BROKER.
type ReplicaSet struct {
	all  bool
	some []replicaOf
}

type replicaOf struct {
	partition int32
	broker    kafka.NodeID
}

// ParseReplicaSet reads the elements of a list; what is neither "*" nor PARTITION:BROKER names nothing, because configs are checked
// when they are set.
func ParseReplicaSet(list []string) (s ReplicaSet) {
	for _, word := range list {
		if word == "*" {
			return ReplicaSet{all: true}
		}
		left, right, _ := strings.Cut(word, ":")
		partition, err := strconv.ParseInt(left, 10, 32)
		broker, err2 := strconv.ParseInt(right, 10, 32)
		if err == nil && err2 == nil {
			s.some = append(s.some, replicaOf{int32(partition), kafka.NodeID(broker)})
		}
	}
	return s
}

func (s *ReplicaSet) has(partition int32, broker kafka.NodeID) bool {
	return s.all || slices.Contains(s.some, replicaOf{partition, broker})
}

// throttlePause is how long a replica that must wait for its rate is left alone.
const throttlePause = 100 * time.Millisecond

// QuotaWindow is over what a rate is measured: replication.quota.window.num and replication.quota.window.size.seconds.
type QuotaWindow struct {
	Count int
	Size  time.Duration
}

// quota is the account of one side. Bytes are noted when they have gone, so that one answer may go beyond the rate and those after
// it wait longer, as in Kafka (SimpleRate over the samples of a window).
type quota struct {
	window  QuotaWindow
	mu      sync.Mutex
	samples []sample // the oldest first
}

type sample struct {
	start time.Time
	bytes int64
}

func newQuota(w QuotaWindow) *quota {
	if w.Count <= 0 || w.Size <= 0 {
		w = QuotaWindow{Count: 11, Size: time.Second}
	}
	return &quota{window: w}
}

func (q *quota) record(now time.Time, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(now)
	if n := len(q.samples); n == 0 || now.Sub(q.samples[n-1].start) >= q.window.Size {
		q.samples = append(q.samples, sample{start: now})
	}
	q.samples[len(q.samples)-1].bytes += int64(bytes)
}

// exceeded says whether more than rate bytes a second were noted lately.
func (q *quota) exceeded(now time.Time, rate int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(now)
	if len(q.samples) == 0 {
		return false
	}
	total := int64(0)
	for _, s := range q.samples {
		total += s.bytes
	}
	elapsed := max(now.Sub(q.samples[0].start), q.window.Size)
	return float64(total) > float64(rate)*elapsed.Seconds()
}

func (q *quota) expire(now time.Time) {
	old := 0
	for old < len(q.samples) && now.Sub(q.samples[old].start) >= time.Duration(q.window.Count)*q.window.Size {
		old++
	}
	q.samples = slices.Delete(q.samples, 0, old)
}

// throttledAsLeader says whether what followers copy of the partition counts against the leader's rate.
func (p *Partition) throttledAsLeader() bool {
	return p.settings.Load().Throttle.Leader.has(p.TopicPartition.Partition, p.manager.node)
}

// throttledAsFollower says whether what this replica copies counts against the follower's rate.
func (p *Partition) throttledAsFollower() bool {
	return p.settings.Load().Throttle.Follower.has(p.TopicPartition.Partition, p.manager.node)
}

// holdsBack says whether a follower must wait for records that are there. The partition's lock is held.
func (p *Partition) holdsBack(follower kafka.NodeID) bool {
	return p.throttledAsLeader() && !slices.Contains(p.lead.isr, follower) &&
		p.manager.sent.exceeded(p.manager.rt.Now(), p.settings.Load().Throttle.LeaderRate)
}

// mustWait says whether this replica, whose log ends at end, must not ask for more just now. theirs is the high watermark of which
// its leader has told it last, -1 for none: beyond that it is as good as in sync.
func (p *Partition) mustWait(end, theirs int64, now time.Time) bool {
	return p.throttledAsFollower() && (theirs < 0 || end < theirs) &&
		p.manager.taken.exceeded(now, p.settings.Load().Throttle.FollowerRate)
}
