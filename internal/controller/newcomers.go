package controller

import (
	"slices"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/placement"
)

// What becomes of a broker that joins a cluster with partitions: it is marked as a newcomer, and gets its share of replicas and of
// leaders, a few partitions at a time, by reassignments like any other. The mark is replicated, so that the next controller goes on
// where this one ends; the plan is not: each turn makes one of what is there. Whoever moves replicas by hand meanwhile ends it, and
// so a broker that is drained stays empty.

const (
	// shareOutTurn is how often newcomers are looked after.
	shareOutTurn = time.Second
	// mostCopied is how many partitions are moved to newcomers at a time.
	mostCopied = 20
)

// newcomers is what the active controller knows of those that wait for their share.
type newcomers struct {
	who   []kafka.NodeID // in order
	since time.Time      // nobody was added or has gone
	moved int            // how many partitions were
}

// watchNewcomers looks after newcomers for as long as the shard leads.
func watchNewcomers(s *shard, m *machine) {
	if m.options.ShareOutAfter > 0 {
		every(s, shareOutTurn, (*machine).shareOut)
	}
}

// comesLate reports whether a broker that registers for the first time comes to partitions that others have.
func (m *machine) comesLate(id kafka.NodeID) (late bool) {
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			late = late || !slices.Contains(p.Replicas, id)
		}
		return !late
	})
	return late
}

// waiting are the newcomers, and whether the whole cluster is there: where a broker is missing, replicas stay where they are.
func (m *machine) waiting() (who []kafka.NodeID, complete bool) {
	complete = true
	m.image().Brokers(func(b *metadata.Broker) bool {
		if b.Newcomer {
			who = append(who, b.ID)
		}
		complete = complete && b.Active()
		return true
	})
	slices.Sort(who)
	return who, complete
}

// shareOut moves some partitions to newcomers, if they have been there for long enough, and has them lead their share at the end.
func (m *machine) shareOut() []metadata.Record {
	who, complete := m.waiting()
	now := m.options.Runtime.Now()
	if !slices.Equal(who, m.newcomers.who) {
		m.newcomers = newcomers{who: who, since: now}
	}
	if len(who) == 0 || !complete || now.Sub(m.newcomers.since) < m.options.ShareOutAfter {
		return nil
	}
	plan, busy := m.plan()
	records := m.moveToNewcomers(plan, mostCopied-busy)
	if len(records) > 0 || busy > 0 {
		if m.newcomers.moved == 0 && len(records) > 0 {
			m.options.Log.Info("brokers that have joined are given their share of the replicas", "brokers", who)
		}
		m.newcomers.moved += len(records)
		return records
	}
	if records = m.leadByNewcomers(who); len(records) > 0 {
		return records
	}
	if m.newcomers.moved > 0 {
		m.options.Log.Info("brokers that have joined have their share of the replicas", "brokers", who, "partitions", m.newcomers.moved)
	}
	return m.unmark(who)
}

// plan begins one with what is and is under way, and says how many partitions are being moved.
func (m *machine) plan() (plan *placement.Plan, busy int) {
	var brokers []placement.Broker
	for _, b := range m.placeable() {
		brokers = append(brokers, placement.Broker{ID: int32(b.ID), Rack: b.Rack})
	}
	var partitions []placement.Partition
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			replicas := p.Replicas
			if p.Reassigning() {
				busy++
				replicas = targetReplicas(p)
			}
			partitions = append(partitions, placement.Partition{Topic: t.Name, Number: p.Number, Replicas: numbers(replicas)})
		}
		return true
	})
	return placement.New(brokers, partitions), busy
}

// moveToNewcomers begins to move so many partitions. Internal topics, which were made with as many replicas as there were brokers, get
// what they lack.
func (m *machine) moveToNewcomers(plan *placement.Plan, most int) (records []metadata.Record) {
	if most <= 0 {
		return nil
	}
	left := most
	m.image().Topics(func(t *metadata.Topic) bool {
		if replicas := m.options.Configs.InternalReplicas(m.image(), t.Name); replicas > 0 {
			left -= plan.Widen(t.Name, replicas, left)
		}
		return true
	})
	plan.SpreadTo(numbers(m.newcomers.who), left)
	for _, move := range plan.Moves() {
		t := m.image().Topic(move.Topic)
		p := t.Partition(move.Partition)
		if p.Reassigning() {
			continue // it is to be elsewhere still, when it has come to where it goes
		}
		target, min := nodeIDs(move.To), effectiveMin(p, m.options.Configs.MinISR(m.image(), t.Name))
		var c *metadata.PartitionChange
		if o, done := completed(p, target, min, m.active); done {
			c = m.reassigned(t.ID, p, target, o)
		} else {
			c = m.reassigning(t.ID, p, target, min)
		}
		if c != nil {
			records = append(records, c)
		}
	}
	return records
}

// leadByNewcomers has newcomers lead what they are the first replica of.
func (m *machine) leadByNewcomers(who []kafka.NodeID) (records []metadata.Record) {
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if !slices.Contains(who, p.Replicas[0]) || len(records) == mostMoves {
				continue
			}
			if record, refusal := m.electOne(electPreferred, t, p); refusal == nil {
				records = append(records, record)
			}
		}
		return len(records) < mostMoves
	})
	return records
}

// leaveNewcomers gives them nothing more.
func (m *machine) leaveNewcomers(because string) []metadata.Record {
	who, _ := m.waiting()
	if len(who) > 0 && m.options.ShareOutAfter > 0 {
		m.options.Log.Info("brokers that have joined are given no more replicas", "brokers", who, "because", because)
	}
	return m.unmark(who)
}

func (m *machine) unmark(who []kafka.NodeID) (records []metadata.Record) {
	for _, id := range who {
		records = append(records, &metadata.BrokerChange{ID: id, Epoch: m.image().Broker(id).Epoch, Newcomer: metadata.Cleared})
	}
	return records
}
