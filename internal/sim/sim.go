// Package sim is a world in one goroutine: seeded chance and virtual time, in which rooms that know only loop.Runtime
// and vfs.FS run exactly as they do in production, but the same way every time.
//
// It promises that a World with the same seed, driven by the same calls, runs the same functions in the same order at
// the same virtual times, whatever the machine. Everything queued for one instant runs in an order drawn from the seed,
// so that no room comes to rely on an accident of scheduling; functions of one loop keep their order.
// Tests and package trial use it; production code never does.
// It is not safe for concurrent use, and simulates neither disks (vfs.Memory, vfs.Faulty) nor what clients do.
package sim

import (
	"container/heap"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/gregorhq/gregor/internal/loop"
)

// Epoch is the wall clock at the beginning of every world.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// World is one simulated run.
type World struct {
	now    time.Time
	rand   *rand.Rand
	events eventHeap
	seq    uint64
	steps  uint64
	trace  uint64
}

// New makes a world. The seed decides everything that follows.
func New(seed uint64) *World {
	return &World{now: Epoch, rand: rand.New(rand.NewPCG(seed, 0x67726567)), trace: 14695981039346656037}
}

// Now is the virtual time. It moves only between events.
func (w *World) Now() time.Time { return w.now }

// Rand is the world's seeded source of chance.
func (w *World) Rand() *rand.Rand { return w.rand }

// Loop makes an event loop of this world.
func (w *World) Loop(name string) loop.Loop { return &simLoop{world: w, name: name} }

// Steps is how many events have run.
func (w *World) Steps() uint64 { return w.steps }

// Trace is a digest of every event so far: which loop ran at what time. Two runs that differ anywhere differ here.
func (w *World) Trace() uint64 { return w.trace }

// Note mixes something that a test observed into the trace.
func (w *World) Note(text string) {
	h := fnv.New64a()
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], w.trace)
	h.Write(seed[:])
	h.Write([]byte(text))
	w.trace = h.Sum64()
}

// Step runs the next event and reports whether there was one.
func (w *World) Step() bool {
	for len(w.events) > 0 {
		e := heap.Pop(&w.events).(*event)
		if e.stopped {
			continue
		}
		if e.at.After(w.now) {
			w.now = e.at
		}
		w.steps++
		w.mix(e)
		e.run()
		return true
	}
	return false
}

// Run lets d of virtual time pass.
func (w *World) Run(d time.Duration) {
	until := w.now.Add(d)
	for {
		next := w.next()
		if next == nil || next.at.After(until) {
			w.now = until
			return
		}
		w.Step()
	}
}

// RunUntil runs events until done holds, for at most d of virtual time. It reports whether done came to hold.
func (w *World) RunUntil(d time.Duration, done func() bool) bool {
	until := w.now.Add(d)
	for !done() {
		next := w.next()
		if next == nil || next.at.After(until) {
			w.now = until
			return done()
		}
		w.Step()
	}
	return true
}

// Schedule runs f once, d from now, outside of any loop.
func (w *World) Schedule(d time.Duration, f func()) (stop func()) {
	return w.at("", w.now.Add(max(d, 0)), f)
}

func (w *World) next() *event {
	for len(w.events) > 0 && w.events[0].stopped {
		heap.Pop(&w.events)
	}
	if len(w.events) == 0 {
		return nil
	}
	return w.events[0]
}

func (w *World) at(name string, at time.Time, f func()) (stop func()) {
	w.seq++
	e := &event{at: at, order: w.rand.Uint64(), seq: w.seq, loop: name, run: f}
	heap.Push(&w.events, e)
	return func() { e.stopped = true }
}

func (w *World) mix(e *event) {
	const prime = 1099511628211
	w.trace = (w.trace ^ uint64(e.at.UnixNano())) * prime
	w.trace = (w.trace ^ e.seq) * prime
	for i := range len(e.loop) {
		w.trace = (w.trace ^ uint64(e.loop[i])) * prime
	}
}

// simLoop queues its functions itself and keeps one event in the world's heap while it has any, so that its own order
// is kept whatever order the world draws among loops.
type simLoop struct {
	world  *World
	name   string
	queue  []func()
	queued bool
}

func (l *simLoop) Do(f func()) {
	l.queue = append(l.queue, f)
	l.arm()
}

func (l *simLoop) arm() {
	if l.queued || len(l.queue) == 0 {
		return
	}
	l.queued = true
	l.world.at(l.name, l.world.now, func() {
		l.queued = false
		f := l.queue[0]
		l.queue = l.queue[1:]
		l.arm()
		f()
	})
}

func (l *simLoop) After(d time.Duration, f func()) (stop func()) {
	stopped := false
	stopEvent := l.world.at(l.name, l.world.now.Add(max(d, 0)), func() {
		l.Do(func() {
			if !stopped {
				f()
			}
		})
	})
	return func() { stopped = true; stopEvent() }
}

type event struct {
	at      time.Time
	order   uint64 // drawn from the seed: breaks ties between events of one instant
	seq     uint64
	loop    string
	run     func()
	stopped bool
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(*event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
