// Package loop is the only source of time, chance and concurrency for the rooms that must be able to run in a simulation.
//
// A Loop runs functions one at a time, in the order they were handed to it; state that only functions on one loop touch
// needs no lock. A Runtime hands out loops, the time, and random numbers. Real is the world's; package sim has another,
// where a whole cluster runs in one goroutine under a seed.
//
// It promises that no function given to a loop runs concurrently with another of the same loop, that Do never runs its
// function before it returns, and that a stopped timer does not fire once stop has returned on that loop.
// Every room may import it. It does not bound queues: who feeds a loop says how much may wait.
package loop

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Runtime is the world as a room may see it.
type Runtime interface {
	// Now is the wall clock. Only differences within one process, and timestamps for people and records, may be made of it.
	Now() time.Time
	// Rand is the runtime's source of chance. It is safe for concurrent use.
	Rand() *rand.Rand
	// Loop makes a new event loop. The name is for diagnostics.
	Loop(name string) Loop
}

// Loop runs functions one at a time.
type Loop interface {
	// Do queues f and returns at once. It may be called from anywhere, also from a function on the same loop.
	Do(f func())
	// After queues f once d has passed. stop cancels it; called on the loop itself, f will certainly not run after it.
	After(d time.Duration, f func()) (stop func())
}

// Real is the runtime of a production process: the wall clock, the operating system's entropy, and loops that hold a
// goroutine only while they have something to do.
func Real() Runtime { return &realRuntime{rand: rand.New(lockedSource{})} }

type realRuntime struct{ rand *rand.Rand }

func (r *realRuntime) Now() time.Time        { return time.Now() }
func (r *realRuntime) Rand() *rand.Rand      { return r.rand }
func (r *realRuntime) Loop(name string) Loop { return &realLoop{name: name} }

// lockedSource draws from the process-wide generator, which is safe for concurrent use and seeded by the system.
type lockedSource struct{}

func (lockedSource) Uint64() uint64 { return rand.Uint64() }

type realLoop struct {
	name string

	mu      sync.Mutex
	queue   []func()
	spare   []func() // the last drained slice, emptied, kept for its capacity
	running bool
}

func (l *realLoop) Do(f func()) {
	l.mu.Lock()
	l.queue = append(l.queue, f)
	start := !l.running
	l.running = true
	l.mu.Unlock()
	if start {
		go l.run()
	}
}

func (l *realLoop) run() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.running = false
			l.mu.Unlock()
			return
		}
		work := l.queue
		l.queue, l.spare = l.spare[:0], nil
		l.mu.Unlock()
		for i, f := range work {
			f()
			work[i] = nil
		}
		l.mu.Lock()
		l.spare = work[:0]
		l.mu.Unlock()
	}
}

// coarse is how exactly the runtime's timers wait when a process has nothing else to do.
const coarse = time.Millisecond

func (l *realLoop) After(d time.Duration, f func()) func() {
	if d < coarse {
		return l.soon(d, f)
	}
	var mu sync.Mutex
	stopped := false
	timer := time.AfterFunc(d, func() {
		l.Do(func() {
			mu.Lock()
			skip := stopped
			mu.Unlock()
			if !skip {
				f()
			}
		})
	})
	return func() {
		mu.Lock()
		stopped = true
		mu.Unlock()
		timer.Stop()
	}
}

// soon is After for less than the runtime's timers can tell apart: a thread sleeps that long.
func (l *realLoop) soon(d time.Duration, f func()) func() {
	var stopped atomic.Bool
	go func() {
		if d > 0 {
			nap(d)
		}
		l.Do(func() {
			if !stopped.Load() {
				f()
			}
		})
	}()
	return func() { stopped.Store(true) }
}
