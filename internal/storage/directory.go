package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/vfs"
)

// fullSaidEvery is how often the log is told that the disk is full, where that comes and goes.
const fullSaidEvery = 30 * time.Second

const (
	lockFile          = ".lock"
	metaFile          = "meta.properties"
	cleanShutdownFile = ".kafka_cleanshutdown"
	topicIDFile       = "partition.metadata"
	deletedSuffix     = "-delete"
)

// DirectoryConfig is what a log directory is opened with.
type DirectoryConfig struct {
	ClusterID string // must equal the directory's; "" takes whatever the directory says
	NodeID    kafka.NodeID
	Logger    *slog.Logger // nil: silent
	// OnFailed is called once, on the directory's loop and under no lock, when the directory dies.
	OnFailed func(err error)
	// IndexCacheBytes bounds the memory for indexes of segments that are no longer written; 0 is 32 MiB.
	IndexCacheBytes int64
}

// Meta is what a directory knows of itself (meta.properties).
type Meta struct {
	ClusterID   string
	NodeID      kafka.NodeID
	DirectoryID kafka.TopicID // Kafka's directory.id, a UUID
	BootSeq     int64         // counts starts; incremented and synced before OpenDirectory returns
}

// Found is a partition whose folder a directory holds. TopicID is zero where the folder was only half made.
type Found struct {
	kafka.TopicPartition
	TopicID kafka.TopicID
}

// Directory is one log directory: its lock, its checkpoints, its group-commit flusher, the logs in it.
type Directory struct {
	rt     loop.Runtime
	fs     vfs.FS
	path   string
	config DirectoryConfig
	logger *slog.Logger
	meta   Meta
	clean  bool
	lock   io.Closer
	loop   loop.Loop
	cache  *indexCache

	pointsLost bool                    // nobody knows what the last process had made durable
	full       atomic.Bool             // the last write found no space
	fullSaid   atomic.Int64            // when the log was last told so, in ms; 0 for never
	failure    atomic.Pointer[failure] // once set, nothing is written, synced or read here any more

	checkpointing sync.Mutex // one writer of checkpoint files at a time

	removing sync.Mutex // held while a file is removed; taken before mu and after checkpointing
	closed   bool       // somebody else may have the directory; set under both

	mu                             sync.Mutex
	logs                           map[kafka.TopicPartition]*Log
	points, starts, marks, cleaned offsets // of logs not opened yet, as the last process wrote them
	// written are the partitions that the checkpoint files speak of. A log that is made under the name of one that was deleted must
	// not be taken for it: before that, the files are written anew.
	written  map[kafka.TopicPartition]bool
	deleted  []deletion
	badFiles map[string]int64 // files that could not be read, and when (ms)

	flusher flusher
}

type failure struct{ err error }

// deletion is a file or folder that nothing needs any more.
type deletion struct {
	name    string
	folder  bool
	dueMs   int64
	covered bool // by the checkpoint that comes before the removal
	// A folder goes in two steps: its files, and its name when the checkpoint files do not speak of its log any more. Until then
	// the name tells that they speak of one that was deleted.
	emptied, written bool
}

// OpenDirectory locks a directory, makes it if it is missing, and counts the start.
func OpenDirectory(rt loop.Runtime, fs vfs.FS, dir string, config DirectoryConfig) (*Directory, error) {
	d := &Directory{
		rt: rt, fs: fs, path: dir, config: config, logger: config.Logger,
		logs: map[kafka.TopicPartition]*Log{}, badFiles: map[string]int64{},
		loop: rt.Loop("flush " + dir),
	}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	d.cache = newIndexCache(config.IndexCacheBytes)
	d.flusher.round, d.flusher.late = d.flushRound, d.endLinger
	if err := fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("log directory %s: %w", dir, err)
	}
	if err := fs.SyncDir(path.Dir(dir)); err != nil {
		return nil, fmt.Errorf("log directory %s: %w", dir, err)
	}
	lock, err := fs.Lock(path.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("log directory %s: %w", dir, err)
	}
	d.lock = lock
	if err := d.start(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("log directory %s: %w", dir, err)
	}
	return d, nil
}

