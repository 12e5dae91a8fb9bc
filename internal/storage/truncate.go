package storage

import (
	"fmt"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// Truncate removes every batch that holds an offset at or beyond to, durably, and the leader epochs that begin there, and
// returns the new end. Writer.
func (l *Log) Truncate(to int64) (end int64, err error) {
	if err := l.usable(); err != nil {
		return l.end.Load(), err
	}
	if to >= l.end.Load() {
		l.truncateEpochs(to) // one in which this node led and wrote nothing
		return l.end.Load(), nil
	}
	list := l.list()
	if to <= list[0].base || to < l.logStart.Load() {
		return to, l.Restart(to)
	}
	i := find(list, to)
	old := list[i]
	file, err := old.acquire()
	if err != nil {
		return l.end.Load(), l.unreadable(old, err)
	}
	defer file.Release()
	cut, err := old.holding(file, to, old.size.Load())
	if err != nil {
		return l.end.Load(), l.unreadable(old, err)
	}
	end = min(to, cut.base)
	x, err := old.loadIndex(file, old.size.Load())
	if err != nil {
		return l.end.Load(), l.unreadable(old, err)
	}
	defer l.flushable()
	if err := l.lowerDurable(end); err != nil {
		return l.end.Load(), err
	}
	// From here on an error leaves the log half truncated: the directory is dead with it, even where it is only full.
	fresh := newSegment(l.dir.fs, l.dir.cache, l.path, old.base)
	err = l.cutList(list, i, fresh, end)
	if err == nil {
		err = file.Truncate(cut.position)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = l.dir.fs.SyncDir(l.path)
	}
	if err == nil {
		err = l.reload(fresh, x, cut.position, end)
	}
	if err != nil {
		l.dir.die(fmt.Errorf("truncate %s: %w", l.tp, err))
		return end, kafka.KafkaStorageError
	}
	return end, nil
}

// lowerDurable makes the log durable only up to an offset, also in the checkpoints, and keeps the flusher away until
// flushable. It comes before a truncation: a crash between the two must not look like the loss of what was durable.
func (l *Log) lowerDurable(to int64) error {
	l.mu.Lock()
	l.truncating = true
	l.generation++
	l.durable.Store(min(l.durable.Load(), to))
	start := l.logStart.Load()
	l.logStart.Store(min(start, to)) // where it lies within a batch that goes
	l.mu.Unlock()
	l.cleanedTo.Store(min(l.cleanedTo.Load(), to))

	d := l.dir
	d.checkpointing.Lock() // a checkpoint under way may not know yet
	defer d.checkpointing.Unlock()
	if l.checkpointed.Load() <= to && start <= to {
		return nil
	}
	return d.checkpoint()
}

func (l *Log) flushable() {
	l.mu.Lock()
	l.truncating = false
	l.mu.Unlock()
	l.dir.Flush(l)
}

// cutList removes the segments behind number i, the last first, so that a crash leaves no hole, and puts a fresh segment
// in its place: readers of the old one see the file as it was, or an end of file.
func (l *Log) cutList(list []*segment, i int, fresh *segment, end int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead.Store(end)
	cut := append(slices.Clone(list[:i]), fresh)
	gone := list[i:]
	old := list[i]
	file, err := old.acquire()
	if err != nil {
		return err
	}
	fresh.file.Store(&openFile{file})
	fresh.index.Store(&index{})
	l.segments.Store(&cut)
	l.end.Store(end)
	for _, s := range slices.Backward(gone) {
		l.size.Add(-s.size.Load())
		l.unsynced = slices.DeleteFunc(l.unsynced, func(u *segment) bool { return u == s })
		s.retire()
		if s == old {
			break
		}
		if err := s.unlink(); err != nil {
			return err
		}
		if err := l.dir.fs.SyncDir(l.path); err != nil {
			return err
		}
	}
	return nil
}

// reload makes a segment that was cut to a size, of which an index is known, the active one, and brings producers and
// epochs back to where they were.
func (l *Log) reload(s *segment, known *index, size, end int64) error {
	nowMs := l.dir.rt.Now().UnixMilli()
	s.index.Store(known.prefix(size))
	s.activate(l, nowMs)
	x := s.index.Load()
	position := indexReach(x)
	if n := x.len(); n > 0 {
		s.maxTime.Store(x.at(n - 1).maxTime)
		s.maxLast.Store(s.base + int64(x.at(n-1).maxLast))
	}
	if err := s.trimIndexFiles(); err != nil {
		return err
	}
	file := s.file.Load().File
	first := newWalker(file, 0, size)
	if b, err := first.peek(); err == nil {
		s.firstTime = b.MaxTimestamp()
	}
	first.close()
	w := newWalker(file, position, size)
	defer w.close()
	skip := position > 0
	for w.position < size {
		b, err := w.peek()
		if err != nil {
			return err
		}
		if skip {
			s.sinceIndex, skip = 0, false
		}
		s.note(b, w.position, b.Size(), l.Options().IndexIntervalBytes)
		w.skip(b)
	}
	l.size.Add(size)
	s.size.Store(size)

	l.truncateEpochs(end)
	if err := l.dropSnapshotsAfter(end); err != nil {
		return err
	}
	if err := l.dir.fs.SyncDir(l.path); err != nil {
		return err
	}
	return l.reloadProducers(end)
}

// reloadProducers makes the producers anew from the newest snapshot and the log.
func (l *Log) reloadProducers(end int64) error {
	p, from, err := l.loadSnapshot(end)
	if err != nil {
		return err
	}
	l.producers = p
	return walkHeaders(l.list(), from, func(b record.Batch) bool {
		if b.BaseOffset() >= from {
			p.replay(b)
		}
		return true
	})
}

// Restart removes everything and starts again, empty, at an offset. Writer.
func (l *Log) Restart(at int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	list := l.list()
	defer l.flushable()
	if err := l.lowerDurable(min(at, list[0].base)); err != nil {
		return err
	}
	if err := l.restart(list, at); err != nil {
		l.dir.die(fmt.Errorf("restart %s: %w", l.tp, err))
		return kafka.KafkaStorageError
	}
	return nil
}

func (l *Log) restart(list []*segment, at int64) error {
	fs := l.dir.fs
	l.dir.keepFiles(l.path + "/")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Backward(list) {
		s.retire()
		if err := s.unlink(); err != nil {
			return err
		}
		if err := fs.SyncDir(l.path); err != nil {
			return err
		}
	}
	if err := l.dropSnapshotsAfter(-1); err != nil {
		return err
	}
	s, err := l.createSegment(at, l.dir.rt.Now().UnixMilli())
	if err != nil {
		return err
	}
	if err := fs.SyncDir(l.path); err != nil {
		return err
	}
	l.producers = newProducers()
	l.unsynced = nil
	l.size.Store(0)
	l.ahead.Store(at)
	l.segments.Store(&[]*segment{s})
	l.logStart.Store(at)
	l.end.Store(at)
	l.durable.Store(at)
	l.setEpochs(nil)
	return nil
}
