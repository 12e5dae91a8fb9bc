package storage

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// producerWindow is how many batches of a producer are remembered: as many as a client may have in flight (KIP-98).
const producerWindow = 5

// producers is what a log knows of those who write to it with sequence numbers. It is a pure function of the log (up to
// expiry), so every replica has the same. Writer only.
type producers struct {
	byID map[int64]*producerState
	done []undone // what to put back if the write that is being staged fails; the oldest first
}

type producerState struct {
	id               int64
	epoch            int16
	count            int8 // batches remembered
	batches          [producerWindow]producerBatch
	lastTimestamp    int64
	coordinatorEpoch int32
	txnFirstOffset   int64
}

// producerBatch is one batch, by its end.
type producerBatch struct {
	lastSequence int32
	offsetDelta  int32
	lastOffset   int64
	timestamp    int64
}

func (b *producerBatch) firstSequence() int32 {
	return record.AddSequence(b.lastSequence, -b.offsetDelta)
}

type undone struct {
	state *producerState
	was   producerState
	fresh bool
}

func newProducers() *producers { return &producers{byID: map[int64]*producerState{}} }

// check says what to do with a batch before it is numbered: write it (nil, None), answer with the batch that it repeats,
// or refuse it. KIP-98, KIP-360.
func (p *producers) check(producer kafka.Producer, first, delta int32) (repeated *producerBatch, code kafka.ErrorCode) {
	s := p.byID[producer.ID]
	if s == nil {
		return nil, kafka.None // unknown: its history may have expired
	}
	if producer.Epoch < s.epoch {
		return nil, kafka.InvalidProducerEpoch
	}
	if producer.Epoch > s.epoch {
		if first != 0 {
			return nil, kafka.OutOfOrderSequenceNumber
		}
		return nil, kafka.None
	}
	last := record.AddSequence(first, delta)
	for i := range s.count {
		if b := &s.batches[i]; b.lastSequence == last && b.firstSequence() == first {
			return b, kafka.None
		}
	}
	if s.count > 0 && first != record.AddSequence(s.batches[s.count-1].lastSequence, 1) {
		return nil, kafka.OutOfOrderSequenceNumber
	}
	return nil, kafka.None
}

// begin forgets how to undo.
func (p *producers) begin() { p.done = p.done[:0] }

// undo takes back every apply since begin.
func (p *producers) undo() {
	for _, u := range slices.Backward(p.done) {
		if u.fresh {
			delete(p.byID, u.was.id)
		} else {
			*u.state = u.was
		}
	}
	p.begin()
}

// apply learns a numbered batch.
func (p *producers) apply(b record.Batch) {
	producer := b.Producer()
	if producer.ID < 0 || b.Control() {
		return
	}
	s := p.byID[producer.ID]
	fresh := s == nil
	if fresh {
		s = &producerState{id: producer.ID, epoch: producer.Epoch, coordinatorEpoch: -1, txnFirstOffset: -1}
		p.byID[producer.ID] = s
	}
	p.done = append(p.done, undone{s, *s, fresh})
	if producer.Epoch != s.epoch {
		s.epoch, s.count = producer.Epoch, 0
	}
	if s.count == producerWindow {
		copy(s.batches[:], s.batches[1:])
		s.count--
	}
	s.batches[s.count] = producerBatch{b.LastSequence(), b.LastOffsetDelta(), b.LastOffset(), b.MaxTimestamp()}
	s.count++
	s.lastTimestamp = b.MaxTimestamp()
}

// replay is apply without the way back, for loading.
func (p *producers) replay(b record.Batch) {
	p.apply(b)
	p.begin()
}

// sorted lists the states by id.
func (p *producers) sorted() []*producerState {
	list := make([]*producerState, 0, len(p.byID))
	for _, s := range p.byID { // any order
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *producerState) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return list
}

// ActiveProducer is one line of DescribeProducers.
type ActiveProducer struct {
	kafka.Producer
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32 // -1: none
	TxnStartOffset   int64 // -1: none
}

// Knows reports whether the log remembers a producer. Writer.
func (l *Log) Knows(producer int64) bool { return l.producers.byID[producer] != nil }

// Producers lists the idempotent producers that the log remembers, by id. Writer.
func (l *Log) Producers() []ActiveProducer {
	var list []ActiveProducer
	for _, s := range l.producers.sorted() {
		list = append(list, s.active())
	}
	return list
}

// ExpireProducers forgets producers that have not written for ProducerExpirationMs, by the timestamps of their batches,
// so that every replica forgets the same. Writer.
func (l *Log) ExpireProducers(nowMs int64) (forgotten int) {
	limit := l.Options().ProducerExpirationMs
	for id, s := range l.producers.byID { // any order
		if s.txnFirstOffset < 0 && nowMs-s.lastTimestamp >= limit {
			delete(l.producers.byID, id)
			forgotten++
		}
	}
	return forgotten
}
