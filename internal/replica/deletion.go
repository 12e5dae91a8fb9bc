package replica

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
)

// Deletion is a request to delete a partition's records up to an offset, -1 for the high watermark. It waits until all of them are
// committed, which a producer with acks=1 did not wait for (Kafka refuses it as long as they are not), and then until every
// replica that is live or could be elected has deleted them for good: one that had not could lead next, and the records would be
// back. (Kafka waits for live ones only, KIP-107; an eligible replica that is down could bring them back.)
type Deletion struct {
	Partition *Partition
	Offset    int64
	// Done is told, once, the least offset that any live replica has, when a crash cannot bring back what lies before the offset; or
	// why it is not so.
	Done func(lowWatermark int64, code kafka.ErrorCode)

	own      int64 // where this node's log begins for good
	low      int64
	code     kafka.ErrorCode
	deadline time.Time
	stop     func() // of its timer
}

// DeleteRecords has the records of several partitions deleted.
func (m *Manager) DeleteRecords(deletions []*Deletion, timeout time.Duration) {
	deadline := m.rt.Now().Add(timeout)
	var ready []*Deletion
	for _, d := range deletions {
		d.deadline = deadline
		if !d.awaitCommit(timeout) {
			ready = append(ready, d)
		}
	}
	m.deleteCommitted(ready)
}

// awaitCommit leaves a deletion with its partition if some of what it is to delete is there, and not committed yet.
func (d *Deletion) awaitCommit(timeout time.Duration) bool {
	p := d.Partition
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leads(-1) != kafka.None || d.Offset <= p.watermark.Load() || d.Offset > p.log.Load().End() {
		return false
	}
	p.early = append(p.early, d)
	d.stop = p.manager.after(timeout, d.giveUp)
	return true
}

// giveUp answers a deletion of records that were not committed in time, as Kafka does at once.
func (d *Deletion) giveUp() {
	d.withdraw(&d.Partition.early, kafka.OffsetOutOfRange)
}

// withdraw answers a deletion that still stands in a list of its partition, and takes it out.
func (d *Deletion) withdraw(list *[]*Deletion, code kafka.ErrorCode) {
	p := d.Partition
	p.mu.Lock()
	at := slices.Index(*list, d)
	if at >= 0 {
		*list = slices.Delete(*list, at, at+1)
	}
	p.mu.Unlock()
	if at >= 0 {
		d.Done(-1, code)
	}
}

// releaseEarly collects the deletions whose records are committed now. The partition's lock is held.
func (p *Partition) releaseEarly(watermark int64, fire *firing) {
	if len(p.early) == 0 {
		return
	}
	p.early = slices.DeleteFunc(p.early, func(d *Deletion) bool {
		if d.Offset <= watermark {
			fire.committed = append(fire.committed, d)
		}
		return d.Offset <= watermark
	})
}

// goOn carries a deletion out, on a loop that may wait for the disk.
func (d *Deletion) goOn() {
	d.stop()
	d.stop = nil
	m := d.Partition.manager
	m.starts.loop.Do(func() { m.deleteCommitted([]*Deletion{d}) })
}

// deleteCommitted deletes what is committed, or refuses.
func (m *Manager) deleteCommitted(deletions []*Deletion) {
	moved := false
	for _, d := range deletions {
		d.Partition.mu.Lock()
		d.own, d.code = d.Partition.deleteTo(&d.Offset)
		d.Partition.mu.Unlock()
		moved = moved || d.code == kafka.None
	}
	saved := kafka.None
	if moved {
		if err := m.SaveLogStarts(); err != nil {
			saved = kafka.AsErrorCode(err)
		}
	}
	for _, d := range deletions {
		if d.code == kafka.None {
			d.code = saved
		}
		if d.code != kafka.None {
			d.Done(-1, d.code)
			continue
		}
		d.await(max(d.deadline.Sub(m.rt.Now()), 0))
	}
}

