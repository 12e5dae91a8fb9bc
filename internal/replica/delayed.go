package replica

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
)

// firing collects under a partition's lock whom to call after it.
type firing struct {
	settled  []*Staged
	requests []*Produce // whose parts have all been looked at
	fetches  []*Fetch
	commits  []commit

	proposals []proposed
	deletions []*Deletion
	committed []*Deletion // that can be carried out now
}

// commit is a state machine that is to hear how far its log is committed.
type commit struct {
	tell      func(offset int64)
	watermark int64
}

// firings are kept, because a flush of the disk fires for each partition that it made durable.
var firings = sync.Pool{New: func() any { return new(firing) }}

func (f *firing) finish(s *Staged) {
	s.Batch = nil // its bytes are the connection's, which goes on
	f.settled = append(f.settled, s)
}

// run calls everybody. No lock is held.
func (f *firing) run() {
	for _, s := range f.settled {
		s.request.settle()
	}
	for _, r := range f.requests {
		r.settle()
	}
	for _, c := range f.commits {
		c.tell(c.watermark)
	}
	for _, d := range f.deletions {
		d.settle()
	}
	for _, d := range f.committed {
		d.goOn()
	}
	for _, p := range f.proposals {
		p.partition.manager.proposals.add(p)
	}
	for _, w := range f.fetches {
		w.wake()
	}
}

func (f *firing) reset() {
	clear(f.settled)
	clear(f.requests)
	clear(f.fetches)
	clear(f.commits)
	clear(f.proposals)
	clear(f.deletions)
	clear(f.committed)
	*f = firing{settled: f.settled[:0], requests: f.requests[:0], fetches: f.fetches[:0], commits: f.commits[:0], proposals: f.proposals[:0],
		deletions: f.deletions[:0], committed: f.committed[:0]}
}

// produceQueue holds the parts of produce requests that wait for the high watermark, in the order of their offsets.
type produceQueue struct {
	entries []produceWait
	head    int
}

type produceWait struct {
	part *Staged
	need int64 // the high watermark that it waits for
}

func (q *produceQueue) add(s *Staged, need int64) {
	s.Batch = nil
	if q.head > 0 && len(q.entries) == cap(q.entries) {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, produceWait{s, need})
}

// release settles everything that waited for no more than the watermark. Only a duplicate of an older batch may need
// less than one before it, and is then a little late.
func (q *produceQueue) release(watermark, logStart int64, fire *firing) {
	for q.head < len(q.entries) && q.entries[q.head].need <= watermark {
		s := q.entries[q.head].part
		q.entries[q.head].part = nil
		q.head++
		s.LogStart = logStart
		fire.finish(s)
	}
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
	}
}

func (q *produceQueue) fail(code kafka.ErrorCode, fire *firing) {
	for _, w := range q.entries[q.head:] {
		w.part.refuse(code)
		fire.finish(w.part)
	}
	clear(q.entries)
	q.entries, q.head = q.entries[:0], 0
}

// remove takes one part out, and reports whether it was there. The part's object may meanwhile serve a later request,
// which the serial tells.
func (q *produceQueue) remove(s *Staged, serial uint64) bool {
	for i := q.head; i < len(q.entries); i++ {
		if q.entries[i].part == s && s.request.serial == serial {
			copy(q.entries[i:], q.entries[i+1:])
			q.entries[len(q.entries)-1] = produceWait{}
			q.entries = q.entries[:len(q.entries)-1]
			return true
		}
	}
	return false
}

// deadlineTick is how exactly the timeouts of produce requests are kept. They are a last resort, seconds long, and one
// timer for all of them costs nothing per request.
const deadlineTick = 100 * time.Millisecond

// deadlines watches produce requests that wait for acknowledgement.
type deadlines struct {
	rt   loop.Runtime
	loop loop.Loop

	mu    sync.Mutex
	first *Produce
	armed bool
}

// deadline is a produce request's place in the list of those watched.
type deadline struct {
	list       *deadlines
	prev, next *Produce
	at         time.Time
}

func (d *deadlines) init(rt loop.Runtime, l loop.Loop) { d.rt, d.loop = rt, l }

func (d *deadlines) watch(r *Produce) {
	at := d.rt.Now().Add(time.Duration(max(r.TimeoutMs, 0)) * time.Millisecond)
	d.mu.Lock()
	r.deadline = deadline{list: d, next: d.first, at: at}
	if d.first != nil {
		d.first.deadline.prev = r
	}
	d.first = r
	arm := !d.armed
	d.armed = true
	d.mu.Unlock()
	if arm {
		d.loop.After(deadlineTick, d.tick)
	}
}

func (d *deadline) cancel() {
	list := d.list
	if list == nil {
		return
	}
	list.mu.Lock()
	if d.prev != nil {
		d.prev.deadline.next = d.next
	} else {
		list.first = d.next
	}
	if d.next != nil {
		d.next.deadline.prev = d.prev
	}
	*d = deadline{}
	list.mu.Unlock()
}

// tick times out what is due. A part is expired under its partition's lock, where it is known whether it still waits.
func (d *deadlines) tick() {
	now := d.rt.Now()
	var due []expiry
	d.mu.Lock()
	for r := d.first; r != nil; r = r.deadline.next {
		if now.Before(r.deadline.at) {
			continue
		}
		for i := range r.Batches {
			if s := &r.Batches[i]; s.partition != nil {
				due = append(due, expiry{s, s.partition, r.serial})
			}
		}
	}
	d.armed = d.first != nil
	again := d.armed
	d.mu.Unlock()
	for _, e := range due {
		e.partition.expire(e.part, e.serial)
	}
	if again {
		d.loop.After(deadlineTick, d.tick)
	}
}

type expiry struct {
	part      *Staged
	partition *Partition
	serial    uint64
}

func (p *Partition) expire(s *Staged, serial uint64) {
	var fire firing
	p.mu.Lock()
	if p.waiting.remove(s, serial) {
		s.refuse(kafka.RequestTimedOut)
		fire.finish(s)
	}
	p.mu.Unlock()
	fire.run()
}
