package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Compaction keeps of each key only the last record. Offsets never change, so it leaves gaps. It works on sealed segments
// below a point that the caller knows to be committed, in three steps: the keys of the part that it has not seen yet go
// into a map; every segment up to there is written anew without the records that the map knows a later one of; the new
// segments take the place of the old ones, several small ones becoming one.

// cleanerMemory is what the map of keys may take. Where the keys are more, one compaction goes less far.
const cleanerMemory = 32 << 20

// Cleaned is what one compaction did.
type Cleaned struct {
	Segments    int // rewritten
	BytesBefore int64
	BytesAfter  int64
	UpTo        int64 // first offset not compacted
}

// CleanableRatio is the share of bytes below a point (the high watermark, the last stable offset) that compaction has
// not seen, and whether compaction is due: there is enough of them, or they have waited too long.
func (l *Log) CleanableRatio(nowMs, upTo int64) (ratio float64, due bool) {
	o := l.Options()
	if !o.Compact || l.usable() != nil {
		return 0, false
	}
	list := l.list()
	cleanable, err := l.cleanable(list, nowMs, min(upTo, l.durable.Load()))
	if err != nil {
		return 0, false
	}
	var clean, dirty int64
	overdue := false
	for i := range cleanable {
		s := list[i]
		if s.base < l.cleanedTo.Load() {
			clean += s.size.Load()
			continue
		}
		dirty += s.size.Load()
		if o.MaxCompactionLagMs < math.MaxInt64 {
			ms, err := l.largestTimeOf(s)
			overdue = overdue || err == nil && ms >= 0 && nowMs-ms > o.MaxCompactionLagMs
		}
	}
	if dirty == 0 {
		return 0, false
	}
	ratio = float64(dirty) / float64(clean+dirty)
	return ratio, overdue || ratio >= o.MinCleanableDirtyRatio
}

// cleanable is how many of the first segments may be compacted: sealed, below the point, and old enough.
func (l *Log) cleanable(list []*segment, nowMs, upTo int64) (int, error) {
	lag := l.Options().MinCompactionLagMs
	for i, s := range list {
		if i == len(list)-1 || list[i+1].base > upTo {
			return i, nil
		}
		if lag <= 0 {
			continue
		}
		ms, err := l.largestTimeOf(s)
		if err != nil {
			return 0, err
		}
		if ms > nowMs-lag {
			return i, nil
		}
	}
	return 0, nil
}

// Clean compacts the log below a point. It takes no writer's lock and may run beside everything else; a second one
// waits for the first. Where a truncation or deletion comes in between, it gives up without an error.
func (l *Log) Clean(nowMs, upTo int64) (Cleaned, error) {
	l.cleaning.Lock()
	defer l.cleaning.Unlock()
	if err := l.usable(); err != nil {
		return Cleaned{}, err
	}
	list := l.list()
	count, err := l.cleanable(list, nowMs, min(upTo, l.durable.Load()))
	if err != nil || count == 0 {
		return Cleaned{UpTo: l.cleanedTo.Load()}, err
	}
	c := cleaning{
		log: l, nowMs: nowMs, options: l.Options(), keys: newOffsetMap(cleanerMemory), last: map[int64]int64{},
		list: list[:count], end: list[count].base,
	}
	err = c.run()
	switch {
	case errors.Is(err, errRetired) || err != nil && l.isClosed():
		err = nil
	case errors.Is(err, errCorruptLog):
		err = l.unreadable(c.at, err)
	case err != nil:
		err = l.dir.failed(err)
	}
	c.done.UpTo = l.cleanedTo.Load()
	return c.done, err
}

// cleaning is the state of one compaction.
type cleaning struct {
	log     *Log
	nowMs   int64
	options *Options
	keys    *offsetMap
	last    map[int64]int64 // per producer id, the last offset of its last batch
	list    []*segment
	end     int64 // first offset that is not compacted
	done    Cleaned

	at      *segment // being read
	out     []byte   // of the segment being written, not written yet
	written int64
	scratch *segment
}

