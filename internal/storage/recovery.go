package storage

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// ErrTopicID is answered where a partition's folder belongs to another incarnation of the topic.
var ErrTopicID = errors.New("folder belongs to another topic id")

// Report is what opening a log found.
type Report struct {
	Unclean        bool  // the last process did not close the log
	BatchesScanned int   // batches read and checked
	TruncatedBytes int64 // torn or suspect bytes cut off
	Suspect        bool  // a valid batch lay behind the first bad one: unsynced pages out of order, or rot
	Damaged        bool  // bad bytes below what was durable: the log is offline
	Reason         string
}

// OpenLog opens a partition's log, makes it if it is missing, and recovers it where the last process did not close it.
// It may be called for several logs at once. A log that is damaged below what was durable is returned offline.
func (d *Directory) OpenLog(tp kafka.TopicPartition, id kafka.TopicID, options Options) (*Log, Report, error) {
	if d.Failed() != nil {
		return nil, Report{}, kafka.KafkaStorageError
	}
	l := &Log{dir: d, tp: tp, id: id, path: path.Join(d.path, tp.String())}
	l.options.Store(&options)
	l.epochs.Store(&[]epochStart{})
	d.mu.Lock()
	opened := d.logs[tp] != nil
	point, hasPoint := d.points[tp]
	start, mark, cleaned := d.starts[tp], d.marks[tp], d.cleaned[tp]
	d.mu.Unlock()
	if opened {
		return nil, Report{}, fmt.Errorf("%s is open already", tp)
	}
	l.cleanedTo.Store(cleaned)
	l.checkpointed.Store(max(point, mark))
	l.recoverable.Store(max(point, mark))
	o := opening{log: l, durable: max(point, mark), start: start, report: Report{Unclean: !d.clean}}
	if err := o.open(); err != nil {
		err = fmt.Errorf("open %s in %s: %w", tp, d.path, err)
		if !errors.Is(err, ErrTopicID) && !errors.Is(err, vfs.ErrNoSpace) {
			d.die(err)
		}
		return nil, o.report, err
	}
	if hasPoint && o.report.Damaged {
		l.durable.Store(o.durable) // so that the next start finds the damage again
	}
	l.highWatermark.Store(max(mark, l.logStart.Load()))
	o.tell()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs[tp] = l
	delete(d.points, tp)
	delete(d.starts, tp)
	delete(d.marks, tp)
	delete(d.cleaned, tp)
	if o.flush {
		d.Flush(l)
	}
	return l, o.report, nil
}

// opening is the state of one OpenLog.
type opening struct {
	log     *Log
	durable int64 // what the last process promised: the recovery point, the high watermark
	start   int64 // log start offset, as checkpointed
	report  Report
	flush   bool // there are bytes of which nobody knows whether they are on the disk
}

func (o *opening) tell() {
	r := o.report
	if r.TruncatedBytes == 0 && !r.Damaged && !r.Suspect {
		return
	}
	o.log.dir.logger.Warn("partition recovered", "partition", o.log.tp.String(), "end", o.log.End(),
		"scanned", r.BatchesScanned, "truncatedBytes", r.TruncatedBytes, "suspect", r.Suspect, "damaged", r.Damaged,
		"reason", r.Reason)
}

func (o *opening) open() error {
	l, fs := o.log, o.log.dir.fs
	names, err := fs.List(l.path)
	if errors.Is(err, vfs.ErrNotExist) {
		return o.create()
	}
	if err != nil {
		return err
	}
	id, err := readTopicID(fs, l.path)
	switch {
	case errors.Is(err, vfs.ErrNotExist):
		if err := l.writeTopicID(); err != nil {
			return err
		}
		if err := fs.SyncDir(l.path); err != nil {
			return err
		}
	case err != nil:
		return err
	case id != l.id:
		return fmt.Errorf("%s is of %s, not %s: %w", l.path, id, l.id, ErrTopicID)
	}
	if names, err = l.finishSwaps(names); err != nil {
		return err
	}
	list, err := o.listSegments(names)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return o.startEmpty(max(o.start, 0))
	}
	l.segments.Store(&list)
	return o.load(list)
}

