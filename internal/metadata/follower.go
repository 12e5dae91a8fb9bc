package metadata

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Follower is a node's view of the metadata: it is fed what is committed, keeps the image, and tells what changed. One
// goroutine at a time feeds it; Image may be called from anywhere.
type Follower struct {
	image atomic.Pointer[Image]
	delta *Delta // what was applied and not yet published; nil if nothing

	mu          sync.Mutex
	subscribers []func(*Delta)
}

// NewFollower makes a follower with the empty image.
func NewFollower() *Follower {
	f := &Follower{}
	f.image.Store(Empty())
	return f
}

// Image is the newest image that was published.
func (f *Follower) Image() *Image { return f.image.Load() }

// Subscribe adds a function that is told every delta, in order, by whoever feeds the follower, after Image has the new
// image. The first call brings it from the empty image to what there is now. It is called before the follower is fed, or
// by whoever feeds it.
func (f *Follower) Subscribe(changed func(*Delta)) {
	f.mu.Lock()
	f.subscribers = append(f.subscribers, changed)
	f.mu.Unlock()
	if now := f.Image(); now.offset >= 0 {
		d := Empty().Delta()
		d.next = now
		d.touchAll(now)
		d.Image()
		changed(d)
	}
}

// Reset forgets everything: the batches of a snapshot follow.
func (f *Follower) Reset() {
	base := f.Image()
	d := Empty().Delta()
	d.base = base
	d.touchAll(base)
	f.delta = d
}

// Apply replays a batch that is committed, unless it was decided on another state than what came before it.
func (f *Follower) Apply(offset int64, batch []byte) error {
	if f.delta == nil {
		f.delta = f.Image().Delta()
	}
	codec := Codec{Base: func() int64 { return f.delta.next.offset }}
	if err := codec.Decode(offset, batch, f.delta.Replay); err != nil {
		return fmt.Errorf("metadata at offset %d: %w", offset, err)
	}
	return nil
}

// Publish makes what was applied the image, and tells the subscribers.
func (f *Follower) Publish() {
	d := f.delta
	if d == nil {
		return
	}
	f.delta = nil
	f.image.Store(d.Image())
	f.mu.Lock()
	subscribers := f.subscribers
	f.mu.Unlock()
	for _, changed := range subscribers {
		changed(d)
	}
}

// Snapshot freezes the image as it is published, and returns what dumps it. That may run anywhere, and later.
func (f *Follower) Snapshot(now time.Time) func(visit func(batch []byte) error) error {
	image := f.Image()
	return func(visit func(batch []byte) error) error { return image.Snapshot(now.UnixMilli(), visit) }
}

// touchAll marks everything in an image as changed, which says too much where a snapshot agrees with what was there:
// followers of a delta take a change to the same for no change.
func (d *Delta) touchAll(i *Image) {
	i.Topics(func(t *Topic) bool {
		d.topics[t.ID] = true
		for _, p := range t.Partitions {
			d.changed[PartitionID{t.ID, p.Number}] = true
		}
		return true
	})
	i.Brokers(func(b *Broker) bool {
		d.brokers[b.ID] = true
		return true
	})
	i.Features(func(name string, _ int16) bool {
		d.features[name] = true
		return true
	})
	i.configs.Scan(func(key string, _ *Configs) bool {
		d.configs[resourceOfKey(key)] = true
		return true
	})
}
