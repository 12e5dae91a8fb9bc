package trial

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// shareOutAfter is how long a node has joined when it is given its share, so short that it comes to that.
const shareOutAfter = time.Second

// growLater has one more host join the cluster in some lives, while clients work and faults strike. It comes to partitions that others
// have, and is to be given its share of them.
func (t *trial) growLater() {
	if !t.clustered() || t.o.Mutant != nil || t.chance.IntN(3) > 0 {
		return
	}
	t.handsOff = t.chance.IntN(2) == 0
	t.after(t.between(time.Second, 12*time.Second), func() {
		if t.healing {
			return
		}
		h := newHost(t, len(t.hosts))
		h.late = true
		h.config = maps.Clone(t.hosts[0].config)
		h.config["node.id"] = fmt.Sprint(h.number)
		t.hosts = append(t.hosts, h)
		t.done("nodes that joined later", 1)
		t.logf("host %d is new", h.number)
		h.start()
	})
}

// members are the numbers of the hosts that have been let in.
func (t *trial) members() (all []int32) {
	for _, h := range t.hosts {
		if h.admitted {
			all = append(all, int32(h.number))
		}
	}
	return all
}

// waiting names a node that has joined and does not have its share yet, as far as any node knows; "" if there is none.
func (t *trial) waiting() (which string) {
	for _, h := range t.hosts {
		if !h.serves() {
			continue
		}
		h.life.node.Image().Brokers(func(b *metadata.Broker) bool {
			if b.Newcomer {
				which = fmt.Sprint("node ", b.ID)
			}
			return which == ""
		})
	}
	return which
}

// shared looks what a host has that came later, when it has been given its share.
func (t *trial) shared() {
	for _, h := range t.hosts {
		if !h.late || !h.serves() {
			continue
		}
		replicas := 0
		h.life.node.Image().Topics(func(topic *metadata.Topic) bool {
			for _, p := range topic.Partitions {
				if slices.Contains(p.Replicas, kafka.NodeID(h.number)) {
					replicas++
				}
			}
			return true
		})
		// There are four partitions at least, with three replicas each, and eight hosts at most.
		t.expect(!t.handsOff || replicas > 0, "host %d has joined, nobody has moved anything by hand, and it has no replica", h.number)
		t.counts["replicas on nodes that joined later"] += replicas
	}
}