// start reads what the last process left and marks the directory as in use.
func (d *Directory) start() error {
	if err := d.identify(); err != nil {
		return err
	}
	// The mark of a clean shutdown goes before anything is loaded: a crash from here on is unclean (KAFKA-10471).
	mark := path.Join(d.path, cleanShutdownFile)
	switch err := d.fs.Remove(mark); {
	case err == nil:
		d.clean = true
	case !errors.Is(err, vfs.ErrNotExist):
		return err
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		return err
	}
	for _, file := range []struct {
		name   string
		values *offsets
	}{{recoveryPointFile, &d.points}, {logStartFile, &d.starts}, {highWatermarkFile, &d.marks}, {cleanerFile, &d.cleaned}} {
		values, err := readOffsets(d.fs, path.Join(d.path, file.name))
		if errors.Is(err, errBadCheckpoint) || errors.Is(err, vfs.ErrNotExist) {
			// Every log is then read from its start, and what starts is as safe as without the file.
			d.pointsLost = d.pointsLost || file.name == recoveryPointFile
			d.logger.Warn("checkpoint is missing or damaged", "directory", d.path, "error", err)
			err, values = nil, offsets{}
		}
		if err != nil {
			return err
		}
		*file.values = values
	}
	d.wrote(d.points, d.starts, d.marks, d.cleaned)
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if folder, ok := strings.CutSuffix(name, "/"); ok && strings.HasSuffix(folder, deletedSuffix) {
			d.deleted = append(d.deleted, deletion{name: path.Join(d.path, folder), folder: true})
			d.forgetDeleted(folder, names)
		}
	}
	return nil
}

// wrote notes what the checkpoint files speak of.
func (d *Directory) wrote(files ...offsets) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = map[kafka.TopicPartition]bool{}
	for _, values := range files {
		for tp := range values { // any order
			d.written[tp] = true
		}
	}
}

// forgetDeleted forgets what the checkpoint files say of a log whose folder was renamed out of the way, unless another has been made
// under its name since.
func (d *Directory) forgetDeleted(folder string, names []string) {
	name := folder[:max(strings.LastIndexByte(folder, '.'), 0)]
	if tp, ok := parseFolder(name); ok && !slices.Contains(names, name+"/") {
		for _, values := range []offsets{d.points, d.starts, d.marks, d.cleaned} {
			delete(values, tp)
		}
	}
}

// identify reads or makes meta.properties, and counts the start in it.
func (d *Directory) identify() error {
	name := path.Join(d.path, metaFile)
	data, err := vfs.ReadFile(d.fs, name, 1<<20)
	if errors.Is(err, vfs.ErrNotExist) {
		names, err := d.fs.List(d.path)
		if err != nil {
			return err
		}
		for _, n := range names {
			if strings.HasSuffix(n, "/") && n != "lost+found/" {
				return fmt.Errorf("%s is missing although there is data (%s): wrong folder mounted?", metaFile, n)
			}
		}
		for _, file := range []string{recoveryPointFile, logStartFile, highWatermarkFile, cleanerFile} {
			if err := writeOffsets(d.fs, path.Join(d.path, file), nil); err != nil {
				return err
			}
		}
		d.meta = Meta{ClusterID: d.config.ClusterID, NodeID: d.config.NodeID, DirectoryID: d.newUUID()}
	} else if err != nil {
		return err
	} else if d.meta, err = parseMeta(data); err != nil {
		return fmt.Errorf("%s: %w", metaFile, err)
	}
	if d.config.ClusterID != "" && d.meta.ClusterID != "" && d.config.ClusterID != d.meta.ClusterID {
		return fmt.Errorf("belongs to cluster %q, not %q: %w", d.meta.ClusterID, d.config.ClusterID, kafka.InconsistentClusterID)
	}
	if d.meta.ClusterID == "" {
		d.meta.ClusterID = d.config.ClusterID
	}
	if d.config.NodeID != d.meta.NodeID {
		return fmt.Errorf("belongs to node %d, not %d", d.meta.NodeID, d.config.NodeID)
	}
	d.meta.BootSeq++
	return vfs.WriteFile(d.fs, name, d.meta.encode())
}

