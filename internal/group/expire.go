package group

import (
	"maps"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// deletedAtOnce bounds the tombstones of one batch, which has to fit into max.message.bytes.
const deletedAtOnce = 1000

func (m *Machine) scheduleExpiry() {
	m.world.after(m.config.OffsetsRetentionCheck, func(*decision) {
		m.scheduleExpiry()
		for _, id := range m.groupIDs() {
			// A decision for each group: a batch stays small, and other requests get their turn in between.
			m.world.after(0, func(d *decision) { m.expireOffsets(d, id) })
		}
	})
}

// expireOffsets deletes a group's offsets that are older than the retention (KIP-211), and the group itself once it has
// neither members nor offsets.
func (m *Machine) expireOffsets(d *decision, id string) {
	g := m.groups[id]
	if g == nil {
		return
	}
	expired, kept := m.expiredOffsets(g, id)
	if len(expired) > deletedAtOnce {
		expired, kept = expired[:deletedAtOnce], kept+1
		m.world.after(0, func(d *decision) { m.expireOffsets(d, id) })
	}
	for _, tp := range expired {
		d.append(offsetTombstone(id, tp))
	}
	if kept == 0 && g.idle() {
		d.append(g.tombstone())
	}
}

func (m *Machine) expiredOffsets(g group, id string) (expired []kafka.TopicPartition, kept int) {
	now, retention := m.nowMs(), m.config.OffsetsRetention.Milliseconds()
	for topic, partitions := range m.offsets[id] { // any order
		for number, o := range partitions { // any order
			from, counts := g.expiresFrom(topic, &o)
			over := counts && now-from >= retention
			if counts && o.expires >= 0 {
				over = now >= o.expires
			}
			if over {
				expired = append(expired, kafka.TopicPartition{Topic: topic, Partition: number})
			} else {
				kept++
			}
		}
	}
	slices.SortFunc(expired, kafka.TopicPartition.Compare)
	return expired, kept
}

// topicsDeleted deletes every offset of topics that are gone.
func (m *Machine) topicsDeleted(d *decision, topics []string) {
	for _, id := range m.groupIDs() {
		for _, topic := range topics {
			for _, number := range slices.Sorted(maps.Keys(m.offsets[id][topic])) {
				if len(d.records) == deletedAtOnce {
					m.world.after(0, func(d *decision) { m.topicsDeleted(d, topics) })
					return
				}
				d.append(offsetTombstone(id, kafka.TopicPartition{Topic: topic, Partition: number}))
			}
		}
	}
}