// create makes the folder of a new log, durably, or leaves none.
func (o *opening) create() error {
	err := o.tryCreate()
	if err != nil {
		_ = o.log.dir.fs.RemoveAll(o.log.path) // as far as this disk still does anything
	}
	return err
}

func (o *opening) tryCreate() error {
	l, fs := o.log, o.log.dir.fs
	if err := o.disown(); err != nil {
		return err
	}
	if err := fs.MkdirAll(l.path); err != nil {
		return err
	}
	if err := l.writeTopicID(); err != nil {
		return err
	}
	if err := o.startEmpty(0); err != nil {
		return err
	}
	return fs.SyncDir(l.dir.path)
}

// disown makes sure that the checkpoint files do not speak of an earlier log of this name, which was deleted: after a crash, what
// that one had would be missed in this one.
func (o *opening) disown() error {
	d := o.log.dir
	d.mu.Lock()
	known := d.written[o.log.tp]
	d.mu.Unlock()
	if !known || o.durable > 0 || o.start > 0 {
		return nil // none, or one that was not deleted and is gone
	}
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	return d.checkpoint()
}

func (l *Log) writeTopicID() error {
	text := fmt.Appendf(nil, "version: 0\ntopic_id: %s\n", l.id)
	return vfs.WriteFileLazily(l.dir.fs, path.Join(l.path, topicIDFile), text, true)
}

// startEmpty makes the first segment of a log that has none. That data was promised and is not there is damage.
func (o *opening) startEmpty(at int64) error {
	l := o.log
	if o.durable > at {
		o.damaged(fmt.Sprintf("no segment is left of a log that was durable up to %d", o.durable))
	}
	l.producers = newProducers()
	s, err := l.createSegment(at, l.dir.rt.Now().UnixMilli())
	if err != nil {
		return err
	}
	l.segments.Store(&[]*segment{s})
	l.logStart.Store(at)
	l.ahead.Store(at)
	l.end.Store(at)
	l.durable.Store(at)
	err = l.dir.fs.SyncDir(l.path)
	if err == nil && len(l.snapshots) == 0 {
		l.settledAt = l.changes()
	}
	return err
}

func (o *opening) damaged(reason string) {
	o.report.Damaged, o.report.Reason = true, reason
	o.log.fail(errors.New(reason))
}

// listSegments makes a segment of each .log file, notes the snapshots, and removes what nobody needs. Segments below the
// log start were about to be deleted.
func (o *opening) listSegments(names []string) ([]*segment, error) {
	l, fs := o.log, o.log.dir.fs
	var list []*segment
	for _, name := range names {
		if offset, ok := parseSnapshotName(name); ok {
			l.snapshots = append(l.snapshots, offset)
		}
		if strings.HasSuffix(name, ".tmp") {
			if err := fs.Remove(path.Join(l.path, name)); err != nil && !errors.Is(err, vfs.ErrNotExist) {
				return nil, err
			}
		}
		base, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		s := newSegment(fs, l.dir.cache, l.path, base)
		size, err := fs.Size(s.path + logSuffix)
		if err != nil {
			return nil, err
		}
		s.size.Store(size)
		list = append(list, s)
	}
	slices.Sort(l.snapshots)
	slices.SortFunc(list, func(a, b *segment) int { return int(min(max(a.base-b.base, -1), 1)) })
	for len(list) > 1 && list[1].base <= o.start {
		for _, name := range list[0].files() {
			l.dir.removeLater(deletion{name: name})
		}
		list = list[1:]
	}
	return list, nil
}

func parseSegmentName(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, logSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	var base int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		base = base*10 + int64(c-'0')
	}
	return base, base >= 0
}

