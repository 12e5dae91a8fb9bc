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
	// shareOutLimit is after how long in which nothing could be moved a newcomer is left as it is.
	shareOutLimit = 15 * time.Minute
)

// newcomers is what the active controller knows of those that wait for their share.
type newcomers struct {
	who   []kafka.NodeID // in order
	since time.Time      // nobody was added or has gone, and no broker is away
	last  time.Time      // something was moved, or is being copied
	moved int            // how many partitions were
	told  bool           // that they wait for a broker that is away
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

// waiting are the newcomers, and a broker for which they wait: where one is away, replicas stay where they are.
func (m *machine) waiting() (who []kafka.NodeID, away kafka.NodeID) {
	away = kafka.NoNode
	m.image().Brokers(func(b *metadata.Broker) bool {
		if b.Newcomer {
			who = append(who, b.ID)
		}
		if !b.Active() {
			away = b.ID
		}
		return true
	})
	slices.Sort(who)
	return who, away
}

// shareOut moves some partitions to newcomers, if they have been there for long enough, and has them lead their share at the end.
func (m *machine) shareOut() []metadata.Record {
	who, away := m.waiting()
	now, n := m.options.Runtime.Now(), &m.newcomers
	if !slices.Equal(who, n.who) {
		*n = newcomers{who: who, since: now, last: now}
	}
	switch {
	case len(who) == 0:
		return nil
	case away != kafka.NoNode:
		if n.since = now; !n.told && !slices.Contains(who, away) {
			n.told = true
			m.options.Log.Info("brokers that have joined get their share of the replicas when all brokers are there, or are removed", "brokers", who, "away", away)
		}
		return nil
	case now.Sub(n.since) < m.options.ShareOutAfter:
		return nil
	}
	n.told = false
	busy := m.beingMoved()
	if busy > 0 {
		n.last = now
	}
	if busy >= mostCopied {
		return nil
	}
	plan, stuck := m.plan()
	records := m.moveToNewcomers(plan, mostCopied-busy)
	if len(records) > 0 {
		if n.moved == 0 {
			m.options.Log.Info("brokers that have joined are given their share of the replicas", "brokers", who)
		}
		n.moved += len(records)
		n.last = now
		return records
	}
	if busy > 0 || stuck && now.Sub(n.last) < shareOutLimit {
		return nil
	}
	if records = m.leadByNewcomers(who); len(records) > 0 {
		return records
	}
	if n.moved > 0 {
		m.options.Log.Info("brokers that have joined have their share of the replicas", "brokers", who, "partitions", n.moved)
	}
	return m.unmark(who)
}

// beingMoved counts the partitions that are being moved, and come nearer to where they go.
func (m *machine) beingMoved() (busy int) {
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if p.Reassigning() && p.Leader != kafka.NoNode && !slices.ContainsFunc(p.Adding, func(id kafka.NodeID) bool { return !m.active(id) }) {
				busy++
			}
		}
		return true
	})
	return busy
}

// plan begins one with what there is. What is being moved counts as moved; it stays as it is, as does what lacks a leader or a replica in sync:
// nobody could copy from it, or it is better not to ask more of it. stuck says that there is something of the kind.
func (m *machine) plan() (plan *placement.Plan, stuck bool) {
	var brokers []placement.Broker
	for _, b := range m.placeable() {
		brokers = append(brokers, placement.Broker{ID: int32(b.ID), Rack: b.Rack})
	}
	var partitions []placement.Partition
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			replicas := p.Replicas
			if p.Reassigning() {
				replicas = targetReplicas(p)
			}
			fixed := p.Reassigning() || p.Leader == kafka.NoNode || len(p.ISR) < len(p.Replicas)
			stuck = stuck || fixed
			partitions = append(partitions, placement.Partition{Topic: t.Name, Number: p.Number, Replicas: numbers(replicas), Fixed: fixed})
		}
		return true
	})
	return placement.New(brokers, partitions), stuck
}

// moveToNewcomers begins to move so many partitions. Internal topics, which were made with as many replicas as there were brokers, get
// what they lack.
func (m *machine) moveToNewcomers(plan *placement.Plan, most int) (records []metadata.Record) {
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

// abandon ends the reassignments to a broker that is removed: they would never end.
func (m *machine) abandon(gone kafka.NodeID) (records []metadata.Record) {
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if !slices.Contains(p.Adding, gone) || slices.Contains(p.ISR, gone) || slices.Contains(p.ELR, gone) {
				continue
			}
			original := originalReplicas(p)
			if o, done := completed(p, original, effectiveMin(p, m.options.Configs.MinISR(m.image(), t.Name)), m.active); done {
				records = append(records, m.reassigned(t.ID, p, original, o))
			}
		}
		return true
	})
	return records
}
