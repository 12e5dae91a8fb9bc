package storage

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Range is whole batches, as a slice of a file. The zero File is an empty range; one with a File is released once.
type Range struct {
	File        vfs.File
	Position    int64
	Size        int
	FirstOffset int64 // base offset of the first batch; of an empty range, where the read began
	NextOffset  int64 // where to read on: after the last batch
}

// Release gives the file back.
func (r Range) Release() {
	if r.File != nil {
		r.File.Release() // closing a file that was only read has nothing to tell
	}
}

// ReadAt fills p with the range's bytes from a position within it.
func (r Range) ReadAt(p []byte, at int64) (int, error) { return r.File.ReadAt(p, r.Position+at) }

// Read finds up to maxBytes of whole batches from the one that holds an offset, none that reaches to limit or beyond, in
// one segment. With atLeastOne the first batch comes even where it is larger. Below the log start and above the end it
// answers OffsetOutOfRange; where nothing may be seen yet, an empty range.
func (l *Log) Read(from int64, maxBytes int, limit int64, atLeastOne bool) (Range, error) {
	if err := l.usable(); err != nil {
		return Range{}, err
	}
	for {
		segments := l.segments.Load()
		end := l.end.Load()
		if from < l.logStart.Load() || from > end {
			return Range{}, kafka.OffsetOutOfRange
		}
		limit := min(limit, end)
		empty := Range{FirstOffset: from, NextOffset: from}
		if from >= limit {
			return empty, nil
		}
		list := *segments
		i := find(list, from)
		s := list[i]
		// What is behind the segment's last byte: exactly known where the segment is sealed, or where nobody appended
		// between the two loads around that of the size. Otherwise the end is looked up like any other limit.
		size := s.size.Load()
		next, exact := end, l.ahead.Load() == end
		if i < len(list)-1 {
			next, exact = list[i+1].base, true
		}
		if l.segments.Load() != segments {
			continue
		}
		r, found, err := s.slice(from, maxBytes, limit, atLeastOne, size, next, exact)
		if err != nil && l.segments.Load() != segments {
			continue // truncated, compacted or deleted meanwhile
		}
		if err != nil {
			return Range{}, l.unreadable(s, err)
		}
		if found {
			return r, nil
		}
		// Compaction may leave the end of a segment bare: the offset is in the next one.
		if i == len(list)-1 || list[i+1].base >= limit {
			return empty, nil
		}
		from = list[i+1].base
	}
}

// slice is Read within a segment whose first size bytes are to be seen, of which next is the end if exact. found is false
// where the segment has no batch for the offset.
func (s *segment) slice(from int64, maxBytes int, limit int64, atLeastOne bool, size, next int64, exact bool) (r Range, found bool, err error) {
	file, err := s.acquire()
	if err != nil {
		return Range{}, false, err
	}
	defer func() {
		if r.File == nil {
			file.Release()
		}
	}()
	start, err := s.holding(file, from, size)
	if err != nil {
		return Range{}, false, err
	}
	if start.position >= size {
		return Range{}, false, nil
	}
	stop := spot{size, next}
	if !exact || limit < next {
		if stop, err = s.holding(file, limit, size); err != nil {
			return Range{}, false, err
		}
		if stop.position == size && !exact {
			stop.base = min(stop.base, limit)
		}
	}
	empty := Range{FirstOffset: from, NextOffset: from}
	if stop.position <= start.position {
		return empty, true, nil
	}
	if stop.position-start.position > int64(maxBytes) {
		if stop, err = s.startingBy(file, start, start.position+int64(max(maxBytes, 0)), size, stop, atLeastOne); err != nil {
			return Range{}, false, err
		}
		if stop.position <= start.position {
			return empty, true, nil
		}
	}
	return Range{
		File: file, Position: start.position, Size: int(stop.position - start.position),
		FirstOffset: start.base, NextOffset: stop.base,
	}, true, nil
}

// next is the walker's next batch, if it can be one of this segment's: no checksum covers where a batch says it begins.
func (s *segment) next(w *walker) (record.Batch, error) {
	b, err := w.peek()
	if err == nil && (b.BaseOffset() < s.base || b.BaseOffset()-s.base > math.MaxInt32 || b.LastOffset()-s.base > math.MaxInt32) {
		return nil, fmt.Errorf("%s at %d: offset %d in the segment from %d on: %w", w.file.Name(), w.position, b.BaseOffset(), s.base, errCorruptLog)
	}
	return b, err
}

// holding finds the first batch whose last offset is not below an offset; the end of the bytes where there is none.
func (s *segment) holding(file vfs.File, offset, size int64) (spot, error) {
	if offset <= s.base && size > 0 {
		w := newWalker(file, 0, size)
		defer w.close()
		if tail := s.tail.Load(); tail != nil {
			if found, ok := tail.holding(offset); ok && found.position == 0 {
				return found, nil
			}
		}
		b, err := s.next(&w)
		if err != nil {
			return spot{}, err
		}
		return spot{0, b.BaseOffset()}, nil
	}
	if tail := s.tail.Load(); tail != nil {
		if found, ok := tail.holding(offset); ok {
			if found.position >= size {
				return spot{size, offset}, nil
			}
			return found, nil
		}
	}
	from, err := s.indexed(file, size, func(e *indexEntry) bool { return s.base+int64(e.last) <= offset })
	if err != nil {
		return spot{}, err
	}
	w := newWalker(file, from, size)
	defer w.close()
	for {
		b, err := s.next(&w)
		if err == io.EOF {
			return spot{size, offset}, nil
		}
		if err != nil {
			return spot{}, err
		}
		if b.LastOffset() >= offset {
			return spot{w.position, b.BaseOffset()}, nil
		}
		w.skip(b)
	}
}

