package storage

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// DeleteRecordsBefore moves the log start offset, never back, and drops segments that lie before it as a whole. Writer.
// It is durable with the next Directory.Checkpoint.
func (l *Log) DeleteRecordsBefore(offset int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	if offset > l.end.Load() {
		return kafka.OffsetOutOfRange
	}
	if offset <= l.logStart.Load() {
		return nil
	}
	l.logStart.Store(offset)
	l.dropSegments(find(l.list(), offset), l.dir.rt.Now().UnixMilli())
	l.advanceEpochs(offset)
	return nil
}

// DeleteExpired drops the oldest segments as retention says, by size, by time and by log start offset, and never one
// that reaches above the high watermark. Where even the active segment has expired, another takes its place. Writer.
func (l *Log) DeleteExpired(nowMs, highWatermark int64) (segments int, err error) {
	if err := l.usable(); err != nil {
		return 0, err
	}
	o := l.Options()
	list := l.list()
	excess := int64(-1)
	if o.Delete && o.RetentionBytes >= 0 {
		excess = l.size.Load() - o.RetentionBytes
	}
	count := 0
	for i, s := range list {
		next := l.end.Load()
		if i+1 < len(list) {
			next = list[i+1].base
		}
		size := s.size.Load()
		if next > highWatermark || i == len(list)-1 && size == 0 {
			break
		}
		expired := next <= l.logStart.Load() || excess >= size
		if !expired && o.Delete && o.RetentionMs >= 0 {
			largest, err := l.largestTimeOf(s)
			if err != nil {
				return 0, err
			}
			expired = largest >= 0 && nowMs-largest > o.RetentionMs
		}
		if !expired {
			break
		}
		excess -= size
		count++
	}
	if count == 0 {
		return 0, nil
	}
	if count == len(list) {
		if err := l.roll(l.end.Load(), nowMs); err != nil {
			return 0, err
		}
	}
	l.dropSegments(count, nowMs)
	l.advanceEpochs(l.logStart.Load())
	return count, nil
}

func (l *Log) largestTimeOf(s *segment) (int64, error) {
	file, err := s.acquire()
	if err != nil {
		return -1, l.unreadable(s, err)
	}
	defer file.Release()
	ms, err := s.largestTime(file, s.size.Load())
	if err != nil {
		return -1, l.unreadable(s, err)
	}
	return ms, nil
}

// dropSegments takes the first segments out of the list. Their files go when they are due, and only after a checkpoint
// has told the next process that the log starts behind them.
func (l *Log) dropSegments(count int, nowMs int64) {
	if count == 0 {
		return
	}
	l.mu.Lock()
	list := l.list()
	gone, keep := list[:count], slices.Clone(list[count:])
	l.logStart.Store(max(l.logStart.Load(), keep[0].base))
	l.segments.Store(&keep)
	due := nowMs + l.Options().FileDeleteDelayMs
	var files []deletion
	for _, s := range gone {
		l.size.Add(-s.size.Load())
		for _, name := range s.files() {
			files = append(files, deletion{name: name, dueMs: due})
		}
		s.retire()
	}
	// Segments not yet synced need not be any more.
	l.unsynced = slices.DeleteFunc(l.unsynced, func(u *segment) bool { return slices.Contains(gone, u) })
	l.generation++ // a flush under way counts on that list
	l.mu.Unlock()
	l.dir.removeLater(files...)
	if err := l.pruneSnapshots(); err != nil {
		l.dir.failed(err)
	}
}
