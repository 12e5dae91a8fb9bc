package trial

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/record"
)

// outOfSync names a partition that has no leader, or not all its replicas in sync, as far as some node knows; "" for none.
func (t *trial) outOfSync() (which string) {
	if !t.clustered() {
		return ""
	}
	for _, h := range t.hosts {
		if !h.serves() {
			continue
		}
		h.life.node.Image().Topics(func(topic *metadata.Topic) bool {
			for _, p := range topic.Partitions {
				if p.Leader == kafka.NoNode || len(p.ISR) < len(p.Replicas) {
					which = fmt.Sprintf("%s-%d on host %d", topic.Name, p.Number, h.number)
				}
			}
			return which == ""
		})
	}
	return which
}

// agree compares what the replicas of a topic hold, batch by batch, below the least high watermark that any of them knows
// (invariant: the logs of a partition are the same up to there). Topics that are trimmed or compacted may differ.
func (t *trial) agree() {
	for _, name := range sorted(t.shadow.topics) {
		if policies[name].policy != keeps {
			continue
		}
		for _, tp := range t.partitions(name, int(t.shadow.topics[name].partitions)) {
			t.agreeOn(tp)
		}
	}
}

func (t *trial) agreeOn(tp kafka.TopicPartition) {
	type copyOf struct {
		host *host
		sums map[int64]uint32
		end  int64
	}
	var first *copyOf
	for _, h := range t.hosts {
		p := h.life.node.Replicas.TopicNamed(tp.Topic).Partition(tp.Partition)
		if p == nil || p.Log() == nil || p.Log().Offline() {
			continue
		}
		c := &copyOf{host: h, sums: map[int64]uint32{}, end: p.HighWatermark()}
		for from := p.Log().LogStart(); from < c.end; {
			r, err := p.Log().Read(from, 1<<20, c.end, true)
			t.expect(err == nil && r.Size > 0, "%s on host %d cannot be read at %d: %v", tp, h.number, from, err)
			data := make([]byte, r.Size)
			_, err = r.ReadAt(data, 0)
			t.expect(err == nil, "%s on host %d cannot be read at %d: %v", tp, h.number, from, err)
			_ = record.Split(data, func(b record.Batch) error {
				t.expect(b.ComputeCRC() == b.CRC(), "%s on host %d: the batch at %d is corrupt", tp, h.number, b.BaseOffset())
				c.sums[b.BaseOffset()] = b.CRC()
				return nil
			})
			from = r.NextOffset
			r.Release()
		}
		if first == nil {
			first = c
			continue
		}
		for offset, sum := range c.sums { // any order
			t.expect(offset >= first.end || first.sums[offset] == sum, "%s: hosts %d and %d hold different batches at %d", tp, first.host.number, h.number, offset)
		}
		t.done("replicas compared", 1)
	}
}
