package storage

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Log is one partition's log. See the package comment for who may call what.
type Log struct {
	dir     *Directory
	tp      kafka.TopicPartition
	id      kafka.TopicID
	path    string
	options atomic.Pointer[Options]

	segments atomic.Pointer[[]*segment] // never empty; the slice never changes, it is replaced
	logStart atomic.Int64
	ahead    atomic.Int64 // the end to be; see publish
	end      atomic.Int64
	durable  atomic.Int64
	size     atomic.Int64
	epochs   atomic.Pointer[[]epochStart]
	broken   atomic.Pointer[failure] // damaged: offline

	highWatermark atomic.Int64
	cleanedTo     atomic.Int64
	checkpointed  atomic.Int64 // the recovery point that the directory's file has, at most
	recoverable   atomic.Int64 // the same, at least
	dirty         atomic.Bool  // waits for the flusher
	onDurable     atomic.Pointer[func(int64)]
	epochsDirty   atomic.Bool // leader-epoch-checkpoint lacks something
	epochsFile    sync.Mutex
	cleaning      sync.Mutex

	mu           sync.Mutex // guards the making of a new segment list, and:
	closed       bool
	unsynced     []*segment // sealed segments whose bytes are not durable
	truncating   bool       // the flusher stays away
	generation   uint64     // counts truncations
	namesChanged uint64     // counts files made
	namesSynced  uint64     // and how far they were known when the folder was last synced
	settledAt    changes    // what nothing has to be done for at a clean end

	// Writer only.
	producers     *producers
	snapshots     []int64        // offsets of the snapshot files, rising
	sinceSnapshot int64          // bytes appended since the last one
	batches       []record.Batch // staged for one write
	buffers       [][]byte
}

// fail marks the log offline.
func (l *Log) fail(err error) {
	if l.broken.CompareAndSwap(nil, &failure{err}) {
		l.dir.logger.Error("partition is damaged and offline", "partition", l.tp.String(), "directory", l.dir.path,
			"error", err)
	}
}

// unreadable takes the log offline for a read of a segment that failed, tells the directory, and returns what to answer.
// That a segment was truncated or deleted under the reader is no fault of its file.
func (l *Log) unreadable(s *segment, err error) error {
	if l.dir.Failed() == nil && !s.isRetired() {
		l.fail(err)
		if !errors.Is(err, errCorruptLog) {
			l.dir.fileUnreadable(s.path+logSuffix, err)
		}
	}
	return kafka.KafkaStorageError
}

// usable is nil, or KafkaStorageError where the log is offline.
func (l *Log) usable() error {
	if l.dir.failure.Load() != nil || l.broken.Load() != nil {
		return kafka.KafkaStorageError
	}
	return nil
}

func (l *Log) list() []*segment { return *l.segments.Load() }

func (l *Log) active() *segment {
	list := l.list()
	return list[len(list)-1]
}

// find returns the number of the segment in a list that an offset would be in.
func find(list []*segment, offset int64) int {
	i, exact := slices.BinarySearchFunc(list, offset, func(s *segment, o int64) int { return cmp.Compare(s.base, o) })
	if !exact {
		i--
	}
	return max(i, 0)
}

// publish makes what was appended visible. The order matters: a reader that finds end and ahead equal, with a size
// loaded between them, knows that the size belongs to that end; see Read.
func (l *Log) publish(s *segment, size, end int64) {
	l.ahead.Store(end)
	l.size.Add(size - s.size.Load())
	s.size.Store(size)
	l.end.Store(end)
}

func (l *Log) Partition() kafka.TopicPartition { return l.tp }
func (l *Log) TopicID() kafka.TopicID          { return l.id }
func (l *Log) Directory() *Directory           { return l.dir }
func (l *Log) Options() *Options               { return l.options.Load() }

// SetOptions puts other options in place of those the log has.
func (l *Log) SetOptions(o Options) { l.options.Store(&o) }

// Offline reports whether the log is damaged or its directory dead: everything answers KafkaStorageError.
func (l *Log) Offline() bool { return l.usable() != nil }

// Damaged reports whether what was on stable storage is not there any more, or cannot be read, although the directory works.
func (l *Log) Damaged() bool { return l.broken.Load() != nil && l.dir.Failed() == nil }