// await waits for the followers.
func (d *Deletion) await(timeout time.Duration) {
	var fire firing
	p := d.Partition
	p.mu.Lock()
	p.deletions = append(p.deletions, d)
	if code := p.leads(-1); code != kafka.None {
		p.failDeletions(code, &fire)
	} else {
		p.settleDeletions(&fire)
	}
	if slices.Contains(p.deletions, d) {
		d.stop = p.manager.after(timeout, d.expire)
	}
	p.mu.Unlock()
	fire.run()
}

// deleteTo has this node's log begin at an offset, and returns where it begins. The partition's lock is held.
func (p *Partition) deleteTo(offset *int64) (begins int64, code kafka.ErrorCode) {
	if code := p.leads(-1); code != kafka.None {
		return -1, code
	}
	log, watermark := p.log.Load(), p.watermark.Load()
	if o := p.settings.Load().Storage; !o.Delete && o.Compact {
		return -1, kafka.PolicyViolation
	}
	if *offset == -1 {
		*offset = watermark
	}
	if *offset < 0 || *offset > watermark {
		return -1, kafka.OffsetOutOfRange
	}
	if err := log.DeleteRecordsBefore(*offset); err != nil {
		return -1, kafka.AsErrorCode(err)
	}
	return log.LogStart(), kafka.None
}

// settleDeletions answers the deletions that have come true. The partition's lock is held.
func (p *Partition) settleDeletions(fire *firing) {
	if len(p.deletions) == 0 {
		return
	}
	low := int64(math.MaxInt64)
	for i := range p.lead.followers {
		f := &p.lead.followers[i]
		b := p.manager.image.Load().Broker(f.id)
		if b != nil && !b.Fenced || slices.Contains(p.state.ISR, f.id) || slices.Contains(p.state.ELR, f.id) {
			low = min(low, f.logStart)
		}
	}
	p.deletions = slices.DeleteFunc(p.deletions, func(d *Deletion) bool {
		if low < d.Offset {
			return false
		}
		d.low, d.code = min(low, d.own), kafka.None
		p.lead.deletedTo = max(p.lead.deletedTo, d.Offset)
		fire.deletions = append(fire.deletions, d)
		return true
	})
}

// failDeletions answers all deletions that wait. The partition's lock is held.
func (p *Partition) failDeletions(code kafka.ErrorCode, fire *firing) {
	for _, list := range [][]*Deletion{p.deletions, p.early} {
		for _, d := range list {
			d.low, d.code = -1, code
			fire.deletions = append(fire.deletions, d)
		}
	}
	p.deletions, p.early = nil, nil
}

func (d *Deletion) expire() { d.withdraw(&d.Partition.deletions, kafka.RequestTimedOut) }

func (d *Deletion) settle() {
	if d.stop != nil {
		d.stop()
	}
	d.Done(d.low, d.code)
}

// starts makes durable where followers' logs begin, many at a time, before their leaders hear of it.
type starts struct {
	manager *Manager
	loop    loop.Loop

	mu     sync.Mutex
	moved  map[*Partition]bool
	queued bool
}

// add takes a partition whose leader's log begins further on than this node's did.
func (s *starts) add(p *Partition) {
	s.mu.Lock()
	s.moved[p] = true
	queue := !s.queued
	s.queued = true
	s.mu.Unlock()
	if queue {
		s.loop.Do(s.save)
	}
}

func (s *starts) save() {
	s.mu.Lock()
	moved := make([]*Partition, 0, len(s.moved))
	for p := range s.moved { // any order
		moved = append(moved, p)
	}
	clear(s.moved)
	s.queued = false
	s.mu.Unlock()
	slices.SortFunc(moved, (*Partition).compare)
	begins := make([]int64, len(moved))
	for i, p := range moved {
		begins[i] = p.log.Load().LogStart()
	}
	if err := s.manager.SaveLogStarts(); err != nil {
		s.manager.logger.Warn("cannot make durable where logs begin", "error", err)
		return // the next checkpoint will
	}
	for i, p := range moved {
		p.mu.Lock()
		p.savedStart = max(p.savedStart, begins[i])
		p.mu.Unlock()
		s.manager.follow(p) // its leader may wait for that
	}
}