// Identify reads what a directory knows of itself, without opening it. ok is false for one that is not made yet.
func Identify(fs vfs.FS, dir string) (m Meta, ok bool, err error) {
	data, err := vfs.ReadFile(fs, path.Join(dir, metaFile), 1<<20)
	if errors.Is(err, vfs.ErrNotExist) {
		return Meta{}, false, nil
	}
	if err == nil {
		m, err = parseMeta(data)
	}
	return m, err == nil, err
}

func (m Meta) encode() []byte {
	return fmt.Appendf(nil, "version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\nboot.seq=%d\n",
		m.ClusterID, m.NodeID, m.DirectoryID, m.BootSeq)
}

func parseMeta(data []byte) (Meta, error) {
	m := Meta{NodeID: kafka.NoNode}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		var err error
		switch key {
		case "version":
			if value != "1" {
				err = fmt.Errorf("version %q is not known", value)
			}
		case "cluster.id":
			m.ClusterID = value
		case "node.id":
			var id int64
			id, err = strconv.ParseInt(value, 10, 32)
			m.NodeID = kafka.NodeID(id)
		case "directory.id":
			m.DirectoryID, err = kafka.ParseTopicID(value)
		case "boot.seq":
			m.BootSeq, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return m, err
		}
	}
	if m.NodeID == kafka.NoNode || m.DirectoryID.IsZero() {
		return m, errors.New("node.id or directory.id is missing")
	}
	return m, nil
}

// newUUID is a random (version 4) UUID.
func (d *Directory) newUUID() (id kafka.TopicID) {
	binary.BigEndian.PutUint64(id[:8], d.rt.Rand().Uint64())
	binary.BigEndian.PutUint64(id[8:], d.rt.Rand().Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Path is the folder's name.
func (d *Directory) Path() string { return d.path }

// Meta is the directory's identity.
func (d *Directory) Meta() Meta { return d.meta }

// CleanStart reports whether the last process shut the directory down cleanly.
func (d *Directory) CleanStart() bool { return d.clean }

// Usage is the capacity of the file system, and what is free, in bytes.
func (d *Directory) Usage() (total, free int64, err error) { return d.fs.Usage(d.path) }

// Find lists the partitions in the directory, in order of name.
func (d *Directory) Find() ([]Found, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, err
	}
	var found []Found
	for _, name := range names {
		folder, ok := strings.CutSuffix(name, "/")
		if !ok || strings.HasSuffix(folder, deletedSuffix) {
			continue
		}
		tp, ok := parseFolder(folder)
		if !ok {
			continue
		}
		id, err := readTopicID(d.fs, path.Join(d.path, folder))
		if err != nil && !errors.Is(err, vfs.ErrNotExist) {
			return nil, err
		}
		found = append(found, Found{tp, id})
	}
	slices.SortFunc(found, func(a, b Found) int { return a.Compare(b.TopicPartition) })
	return found, nil
}

func parseFolder(name string) (kafka.TopicPartition, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return kafka.TopicPartition{}, false
	}
	partition, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || partition < 0 {
		return kafka.TopicPartition{}, false
	}
	return kafka.TopicPartition{Topic: name[:i], Partition: int32(partition)}, true
}

// readTopicID reads partition.metadata:
//
//	version: 0
//	topic_id: AAAAAAAAAAAAAAAAAAAAAA
func readTopicID(fs vfs.FS, folder string) (kafka.TopicID, error) {
	name := path.Join(folder, topicIDFile)
	data, err := vfs.ReadFile(fs, name, 4096)
	if err != nil {
		return kafka.TopicID{}, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "topic_id: "); ok {
			if id, err := kafka.ParseTopicID(value); err == nil {
				return id, nil
			}
		}
	}
	return kafka.TopicID{}, fmt.Errorf("%s: no topic_id: %w", name, ErrTopicID)
}