// load brings the log from its files into memory. Segments that were durable in whole are only listed; of the rest, every
// batch is read and checked, unless the last process ended cleanly.
func (o *opening) load(list []*segment) error {
	l := o.log
	epochs, err := readEpochs(l.dir.fs, l.path)
	if err != nil {
		l.dir.logger.Warn("leader epochs are read from the log", "partition", l.tp.String(), "error", err)
	}
	if epochs == nil {
		if epochs, err = scanEpochs(list, o.durable); err != nil {
			return err
		}
		l.epochsDirty.Store(true)
	}
	for n := len(epochs); n > 0 && epochs[n-1].start > o.durable; n-- {
		epochs = epochs[:n-1] // scan finds them again, if their batches are still there
	}
	l.epochs.Store(&epochs)
	var from int64
	if l.producers, from, err = l.loadSnapshot(o.durable); err != nil {
		return err
	}
	if err := o.replayProducers(list, from); err != nil {
		return err
	}
	first := find(list, o.durable)
	for _, s := range list[:first] {
		l.size.Add(s.size.Load())
	}
	end := list[first].base
	for i := first; i < len(list); i++ {
		s := list[i]
		// What is missing between two segments was not durable, so nothing behind it was either. (Compaction leaves such
		// gaps too, but only below.)
		if cut := o.report.TruncatedBytes > 0 || o.report.Suspect; i > first && (cut || s.base != end && !l.dir.pointsLost) {
			if list, err = o.dropFrom(list, i); err != nil {
				return err
			}
			break
		}
		if i > first {
			if err := o.sealed(list[i-1]); err != nil {
				return err
			}
		}
		if end, err = o.loadSegment(s, s.base, max(from, o.durable)); err != nil {
			return err
		}
		if o.report.Damaged {
			break
		}
	}
	if end < o.durable && !o.report.Damaged {
		o.damaged(fmt.Sprintf("the log ends at %d, but was durable up to %d", end, o.durable))
	}
	return o.finish(list, end)
}

// sealed makes a segment that was loaded as the active one a sealed one, as the log goes on behind it.
func (o *opening) sealed(s *segment) error {
	s.tail.Store(nil)
	o.log.unsynced = append(o.log.unsynced, s)
	return s.seal()
}

// finish publishes what was loaded.
func (o *opening) finish(list []*segment, end int64) error {
	l := o.log
	if !o.report.Damaged {
		known := len(l.snapshots)
		if err := l.dropSnapshotsAfter(end); err != nil {
			return err
		}
		if known > len(l.snapshots) {
			if err := l.dir.fs.SyncDir(l.path); err != nil {
				return err
			}
		}
	}
	l.segments.Store(&list)
	l.logStart.Store(min(max(o.start, list[0].base), end))
	l.ahead.Store(end)
	l.end.Store(end)
	l.durable.Store(min(o.durable, end))
	if l.dir.clean {
		l.durable.Store(end)
	}
	l.namesChanged = 1
	o.flush = !o.report.Damaged && end > l.durable.Load()
	if l.dir.clean && !o.report.Damaged && o.report.TruncatedBytes == 0 {
		l.settledAt = l.changes()
	}
	return nil
}

// dropFrom removes the segments behind one that had to be cut, the last first, so that at no time there is a hole.
func (o *opening) dropFrom(list []*segment, from int) ([]*segment, error) {
	fs := o.log.dir.fs
	for _, s := range slices.Backward(list[from:]) {
		o.report.TruncatedBytes += s.size.Load()
		if s.size.Load() > 0 {
			o.report.Suspect = true
			if err := fs.Rename(s.path+logSuffix, s.path+logSuffix+".suspect"); err != nil {
				return nil, err
			}
		}
		if err := s.unlink(); err != nil {
			return nil, err
		}
		if err := fs.SyncDir(o.log.path); err != nil {
			return nil, err
		}
	}
	list = slices.Clone(list[:from])
	o.log.segments.Store(&list)
	return list, nil
}

// loadSegment makes a segment's index, and reads and checks its batches: on a clean start those behind the last indexed
// one, else those that were not durable as well. It cuts a torn tail off and returns the end.
func (o *opening) loadSegment(s *segment, end, producersFrom int64) (int64, error) {
	l := o.log
	size := s.size.Load()
	s.activate(l, l.dir.rt.Now().UnixMilli())
	file, err := s.acquire()
	if err != nil {
		return end, err
	}
	defer file.Release()
	x, err := readIndexFiles(l.dir.fs, s.path, size)
	if err != nil {
		return end, err
	}
	x = o.durablePart(s, x)
	s.index.Store(x)
	s.indexWritten = x.len()
	s.timesWritten = 0
	var position int64
	if n := x.len(); n > 0 {
		e := x.at(n - 1)
		position = int64(e.position)
		s.maxTime.Store(e.maxTime)
		s.maxLast.Store(s.base + int64(e.maxLast))
		s.timesWritten = timesIn(x)
		end = s.base + int64(e.last) // of the batch before, at most
	}
	s.indexedSize = position
	if position > 0 {
		if position, end, err = o.believe(s, file, position, end); err != nil {
			return end, err
		}
		if err := o.firstTimestamp(s, file); err != nil {
			return end, err
		}
	}
	if !l.dir.clean {
		if err := s.trimIndexFiles(); err != nil {
			return end, err
		}
	}
	return o.scan(s, file, position, end, producersFrom)
}