// LogStart is the first offset that may be read.
func (l *Log) LogStart() int64 { return l.logStart.Load() }

// End is the log end offset: that of the next record.
func (l *Log) End() int64 { return l.end.Load() }

// Durable is the offset below which everything is on stable storage.
func (l *Log) Durable() int64 { return l.durable.Load() }

// Size is the bytes of all segments.
func (l *Log) Size() int64 { return l.size.Load() }

// OnDurable sets what is called, under no lock, with the durable end whenever the flusher moves it. It is not called with
// the durable end as it is now: set it first, then look.
func (l *Log) OnDurable(f func(end int64)) {
	if f == nil {
		l.onDurable.Store(nil)
		return
	}
	l.onDurable.Store(&f)
}

// SetHighWatermark tells the log what to write into the checkpoint; it decides nothing else.
func (l *Log) SetHighWatermark(offset int64) { l.highWatermark.Store(offset) }

// HighWatermark is the last one set, at first the one checkpointed by the last process.
func (l *Log) HighWatermark() int64 { return l.highWatermark.Load() }

// Roll seals the active segment and starts a new one, unless it is empty. Writer.
func (l *Log) Roll(nowMs int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	return l.roll(l.end.Load(), nowMs)
}

// roll makes a segment for batches from an offset on, which is the log's end.
func (l *Log) roll(base, nowMs int64) error {
	old := l.active()
	if old.size.Load() == 0 && old.base == base {
		return nil
	}
	fresh, err := l.createSegment(base, nowMs)
	if err != nil {
		return l.dir.failed(err)
	}
	if err := old.seal(); err != nil {
		fresh.retire()
		return l.dir.failed(err)
	}
	if err := l.writeSnapshot(base); err != nil {
		fresh.retire()
		return l.dir.failed(err)
	}
	l.mu.Lock()
	l.unsynced = append(l.unsynced, old)
	l.namesChanged++
	list := l.list()
	list = append(list[:len(list):len(list)], fresh)
	l.segments.Store(&list)
	l.mu.Unlock()
	old.timesKnown.Store(true)
	old.tail.Store(nil)
	l.dir.cache.hold(old, old.index.Load())
	return nil
}

// createSegment makes an active segment's file. A file of that name is left over from an attempt that failed.
func (l *Log) createSegment(base, nowMs int64) (*segment, error) {
	s := newSegment(l.dir.fs, l.dir.cache, l.path, base)
	file, err := l.dir.fs.Create(s.path + logSuffix)
	if errors.Is(err, vfs.ErrExist) {
		l.dir.keepFiles(s.path)
		if err := s.unlink(); err != nil {
			return nil, err
		}
		file, err = l.dir.fs.Create(s.path + logSuffix)
	}
	if err != nil {
		return nil, err
	}
	s.file.Store(&openFile{file})
	s.activate(l, nowMs)
	return s, nil
}

// activate makes a segment ready to be written.
func (s *segment) activate(l *Log, nowMs int64) {
	if s.index.Load() == nil {
		s.index.Store(&index{})
	}
	s.tail.Store(newRing(ringSmallest))
	s.timesKnown.Store(true)
	s.createdMs = nowMs
	if jitter := min(l.Options().SegmentJitterMs, l.Options().SegmentMs); jitter > 0 {
		s.jitterMs = l.dir.rt.Rand().Int64N(jitter)
	}
}

// RollIfDue starts a new segment where the active one is older than SegmentMs. Writer.
func (l *Log) RollIfDue(nowMs int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	s := l.active()
	if s.size.Load() == 0 || nowMs-s.createdMs < l.Options().SegmentMs-s.jitterMs {
		return nil
	}
	return l.roll(l.end.Load(), nowMs)
}

// close gives up the files. Readers that hold ranges read on.
func (l *Log) close() {
	l.epochsFile.Lock() // nothing is being written into the folder
	defer l.epochsFile.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	l.broken.CompareAndSwap(nil, &failure{errClosed})
	for _, s := range l.list() {
		s.retire()
	}
}

// isClosed tells those who work beside the writer that a file which they miss is not the disk's fault.
func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

var errClosed = errors.New("log is closed")
