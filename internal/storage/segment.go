package storage

import (
	"errors"
	"fmt"
	"math"
	"path"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

const (
	logSuffix      = ".log"
	snapshotSuffix = ".snapshot"
	cleanedSuffix  = ".cleaned"
	swapSuffix     = ".swap"

	indexWriteBytes = 4 << 20  // the active segment's index goes to disk every so many bytes of log
	writebackBytes  = 4 << 20  // and the log itself is pushed towards the disk
	reserveFrom     = 1 << 20  // a segment this long has space reserved ahead of it
	reserveMost     = 16 << 20 // at most so much
)

var errRetired = errors.New("segment is retired")

// segment is a file of a log and what is known about it. The last segment of a log's list is active: it is written;
// the others are sealed and never change. What changes the identity of bytes that readers may have found (a truncation,
// a compaction) makes a new segment instead.
type segment struct {
	fs    vfs.FS
	cache *indexCache
	base  int64
	path  string // of its files, without the suffix

	size  atomic.Int64 // bytes that readers may see
	file  atomic.Pointer[openFile]
	index atomic.Pointer[index] // nil: on disk
	tail  atomic.Pointer[ring]  // nil in a sealed segment

	opening sync.Mutex // guards what follows, and loading the index
	retired bool

	timesKnown atomic.Bool  // of a sealed segment: whether maxTime has been looked up
	maxTime    atomic.Int64 // largest timestamp, -1 without any
	maxLast    atomic.Int64 // last offset of its batch

	// Writer only, while active.
	sinceIndex   int64
	firstTime    int64 // largest timestamp of the first batch, from which segment.ms counts; -1 before
	createdMs    int64
	jitterMs     int64
	reserved     int64 // bytes of the file that have disk space
	writtenBack  int64
	indexWritten int64 // entries that are in the files
	timesWritten int64 // bytes in the .timeindex
	indexedSize  int64 // size when they were written
}

type openFile struct{ vfs.File }

func segmentPath(folder string, base int64) string {
	return path.Join(folder, fmt.Sprintf("%020d", base))
}

func newSegment(fs vfs.FS, cache *indexCache, folder string, base int64) *segment {
	s := &segment{fs: fs, cache: cache, base: base, path: segmentPath(folder, base), firstTime: record.NoTimestamp}
	s.maxTime.Store(record.NoTimestamp)
	s.maxLast.Store(base)
	return s
}

// acquire returns the segment's file with a reference that the caller gives back.
func (s *segment) acquire() (vfs.File, error) {
	if f := s.file.Load(); f != nil && f.Retain() {
		return f.File, nil
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.retired {
		return nil, errRetired
	}
	f := s.file.Load()
	if f == nil {
		file, err := s.fs.Open(s.path + logSuffix)
		if err != nil {
			return nil, err
		}
		f = &openFile{file}
		s.file.Store(f)
	}
	if !f.Retain() {
		return nil, errRetired
	}
	return f.File, nil
}

// retire gives up the segment's own reference to its file. Readers that have it open read on.
func (s *segment) retire() {
	s.opening.Lock()
	defer s.opening.Unlock()
	s.retired = true
	if f := s.file.Swap(nil); f != nil {
		f.Release() // it was only read, or has been synced: closing has nothing to tell
	}
}

// note takes a batch that was written at a position into the index. Writer. interval is index.interval.bytes.
func (s *segment) note(b record.Batch, position, size, interval int64) {
	base, last, ms := b.BaseOffset(), b.LastOffset(), b.MaxTimestamp()
	if ms > s.maxTime.Load() {
		s.maxTime.Store(ms)
		s.maxLast.Store(last)
	}
	if s.firstTime == record.NoTimestamp {
		s.firstTime = ms
	}
	if s.sinceIndex > interval {
		s.index.Load().add(indexEntry{
			last: uint32(last - s.base), position: uint32(position),
			maxLast: uint32(s.maxLast.Load() - s.base), maxTime: s.maxTime.Load(),
		})
		s.sinceIndex = 0
	}
	s.sinceIndex += size
	if tail := s.tail.Load(); tail != nil {
		if grown := tail.add(base, last, position); grown != tail {
			s.tail.Store(grown)
		}
	}
}

// fits reports whether a batch may go into the segment behind size bytes.
func (s *segment) fits(last, bytes, size int64, o *Options) bool {
	return size == 0 || size+bytes <= o.SegmentBytes && size+bytes <= math.MaxInt32 && last-s.base <= math.MaxInt32 &&
		s.index.Load().len()*indexEntrySize < o.IndexBytes
}

// tend does what a growing segment needs now and then: space reserved ahead, bytes pushed to the disk, the index written.
func (s *segment) tend(file vfs.File, size int64, o *Options) error {
	if s.reserved < size {
		s.reserved = size
	}
	switch {
	case o.Preallocate && s.reserved < o.SegmentBytes:
		_ = file.Preallocate(0, o.SegmentBytes) // a hint: where there is no space, the write will say so
		s.reserved = o.SegmentBytes
	case size >= reserveFrom && s.reserved-size < reserveFrom/4 && s.reserved < o.SegmentBytes:
		// A segment earns its reservation: as much as it already holds, so that small partitions reserve little.
		ahead := min(size, reserveMost, o.SegmentBytes-s.reserved)
		_ = file.Preallocate(s.reserved, ahead)
		s.reserved += ahead
	}
	if size-s.writtenBack >= writebackBytes {
		file.StartWriteback(s.writtenBack, size-s.writtenBack)
		s.writtenBack = size
	}
	if size-s.indexedSize >= indexWriteBytes {
		return s.writeIndex(size)
	}
	return nil
}

// writeIndex adds to the index files what they lack.
func (s *segment) writeIndex(size int64) error {
	x := s.index.Load()
	before := int64(record.NoTimestamp)
	if s.indexWritten > 0 {
		before = x.at(s.indexWritten - 1).maxTime
	}
	offsets, times := x.encode(s.indexWritten, before)
	if err := appendFile(s.fs, indexName(s.path), offsets, s.indexWritten*indexEntrySize); err != nil {
		return err
	}
	if err := appendFile(s.fs, timeIndexName(s.path), times, s.timesWritten); err != nil {
		return err
	}
	s.indexWritten = x.len()
	s.timesWritten += int64(len(times))
	s.indexedSize = size
	return nil
}

// seal writes what is left of the index, with the largest timestamp as its last entry, and frees what was reserved.
func (s *segment) seal() error {
	size := s.size.Load()
	if err := s.writeIndex(size); err != nil {
		return err
	}
	x := s.index.Load()
	known := int64(record.NoTimestamp)
	if x.len() > 0 {
		known = x.at(x.len() - 1).maxTime
	}
	if ms := s.maxTime.Load(); ms > known {
		entry := appendTimeEntry(nil, ms, uint32(s.maxLast.Load()-s.base))
		if err := appendFile(s.fs, timeIndexName(s.path), entry, s.timesWritten); err != nil {
			return err
		}
		s.timesWritten += timeIndexEntrySize
	}
	if s.reserved > size {
		file, err := s.acquire()
		if err != nil {
			return err
		}
		err = file.Truncate(size)
		file.Release()
		if err != nil {
			return err
		}
		s.reserved = size
	}
	return nil
}

// files are the segment's, as they are to be deleted.
func (s *segment) files() []string {
	return []string{s.path + logSuffix, indexName(s.path), timeIndexName(s.path)}
}

// unlink removes the segment's files.
func (s *segment) unlink() error {
	for _, name := range s.files() {
		if err := s.fs.Remove(name); err != nil && !errors.Is(err, vfs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// trimIndexFiles cuts off what a truncation or a crash has left in the index files behind what is believed of them. It does
// so durably: the segment grows again, with other batches at other places, and a later crash must not bring back entries for
// those that are gone.
func (s *segment) trimIndexFiles() error {
	for _, file := range []struct {
		name string
		size int64
	}{{indexName(s.path), s.indexWritten * indexEntrySize}, {timeIndexName(s.path), s.timesWritten}} {
		size, err := s.fs.Size(file.name)
		if errors.Is(err, vfs.ErrNotExist) || err == nil && size <= file.size {
			continue
		}
		if err != nil {
			return err
		}
		f, err := s.fs.Open(file.name)
		if err != nil {
			return err
		}
		if err = f.Truncate(file.size); err == nil {
			err = f.Sync()
		}
		f.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