// durablePart is the entries of an index that were in it when the recovery point was: of later ones the batches may be
// others by now.
func (o *opening) durablePart(s *segment, x *index) *index {
	i := x.lastWhere(func(e *indexEntry) bool { return s.base+int64(e.last) < o.durable })
	if i == x.len()-1 {
		return x
	}
	if i < 0 {
		return &index{}
	}
	return x.prefix(int64(x.at(i).position) + 1)
}

// timesIn is how long a .timeindex with an index's entries is.
func timesIn(x *index) int64 {
	_, times := x.encode(0, record.NoTimestamp)
	return int64(len(times))
}

// believe checks the last index entry against the log; if it lies, the index starts anew.
func (o *opening) believe(s *segment, file vfs.File, position, last int64) (int64, int64, error) {
	w := newWalker(file, position, s.size.Load())
	defer w.close()
	b, err := w.peek()
	if err == nil && b.LastOffset() == last {
		return position, b.BaseOffset(), nil
	}
	if err != nil && !errors.Is(err, errCorruptLog) {
		return 0, 0, err
	}
	s.index.Store(&index{})
	s.maxTime.Store(record.NoTimestamp)
	s.maxLast.Store(s.base)
	s.indexWritten, s.timesWritten, s.indexedSize = 0, 0, 0
	return 0, s.base, nil
}

// firstTimestamp reads what segment.ms counts from.
func (o *opening) firstTimestamp(s *segment, file vfs.File) error {
	w := newWalker(file, 0, s.size.Load())
	defer w.close()
	b, err := w.peek()
	if err == nil {
		s.firstTime = b.MaxTimestamp()
	} else if !errors.Is(err, errCorruptLog) && err != io.EOF {
		return err
	}
	return nil
}

// scanEpochs finds the leader epochs of the durable part of the log by its batches, where their file is lost.
func scanEpochs(list []*segment, below int64) ([]epochStart, error) {
	var epochs []epochStart
	err := walkHeaders(list, list[0].base, func(b record.Batch) bool {
		if b.BaseOffset() >= below {
			return false
		}
		if n := len(epochs); n == 0 || epochs[n-1].epoch < b.LeaderEpoch() {
			epochs = append(epochs, epochStart{b.LeaderEpoch(), b.BaseOffset()})
		}
		return true
	})
	return epochs, err
}

// replayProducers brings the producers from a snapshot up to the durable end, by headers alone; scan does the rest.
func (o *opening) replayProducers(list []*segment, from int64) error {
	if from >= o.durable {
		return nil
	}
	return walkHeaders(list, from, func(b record.Batch) bool {
		if b.BaseOffset() >= o.durable {
			return false
		}
		o.log.producers.replay(b)
		return true
	})
}

// walkHeaders visits the headers of batches from an offset on, until visit has had enough or there is no valid batch.
func walkHeaders(list []*segment, from int64, visit func(record.Batch) bool) error {
	for i := find(list, from); i < len(list); i++ {
		more, err := list[i].walkHeaders(from, visit)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (s *segment) walkHeaders(from int64, visit func(record.Batch) bool) (more bool, err error) {
	file, err := s.acquire()
	if err != nil {
		return false, err
	}
	defer file.Release()
	size := s.size.Load()
	start, err := s.holding(file, from, size)
	if errors.Is(err, errCorruptLog) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w := newWalker(file, start.position, size)
	defer w.close()
	for {
		b, err := w.peek()
		if err == io.EOF {
			return true, nil
		}
		if errors.Is(err, errCorruptLog) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if b.LastOffset() >= from && !visit(b) {
			return false, nil
		}
		w.skip(b)
	}
}
