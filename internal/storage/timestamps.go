package storage

import (
	"errors"
	"io"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TimestampOffset answers a lookup by timestamp.
type TimestampOffset struct {
	Offset      int64
	Timestamp   int64
	LeaderEpoch int32
}

var errFound = errors.New("found")

// OffsetForTimestamp is the first record at or after a time, below limit.
func (l *Log) OffsetForTimestamp(ms, limit int64) (found TimestampOffset, ok bool, err error) {
	if err := l.usable(); err != nil {
		return found, false, err
	}
	for {
		segments := l.segments.Load()
		limit := min(limit, l.end.Load())
		start := l.logStart.Load()
		var failed error
		var at *segment
		for _, s := range *segments {
			at = s
			if s.base >= limit {
				break
			}
			found, ok, failed = l.searchTime(s, ms, start, limit)
			if failed != nil || ok {
				break
			}
		}
		if failed == nil {
			return found, ok, nil
		}
		if l.segments.Load() == segments {
			return found, false, l.unreadable(at, failed)
		}
	}
}

func (l *Log) searchTime(s *segment, ms, start, limit int64) (found TimestampOffset, ok bool, err error) {
	file, err := s.acquire()
	if err != nil {
		return found, false, err
	}
	defer file.Release()
	size := s.size.Load()
	largest, err := s.largestTime(file, size)
	if err != nil || largest < ms {
		return found, false, err
	}
	from, err := s.indexed(file, size, func(e *indexEntry) bool { return e.maxTime < ms })
	if err != nil {
		return found, false, err
	}
	w := newWalker(file, from, size)
	defer w.close()
	for {
		header, err := w.peek()
		if err == io.EOF {
			return found, false, nil
		}
		if err != nil {
			return found, false, err
		}
		if header.BaseOffset() >= limit {
			return found, false, nil
		}
		if header.MaxTimestamp() >= ms && header.LastOffset() >= start {
			b, err := w.whole(header)
			if err != nil {
				return found, false, err
			}
			found, ok, err = l.firstRecord(b, limit, func(r record.Record) bool { return r.Timestamp >= ms && r.Offset >= start })
			if err != nil || ok {
				return found, ok, err
			}
			header = b
		}
		w.skip(header)
	}
}

// undecodable reports whether the records of a batch cannot be read although its checksum is right. Compressed batches are
// taken from producers unread, so this is their doing and not the disk's.
func undecodable(err error) bool {
	return errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrTooLarge)
}

// firstRecord is the first record of a batch, below limit, that is wanted. A batch that cannot be decoded counts as one
// record.
func (l *Log) firstRecord(b record.Batch, limit int64, wanted func(record.Record) bool) (found TimestampOffset, ok bool, err error) {
	err = b.Records(l.decompressLimit(), func(r record.Record) error {
		if r.Offset < limit && wanted(r) {
			found, ok = TimestampOffset{r.Offset, r.Timestamp, b.LeaderEpoch()}, true
			return errFound
		}
		return nil
	})
	if undecodable(err) {
		r := record.Record{Offset: b.BaseOffset(), Timestamp: b.MaxTimestamp()}
		return TimestampOffset{r.Offset, r.Timestamp, b.LeaderEpoch()}, r.Offset < limit && wanted(r), nil
	}
	if err != nil && err != errFound {
		return found, false, err
	}
	return found, ok, nil
}

func (l *Log) decompressLimit() int { return record.DecompressLimit(int(l.Options().MaxMessageBytes)) }

// MaxTimestamp is the record with the largest timestamp, the first of them, below limit.
func (l *Log) MaxTimestamp(limit int64) (found TimestampOffset, ok bool, err error) {
	if err := l.usable(); err != nil {
		return found, false, err
	}
	limit = min(limit, l.end.Load())
	largest := int64(record.NoTimestamp)
	list := l.list()
	for i, s := range list {
		if s.base >= limit {
			break
		}
		whole := i+1 < len(list) && list[i+1].base <= limit
		ms, err := l.largestTimeBelow(s, limit, whole)
		if err != nil && s.isRetired() {
			return l.MaxTimestamp(limit) // truncated, compacted or deleted meanwhile
		}
		if err != nil {
			return found, false, l.unreadable(s, err)
		}
		largest = max(largest, ms)
	}
	if largest == record.NoTimestamp {
		return found, false, nil
	}
	return l.OffsetForTimestamp(largest, limit)
}

// largestTimeBelow is the largest timestamp of the segment's records that may be seen. whole says that all lie below limit.
func (l *Log) largestTimeBelow(s *segment, limit int64, whole bool) (int64, error) {
	file, err := s.acquire()
	if err != nil {
		return -1, err
	}
	defer file.Release()
	size := s.size.Load()
	largest, start := int64(record.NoTimestamp), l.logStart.Load()
	if whole = whole || limit >= l.end.Load(); whole && s.base >= start {
		return s.largestTime(file, size)
	}
	w := newWalker(file, 0, size)
	defer w.close()
	for {
		header, err := w.peek()
		if err == io.EOF || err == nil && header.BaseOffset() >= limit {
			return largest, nil
		}
		if err != nil {
			return -1, err
		}
		if header.MaxTimestamp() > largest && header.LastOffset() >= start {
			b, err := w.whole(header)
			if err != nil {
				return -1, err
			}
			if _, _, err := l.firstRecord(b, limit, func(r record.Record) bool {
				if r.Offset >= start {
					largest = max(largest, r.Timestamp)
				}
				return false
			}); err != nil {
				return -1, err
			}
			header = b
		}
		w.skip(header)
	}
}

// largestTime is the largest timestamp of a segment. Of one that this process did not write, it is looked up once: behind
// the last entry of the index there are only a few batches.
func (s *segment) largestTime(file vfs.File, size int64) (int64, error) {
	if s.timesKnown.Load() {
		return s.maxTime.Load(), nil
	}
	x, err := s.loadIndex(file, size)
	if err != nil {
		return -1, err
	}
	if n := x.len(); n > 0 {
		// As always, an entry is believed when the batch is there.
		e := x.at(n - 1)
		at, err := lastOffsetAt(file, int64(e.position), size)
		if err != nil && !errors.Is(err, errCorruptLog) {
			return -1, err
		}
		if err != nil || at != s.base+int64(e.last) {
			if x, err = s.rebuildIndex(file, size); err != nil {
				return -1, err
			}
		}
	}
	largest, last, from := int64(record.NoTimestamp), s.base, int64(0)
	if n := x.len(); n > 0 {
		e := x.at(n - 1)
		largest, last, from = e.maxTime, s.base+int64(e.maxLast), int64(e.position)
	}
	w := newWalker(file, from, size)
	defer w.close()
	for {
		b, err := w.peek()
		if err == io.EOF {
			s.maxTime.Store(largest)
			s.maxLast.Store(last)
			s.timesKnown.Store(true)
			return largest, nil
		}
		if err != nil {
			return -1, err
		}
		if b.MaxTimestamp() > largest {
			largest, last = b.MaxTimestamp(), b.LastOffset()
		}
		w.skip(b)
	}
}
