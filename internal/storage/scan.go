package storage

import (
	"errors"
	"fmt"
	"io"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// scan reads a segment from a batch on.
func (o *opening) scan(s *segment, file vfs.File, position, end, producersFrom int64) (int64, error) {
	l := o.log
	w := newScanner(file, position, s.size.Load())
	defer w.close()
	interval := l.Options().IndexIntervalBytes
	skip := s.index.Load().len() > 0 && position > 0 // the first batch has its entry already
	for {
		b, reason, err := o.next(&w, s, end)
		if err == io.EOF {
			l.size.Add(w.position)
			return end, nil
		}
		if err != nil {
			return end, err
		}
		if reason != "" {
			return end, o.torn(s, file, w.position, end, reason)
		}
		o.report.BatchesScanned++
		if epoch := b.LeaderEpoch(); epoch > l.LatestEpoch() {
			l.startEpoch(epoch, b.BaseOffset())
		}
		if b.BaseOffset() >= producersFrom {
			l.producers.replay(b)
		}
		if skip {
			s.sinceIndex, skip = 0, false
		}
		s.note(b, w.position, int64(len(b)), interval)
		end = b.LastOffset() + 1
		w.skip(b)
	}
}

// next reads and checks one batch. A reason says what is wrong with it.
func (o *opening) next(w *walker, s *segment, end int64) (b record.Batch, reason string, err error) {
	header, err := w.peek()
	if errors.Is(err, errCorruptLog) {
		return nil, "no batch", nil
	}
	if err != nil {
		return nil, "", err
	}
	switch {
	case header.BaseOffset() < end:
		return nil, fmt.Sprintf("base offset %d below %d", header.BaseOffset(), end), nil
	case header.LeaderEpoch() < 0 || header.BaseOffset() >= o.durable && header.LeaderEpoch() < o.log.LatestEpoch():
		return nil, fmt.Sprintf("leader epoch %d goes back", header.LeaderEpoch()), nil
	case header.LastOffset()-s.base > 1<<31-1:
		return nil, fmt.Sprintf("last offset %d too far from the segment's", header.LastOffset()), nil
	}
	whole, err := w.whole(header)
	if errors.Is(err, errCorruptLog) {
		return nil, "batch is cut off", nil
	}
	if err != nil {
		return nil, "", err
	}
	if whole.CRC() != whole.ComputeCRC() {
		return nil, "checksum does not match", nil
	}
	return whole, "", nil
}

// torn deals with the first batch that is not valid. Below what was durable it is damage, and nothing is touched. Behind
// that, the tail goes; if it has valid batches in it, a copy stays for whoever wants to know.
func (o *opening) torn(s *segment, file vfs.File, position, end int64, reason string) error {
	l := o.log
	size := s.size.Load()
	where := fmt.Sprintf("%s at %d (offset %d): %s", file.Name(), position, end, reason)
	if end < o.durable {
		l.size.Add(size)
		o.damaged(where)
		return nil
	}
	tail := make([]byte, size-position)
	if n, err := file.ReadAt(tail, position); err != nil && (err != io.EOF || n < len(tail)) {
		return err
	}
	o.report.Reason = where
	if findBatch(tail, end) {
		o.report.Suspect = true
		if err := vfs.WriteFileLazily(l.dir.fs, s.path+logSuffix+".suspect", tail, true); err != nil {
			return err
		}
	}
	o.report.TruncatedBytes += size - position
	if err := file.Truncate(position); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	s.size.Store(position)
	l.size.Add(position)
	return nil
}

// findBatch reports whether a valid batch that could follow an offset starts anywhere behind the first byte.
func findBatch(tail []byte, end int64) bool {
	for i := 1; i+record.HeaderSize <= len(tail); i++ {
		b := record.Batch(tail[i:])
		if b.Magic() != record.Magic || !plausible(b) || b.BaseOffset() < end || b.Size() > int64(len(b)) {
			continue
		}
		if b = b[:b.Size()]; b.CRC() == b.ComputeCRC() {
			return true
		}
	}
	return false
}
