package node

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// publisher brings what the quorum has committed to the rooms, one delta after another. A delta is in the image that
// requests see only when the replicas have it, so that a topic which can be seen can be used.
type publisher struct {
	node  *Node
	image atomic.Pointer[metadata.Image]

	mu       sync.Mutex
	queue    []*metadata.Delta
	busy     bool
	stopped  bool
	onIdle   func()
	waiting  []applyWait
	led      map[int32]bool
	reported bool // strays were looked for
}

// applyWait is somebody who waits until the node has applied the metadata up to an offset.
type applyWait struct {
	offset int64
	f      func()
}

func newPublisher(n *Node) *publisher {
	p := &publisher{node: n, led: map[int32]bool{}}
	p.image.Store(metadata.Empty())
	return p
}

// Image is the metadata that the whole node has applied.
func (p *publisher) Image() *metadata.Image { return p.image.Load() }

// publish is told of each delta by the quorum's loop, and does not keep it waiting.
func (p *publisher) publish(delta *metadata.Delta) {
	p.mu.Lock()
	p.queue = append(p.queue, delta)
	start := !p.busy && !p.stopped
	p.busy = p.busy || start
	p.mu.Unlock()
	if start {
		p.next()
	}
}

// next applies the first delta of the queue.
func (p *publisher) next() {
	p.mu.Lock()
	if len(p.queue) == 0 || p.stopped {
		p.busy = false
		idle := p.onIdle
		p.mu.Unlock()
		if idle != nil {
			idle()
		}
		return
	}
	delta := p.queue[0]
	p.queue = p.queue[1:]
	p.mu.Unlock()
	image := delta.Image()
	p.node.Replicas.Apply(delta, topicSettings{p.node.layers, image}, func() { p.applied(delta, image) })
}

// applied goes on when the replicas have a delta.
func (p *publisher) applied(delta *metadata.Delta, image *metadata.Image) {
	p.removeStrays(image)
	p.image.Store(image)
	p.elect(delta)
	var names []string
	for _, t := range delta.TopicsDeleted() {
		names = append(names, t.Name)
	}
	p.node.Groups.TopicsDeleted(names...)
	p.mu.Lock()
	var ready []applyWait
	kept := p.waiting[:0]
	for _, w := range p.waiting {
		if w.offset <= image.Offset() {
			ready = append(ready, w)
		} else {
			kept = append(kept, w)
		}
	}
	p.waiting = kept
	p.mu.Unlock()
	for _, w := range ready {
		w.f()
	}
	p.next()
}

// removeStrays looks, once, for logs that the metadata no longer knows. Only an image with this life's registration is
// sure to have everything that was decided in earlier ones.
func (p *publisher) removeStrays(image *metadata.Image) {
	broker := image.Broker(p.node.id)
	if p.reported || broker == nil || broker.BootSequence != uint64(p.node.directory.Meta().BootSeq) {
		return
	}
	p.reported = true
	if err := p.node.Replicas.RemoveStrays(image); err != nil {
		p.node.logger.Warn("cannot remove the logs of deleted partitions", "error", err)
	}
}

// elect tells the group coordinator which partitions of its topic this node leads.
func (p *publisher) elect(delta *metadata.Delta) {
	for _, t := range delta.TopicsDeleted() {
		if t.Name == kafka.GroupMetadataTopic {
			p.resignAll()
		}
	}
	for _, u := range delta.PartitionsChanged() {
		if u.Topic.Name != kafka.GroupMetadataTopic {
			continue
		}
		number := u.New.Number
		partition := p.node.Replicas.TopicByID(u.Topic.ID).Partition(number)
		if partition == nil || u.New.Leader != p.node.id {
			p.resign(number)
			continue
		}
		if u.Old != nil && u.Old.Leader == u.New.Leader && u.Old.LeaderEpoch == u.New.LeaderEpoch && p.led[number] {
			continue
		}
		p.led[number] = true
		p.node.Groups.Elect(number, u.New.LeaderEpoch, partition.MachineLog())
	}
}

func (p *publisher) resign(number int32) {
	if p.led[number] {
		delete(p.led, number)
		p.node.Groups.Resign(number)
	}
}

// resignAll ends the coordination of all groups.
func (p *publisher) resignAll() {
	for _, number := range slices.Sorted(maps.Keys(p.led)) {
		p.node.Groups.Resign(number)
	}
	clear(p.led)
}

// afterApplied runs f when this node has applied all metadata that is committed now.
func (p *publisher) afterApplied(f func()) {
	committed := p.node.quorum.Committed() - 1
	p.mu.Lock()
	// The image's offset is that of its last batch; entries behind it that say nothing are no batch, so what the
	// follower has published is as far as anything can be applied.
	target := min(committed, p.node.follower.Image().Offset())
	p.wait(target, f)
}

// afterOffset runs f when this node has applied the metadata up to an offset, which may not have come to it yet.
func (p *publisher) afterOffset(offset int64, f func()) {
	p.mu.Lock()
	p.wait(offset, f)
}

// wait lets f wait for an offset. The mutex is held, and is not when it returns.
func (p *publisher) wait(offset int64, f func()) {
	if offset <= p.image.Load().Offset() || p.stopped {
		p.mu.Unlock()
		f()
		return
	}
	p.waiting = append(p.waiting, applyWait{offset, f})
	p.mu.Unlock()
}

// stop lets the delta that is being applied come to its end, and takes no more.
func (p *publisher) stop(done func()) {
	p.mu.Lock()
	p.stopped = true
	waiting := p.waiting
	p.waiting = nil
	busy := p.busy
	if busy {
		p.onIdle = done
	}
	p.mu.Unlock()
	for _, w := range waiting {
		w.f()
	}
	if !busy {
		done()
	}
}
