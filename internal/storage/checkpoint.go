package storage

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Checkpoint files are Kafka's text format: a version, a count, and that many lines; and one line more, a checksum of
// those before it, which Kafka's own files do not have and we do not miss.
//
//	0
//	2
//	orders 0 1200
//	orders 1 950
//	#crc32c 8a1f03c2
const (
	recoveryPointFile  = "recovery-point-offset-checkpoint"
	logStartFile       = "log-start-offset-checkpoint"
	highWatermarkFile  = "replication-offset-checkpoint"
	cleanerFile        = "cleaner-offset-checkpoint"
	leaderEpochFile    = "leader-epoch-checkpoint"
	checksumPrefix     = "#crc32c "
	checkpointMaxBytes = 64 << 20
)

var errBadCheckpoint = errors.New("checkpoint file is damaged")

// encodeCheckpoint makes the text of a checkpoint file.
func encodeCheckpoint(lines []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(lines))
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s%08x\n", checksumPrefix, crc32.Checksum(b.Bytes(), record.Castagnoli))
	return b.Bytes()
}

// decodeCheckpoint returns the lines of a checkpoint file.
func decodeCheckpoint(data []byte) ([]string, error) {
	text := string(data)
	if i := strings.LastIndex(text, checksumPrefix); i >= 0 {
		want, err := strconv.ParseUint(strings.TrimSpace(text[i+len(checksumPrefix):]), 16, 32)
		if err != nil || uint32(want) != crc32.Checksum(data[:i], record.Castagnoli) {
			return nil, errBadCheckpoint
		}
		text = text[:i]
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return nil, errBadCheckpoint
	}
	count, err := strconv.Atoi(lines[1])
	if err != nil || count != len(lines)-2 {
		return nil, errBadCheckpoint
	}
	return lines[2:], nil
}

// offsets are a checkpoint's offset per partition.
type offsets map[kafka.TopicPartition]int64

func readOffsets(fs vfs.FS, name string) (offsets, error) {
	found := offsets{}
	data, err := vfs.ReadFile(fs, name, checkpointMaxBytes)
	if err != nil {
		return nil, err
	}
	lines, err := decodeCheckpoint(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: %w", name, errBadCheckpoint)
		}
		partition, err1 := strconv.ParseInt(fields[1], 10, 32)
		offset, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%s: %w", name, errBadCheckpoint)
		}
		found[kafka.TopicPartition{Topic: fields[0], Partition: int32(partition)}] = offset
	}
	return found, nil
}

func writeOffsets(fs vfs.FS, name string, values offsets) error {
	lines := make([]string, 0, len(values))
	for tp, offset := range values { // any order
		lines = append(lines, fmt.Sprintf("%s %d %d", tp.Topic, tp.Partition, offset))
	}
	sort.Strings(lines)
	return vfs.WriteFile(fs, name, encodeCheckpoint(lines))
}

// Checkpoint writes recovery points, log start offsets, high watermarks and compaction points of all logs, and first
// each log's leader epochs. What a recovery reads after a crash is what was appended since.
func (d *Directory) Checkpoint() error {
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	if d.closed {
		return nil // everything is in the checkpoints already
	}
	return d.checkpoint()
}

func (d *Directory) checkpoint() error {
	switch {
	case d.closed:
		return errClosed
	case d.Failed() != nil:
		return kafka.KafkaStorageError
	}
	points, starts, marks, cleaned := offsets{}, offsets{}, offsets{}, offsets{}
	gone := d.deletedFolders()
	logs := d.Logs()
	durable := make([]int64, len(logs))
	for i, l := range logs {
		durable[i] = l.durable.Load() // before the epochs: the file has all that start below it
	}
	if err := d.writeEpochs(logs); err != nil {
		return d.failed(err)
	}
	for i, l := range logs {
		durable := durable[i]
		points[l.tp] = durable
		starts[l.tp] = l.logStart.Load()
		// A follower may know a high watermark that its own disk has not reached: not after a crash.
		marks[l.tp] = min(l.highWatermark.Load(), durable)
		if to := l.cleanedTo.Load(); to > 0 {
			cleaned[l.tp] = to
		}
		// What is on disk is no more than this, whether or not it is written. A full disk may keep what was more.
		l.checkpointed.Store(max(l.checkpointed.Load(), durable))
	}
	d.keepUnopened(points, starts, marks, cleaned)
	for _, file := range []struct {
		name   string
		values offsets
	}{{recoveryPointFile, points}, {logStartFile, starts}, {highWatermarkFile, marks}, {cleanerFile, cleaned}} {
		if err := writeOffsets(d.fs, path.Join(d.path, file.name), file.values); err != nil {
			return d.failed(err)
		}
	}
	d.wrote(points, starts, marks, cleaned)
	d.unmentioned(gone)
	for _, l := range d.Logs() {
		if point, ok := points[l.tp]; ok {
			l.recoverable.Store(point)
			l.checkpointed.Store(point)
		}
	}
	return nil
}

// deletedFolders are the folders of logs that were deleted.
func (d *Directory) deletedFolders() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	folders := map[string]bool{}
	for _, gone := range d.deleted {
		folders[gone.name] = gone.folder
	}
	return folders
}

// unmentioned notes that the checkpoint files do not speak of these logs any more.
func (d *Directory) unmentioned(folders map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.deleted {
		if gone := &d.deleted[i]; gone.folder && folders[gone.name] {
			gone.written = true
		}
	}
}

// keepUnopened copies what the last process wrote of logs that this one has not opened.
func (d *Directory) keepUnopened(points, starts, marks, cleaned offsets) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, pair := range [][2]offsets{{points, d.points}, {starts, d.starts}, {marks, d.marks}, {cleaned, d.cleaned}} {
		for tp, offset := range pair[1] { // any order
			if _, ok := pair[0][tp]; !ok {
				pair[0][tp] = offset
			}
		}
	}
}
