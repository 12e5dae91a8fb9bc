package storage

import (
	"fmt"
	"path"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// together is how many logs are brought to the disk at a time, where many are: so many files are open for it.
const together = 256

// changes says how much has happened to a log's files.
type changes struct {
	known             bool
	end               int64
	generation, names uint64
}

// changes counts what was done to the files so far.
func (l *Log) changes() changes {
	l.mu.Lock()
	defer l.mu.Unlock()
	return changes{true, l.end.Load(), l.generation, l.namesChanged}
}

// isSettled says that the files of the log are as its last clean end, or its making, left them.
func (l *Log) isSettled() bool { return l.settledAt.known && l.settledAt == l.changes() }

// settle writes and syncs all there is, as before a clean end. Logs to which nothing was done are passed over, and the others'
// syncs go together: a node with thousands of partitions, most of them idle, is not to take minutes to stop.
func (d *Directory) settle(logs []*Log) error {
	var all []*Log
	for _, l := range logs {
		if l.broken.Load() != nil {
			return fmt.Errorf("%s is damaged", l.tp)
		}
		if !l.isSettled() {
			all = append(all, l)
		}
	}
	for group := range slices.Chunk(all, together) {
		if err := d.settleGroup(group); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) settleGroup(logs []*Log) error {
	if err := d.syncNow(logs); err != nil {
		return err
	}
	for _, l := range logs {
		if err := l.active().seal(); err != nil {
			return err
		}
		if err := l.writeSnapshot(l.end.Load()); err != nil {
			return err
		}
	}
	return d.fs.SyncDirs(folders(logs))
}

func folders(logs []*Log) []string {
	paths := make([]string, len(logs))
	for i, l := range logs {
		paths[i] = l.path
	}
	return paths
}

// syncNow makes everything in the logs durable and waits for it.
func (d *Directory) syncNow(logs []*Log) error {
	var jobs []flushJob
	var files []vfs.File
	defer func() {
		for _, file := range files {
			file.Release()
		}
	}()
	for _, l := range logs {
		job, more, ok := l.toFlush(files)
		files = more
		if !ok {
			return kafka.KafkaStorageError
		}
		jobs = append(jobs, job)
	}
	err := d.fs.SyncDirs(folders(logs))
	if err == nil {
		err = d.fs.SyncFiles(files)
	}
	if err != nil {
		d.die(err)
		return kafka.KafkaStorageError
	}
	for _, job := range jobs {
		job.log.flushed(job)
	}
	return nil
}

// writeEpochs brings the leader-epoch-checkpoint of every log up to date. It may be called beside the writers.
func (d *Directory) writeEpochs(logs []*Log) error {
	dirty := slices.DeleteFunc(slices.Clone(logs), func(l *Log) bool { return !l.epochsDirty.Load() })
	for group := range slices.Chunk(dirty, together) {
		if err := d.writeEpochsOf(group); err != nil {
			return err
		}
	}
	return nil
}

// writeEpochsOf holds all of the logs' epochsFile meanwhile. Whoever calls it is the only one to hold more than one.
func (d *Directory) writeEpochsOf(logs []*Log) error {
	var files []vfs.Whole
	var held []*Log
	for _, l := range logs {
		l.epochsFile.Lock()
		defer l.epochsFile.Unlock()
		// Of a deleted log, another may have the folder's name by now.
		if !l.isClosed() && l.epochsDirty.Swap(false) {
			files = append(files, vfs.Whole{Name: path.Join(l.path, leaderEpochFile), Data: l.encodeEpochs()})
			held = append(held, l)
		}
	}
	err := vfs.WriteFiles(d.fs, files)
	if err != nil {
		for _, l := range held {
			l.epochsDirty.Store(true)
		}
	}
	return err
}