// startingBy finds the last batch that starts at or before a position, which lies between start and stop. Where that is
// the first one, it is too large: with atLeastOne the answer is the batch behind it.
func (s *segment) startingBy(file vfs.File, start spot, position, size int64, stop spot, atLeastOne bool) (spot, error) {
	if tail := s.tail.Load(); tail != nil {
		if found, ok := tail.startingBy(position); ok && found.position > start.position {
			return found, nil
		}
	}
	from, err := s.indexed(file, size, func(e *indexEntry) bool { return int64(e.position) <= position })
	if err != nil {
		return spot{}, err
	}
	w := newWalker(file, max(from, start.position), stop.position)
	defer w.close()
	for {
		b, err := s.next(&w)
		if err == io.EOF {
			return stop, nil // no batch starts between here and there
		}
		if err != nil {
			return spot{}, err
		}
		at := spot{w.position, b.BaseOffset()}
		if behind := w.position + b.Size(); behind > position {
			if at.position > start.position || !atLeastOne {
				return at, nil
			}
			w.skip(b)
			if b, err := s.next(&w); err == nil {
				return spot{w.position, b.BaseOffset()}, nil
			} else if err != io.EOF {
				return spot{}, err
			}
			return stop, nil
		}
		w.skip(b)
	}
}

// indexed returns the position of the last indexed batch for which holds is true, given that it is true up to somewhere;
// 0 without one. It believes no entry before it has seen the batch; an index that lies is made anew from the log.
func (s *segment) indexed(file vfs.File, size int64, holds func(*indexEntry) bool) (int64, error) {
	x, err := s.loadIndex(file, size)
	if err != nil {
		return 0, err
	}
	for range 2 {
		i := x.lastWhere(holds)
		if i < 0 {
			return 0, nil
		}
		e := x.at(i)
		if int64(e.position) >= size {
			return 0, nil // written since: the caller sees less of the segment than the index does
		}
		last, err := lastOffsetAt(file, int64(e.position), size)
		if err == nil && last == s.base+int64(e.last) {
			return int64(e.position), nil
		}
		if err != nil && !errors.Is(err, errCorruptLog) {
			return 0, err
		}
		if x, err = s.rebuildIndex(file, size); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// lastOffsetAt is the last offset of the batch at a position. The batch itself is in the walker's buffer, which is
// another reader's as soon as the walker is closed.
func lastOffsetAt(file vfs.File, position, size int64) (int64, error) {
	w := newWalker(file, position, size)
	defer w.close()
	b, err := w.peek()
	if err != nil {
		return 0, err
	}
	return b.LastOffset(), nil
}

// loadIndex returns the segment's index, from disk if it must.
func (s *segment) loadIndex(file vfs.File, size int64) (*index, error) {
	if x := s.index.Load(); x != nil {
		return x, nil
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	if x := s.index.Load(); x != nil {
		return x, nil
	}
	x, err := readIndexFiles(s.fs, s.path, size)
	if err != nil {
		return nil, err
	}
	// A file that ends far before the log does was not written to its end.
	if reach := size - indexReach(x); reach > indexWriteBytes {
		if x, err = scanIndex(file, s.base, size); err != nil {
			return nil, err
		}
	}
	s.index.Store(x)
	s.cache.hold(s, x)
	return x, nil
}

func indexReach(x *index) int64 {
	if x.len() == 0 {
		return 0
	}
	return int64(x.at(x.len() - 1).position)
}

// rebuildIndex replaces an index that was found to lie. The active segment's cannot: it was made by the writer.
func (s *segment) rebuildIndex(file vfs.File, size int64) (*index, error) {
	x, err := scanIndex(file, s.base, size)
	if err != nil {
		return nil, err
	}
	if s.tail.Load() == nil {
		s.index.Store(x)
		s.cache.hold(s, x)
	}
	return x, nil
}

// scanIndex makes the index of a segment of its log.
func scanIndex(file vfs.File, base, size int64) (*index, error) {
	scratch := &segment{base: base}
	scratch.index.Store(&index{})
	scratch.maxTime.Store(-1)
	w := newWalker(file, 0, size)
	defer w.close()
	for {
		b, err := w.peek()
		if err == io.EOF {
			return scratch.index.Load(), nil
		}
		if err != nil {
			return nil, err
		}
		scratch.note(b, w.position, b.Size(), 4096)
		w.skip(b)
	}
}

// Check looks at the batch that holds an offset as a whole, with its checksum, and takes the log offline if it is not what was
// written. Somebody who was sent it does not accept it.
func (l *Log) Check(offset int64) error {
	list := l.list()
	r, err := l.Read(offset, 1, l.end.Load(), true)
	if err != nil || r.File == nil {
		return err
	}
	defer r.Release()
	data := make([]byte, r.Size)
	_, err = r.ReadAt(data, 0)
	if b := record.Batch(data); err == nil && (len(data) < record.HeaderSize || !plausible(b) || b.Size() != int64(len(data)) || b.CRC() != b.ComputeCRC()) {
		err = fmt.Errorf("%s at %d: %w", r.File.Name(), r.Position, errCorruptLog)
	}
	if err != nil {
		return l.unreadable(list[find(list, offset)], err)
	}
	return nil
}
