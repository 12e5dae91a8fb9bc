package trial

import (
	"slices"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/raft"
	"github.com/gregorhq/gregor/internal/vfs"
)

// replace takes a host away and brings it back under its old id with an empty disk, as an operator does: when everything is
// in sync, one host at a time, and with the new disk only when the others can do without what was on the old one. Other faults
// go on striking meanwhile. What was acknowledged must be there afterwards, although a third of it is gone.
func (n *nemesis) replace() {
	t, h := n.t, n.one()
	if t.absent != nil || t.healing || !t.serving() || t.outOfSync() != "" || !t.soundQuorum() {
		return
	}
	t.absent = h
	h.kill("to be replaced")
	t.after(100*time.Millisecond, func() { n.replaceWhenSpared(h, 60) })
}

// replaceWhenSpared waits for the others to do without a host. Some partition may have nobody else: then it comes back as it was.
func (n *nemesis) replaceWhenSpared(h *host, patience int) {
	t := n.t
	switch {
	case !t.healing && patience > 0 && !t.spared(h):
		t.after(100*time.Millisecond, func() { n.replaceWhenSpared(h, patience-1) })
		return
	case !t.healing && patience > 0:
		t.fault("empty disk", "on host %d", h.number)
		h.memory, h.disk, h.joins = vfs.NewMemory(), trouble{}, true
	}
	t.absent = nil
	h.start()
}

// soundQuorum reports whether a leader sees every voter as a registered node: none is of a disk that is gone.
func (t *trial) soundQuorum() bool {
	for _, h := range t.hosts {
		if !h.serves() {
			continue
		}
		if q := h.life.node.Quorum(); q.Leads {
			return !slices.ContainsFunc(q.Members, func(m raft.Member) bool { return m.Voter && m.Node == kafka.NoNode })
		}
	}
	return false
}

// spared reports whether all other nodes serve and know of no partition that a host could be elected for, or that has no leader.
func (t *trial) spared(gone *host) bool {
	id, spared, led := kafka.NodeID(gone.number), true, false
	for _, h := range t.hosts {
		if h == gone {
			continue
		}
		if !h.serves() {
			return false
		}
		led = led || h.life.node.Quorum().Leads // so that the metadata is there without it
		h.life.node.Image().Topics(func(topic *metadata.Topic) bool {
			for _, p := range topic.Partitions {
				for _, set := range [][]kafka.NodeID{p.ISR, p.ELR, p.LastKnownELR} {
					spared = spared && !slices.Contains(set, id)
				}
				spared = spared && p.Leader != kafka.NoNode
			}
			return spared
		})
	}
	return spared && led
}
