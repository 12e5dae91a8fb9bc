package storage

import (
	"errors"
	"fmt"
	"io"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// One write takes at most so much, which bounds how long the writer's lock is held for it.
const (
	writeMostBytes   = 1 << 20
	writeMostBatches = 512
)

// Append is one batch to append as leader, and what became of it.
type Append struct {
	// Batch is validated by the caller; its base offset and leader epoch are rewritten in place.
	Batch record.Batch

	Err        kafka.ErrorCode
	BaseOffset int64 // -1 on error
	LastOffset int64 // -1 on error
	AppendTime int64 // -1 unless the batch has LogAppendTime
	Duplicate  bool  // written before: the offsets are the original ones, nothing was written
}

func (a *Append) refuse(code kafka.ErrorCode) {
	a.Err, a.BaseOffset, a.LastOffset, a.AppendTime, a.Duplicate = code, -1, -1, -1, false
}

// AppendAsLeader numbers batches and writes them, in order. Writer. Each Append says what became of it; the error is for
// the log as a whole (KafkaStorageError, or NotLeaderOrFollower for an epoch that is over), and then every batch that was
// not written has it too. Nothing is durable yet: see Directory.Flush.
func (l *Log) AppendAsLeader(epoch int32, nowMs int64, appends []*Append) error {
	err := l.usable()
	if err == nil && epoch < l.LatestEpoch() {
		err = kafka.NotLeaderOrFollower
	}
	if err != nil {
		refuseAll(appends, err)
		return err
	}
	w := writing{log: l, options: l.Options(), nowMs: nowMs, segment: l.active(), next: l.end.Load()}
	w.position = w.segment.size.Load()
	l.producers.begin()
	first := 0 // the first append that is not settled by a write
	for i, a := range appends {
		b := a.Batch
		a.Err, a.Duplicate, a.AppendTime = kafka.None, false, record.NoTimestamp
		if b.LogAppendTime() {
			a.AppendTime = b.MaxTimestamp()
		}
		if producer := b.Producer(); producer.ID >= 0 && !b.Control() {
			seen, code := l.producers.check(producer, b.BaseSequence(), b.LastOffsetDelta())
			if code != kafka.None {
				a.refuse(code)
				continue
			}
			if seen != nil {
				a.Duplicate, a.LastOffset = true, seen.lastOffset
				a.BaseOffset = seen.lastOffset - int64(seen.offsetDelta)
				if a.AppendTime != record.NoTimestamp {
					a.AppendTime = seen.timestamp
				}
				continue
			}
		}
		a.BaseOffset, a.LastOffset = w.next, w.next+int64(b.LastOffsetDelta())
		written, err := w.makeRoom(b, a.LastOffset)
		if written {
			first = i
		}
		if err != nil {
			l.producers.undo()
			refuseAll(appends[first:], err)
			return err
		}
		b.SetBaseOffset(a.BaseOffset)
		b.SetLeaderEpoch(epoch)
		w.stage(b, a.LastOffset)
	}
	if err := w.write(); err != nil {
		l.producers.undo()
		refuseAll(appends[first:], err)
		return err
	}
	return l.snapshotIfDue()
}

// refuseAll leaves those alone that were refused for a reason of their own.
func refuseAll(appends []*Append, err error) {
	for _, a := range appends {
		if a.Err == kafka.None {
			a.refuse(kafka.AsErrorCode(err))
		}
	}
}

// AppendAsFollower writes batches as the leader numbered them. Writer. The caller has checked their CRC. They must not
// start before End nor go back in epoch; the first may start beyond it, where the leader's log has been compacted.
func (l *Log) AppendAsFollower(nowMs int64, batches []record.Batch) error {
	if err := l.usable(); err != nil {
		return err
	}
	w := writing{log: l, options: l.Options(), nowMs: nowMs, segment: l.active(), next: l.end.Load()}
	w.position = w.segment.size.Load()
	l.producers.begin()
	epoch := l.LatestEpoch()
	for _, b := range batches {
		if b.BaseOffset() < w.next || b.LeaderEpoch() < epoch {
			if err := w.write(); err != nil {
				return err
			}
			return fmt.Errorf("%s: batch at %d of epoch %d does not follow %d of epoch %d: %w",
				l.tp, b.BaseOffset(), b.LeaderEpoch(), w.next, epoch, kafka.CorruptMessage)
		}
		epoch = b.LeaderEpoch()
		if _, err := w.makeRoom(b, b.LastOffset()); err != nil {
			l.producers.undo()
			return err
		}
		w.stage(b, b.LastOffset())
	}
	if err := w.write(); err != nil {
		l.producers.undo()
		return err
	}
	return l.snapshotIfDue()
}

// writing is one call's progress: what is staged for the active segment and not written yet.
type writing struct {
	log      *Log
	options  *Options
	nowMs    int64
	segment  *segment
	position int64 // size of the segment without what is staged
	bytes    int64 // staged
	next     int64 // offset after what is staged
}

// makeRoom writes what is staged, and rolls, where the next batch asks for it. written reports that everything staged
// so far is settled.
func (w *writing) makeRoom(b record.Batch, last int64) (written bool, err error) {
	l := w.log
	size := int64(len(b))
	roll := !w.segment.fits(last, size, w.position+w.bytes, w.options) || w.tooOld(b)
	if !roll && w.bytes+size <= writeMostBytes && len(l.buffers) < writeMostBatches {
		return false, nil
	}
	if len(l.buffers) > 0 {
		if err := w.write(); err != nil {
			return false, err
		}
		written = true
	}
	if roll {
		if err := l.roll(w.next, w.nowMs); err != nil {
			return written, err
		}
		w.segment = l.active()
		w.position = w.segment.size.Load()
	}
	return written, nil
}

// tooOld is segment.ms: by the timestamps of the batches where they have some, else by the clock.
func (w *writing) tooOld(b record.Batch) bool {
	s := w.segment
	if w.position == 0 {
		return false
	}
	limit := w.options.SegmentMs - s.jitterMs
	if first, ms := s.firstTime, b.MaxTimestamp(); first >= 0 && ms >= 0 {
		return ms-first > limit
	}
	return w.nowMs-s.createdMs > limit
}

func (w *writing) stage(b record.Batch, last int64) {
	l := w.log
	l.buffers = append(l.buffers, b)
	l.batches = append(l.batches, b)
	l.producers.apply(b)
	w.bytes += int64(len(b))
	w.next = last + 1
}

// write puts what is staged into the segment's file with one vectored write, and publishes it.
func (w *writing) write() error {
	l := w.log
	if len(l.batches) == 0 {
		return nil
	}
	defer func() {
		clear(l.batches)
		clear(l.buffers)
		l.batches, l.buffers = l.batches[:0], l.buffers[:0]
		w.bytes = 0
	}()
	s := w.segment
	file := s.file.Load().File
	n, err := file.WritevAt(l.buffers, w.position)
	if err == nil && n != w.bytes {
		err = io.ErrShortWrite
	}
	if err != nil {
		return l.writeFailed(file, w.position, err)
	}
	for _, b := range l.batches {
		if epoch := b.LeaderEpoch(); epoch > l.LatestEpoch() {
			l.startEpoch(epoch, b.BaseOffset())
		}
		s.note(b, w.position, int64(len(b)), w.options.IndexIntervalBytes)
		w.position += int64(len(b))
	}
	if l.dir.full.Load() {
		l.dir.full.Store(false)
	}
	l.producers.begin() // what is written is not undone
	l.sinceSnapshot += w.bytes
	l.publish(s, w.position, w.next)
	if err := s.tend(file, w.position, w.options); err != nil {
		// The batches are in the log. Whatever is wrong with the disk, the next write or sync will say.
		l.dir.failed(err)
	}
	return nil
}

// writeFailed takes back what part of a write there is. A full disk is survived: appends fail until there is space again.
func (l *Log) writeFailed(file vfs.File, size int64, err error) error {
	if !errors.Is(err, vfs.ErrNoSpace) {
		return l.dir.failed(fmt.Errorf("write to %s: %w", file.Name(), err))
	}
	if cut := file.Truncate(size); cut != nil {
		l.dir.die(fmt.Errorf("truncate %s after a write failed: %w", file.Name(), cut))
		return kafka.KafkaStorageError
	}
	return l.dir.failed(err)
}
