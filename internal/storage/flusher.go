package storage

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// flusher is the group commit of a directory. One round takes every dirty log, syncs their files together, and publishes
// how far each is durable. There is no timer: whoever appends during a round is in the next one, so the disk itself
// sets the size of a group.
//
// Producers that keep a few requests in flight send the next ones when they have their answers, one shortly after the
// other. A round that began with the first of them would make a group of one, and all others would wait for it: two
// syncs for what one could do. So a round lingers, for a part of the time that a sync takes, until as many appends have
// come as the last rounds suggest are on their way. Where appends come singly, nothing lingers.
type flusher struct {
	mu      sync.Mutex
	dirty   []*Log
	spare   []*Log
	running bool   // a round is lingering, queued or under way
	round   func() // flushRound, made once
	late    func() // the end of lingering, made once

	waiting   atomic.Int32 // appends since the last round began
	expected  atomic.Int32 // how many make a group that need not linger
	lingering atomic.Bool
	patience  time.Duration // how long a round lingers at most

	// Used by the round only.
	jobs  []flushJob
	files []vfs.File
}

// flushJob is what one log wants synced.
type flushJob struct {
	log        *Log
	end        int64 // everything below is in the files
	generation uint64
	active     int64  // base of its active segment; all before it that were not durable are in the job
	names      uint64 // how many changes of names its folder had seen
	folder     bool   // some of them are not synced
}

// Flush marks a log dirty and returns at once; the flusher syncs it and calls what Log.OnDurable set.
func (d *Directory) Flush(l *Log) { d.FlushAppends(l, 1) }

// FlushAppends is Flush after a number of appends that somebody waits for, each by itself.
func (d *Directory) FlushAppends(l *Log, appends int) {
	f := &d.flusher
	waiting := f.waiting.Add(int32(appends))
	start := false
	if !l.dirty.Swap(true) {
		f.mu.Lock()
		f.dirty = append(f.dirty, l)
		start = !f.running
		f.running = true
		f.mu.Unlock()
	}
	switch {
	case start:
		d.startRound()
	case f.lingering.Load() && waiting >= f.expected.Load():
		d.endLinger()
	}
}

const (
	// maxExpected is from what size on a group is large enough, whatever else may come.
	maxExpected = 64
	// minPatience and maxPatience bound how long a round lingers.
	minPatience = 20 * time.Microsecond
	maxPatience = 150 * time.Microsecond
)

// startRound queues a round, at once or after lingering.
func (d *Directory) startRound() {
	f := &d.flusher
	if f.waiting.Load() >= f.expected.Load() {
		d.loop.Do(f.round)
		return
	}
	patience := f.patience // not later: from then on somebody else may begin the round that changes it
	f.lingering.Store(true)
	d.loop.After(patience, f.late)
	if f.waiting.Load() >= f.expected.Load() {
		d.endLinger() // they came while nobody lingered yet
	}
}

// endLinger lets a lingering round begin. Of all who would, one does.
func (d *Directory) endLinger() {
	if d.flusher.lingering.CompareAndSwap(true, false) {
		d.loop.Do(d.flusher.round)
	}
}

// flushRound runs on the directory's loop.
func (d *Directory) flushRound() {
	f := &d.flusher
	taken, began := f.waiting.Swap(0), d.rt.Now()
	f.mu.Lock()
	logs := f.dirty
	f.dirty = f.spare[:0]
	f.mu.Unlock()

	if d.failure.Load() != nil {
		return // running stays true: there will be no other round
	}
	err := d.syncTogether(logs)
	for _, file := range f.files {
		if released := file.Release(); err == nil {
			err = released
		}
	}
	clear(f.files)
	f.files = f.files[:0]
	if err != nil {
		d.die(err)
		return
	}
	for _, job := range f.jobs {
		job.log.flushed(job)
	}
	clear(f.jobs)
	f.jobs = f.jobs[:0]

	f.patience = min(max(d.rt.Now().Sub(began)/2, minPatience), maxPatience)
	f.expected.Store(min(taken+f.waiting.Load(), maxExpected))
	clear(logs)
	f.mu.Lock()
	f.spare = logs[:0]
	f.running = len(f.dirty) > 0
	again := f.running
	f.mu.Unlock()
	if again {
		d.startRound()
	}
}

func (d *Directory) syncTogether(logs []*Log) error {
	f := &d.flusher
	for _, l := range logs {
		l.dirty.Store(false) // before the end is read: a later append makes it dirty again
		job, files, ok := l.toFlush(f.files)
		f.files = files
		if ok {
			f.jobs = append(f.jobs, job)
		}
	}
	if err := d.syncFolders(f.jobs); err != nil {
		return err
	}
	if len(f.files) == 0 {
		return nil
	}
	return d.fs.SyncFiles(f.files)
}

// syncFolders makes the names of files durable that were made. A folder that is missing is that of a log which was deleted meanwhile.
func (d *Directory) syncFolders(jobs []flushJob) error {
	var folders []string
	for _, job := range jobs {
		if job.folder {
			folders = append(folders, job.log.path)
		}
	}
	err := d.fs.SyncDirs(folders)
	if err == nil || !errors.Is(err, vfs.ErrNotExist) {
		return err
	}
	for _, job := range jobs {
		if job.folder {
			if err := d.fs.SyncDir(job.log.path); err != nil && !job.log.isClosed() {
				return err
			}
		}
	}
	return nil
}

// toFlush adds the files that hold what is not durable yet, retained.
func (l *Log) toFlush(files []vfs.File) (flushJob, []vfs.File, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.truncating {
		return flushJob{}, files, false
	}
	job := flushJob{
		log: l, end: l.end.Load(), generation: l.generation, active: l.active().base, names: l.namesChanged,
		folder: l.namesChanged != l.namesSynced,
	}
	for _, s := range l.unsynced {
		if file, err := s.acquire(); err == nil {
			files = append(files, file)
		} else {
			l.dir.die(err)
			return flushJob{}, files, false
		}
	}
	file, err := l.active().acquire()
	if err != nil {
		l.dir.die(err)
		return flushJob{}, files, false
	}
	return job, append(files, file), true
}

// flushed publishes what a round has made durable.
func (l *Log) flushed(job flushJob) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	if l.generation != job.generation {
		l.mu.Unlock() // truncated meanwhile: what was synced may not be what is there now
		l.dir.Flush(l)
		return
	}
	l.unsynced = slices.DeleteFunc(l.unsynced, func(s *segment) bool { return s.base < job.active })
	l.namesSynced = max(l.namesSynced, job.names)
	moved := job.end > l.durable.Load()
	if moved {
		l.durable.Store(job.end)
	}
	l.mu.Unlock()
	if f := l.onDurable.Load(); moved && f != nil {
		(*f)(job.end)
	}
}