// Logs lists the open logs, in order of name.
func (d *Directory) Logs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	logs := make([]*Log, 0, len(d.logs))
	for _, l := range d.logs { // any order
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b *Log) int { return a.tp.Compare(b.tp) })
	return logs
}

// Full reports whether the last write found no space. Appends are tried all the same, and end it when they succeed.
func (d *Directory) Full() bool { return d.full.Load() }

// Failed is why the directory is dead, or nil.
func (d *Directory) Failed() error {
	if f := d.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

// short reports whether the disk is full or nearly so: a small write may still find space where a large one did not.
func (d *Directory) short() bool {
	total, free, err := d.Usage()
	return d.Full() || err == nil && free < total/50
}

// failed makes the directory dead for the rest of the process's life, unless the disk is merely full, and returns what
// to tell the caller.
func (d *Directory) failed(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) {
		// Small writes may succeed where large ones do not, so it is full again and again.
		now, said := d.rt.Now().UnixMilli(), d.fullSaid.Load()
		if !d.full.Swap(true) && (said == 0 || now-said >= fullSaidEvery.Milliseconds()) && d.fullSaid.CompareAndSwap(said, now) {
			d.logger.Error("log directory is full", "directory", d.path, "error", err)
		}
		return kafka.KafkaStorageError
	}
	if errors.As(err, new(kafka.ErrorCode)) {
		return err
	}
	d.die(err)
	return kafka.KafkaStorageError
}

// die is failed for what even a full disk does not excuse: a sync. It is never tried again: the system may have dropped
// the bytes that it could not write, and would call the next sync a success.
func (d *Directory) die(err error) {
	if !d.failure.CompareAndSwap(nil, &failure{err}) {
		return
	}
	d.logger.Error("log directory failed and is offline until the next start", "directory", d.path, "error", err)
	if d.config.OnFailed != nil {
		d.loop.Do(func() { d.config.OnFailed(err) })
	}
}

// fileUnreadable notes that a file could not be read. Three of them within a minute are the disk's fault.
func (d *Directory) fileUnreadable(name string, err error) {
	now := d.rt.Now().UnixMilli()
	d.mu.Lock()
	d.badFiles[name] = now
	recent := 0
	for _, at := range d.badFiles { // any order
		if now-at <= 60_000 {
			recent++
		}
	}
	d.mu.Unlock()
	if recent >= 3 {
		d.die(fmt.Errorf("several files cannot be read, the last one %s: %w", name, err))
	}
}

// DeleteLog renames the log's folder out of the way and forgets it; RemoveDeleted does the rest. Writer.
func (d *Directory) DeleteLog(l *Log) error {
	l.close()
	d.keepFiles(l.path + "/")
	d.mu.Lock()
	delete(d.logs, l.tp)
	d.mu.Unlock()
	if d.Failed() != nil {
		return kafka.KafkaStorageError
	}
	to := path.Join(d.path, fmt.Sprintf("%s.%x%s", l.tp, d.newUUID(), deletedSuffix))
	if err := d.fs.Rename(l.path, to); err != nil {
		return d.failed(err)
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		d.die(err)
		return kafka.KafkaStorageError
	}
	d.removeLater(deletion{name: to, folder: true, dueMs: d.rt.Now().UnixMilli() + l.Options().FileDeleteDelayMs})
	return nil
}

func (d *Directory) removeLater(gone ...deletion) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deleted = append(d.deleted, gone...)
}

// keepFiles forgets that files whose names start so were to be removed: other files have the names now, or none.
func (d *Directory) keepFiles(prefix string) {
	d.removing.Lock()
	defer d.removing.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deleted = slices.DeleteFunc(d.deleted, func(gone deletion) bool { return strings.HasPrefix(gone.name, prefix) })
}

