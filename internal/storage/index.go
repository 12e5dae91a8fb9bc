package storage

import (
	"encoding/binary"
	"errors"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/vfs"
)

// A segment's index has an entry for every few KiB of its log. In memory it is one list; on disk it is Kafka's two files,
// all integers big-endian, offsets relative to the segment's base offset:
//
//	.index      lastOffset int32, position int32           of the batch that the entry is for
//	.timeindex  timestamp int64, offset int32              the largest timestamp so far, and the end of its batch;
//	                                                       only where it is larger than the entry before
//
// The files are written when a segment is sealed and every few MiB before that, and are not synced. They are only ever
// hints: whoever follows an entry looks whether the batch there is the one that it promises.
type indexEntry struct {
	last     uint32 // last offset of the batch
	position uint32 // where the batch starts
	maxLast  uint32 // end of the batch with the largest timestamp up to and with this one
	maxTime  int64
}

const (
	indexEntrySize     = 8
	timeIndexEntrySize = 12
	indexEntryMemory   = 24
	indexChunk         = 128
)

// index is a segment's index in memory. One writer appends, readers search what has been published, nobody waits.
type index struct {
	count  atomic.Int64
	chunks atomic.Pointer[[]*[indexChunk]indexEntry]
}

func (x *index) add(e indexEntry) {
	n := x.count.Load()
	var chunks []*[indexChunk]indexEntry
	if p := x.chunks.Load(); p != nil {
		chunks = *p
	}
	if n == int64(len(chunks))*indexChunk {
		more := append(chunks[:len(chunks):len(chunks)], new([indexChunk]indexEntry))
		x.chunks.Store(&more)
		chunks = more
	}
	chunks[n/indexChunk][n%indexChunk] = e
	x.count.Store(n + 1)
}

func (x *index) at(i int64) *indexEntry { return &(*x.chunks.Load())[i/indexChunk][i%indexChunk] }

func (x *index) len() int64 { return x.count.Load() }

// lastWhere is the number of the last entry for which holds is true, given that it is true up to somewhere; or -1.
func (x *index) lastWhere(holds func(*indexEntry) bool) int64 {
	n := int(x.len())
	return int64(sort.Search(n, func(i int) bool { return !holds(x.at(int64(i))) })) - 1
}

// prefix is a copy of the entries for batches that start below a position.
func (x *index) prefix(position int64) *index {
	p := &index{}
	for i := range x.len() {
		e := x.at(i)
		if int64(e.position) >= position {
			break
		}
		p.add(*e)
	}
	return p
}

// encode makes the bytes of both files for the entries from a number on; before is the largest timestamp before it.
func (x *index) encode(from, before int64) (offsets, times []byte) {
	for i := from; i < x.len(); i++ {
		e := x.at(i)
		offsets = binary.BigEndian.AppendUint32(offsets, e.last)
		offsets = binary.BigEndian.AppendUint32(offsets, e.position)
		if e.maxTime > before {
			times = appendTimeEntry(times, e.maxTime, e.maxLast)
			before = e.maxTime
		}
	}
	return offsets, times
}

func appendTimeEntry(b []byte, ms int64, last uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(ms))
	return binary.BigEndian.AppendUint32(b, last)
}

// decodeIndex makes an index of the two files as far as they can be believed: entries rise and lie below size.
func decodeIndex(offsets, times []byte, size int64) *index {
	x := &index{}
	var before indexEntry
	time := indexEntry{maxTime: -1}
	for len(offsets) >= indexEntrySize {
		e := indexEntry{
			last:     binary.BigEndian.Uint32(offsets),
			position: binary.BigEndian.Uint32(offsets[4:]),
		}
		offsets = offsets[indexEntrySize:]
		if e.position <= before.position || e.last <= before.last || int64(e.position) >= size {
			break
		}
		for len(times) >= timeIndexEntrySize {
			ms, last := int64(binary.BigEndian.Uint64(times)), binary.BigEndian.Uint32(times[8:])
			if last > e.last || ms <= time.maxTime {
				break
			}
			time.maxTime, time.maxLast = ms, last
			times = times[timeIndexEntrySize:]
		}
		e.maxTime, e.maxLast = time.maxTime, time.maxLast
		x.add(e)
		before = e
	}
	return x
}

func indexName(segment string) string     { return segment + ".index" }
func timeIndexName(segment string) string { return segment + ".timeindex" }

// readIndexFiles reads what there is of a segment's index on disk; an absent or useless file is an empty index.
func readIndexFiles(fs vfs.FS, segment string, size int64) (*index, error) {
	var files [2][]byte
	for i, name := range []string{indexName(segment), timeIndexName(segment)} {
		data, err := vfs.ReadFile(fs, name, 1<<30)
		if err != nil && !errors.Is(err, vfs.ErrNotExist) {
			return nil, err
		}
		files[i] = data
	}
	return decodeIndex(files[0], files[1], size), nil
}

// appendFile writes bytes at a position of a file, made if it is missing.
func appendFile(fs vfs.FS, name string, data []byte, position int64) error {
	f, err := fs.Open(name)
	if errors.Is(err, vfs.ErrNotExist) {
		f, err = fs.Create(name)
	}
	if err != nil {
		return err
	}
	if len(data) > 0 {
		_, err = f.WriteAt(data, position)
	}
	if closed := f.Release(); err == nil {
		err = closed
	}
	return err
}

// indexCache bounds the memory of indexes that can be read again: the one loaded first is forgotten first.
type indexCache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	queue  []cachedIndex
}

type cachedIndex struct {
	segment *segment
	index   *index
	bytes   int64
}

func newIndexCache(budget int64) *indexCache {
	if budget == 0 {
		budget = 32 << 20
	}
	return &indexCache{budget: budget}
}

// hold counts a segment's index, and drops others until all fit.
func (c *indexCache) hold(s *segment, x *index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bytes := x.len()*indexEntryMemory + 256
	c.queue = append(c.queue, cachedIndex{s, x, bytes})
	c.used += bytes
	for c.used > c.budget && len(c.queue) > 1 {
		oldest := c.queue[0]
		c.queue[0] = cachedIndex{}
		c.queue = c.queue[1:]
		c.used -= oldest.bytes
		oldest.segment.index.CompareAndSwap(oldest.index, nil)
	}
}
