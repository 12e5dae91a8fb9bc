package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// A producer snapshot, <offset>.snapshot, is what the log up to that offset says of its producers, in Kafka's format, all
// integers big-endian:
//
//	version  int16   1
//	crc      uint32  CRC-32C of everything after it
//	count    int32
//	count × { producerId int64, epoch int16, lastSequence int32, lastOffset int64, offsetDelta int32, timestamp int64,
//	          coordinatorEpoch int32, currentTxnFirstOffset int64 }
//
// Kafka keeps only each producer's last batch. Behind it, where Kafka's readers do not look, follow the earlier ones of
// the window, so that a restart does not turn a client's retry into an error:
//
//	count    int32
//	count × { producerId int64, lastSequence int32, lastOffset int64, offsetDelta int32, timestamp int64 }   oldest first
//
// The files are not synced: one that is torn fails its checksum, and an older one or the log itself serves.
const (
	snapshotVersion    = 1
	snapshotHeader     = 6
	snapshotEntrySize  = 46
	snapshotEarlier    = 32
	snapshotEveryBytes = 16 << 20
)

var errBadSnapshot = errors.New("producer snapshot is damaged")

func (p *producers) encode() []byte {
	list := p.sorted()
	out := make([]byte, snapshotHeader, snapshotHeader+8+len(list)*(snapshotEntrySize+4*snapshotEarlier))
	binary.BigEndian.PutUint16(out, snapshotVersion)
	out = binary.BigEndian.AppendUint32(out, uint32(len(list)))
	earlier := 0
	for _, s := range list {
		last := producerBatch{lastSequence: -1, lastOffset: -1, timestamp: s.lastTimestamp}
		if s.count > 0 {
			last = s.batches[s.count-1]
			earlier += int(s.count) - 1
		}
		out = binary.BigEndian.AppendUint64(out, uint64(s.id))
		out = binary.BigEndian.AppendUint16(out, uint16(s.epoch))
		out = binary.BigEndian.AppendUint32(out, uint32(last.lastSequence))
		out = binary.BigEndian.AppendUint64(out, uint64(last.lastOffset))
		out = binary.BigEndian.AppendUint32(out, uint32(last.offsetDelta))
		out = binary.BigEndian.AppendUint64(out, uint64(s.lastTimestamp))
		out = binary.BigEndian.AppendUint32(out, uint32(s.coordinatorEpoch))
		out = binary.BigEndian.AppendUint64(out, uint64(s.txnFirstOffset))
	}
	out = binary.BigEndian.AppendUint32(out, uint32(earlier))
	for _, s := range list {
		for i := range int(s.count) - 1 {
			b := &s.batches[i]
			out = binary.BigEndian.AppendUint64(out, uint64(s.id))
			out = binary.BigEndian.AppendUint32(out, uint32(b.lastSequence))
			out = binary.BigEndian.AppendUint64(out, uint64(b.lastOffset))
			out = binary.BigEndian.AppendUint32(out, uint32(b.offsetDelta))
			out = binary.BigEndian.AppendUint64(out, uint64(b.timestamp))
		}
	}
	binary.BigEndian.PutUint32(out[2:], crc32.Checksum(out[snapshotHeader:], record.Castagnoli))
	return out
}

func decodeProducers(data []byte) (*producers, error) {
	if len(data) < snapshotHeader+4 || binary.BigEndian.Uint16(data) != snapshotVersion ||
		binary.BigEndian.Uint32(data[2:]) != crc32.Checksum(data[snapshotHeader:], record.Castagnoli) {
		return nil, errBadSnapshot
	}
	count := int64(int32(binary.BigEndian.Uint32(data[snapshotHeader:])))
	rest := data[snapshotHeader+4:]
	if count < 0 || count*snapshotEntrySize > int64(len(rest)) {
		return nil, errBadSnapshot
	}
	p := newProducers()
	for range count {
		s := &producerState{
			id:               int64(binary.BigEndian.Uint64(rest)),
			epoch:            int16(binary.BigEndian.Uint16(rest[8:])),
			lastTimestamp:    int64(binary.BigEndian.Uint64(rest[26:])),
			coordinatorEpoch: int32(binary.BigEndian.Uint32(rest[34:])),
			txnFirstOffset:   int64(binary.BigEndian.Uint64(rest[38:])),
		}
		last := producerBatch{
			lastSequence: int32(binary.BigEndian.Uint32(rest[10:])),
			lastOffset:   int64(binary.BigEndian.Uint64(rest[14:])),
			offsetDelta:  int32(binary.BigEndian.Uint32(rest[22:])),
			timestamp:    s.lastTimestamp,
		}
		if last.lastSequence >= 0 && last.offsetDelta >= 0 {
			s.batches[0], s.count = last, 1
		}
		p.byID[s.id] = s
		rest = rest[snapshotEntrySize:]
	}
	return p, p.decodeEarlier(rest)
}

