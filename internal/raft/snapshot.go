package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/vfs"
)

// A snapshot is a file snapshot-<20 digits of index>: the state as of an entry, as batches. Integers are big-endian.
//
//	 0 "GREGORSN"
//	 8 format    uint32   1
//	12 index     uint64   of the last entry that is in it
//	20 term      uint64   of that entry
//	28 members   4 lists, each uint32 count and so many uint64 raft ids: voters, learners, outgoing voters, next learners;
//	             uint8 1 if the joint configuration is left by itself
//	 … batches   uint8 1, uint32 length, bytes
//	 … end       uint8 0, uint32 number of batches, uint32 CRC-32C of everything before
//
// It is written under another name, synced and renamed, so a file of this name is whole or damaged, never half done.
const (
	snapshotMagic  = "GREGORSN"
	snapshotFormat = 1
	snapshotsKept  = 2
)

type snapshotID struct{ index, term uint64 }

// members is who is in the quorum.
type members struct {
	voters, learners, outgoing, learnersNext []uint64
	autoLeave                                bool
}

type snapshot struct {
	id      snapshotID
	members members
	batches [][]byte
}

func snapshotName(dir string, index uint64) string {
	return path.Join(dir, fmt.Sprintf("snapshot-%020d", index))
}

func appendSnapshotHeader(to []byte, id snapshotID, m members) []byte {
	to = append(to, snapshotMagic...)
	to = binary.BigEndian.AppendUint32(to, snapshotFormat)
	to = binary.BigEndian.AppendUint64(to, id.index)
	to = binary.BigEndian.AppendUint64(to, id.term)
	for _, list := range [][]uint64{m.voters, m.learners, m.outgoing, m.learnersNext} {
		to = binary.BigEndian.AppendUint32(to, uint32(len(list)))
		for _, id := range list {
			to = binary.BigEndian.AppendUint64(to, id)
		}
	}
	if m.autoLeave {
		return append(to, 1)
	}
	return append(to, 0)
}

// writeSnapshot makes a snapshot durable.
func writeSnapshot(fs vfs.FS, dir string, id snapshotID, m members, dump func(visit func(batch []byte) error) error) error {
	name := snapshotName(dir, id.index)
	temporary := name + ".tmp"
	if err := fs.Remove(temporary); err != nil && !errors.Is(err, vfs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", temporary, err)
	}
	file, err := fs.Create(temporary)
	if err != nil {
		return fmt.Errorf("create %s: %w", temporary, err)
	}
	if err := fillSnapshot(file, id, m, dump); err != nil {
		_ = file.Release() // the first error is the one to tell
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err := file.Release(); err != nil {
		return fmt.Errorf("close %s: %w", temporary, err)
	}
	if err := fs.Rename(temporary, name); err != nil {
		return fmt.Errorf("rename %s: %w", temporary, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

func fillSnapshot(file vfs.File, id snapshotID, m members, dump func(visit func(batch []byte) error) error) error {
	at, crc, count := int64(0), uint32(0), uint32(0)
	write := func(p []byte) error {
		_, err := file.WriteAt(p, at)
		at += int64(len(p))
		crc = crc32.Update(crc, castagnoli, p)
		return err
	}
	if err := write(appendSnapshotHeader(nil, id, m)); err != nil {
		return err
	}
	err := dump(func(batch []byte) error {
		count++
		head := binary.BigEndian.AppendUint32([]byte{1}, uint32(len(batch)))
		return write(append(head, batch...))
	})
	if err != nil {
		return err
	}
	if err := write(binary.BigEndian.AppendUint32([]byte{0}, count)); err != nil {
		return err
	}
	if err := write(binary.BigEndian.AppendUint32(nil, crc)); err != nil {
		return err
	}
	return file.Sync()
}

// readSnapshot reads and checks a snapshot file.
func readSnapshot(fs vfs.FS, dir string, index uint64) (snapshot, error) {
	data, err := readSnapshotFile(fs, dir, index)
	if err != nil {
		return snapshot{}, err
	}
	s, err := parseSnapshot(data)
	if err == nil && s.id.index != index {
		err = fmt.Errorf("%w: it says that it is of entry %d", ErrDamaged, s.id.index)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", snapshotName(dir, index), err)
	}
	return s, nil
}

func readSnapshotFile(fs vfs.FS, dir string, index uint64) ([]byte, error) {
	name := snapshotName(dir, index)
	file, err := fs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	data, err := readAll(file)
	if err != nil {
		_ = file.Release() // nothing was written
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, file.Release()
}

// parseSnapshot reads the bytes of a snapshot file, which may have come from another member.
func parseSnapshot(data []byte) (s snapshot, err error) {
	if len(data) < 28+9 || string(data[:8]) != snapshotMagic {
		return s, fmt.Errorf("%w: not a snapshot", ErrDamaged)
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return s, fmt.Errorf("%w: the checksum is wrong", ErrDamaged)
	}
	if format := binary.BigEndian.Uint32(data[8:]); format != snapshotFormat {
		return s, fmt.Errorf("%w: format %d is not known to this version of Gregor", ErrDamaged, format)
	}
	s.id = snapshotID{binary.BigEndian.Uint64(data[12:]), binary.BigEndian.Uint64(data[20:])}
	rest := body[28:]
	take := func(n int) []byte {
		if n < 0 || n > len(rest) {
			err = fmt.Errorf("%w: cut short", ErrDamaged)
			return make([]byte, 8)
		}
		taken := rest[:n:n]
		rest = rest[n:]
		return taken
	}
	for _, list := range []*[]uint64{&s.members.voters, &s.members.learners, &s.members.outgoing, &s.members.learnersNext} {
		for count := binary.BigEndian.Uint32(take(4)); count > 0 && err == nil; count-- {
			*list = append(*list, binary.BigEndian.Uint64(take(8)))
		}
	}
	s.members.autoLeave = take(1)[0] != 0
	for err == nil && take(1)[0] == 1 && err == nil {
		s.batches = append(s.batches, take(int(binary.BigEndian.Uint32(take(4)))))
	}
	if count := binary.BigEndian.Uint32(take(4)); err == nil && (int(count) != len(s.batches) || len(rest) > 0) {
		err = fmt.Errorf("%w: it says %d batches and has %d", ErrDamaged, count, len(s.batches))
	}
	return s, err
}

// listSnapshots returns the indices of the snapshots there are, the newest first.
func listSnapshots(fs vfs.FS, dir string) ([]uint64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var indices []uint64
	for _, name := range names {
		if digits, ok := strings.CutPrefix(name, "snapshot-"); ok {
			if index, err := strconv.ParseUint(digits, 10, 64); err == nil {
				indices = append(indices, index)
			}
		}
	}
	slices.Sort(indices)
	slices.Reverse(indices)
	return indices, nil
}

// dropSnapshots removes all but the newest ones, and whatever was being written, and returns the oldest that is left.
func dropSnapshots(fs vfs.FS, dir string) (oldest uint64, err error) {
	indices, err := listSnapshots(fs, dir)
	if err != nil {
		return 0, err
	}
	for n, index := range indices {
		if n < snapshotsKept {
			oldest = index
			continue
		}
		if err := fs.Remove(snapshotName(dir, index)); err != nil {
			return 0, fmt.Errorf("remove %s: %w", snapshotName(dir, index), err)
		}
	}
	return oldest, nil
}
