package group

import (
	"sync"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// memoryLog is a partition's log in memory: it numbers batches like a leader, fences old epochs, and commits at once
// unless a test holds that back.
type memoryLog struct {
	later func(func()) // runs a function soon, holding nothing

	mu        sync.Mutex
	epoch     int32
	batches   []record.Batch
	end       int64
	committed int64
	listener  func(int64)
	held      bool  // nothing is committed
	refuse    error // what the next append answers
}

func (l *memoryLog) Append(epoch int32, batch []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		return 0, kafka.NotLeaderOrFollower
	}
	if err := l.refuse; err != nil {
		l.refuse = nil
		return 0, err
	}
	b := append(record.Batch{}, batch...)
	b.SetBaseOffset(l.end)
	b.SetLeaderEpoch(epoch)
	l.batches = append(l.batches, b)
	l.end += int64(b.LastOffsetDelta()) + 1
	l.commit()
	return l.end, nil
}

func (l *memoryLog) Read(from int64, visit func(int64, []byte) error) error {
	l.mu.Lock()
	batches := l.batches
	l.mu.Unlock()
	for _, b := range batches {
		if b.LastOffset() < from {
			continue
		}
		bytes := append([]byte{}, b...)
		err := visit(b.BaseOffset(), bytes)
		clear(bytes) // they were valid during the call only
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *memoryLog) OnCommitted(f func(int64)) {
	l.mu.Lock()
	l.listener = f
	l.mu.Unlock()
	l.tell()
}

// commit moves what is committed to the end, and says so a little later, as a log does whose followers are elsewhere.
func (l *memoryLog) commit() {
	if !l.held {
		l.committed = l.end
		l.later(l.tell)
	}
}

func (l *memoryLog) tell() {
	l.mu.Lock()
	listener, committed := l.listener, l.committed
	l.mu.Unlock()
	if listener != nil {
		listener(committed)
	}
}

// depose ends the leader's epoch, and loses what is not committed.
func (l *memoryLog) depose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	for l.end > l.committed {
		last := len(l.batches) - 1
		l.end = l.batches[last].BaseOffset()
		l.batches = l.batches[:last:last]
	}
}