func (p *producers) decodeEarlier(rest []byte) error {
	if len(rest) < 4 {
		return nil // a snapshot of Kafka's
	}
	count := int64(int32(binary.BigEndian.Uint32(rest)))
	rest = rest[4:]
	if count < 0 || count*snapshotEarlier > int64(len(rest)) {
		return errBadSnapshot
	}
	for range count {
		s := p.byID[int64(binary.BigEndian.Uint64(rest))]
		if s == nil || s.count == 0 || s.count == producerWindow {
			return errBadSnapshot
		}
		s.batches[s.count] = s.batches[s.count-1]
		s.batches[s.count-1] = producerBatch{
			lastSequence: int32(binary.BigEndian.Uint32(rest[8:])),
			lastOffset:   int64(binary.BigEndian.Uint64(rest[12:])),
			offsetDelta:  int32(binary.BigEndian.Uint32(rest[20:])),
			timestamp:    int64(binary.BigEndian.Uint64(rest[24:])),
		}
		s.count++
		rest = rest[snapshotEarlier:]
	}
	return nil
}

func snapshotName(folder string, offset int64) string {
	return path.Join(folder, fmt.Sprintf("%020d%s", offset, snapshotSuffix))
}

func parseSnapshotName(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, snapshotSuffix)
	if !ok {
		return 0, false
	}
	offset, err := strconv.ParseInt(digits, 10, 64)
	return offset, err == nil && offset >= 0
}

// writeSnapshot writes a snapshot of the log up to its end.
func (l *Log) writeSnapshot(end int64) error {
	if err := vfs.WriteFileLazily(l.dir.fs, snapshotName(l.path, end), l.producers.encode(), false); err != nil {
		return err
	}
	if n := len(l.snapshots); n == 0 || l.snapshots[n-1] != end {
		l.snapshots = append(l.snapshots, end)
	}
	l.sinceSnapshot = 0
	return l.pruneSnapshots()
}

// snapshotIfDue bounds how much of the log a recovery reads for its producers' sake.
func (l *Log) snapshotIfDue() error {
	if l.sinceSnapshot < snapshotEveryBytes {
		return nil
	}
	if err := l.writeSnapshot(l.end.Load()); err != nil {
		l.dir.failed(err) // the batches are in the log: this is not an answer to who appended them
	}
	return nil
}

// pruneSnapshots keeps the snapshots at the start of a segment, for truncations, and of the others the last two. Those
// before the log start go, except for the last.
func (l *Log) pruneSnapshots() error {
	list := l.list()
	start := l.logStart.Load()
	var keep []int64
	for i, offset := range l.snapshots {
		needed := i >= len(l.snapshots)-2
		if at := find(list, offset); list[at].base == offset {
			needed = true
		}
		if offset <= start && i+1 < len(l.snapshots) && l.snapshots[i+1] <= start {
			needed = false
		}
		if needed {
			keep = append(keep, offset)
			continue
		}
		if err := l.dir.fs.Remove(snapshotName(l.path, offset)); err != nil && !errors.Is(err, vfs.ErrNotExist) {
			return err
		}
	}
	l.snapshots = keep
	return nil
}

// dropSnapshotsAfter removes snapshots of a part of the log that is about to go. The caller syncs the folder.
func (l *Log) dropSnapshotsAfter(end int64) error {
	for _, offset := range slices.Backward(l.snapshots) {
		if offset <= end {
			break
		}
		if err := l.dir.fs.Remove(snapshotName(l.path, offset)); err != nil && !errors.Is(err, vfs.ErrNotExist) {
			return err
		}
		l.snapshots = l.snapshots[:len(l.snapshots)-1]
	}
	return nil
}

// loadSnapshot returns the newest usable snapshot at or before an offset, and which offset it is for; without one,
// nothing as of the start of the log.
func (l *Log) loadSnapshot(most int64) (*producers, int64, error) {
	for _, offset := range slices.Backward(l.snapshots) {
		if offset > most {
			continue
		}
		data, err := vfs.ReadFile(l.dir.fs, snapshotName(l.path, offset), 1<<30)
		if err != nil && !errors.Is(err, vfs.ErrNotExist) {
			return nil, 0, err
		}
		if p, err := decodeProducers(data); err == nil {
			return p, offset, nil
		}
		l.dir.logger.Warn("producer snapshot is unusable", "partition", l.tp.String(), "offset", offset)
	}
	return newProducers(), l.list()[0].base, nil
}
