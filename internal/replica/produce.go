package replica

import (
	"slices"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/storage"
)

// Produce is one produce request: its batches, and how many of them have no answer yet. It is reused from request to
// request, so that producing allocates nothing.
type Produce struct {
	Acks      int16
	TimeoutMs int32
	// Batches are the parts of the request, in its order.
	Batches []Staged
	// Done is called once, from anywhere, when every part has its answer. The request may be reused from then on.
	Done func()

	left     atomic.Int32
	serial   uint64 // counts the uses of this object
	deadline deadline
}

// Staged is the part of a produce request for one partition, and its answer.
type Staged struct {
	storage.Append
	Topic     int   // the place of its topic in the request
	Number    int32 // of the partition
	LogStart  int64 // -1 on error
	Message   string
	Records   []record.RecordError
	partition *Partition
	request   *Produce
	order     int   // place in the drain
	judged    int32 // the leader epoch in which the log refused it
}

// Stands reports whether what the log refused it still refuses: this node has led the partition since.
func (s *Staged) Stands() bool {
	p := s.partition
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads(-1) == kafka.None && p.leaderEpoch == s.judged
}

// Begin makes the request ready for its parts. It must be followed by Stage or Refuse for each part, then by Drain.Add.
func (r *Produce) Begin(acks int16, timeoutMs int32, parts int) {
	r.Acks, r.TimeoutMs = acks, timeoutMs
	r.serial++
	r.Batches = slices.Grow(r.Batches[:0], parts)
}

func (r *Produce) add(topic int, number int32) *Staged {
	r.Batches = append(r.Batches, Staged{})
	s := &r.Batches[len(r.Batches)-1]
	s.Topic, s.Number, s.request = topic, number, r
	return s
}

// Refuse answers a part at once.
func (r *Produce) Refuse(topic int, number int32, code kafka.ErrorCode, message string) {
	s := r.add(topic, number)
	s.refuse(code)
	s.Message = message
}

// Stage checks a part's batch and puts it forward to be appended when the drain is flushed.
func (r *Produce) Stage(topic int, p *Partition, batch record.Batch, nowMs int64) {
	s := r.add(topic, p.TopicPartition.Partition)
	verdict := p.check(batch, nowMs)
	if verdict.Code != kafka.None {
		s.refuse(verdict.Code)
		s.Message, s.Records = verdict.Message, verdict.RecordErrors
		return
	}
	s.Batch, s.partition = verdict.Batch, p
}

func (s *Staged) refuse(code kafka.ErrorCode) {
	s.Err = code
	s.BaseOffset, s.LastOffset, s.AppendTime, s.LogStart = -1, -1, -1, -1
}

// settle counts a part as answered, and finishes the request with the last.
func (r *Produce) settle() {
	if r.left.Add(-1) == 0 {
		r.deadline.cancel()
		r.Done()
	}
}

// Drain gathers the produce requests that arrived together on one connection, so that each partition is locked once and
// written once for all of them. It belongs to that connection.
type Drain struct {
	manager  *Manager
	requests []*Produce
	staged   []*Staged
	appends  []*storage.Append
	fire     firing
}

// NewDrain makes an empty drain.
func (m *Manager) NewDrain() *Drain { return &Drain{manager: m} }

// Add takes a request that has all its parts.
func (d *Drain) Add(r *Produce) { d.requests = append(d.requests, r) }

// Empty reports whether there is nothing to flush.
func (d *Drain) Empty() bool { return len(d.requests) == 0 }

// Flush appends everything that was staged. Requests that need not wait are done when it returns.
func (d *Drain) Flush() {
	if len(d.requests) == 0 {
		return
	}
	for _, r := range d.requests {
		// One more than the parts, so that the request cannot be done before this loop has seen all of it.
		r.left.Store(int32(len(r.Batches)) + 1)
		if r.Acks == -1 {
			d.manager.deadlines.watch(r)
		}
		for i := range r.Batches {
			s := &r.Batches[i]
			if s.partition == nil {
				d.fire.finish(s)
				continue
			}
			s.order = len(d.staged)
			d.staged = append(d.staged, s)
		}
	}
	d.appendAll()
	d.fire.requests = append(d.fire.requests, d.requests...)
	clear(d.requests)
	d.requests = d.requests[:0]
	d.fire.run()
	d.fire.reset()
}

func (d *Drain) appendAll() {
	// Usually all is for one partition, or in order; sorting then does nothing but look.
	slices.SortFunc(d.staged, func(a, b *Staged) int {
		if a.partition != b.partition {
			return a.partition.compare(b.partition)
		}
		return a.order - b.order
	})
	now := d.manager.now()
	for from := 0; from < len(d.staged); {
		to := from + 1
		for to < len(d.staged) && d.staged[to].partition == d.staged[from].partition {
			to++
		}
		d.appends = d.appends[:0]
		for _, s := range d.staged[from:to] {
			d.appends = append(d.appends, &s.Append)
		}
		d.staged[from].partition.append(d.staged[from:to], d.appends, now, &d.fire)
		from = to
	}
	clear(d.staged)
	d.staged = d.staged[:0]
}

// compare orders partitions in some fixed way.
func (p *Partition) compare(other *Partition) int {
	if c := p.TopicPartition.Compare(other.TopicPartition); c != 0 {
		return c
	}
	return slices.Compare(p.TopicID[:], other.TopicID[:])
}
