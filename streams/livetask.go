package streams

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// liveTask is a task that an app runs: its inputs, in order of time, and where it stands in them.
type liveTask struct {
	*Task
	wanted   context.Context // ends when the task is taken away before it was ready
	queues   map[partition]*queue
	buffered int
	idleAt   time.Time // since when it has had records, but not of all inputs
	asked    time.Time // when the broker was last asked what else there is
	out      *outbox
	seen     int64  // records of global tables that it has seen
	release  func() // lets others have the task's state folder

	restoredRecords int64 // from changelogs, when it started
	restoreTook     time.Duration
}

// close ends the task, and lets its state folder go.
func (t *liveTask) close() error {
	defer t.release()
	return t.Close()
}

// queue is the records of one input that wait. next is the offset after the last one processed, -1 before the first.
type queue struct {
	waiting   []*kgo.Record
	time      int64 // of the first that waits, if timed
	timed     bool
	next      int64
	fetched   int64 // the offset after the last one that came
	committed int64
	purged    int64
	end       int64 // the broker's high watermark when it last sent something, -1 before that
	behind    bool  // the broker has more
	paused    bool
}

func newQueue() *queue { return &queue{next: -1, committed: -1, end: -1} }

// outbox is the output of a task. The first record that cannot be written stops the app.
type outbox struct {
	client *kgo.Client
	err    atomic.Pointer[error]
	logged map[string]*atomic.Int64 // the offset after the last record of each changelog of a store on disk, -1 before the first
}

func (p *outbox) Send(m Message) { p.produce(m) }
func (p *outbox) Log(m Message)  { p.produce(m) }

func (p *outbox) produce(m Message) {
	r := &kgo.Record{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value}
	if m.Timestamp != NoTime {
		r.Timestamp = time.UnixMilli(m.Timestamp)
	}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	p.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("streams: writing to %s: %w", r.Topic, err)
			p.err.CompareAndSwap(nil, &err)
			return
		}
		if at := p.logged[r.Topic]; at != nil {
			at.Store(r.Offset + 1) // callbacks of a partition come in the order of its records
		}
	})
}

func (p *outbox) failed() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}

// mostWaiting is how many records of an input wait before no more are fetched.
const mostWaiting = 5000

func (t *liveTask) take(p partition, r *kgo.Record) {
	q := t.queues[p]
	if r.Offset < q.fetched {
		return
	}
	if q.fetched = r.Offset + 1; r.Attrs.IsControl() {
		return
	}
	q.waiting = append(q.waiting, r)
	t.buffered++
}

// run processes what may be processed, and the punctuations that are due.
func (t *liveTask) run(ctx context.Context, a *App) error {
	if err := t.out.failed(); err != nil {
		return err
	}
	if err := a.globals.feed(t); err != nil {
		return err
	}
	if err := t.Tick(time.Now()); err != nil {
		return err
	}
	for t.buffered > 0 && ctx.Err() == nil {
		if ok, err := t.mayProcess(ctx, a); err != nil || !ok {
			return err
		}
		p, q := t.first()
		r := q.waiting[0]
		q.waiting[0] = nil
		q.waiting, q.timed = q.waiting[1:], false
		t.buffered--
		if err := t.Process(message(r)); err != nil {
			return err
		}
		q.next = r.Offset + 1
		t.pauseOrResume(a, p)
	}
	return nil
}

func (t *liveTask) pauseOrResume(a *App, p partition) {
	q := t.queues[p]
	switch {
	case !q.paused && len(q.waiting) > mostWaiting:
		q.paused = true
		a.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.number}})
	case q.paused && len(q.waiting) < mostWaiting/2:
		q.paused = false
		a.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.number}})
	}
}

func message(r *kgo.Record) Message {
	m := Message{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp.UnixMilli()}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, Header{Key: h.Key, Value: h.Value})
	}
	return m
}

// first is the input whose next record is the oldest, by the time that its topic gives it (Java's PartitionGroup). Of several it is the one that comes first by name and number, so that
// the order does not depend on chance.
func (t *liveTask) first() (at partition, first *queue) {
	for p, q := range t.queues {
		if len(q.waiting) == 0 {
			continue
		}
		if first == nil {
			at, first = p, q
			continue
		}
		mine, best := t.firstTime(q), t.firstTime(first)
		if mine < best || mine == best && (p.topic < at.topic || p.topic == at.topic && p.number < at.number) {
			at, first = p, q
		}
	}
	return at, first
}

// firstTime is the time of the first record that waits. Its topic says it once the ones before are processed, for it may go by their time.
func (t *liveTask) firstTime(q *queue) int64 {
	if q.timed {
		return q.time
	}
	m := message(q.waiting[0])
	q.time, q.timed = m.Timestamp, true
	if s := t.source(m.Topic); s != nil && s.time != nil {
		q.time = s.time(m)
	}
	return q.time
}

// longestWait is how long a task waits for records that the broker seems to have. It may have none after all: the last ones
// of a log can have been compacted away.
const longestWait = 5 * time.Second

// mayProcess reports whether the next record can be taken: if every input has one, or those that have none are known to
// have nothing more on the broker, and that has been so for as long as the app wants to wait (KIP-695).
func (t *liveTask) mayProcess(ctx context.Context, a *App) (bool, error) {
	empty := 0
	for _, q := range t.queues {
		if len(q.waiting) == 0 {
			empty++
		}
	}
	if empty == 0 || a.config.MaxTaskIdle < 0 {
		t.idleAt = time.Time{}
		return true, nil
	}
	if time.Since(t.asked) > 100*time.Millisecond {
		t.asked = time.Now()
		if err := t.askForMore(ctx, a); err != nil {
			return false, err
		}
	}
	if t.idleAt.IsZero() {
		t.idleAt = time.Now()
	}
	for _, q := range t.queues {
		if len(q.waiting) == 0 && q.behind {
			return time.Since(t.idleAt) > longestWait, nil
		}
	}
	return time.Since(t.idleAt) >= a.config.MaxTaskIdle, nil
}

// askForMore finds out whether the broker has more of the inputs that have nothing waiting.
func (t *liveTask) askForMore(ctx context.Context, a *App) error {
	var topics []string
	for p, q := range t.queues {
		if len(q.waiting) == 0 {
			topics = append(topics, p.topic)
		}
	}
	ends, err := a.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("streams: listing offsets: %w", err)
	}
	for p, q := range t.queues {
		if end, ok := ends.Lookup(p.topic, p.number); ok && end.Err == nil {
			q.behind = end.Offset > max(q.fetched, q.committed)
		}
	}
	return nil
}
