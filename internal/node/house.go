package node

import (
	"math"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/loop"
)

// housekeeper does what has to be done from time to time, each kind of work on a loop of its own.
type housekeeper struct {
	node  *Node
	tasks []*task
}

type task struct {
	loop    loop.Loop
	every   time.Duration
	run     func()
	stopped bool
	cancel  func()
}

// followersEvery is how often a leader looks for followers that have not kept up.
const followersEvery = 500 * time.Millisecond

// longest is as long as a timer may be set for.
const longest = 365 * 24 * time.Hour

// Deleted files are looked for as often as they become due, within these bounds: a full disk waits for it.
const (
	removalLeast = 100 * time.Millisecond
	removalMost  = 5 * time.Second
)

func ms(n int64) time.Duration {
	if n > int64(longest/time.Millisecond) {
		return longest
	}
	return time.Duration(n) * time.Millisecond
}

func newHousekeeper(n *Node, l config.Layers) *housekeeper {
	h := &housekeeper{node: n}
	h.add("retention", ms(l.Int("log.retention.check.interval.ms")), n.Replicas.Retain)
	h.add("removal", min(max(ms(l.Int("log.segment.delete.delay.ms")), removalLeast), removalMost), n.Replicas.RemoveDeleted)
	h.add("checkpoint", ms(l.Int("log.flush.offset.checkpoint.interval.ms")), n.Replicas.Checkpoint)
	h.add("followers", followersEvery, func() {
		if n.Clustered() {
			n.Replicas.WatchFollowers()
		}
	})
	if l.Bool("log.cleaner.enable") {
		h.add("compaction", ms(l.Int("log.cleaner.backoff.ms")), n.Replicas.Clean)
	}
	if every := l.Int("log.flush.interval.ms"); every > 0 && every < math.MaxInt64 {
		h.add("flush", ms(every), n.Replicas.Flush)
	}
	return h
}

func (h *housekeeper) add(name string, every time.Duration, run func()) {
	h.tasks = append(h.tasks, &task{loop: h.node.o.Runtime.Loop(name), every: max(every, time.Millisecond), run: run})
}

func (h *housekeeper) start() {
	for _, t := range h.tasks {
		t.loop.Do(t.arm)
	}
}

func (t *task) arm() {
	if t.stopped {
		return
	}
	t.cancel = t.loop.After(t.every, func() {
		if !t.stopped {
			t.run()
			t.arm()
		}
	})
}

func (h *housekeeper) stop() {
	for _, t := range h.tasks {
		t.loop.Do(func() {
			t.stopped = true
			if t.cancel != nil {
				t.cancel()
			}
		})
	}
}
