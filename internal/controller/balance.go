package controller

import (
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// What the controller does of its own accord, from time to time: leaders go back to the replicas that are preferred, and
// partitions that nobody may lead get a leader that may lack records, where their topic has chosen that.

const (
	// leaderlessCheck is how often partitions without a leader are looked at.
	leaderlessCheck = 5 * time.Second
	// mostMoves is how many partitions change their leaders at a time.
	mostMoves = 1000
)

// watchLeaders looks after leaders for as long as the shard leads.
func watchLeaders(s *shard, m *machine) {
	every(s, leaderlessCheck, (*machine).electLeaderless)
	if d := m.options.RebalanceEvery; d > 0 {
		every(s, d, (*machine).electPreferred)
	}
}

// every lets the machine decide again and again.
func every(s *shard, d time.Duration, decide func(*machine) []metadata.Record) {
	var watch func()
	watch = func() {
		s.After(d, func(m *machine) []metadata.Record {
			watch()
			return decide(m)
		})
	}
	watch()
}

// electPreferred gives leadership back to the first replicas of partitions, where these are live and in sync.
func (m *machine) electPreferred() (records []metadata.Record) {
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if p.Leader == kafka.NoNode || len(records) == mostMoves || m.full(p.Replicas[0]) {
				continue
			}
			if record, refusal := m.electOne(electPreferred, t, p); refusal == nil {
				records = append(records, record)
			}
		}
		return len(records) < mostMoves
	})
	if len(records) > 0 {
		m.options.Log.Info("leaders go back to the replicas that are preferred", "partitions", len(records))
	}
	return records
}

// electLeaderless elects replicas that may lack records, where a topic has chosen that.
func (m *machine) electLeaderless() (records []metadata.Record) {
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if p.Leader != kafka.NoNode || len(records) == mostMoves {
				continue
			}
			if o := m.uncleanly(t, p, outcomeOf(p), m.active); o.leader != kafka.NoNode {
				records = append(records, change(t.ID, p, o))
			}
		}
		return len(records) < mostMoves
	})
	return records
}

// uncleanly is an outcome with a leader that may lack records, where nobody else can lead and the topic's
// unclean.leader.election.enable says so.
func (m *machine) uncleanly(t *metadata.Topic, p *metadata.Partition, o outcome, live func(kafka.NodeID) bool) outcome {
	if o.leader != kafka.NoNode || !m.uncleanAllowed(t.Name) {
		return o
	}
	unclean, ok := electUnclean(p, live)
	if !ok {
		return o
	}
	m.options.Log.Warn("a leader is elected that may lack committed records, as unclean.leader.election.enable says",
		"topic", t.Name, "partition", p.Number, "leader", unclean.leader, "isr", p.ISR, "elr", p.ELR)
	return unclean
}

func (m *machine) uncleanAllowed(topic string) bool {
	const key = "unclean.leader.election.enable"
	value, set := m.image().Config(metadata.TopicResource, topic, key)
	if !set {
		value = m.options.Configs.Default(m.image(), metadata.TopicResource, topic, key)
	}
	return value == "true"
}
