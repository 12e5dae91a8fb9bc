package controller

import (
	"slices"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// outcome is what becomes of a partition: its sets, and who leads.
type outcome struct {
	isr, elr []kafka.NodeID
	leader   kafka.NodeID
	recovery metadata.RecoveryState
}

func outcomeOf(p *metadata.Partition) outcome {
	return outcome{isr: p.ISR, elr: p.ELR, leader: p.Leader, recovery: p.Recovery}
}

// leave is the outcome when a replica must not lead nor be in sync any more, because its broker is fenced or going. min is the
// least number of replicas in sync that may commit. While fewer are in sync nothing is committed, so whoever leaves has
// everything that is, and stays eligible (KIP-966).
func leave(p *metadata.Partition, replica kafka.NodeID, min int, live func(kafka.NodeID) bool) outcome {
	isr := without(p.ISR, replica)
	elr := p.ELR
	if len(isr) < effectiveMin(p, min) {
		for _, id := range p.ISR {
			if !slices.Contains(isr, id) && !slices.Contains(elr, id) {
				elr = append(slices.Clone(elr), id)
			}
		}
	} else {
		elr = nil
	}
	stillLive := func(id kafka.NodeID) bool { return id != replica && live(id) }
	return elect(p, outcome{isr: isr, elr: elr, leader: p.Leader, recovery: p.Recovery}, effectiveMin(p, min), stillLive)
}

// elect gives an outcome its leader: the one it has if that may stay, or the first replica in the order of assignment that
// is live and in sync; with nobody in sync, the first that is eligible, which then is in sync.
func elect(p *metadata.Partition, o outcome, min int, live func(kafka.NodeID) bool) outcome {
	if o.leader != kafka.NoNode && live(o.leader) && slices.Contains(o.isr, o.leader) {
		return o
	}
	o.leader = kafka.NoNode
	candidates := o.isr
	if len(o.isr) == 0 {
		candidates = o.elr
	}
	for _, id := range p.Replicas {
		if slices.Contains(candidates, id) && live(id) {
			o.leader = id
			break
		}
	}
	if o.leader != kafka.NoNode && len(o.isr) == 0 {
		o.isr, o.elr = []kafka.NodeID{o.leader}, without(o.elr, o.leader)
		if len(o.isr) >= min {
			o.elr = nil
		}
	}
	return o
}

// electUnclean elects any live replica, whatever it lacks. An operator has asked for it.
func electUnclean(p *metadata.Partition, live func(kafka.NodeID) bool) (outcome, bool) {
	for _, id := range p.Replicas {
		if live(id) {
			return outcome{isr: []kafka.NodeID{id}, leader: id, recovery: metadata.Recovering}, true
		}
	}
	return outcomeOf(p), false
}

// effectiveMin is min.insync.replicas, but no more than there are replicas.
func effectiveMin(p *metadata.Partition, min int) int {
	if min > len(p.Replicas) {
		return len(p.Replicas)
	}
	return min
}

// change is the record that leads from a partition to an outcome; nil if nothing changes.
func change(topic kafka.TopicID, p *metadata.Partition, o outcome) *metadata.PartitionChange {
	c := &metadata.PartitionChange{Topic: topic, Partition: p.Number}
	changed := false
	list := func(to *[]kafka.NodeID, was, is []kafka.NodeID) {
		if !slices.Equal(was, is) {
			*to = append([]kafka.NodeID{}, is...) // not nil, which would mean no change
			changed = true
		}
	}
	list(&c.ISR, p.ISR, o.isr)
	list(&c.ELR, p.ELR, o.elr)
	if o.leader != p.Leader {
		c.Leader = metadata.LeaderIs(o.leader)
		changed = true
	}
	if o.recovery != p.Recovery {
		c.Recovery = metadata.RecoveryIs(o.recovery)
		changed = true
	}
	if !changed {
		return nil
	}
	return c
}

func without(list []kafka.NodeID, id kafka.NodeID) []kafka.NodeID {
	return slices.DeleteFunc(slices.Clone(list), func(other kafka.NodeID) bool { return other == id })
}

// retire takes a broker out of everything: nothing is led by it, and it is in no ISR.
func (m *machine) retire(id kafka.NodeID) []metadata.Record {
	var records []metadata.Record
	image := m.image()
	stillLive := func(other kafka.NodeID) bool { return other != id && m.active(other) }
	image.Topics(func(t *metadata.Topic) bool {
		min := 0
		var h heirs
		for _, p := range t.Partitions {
			if p.Leader != id && !slices.Contains(p.ISR, id) {
				continue
			}
			if min == 0 {
				min = m.options.Configs.MinISR(image, t.Name)
			}
			o := m.uncleanly(t, p, leave(p, id, min, m.active), stillLive)
			if p.Leader == id && len(o.isr) > 1 {
				o.leader = m.choose(&h, p, o, stillLive)
			}
			if c := change(t.ID, p, o); c != nil {
				records = append(records, c)
			}
		}
		return true
	})
	return records
}

// heirs are those who lead a topic's partitions when one who did is gone.
type heirs struct {
	moved int                  // how many of its partitions were
	given map[kafka.NodeID]int // of those, to brokers that came back a moment ago
}

// justBack is for how long a broker counts as having come back a moment ago. franz-go drops connections that were not used for 20 s.
const justBack = 30 * time.Second

// choose is who leads a partition instead, of those in sync, in the order of assignment but for this: a broker that has come back a moment ago,
// after the others, takes one partition in eight. Clients' connections to it ended with the process before, which some
// find out only when they use them, and then wait for a quarter of a second; its page cache is cold, too. So it should not be much that waits.
func (m *machine) choose(h *heirs, p *metadata.Partition, o outcome, live func(kafka.NodeID) bool) kafka.NodeID {
	longest := m.options.Runtime.Now() // since when one of them has been there
	for _, id := range o.isr {
		if began := m.began(id); live(id) && began.Before(longest) {
			longest = began
		}
	}
	longest, recently := longest.Add(time.Second), m.options.Runtime.Now().Add(-justBack)
	h.moved++
	heir := kafka.NoNode
	for _, id := range p.Replicas {
		if !live(id) || !slices.Contains(o.isr, id) {
			continue
		}
		if began := m.began(id); !began.After(longest) || began.Before(recently) {
			if heir == kafka.NoNode {
				heir = id
			}
		} else if h.given[id]*8 < h.moved {
			if h.given == nil {
				h.given = map[kafka.NodeID]int{}
			}
			h.given[id]++
			return id
		}
	}
	if heir == kafka.NoNode {
		return o.leader
	}
	return heir
}

// began is when a broker registered, as far as this controller saw it; zero for earlier.
func (m *machine) began(id kafka.NodeID) time.Time {
	if b := m.image().Broker(id); b != nil {
		return m.session(b).began
	}
	return time.Time{}
}

// revive gives leaders to partitions that have none and that a broker, which is now live, may lead.
func (m *machine) revive(id kafka.NodeID) []metadata.Record {
	var records []metadata.Record
	live := func(other kafka.NodeID) bool { return other == id || m.active(other) }
	image := m.image()
	image.Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if p.Leader != kafka.NoNode || !slices.Contains(p.Replicas, id) {
				continue
			}
			min := effectiveMin(p, m.options.Configs.MinISR(image, t.Name))
			if c := change(t.ID, p, m.uncleanly(t, p, elect(p, outcomeOf(p), min, live), live)); c != nil {
				records = append(records, c)
			}
		}
		return true
	})
	return records
}