func (c *cleaning) run() error {
	if err := c.readKeys(); err != nil {
		return err
	}
	if err := c.coverGaps(); err != nil {
		return err
	}
	for len(c.list) > 0 && c.list[0].base < c.end {
		group := c.group()
		if err := c.rewrite(group); err != nil {
			return err
		}
		c.list = c.list[len(group):]
	}
	if c.end > c.log.cleanedTo.Load() {
		c.log.cleanedTo.Store(c.end)
	}
	return nil
}

// coverGaps makes sure that the recovery point on disk lies behind what will be compacted. Behind a recovery point, a
// recovery takes the gaps that compaction leaves for the end of what had reached the disk, and cuts there.
func (c *cleaning) coverGaps() error {
	d := c.log.dir
	d.checkpointing.Lock() // a checkpoint under way has not been written yet
	defer d.checkpointing.Unlock()
	if c.log.recoverable.Load() >= c.end {
		return nil
	}
	return d.checkpoint()
}

// readKeys fills the map from what has not been compacted yet, and notes each producer's last batch.
func (c *cleaning) readKeys() error {
	from := c.log.cleanedTo.Load()
	full := false
	for _, s := range c.list {
		if err := c.eachBatch(s, func(b record.Batch) error {
			if id := b.Producer().ID; id >= 0 {
				c.last[id] = b.LastOffset()
			}
			if full || b.LastOffset() < from || b.Control() {
				return nil
			}
			err := b.Records(c.log.decompressLimit(), func(r record.Record) error {
				if r.Key != nil && !full && !c.keys.put(r.Key, r.Offset) {
					full, c.end = true, b.BaseOffset()
				}
				return nil
			})
			if undecodable(err) {
				return nil // its records replace no others, and keep will keep them
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *cleaning) eachBatch(s *segment, visit func(record.Batch) error) error {
	c.at = s
	file, err := s.acquire()
	if err != nil {
		return err
	}
	defer file.Release()
	w := newScanner(file, 0, s.size.Load())
	defer w.close()
	return w.each(func(_ int64, b record.Batch) error { return visit(b) })
}

// group is the next segments that surely fit into one.
func (c *cleaning) group() []*segment {
	var bytes int64
	for i, s := range c.list {
		bytes += s.size.Load()
		if i > 0 && (bytes > c.options.SegmentBytes || s.base >= c.end || c.list[i].base-c.list[0].base > math.MaxInt32/2) {
			return c.list[:i]
		}
	}
	return c.list
}

// rewrite writes a group of segments anew, as <first>.log.cleaned, and puts that in their place.
func (c *cleaning) rewrite(group []*segment) error {
	l, fs := c.log, c.log.dir.fs
	name := group[0].path + logSuffix + cleanedSuffix
	if err := fs.Remove(name); err != nil && !errors.Is(err, vfs.ErrNotExist) {
		return err
	}
	file, err := fs.Create(name)
	if err != nil {
		return err
	}
	c.out, c.written = c.out[:0], 0
	c.scratch = newSegment(fs, l.dir.cache, l.path, group[0].base)
	c.scratch.index.Store(&index{})
	var before int64
	for _, s := range group {
		before += s.size.Load()
		if err = c.eachBatch(s, func(b record.Batch) error { return c.keep(file, b) }); err != nil {
			break
		}
	}
	if err == nil {
		err = c.flush(file)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		c.scratch.file.Store(&openFile{file})
		c.scratch.size.Store(c.written)
		c.scratch.timesKnown.Store(true)
		err = l.swap(group, c.scratch)
	}
	if err != nil {
		file.Release()
		if l.usable() == nil {
			_ = fs.Remove(name) // the next start would do it
		}
		return err
	}
	c.done.Segments += len(group)
	c.done.BytesBefore += before
	c.done.BytesAfter += c.written
	return nil
}

// keep writes what is to be kept of a batch: all of it, some records, its bare header, or nothing.
func (c *cleaning) keep(file vfs.File, b record.Batch) error {
	if b.Control() || b.BaseOffset() >= c.end {
		return c.write(file, b)
	}
	horizon, hasHorizon := b.DeleteHorizon()
	kept, dropped, tombstones := 0, 0, false
	wanted := func(r record.Record) bool {
		switch {
		case r.Key == nil || c.keys.latest(r.Key) > r.Offset:
			return false
		case r.Value == nil:
			return !hasHorizon || c.nowMs < horizon
		default:
			return true
		}
	}
	if err := b.Records(c.log.decompressLimit(), func(r record.Record) error {
		if !wanted(r) {
			dropped++
			return nil
		}
		kept++
		tombstones = tombstones || r.Value == nil
		return nil
	}); undecodable(err) {
		return c.write(file, b)
	} else if err != nil {
		return err
	}
	stamp := tombstones && !hasHorizon
	switch {
	case kept == 0:
		return c.keepHeader(file, b)
	case dropped == 0 && !stamp:
		return c.write(file, b)
	}
	form := record.FormOf(b)
	if stamp {
		form.DeleteHorizon = c.nowMs + c.options.DeleteRetentionMs
	}
	builder := record.NewBuilder(form)
	if err := b.Records(c.log.decompressLimit(), func(r record.Record) error {
		if wanted(r) {
			builder.AddRecord(r)
		}
		return nil
	}); err != nil {
		return err
	}
	builder.ReachTo(b.LastOffset())
	return c.write(file, builder.Build())
}

// keepHeader keeps a batch without records where it is the last one of its producer, whose sequence numbers would be
// forgotten with it (KIP-98), unless the producer has been silent for so long that they are forgotten anyway.
func (c *cleaning) keepHeader(file vfs.File, b record.Batch) error {
	id := b.Producer().ID
	if id < 0 || c.last[id] != b.LastOffset() || c.nowMs-b.MaxTimestamp() >= c.options.ProducerExpirationMs {
		return nil
	}
	return c.write(file, emptied(b))
}

// emptied is a batch's header alone: no records, no codec, the rest as it was.
func emptied(b record.Batch) record.Batch {
	e := make(record.Batch, record.HeaderSize)
	copy(e, b)
	binary.BigEndian.PutUint32(e[8:], record.HeaderSize-record.LengthOverhead)
	binary.BigEndian.PutUint16(e[21:], uint16(b.Attributes())&^7)
	binary.BigEndian.PutUint32(e[57:], 0)
	e.Seal()
	return e
}

func (c *cleaning) write(file vfs.File, b record.Batch) error {
	c.scratch.note(b, c.written+int64(len(c.out)), int64(len(b)), c.options.IndexIntervalBytes)
	c.out = append(c.out, b...)
	if len(c.out) >= writeMostBytes {
		return c.flush(file)
	}
	return nil
}

func (c *cleaning) flush(file vfs.File) error {
	if _, err := file.WriteAt(c.out, c.written); err != nil {
		return err
	}
	c.written += int64(len(c.out))
	c.out = c.out[:0]
	return nil
}

// swap puts a new segment, whose bytes are durable as <base>.log.cleaned, in the place of those that it was made of. The
// rename to <base>.log.swap is where it becomes true: a crash before it leaves the old ones, one after it is finished by
// finishSwaps.
func (l *Log) swap(group []*segment, fresh *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list()
	at := find(list, group[0].base)
	if l.closed || at+len(group) >= len(list) {
		return errRetired
	}
	for i, s := range group {
		if list[at+i] != s {
			return errRetired
		}
	}
	// It replaces files whose bytes need not be durable yet; those of the new one are, but not all before it.
	name := fresh.path + logSuffix
	if err := l.dir.fs.Rename(name+cleanedSuffix, name+swapSuffix); err != nil {
		return err
	}
	if err := l.dir.fs.SyncDir(l.path); err != nil {
		return err
	}
	swapped := append(append(append([]*segment(nil), list[:at]...), fresh), list[at+len(group):]...)
	l.segments.Store(&swapped)
	for _, s := range group {
		l.size.Add(-s.size.Load())
		s.retire()
	}
	l.size.Add(fresh.size.Load())
	if err := l.finishSwap(group, fresh.base); err != nil {
		l.dir.die(fmt.Errorf("compaction of %s: %w", l.tp, err))
		return kafka.KafkaStorageError
	}
	l.generation++
	unsynced := l.unsynced[:0:0]
	for _, u := range l.unsynced {
		if !u.isRetired() {
			unsynced = append(unsynced, u)
		}
	}
	l.unsynced = unsynced
	fresh.fs = l.dir.fs
	if err := fresh.seal(); err != nil {
		l.dir.failed(err)
	}
	l.dir.cache.hold(fresh, fresh.index.Load())
	return nil
}

func (s *segment) isRetired() bool {
	s.opening.Lock()
	defer s.opening.Unlock()
	return s.retired
}

// finishSwap removes the files of the old segments and gives the new one its name. The old ones must be gone for good
// before the name is: else a crash could bring back one that lies within the new one.
func (l *Log) finishSwap(group []*segment, base int64) error {
	fs := l.dir.fs
	for _, s := range group {
		names := s.files()
		if s.base == base {
			names = names[1:] // the rename replaces the log itself
		}
		for _, name := range names {
			if err := fs.Remove(name); err != nil && !errors.Is(err, vfs.ErrNotExist) {
				return err
			}
		}
	}
	if err := fs.SyncDir(l.path); err != nil {
		return err
	}
	name := segmentPath(l.path, base) + logSuffix
	if err := fs.Rename(name+swapSuffix, name); err != nil {
		return err
	}
	return fs.SyncDir(l.path)
}

// finishSwaps does after a crash what a compaction had left to do, and returns the names that the folder then has.
func (l *Log) finishSwaps(names []string) ([]string, error) {
	fs := l.dir.fs
	changed := false
	for _, name := range names {
		if base, ok := parseSegmentName(cutSuffix(name, cleanedSuffix)); ok && cutSuffix(name, cleanedSuffix) != name {
			changed = true
			if err := fs.Remove(segmentPath(l.path, base) + logSuffix + cleanedSuffix); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range names {
		base, ok := parseSegmentName(cutSuffix(name, swapSuffix))
		if !ok || cutSuffix(name, swapSuffix) == name {
			continue
		}
		changed = true
		end, err := l.swapEnd(base)
		if err != nil {
			return nil, err
		}
		var group []*segment
		for _, other := range names {
			if at, ok := parseSegmentName(other); ok && at >= base && (at == base || at < end) {
				group = append(group, newSegment(fs, l.dir.cache, l.path, at))
			}
		}
		if err := l.finishSwap(group, base); err != nil {
			return nil, err
		}
	}
	if !changed {
		return names, nil
	}
	return fs.List(l.path)
}

func cutSuffix(name, suffix string) string {
	if n := len(name) - len(suffix); n >= 0 && name[n:] == suffix {
		return name[:n]
	}
	return name
}

// swapEnd is the offset after the last batch of a swap file.
func (l *Log) swapEnd(base int64) (int64, error) {
	file, err := l.dir.fs.Open(segmentPath(l.path, base) + logSuffix + swapSuffix)
	if err != nil {
		return 0, err
	}
	defer file.Release()
	size, err := file.Size()
	if err != nil {
		return 0, err
	}
	w := newWalker(file, 0, size)
	defer w.close()
	end := base
	for {
		b, err := w.peek()
		if err == io.EOF {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		end = b.LastOffset() + 1
		w.skip(b)
	}
}
