package trial

import (
	"time"
)

// Script is a short story that is the same each time but for the moment at which the power goes.
type Script struct {
	// PowerAt is before which change of the disk the power goes, counted from 1; 0 for never.
	PowerAt int
}

// scriptLength is how long clients begin new work. A clean stop and start lie in the middle of it.
const scriptLength = 700 * time.Millisecond

// play lives a script.
func (t *trial) play(s *Script) {
	c := t.drawConfig()
	t.snapshots = 500
	for key, value := range map[string]string{ // any order
		"log.segment.bytes": "1500", "log.retention.check.interval.ms": "150", "log.cleaner.backoff.ms": "200",
		"log.flush.offset.checkpoint.interval.ms": "120", "log.segment.delete.delay.ms": "50", "offsets.topic.num.partitions": "1",
		"offsets.topic.segment.bytes": "1000", "group.initial.rebalance.delay.ms": "10",
	} {
		c[key] = value
	}
	t.configure(c)
	h := t.hosts[0]
	plain, small, keyed := t.partitions("plain", 2), t.partitions("small", 1), t.partitions("keyed", 1)
	t.actors = append(t.actors, newFounder(t, map[string]int{"plain": 2, "small": 1, "keyed": 1}),
		newProducer(t, "writer", true, -1, plain...), newProducer(t, "trimmed", true, -1, small...), newProducer(t, "compacted", true, -1, keyed...),
		newConsumer(t, "reader", append(plain, small...)...), newSolo(t), newTrimmer(t), newMember(t, "member", "team", 2, false))
	h.disk.powerAt = s.PowerAt
	h.start()
	for _, a := range t.actors {
		a.start()
	}
	t.after(scriptLength/2, h.stop)
	t.runUntil(scriptLength, func() bool { return false })
	t.healing = true
	t.expect(t.runUntil(epilogue, t.quiet), "liveness: %s: %s", epilogue, t.restless())
	h.stop()
	t.expect(t.runUntil(epilogue, h.serves), "liveness: the node does not come back")
	t.done("changes of the disk", h.disk.changes)
	t.heal()
	t.lastRites()
}