// RemoveDeleted removes files and folders whose deletion was due. On a disk that is full all of them are: who still reads one
// has it open, and what it frees is needed now.
func (d *Directory) RemoveDeleted(nowMs int64) error {
	if d.Failed() != nil {
		return kafka.KafkaStorageError
	}
	now := d.short()
	isDue := func(gone deletion) bool { return gone.covered && (gone.dueMs <= nowMs || now) }
	isFolder := func(gone deletion) bool { return gone.folder && isDue(gone) && (gone.written || !gone.emptied) }
	isFile := func(gone deletion) bool { return !gone.folder && isDue(gone) }
	folders, files := false, false
	d.mu.Lock()
	for i := range d.deleted {
		d.deleted[i].covered = true
		folders = folders || isFolder(d.deleted[i])
		files = files || isFile(d.deleted[i])
	}
	d.mu.Unlock()
	// Nothing rests on a folder that was renamed. It goes first: a checkpoint needs space.
	if folders {
		if err := d.removeAll(isFolder); err != nil {
			return err
		}
	}
	if !files {
		return nil
	}
	// The log start offsets come first: without them a crash that brings some of the files back would leave holes.
	if err := d.Checkpoint(); err != nil {
		return err
	}
	return d.removeAll(isFile)
}

func (d *Directory) removeAll(isDue func(deletion) bool) error {
	for {
		if more, err := d.removeOne(isDue); err != nil || !more {
			return err
		}
	}
}

// empty removes the files of a folder.
func (d *Directory) empty(folder string) error {
	names, err := d.fs.List(folder)
	if errors.Is(err, vfs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if err == nil {
			err = d.fs.Remove(path.Join(folder, name))
		}
	}
	if err != nil && !errors.Is(err, vfs.ErrNotExist) {
		return d.failed(err)
	}
	return nil
}

// removeOne removes the first thing that is due. Nobody can take its name meanwhile.
func (d *Directory) removeOne(isDue func(deletion) bool) (more bool, err error) {
	d.removing.Lock()
	defer d.removing.Unlock()
	if d.closed {
		return false, nil
	}
	d.mu.Lock()
	i := slices.IndexFunc(d.deleted, isDue)
	if i < 0 {
		d.mu.Unlock()
		return false, nil
	}
	gone := d.deleted[i]
	if gone.folder && !gone.written {
		d.deleted[i].emptied = true
		d.mu.Unlock()
		return true, d.empty(gone.name)
	}
	d.deleted = slices.Delete(d.deleted, i, i+1)
	d.mu.Unlock()
	remove := d.fs.Remove
	if gone.folder {
		remove = d.fs.RemoveAll
	}
	if err := remove(gone.name); err != nil && !errors.Is(err, vfs.ErrNotExist) {
		return false, d.failed(err)
	}
	return true, nil
}

// Close closes every log and, only if all went well, leaves the mark of a clean shutdown. No log may be in use.
func (d *Directory) Close() error {
	defer d.lock.Close()
	err := d.Failed()
	if err == nil {
		err = d.settle(d.Logs())
	}
	if err == nil {
		err = d.Checkpoint()
	}
	for _, l := range d.Logs() {
		l.close()
	}
	d.leaveAlone()
	if err == nil && d.allRecovered() {
		err = vfs.WriteFile(d.fs, path.Join(d.path, cleanShutdownFile), []byte("version=0\n"))
	}
	if err != nil {
		return fmt.Errorf("log directory %s was not shut down cleanly: %w", d.path, err)
	}
	return nil
}

// leaveAlone ends housekeeping, which may be in the middle of a pass: it must not write over what the next process does.
func (d *Directory) leaveAlone() {
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	d.removing.Lock()
	defer d.removing.Unlock()
	d.closed = true
}

// allRecovered reports whether no log still waits for the recovery that an unclean start asks for (KAFKA-15375).
func (d *Directory) allRecovered() bool {
	if d.clean {
		return true
	}
	found, err := d.Find()
	if err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range found {
		if d.logs[f.TopicPartition] == nil {
			return false
		}
	}
	return true
}
