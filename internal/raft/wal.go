package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/vfs"
)

// The write-ahead log is files wal-<20 digits>, numbered without a gap (docs/format/metadata.md). Integers are big-endian.
//
//	file   0 "GREGORWL"
//	       8 format    uint32   1
//	      12 raft id   uint64   of the member whose log this is
//	      20 sequence  uint64   as in the name
//	      28 crc       uint32   CRC-32C of bytes 0-27
//	      32 frames
//
//	frame  0 "GWF1"
//	       4 length    uint32   of the items
//	       8 number    uint64   one more than that of the frame before, also across files
//	      16 crc       uint32   CRC-32C of bytes 4-15 and the items
//	      20 items
//
//	item   uint8 1: entry       uint8 type, uint64 index, uint64 term, uint32 length, data
//	       uint8 2: hard state  uint64 term, uint64 vote, uint64 commit
//	       uint8 3: snapshot    uint64 index, uint64 term; a durable one of this log
//	       uint8 4: replaced    uint64 index, uint64 term; a snapshot from the leader: entries before this do not count
//
// One frame is what one sync made durable, and a frame is written only after the one before it was synced. So power loss
// can tear the last frame and no other; that one was never acknowledged, and is cut off. Anything else that is wrong is
// damage to what was promised, and is not repaired.
const (
	walMagic       = "GREGORWL"
	walFormat      = 1
	walHeaderSize  = 32
	frameMagic     = "GWF1"
	frameHeader    = 20
	itemEntry      = 1
	itemHardState  = 2
	itemSnapshot   = 3
	itemReplaced   = 4
	entryHeader    = 22
	emptyWALSize   = walHeaderSize + frameHeader + 25 + 17 // of a file in which nothing has happened
	walFileLimit   = 8 << 20                               // a file that is longer is followed by another
	frameSizeLimit = 64 << 20                              // one frame holds no more, and a length above it is damage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is in the chain of the error for a metadata directory that must not be used as it is.
var ErrDamaged = errors.New("the metadata log is damaged")

// errTorn is what is wrong with the end of a log that was being written when the power went.
var errTorn = errors.New("not whole")

type entry struct {
	kind        uint8 // of raftpb.EntryType
	index, term uint64
	data        []byte
}

type hardState struct{ term, vote, commit uint64 }

// wal is the open log. It belongs to the disk loop.
type wal struct {
	fs   vfs.FS
	dir  string
	id   uint64
	file vfs.File
	size int64
	next uint64 // the number of the next frame
	hard hardState
	base snapshotID // the newest snapshot, as the log knows it

	files []walFile // in order; the last is the open one
}

type walFile struct {
	sequence uint64
	last     uint64 // the highest index of any entry in it, 0 for none
}

// recovered is what a log says when it is opened.
type recovered struct {
	entries []entry // without a gap, each index once
	hard    hardState
}

func (w *wal) name(sequence uint64) string {
	return path.Join(w.dir, fmt.Sprintf("wal-%020d", sequence))
}

// createWAL begins the log of a new member.
func createWAL(fs vfs.FS, dir string, id uint64, hard hardState, base snapshotID) (*wal, error) {
	w := &wal{fs: fs, dir: dir, id: id, next: 1, hard: hard, base: base}
	return w, w.begin(1)
}

// begin makes the next file, and makes it durable together with the state that older files need not be asked for.
func (w *wal) begin(sequence uint64) error {
	name := w.name(sequence)
	file, err := w.fs.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	header := append([]byte(walMagic), 0, 0, 0, walFormat)
	header = binary.BigEndian.AppendUint64(header, w.id)
	header = binary.BigEndian.AppendUint64(header, sequence)
	header = binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
	old := w.file
	w.file, w.size = file, 0
	w.files = append(w.files, walFile{sequence: sequence})
	_ = file.Preallocate(0, walFileLimit) // a hint
	// Header and frame are one write: a power cut must not leave the frame without the header, which looks like damage.
	if err := w.write(header, appendSnapshotItem(appendHardState(nil, w.hard), w.base)); err != nil {
		return err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return fmt.Errorf("sync %s: %w", w.dir, err)
	}
	if old != nil {
		if err := old.Release(); err != nil {
			return fmt.Errorf("close %s: %w", old.Name(), err)
		}
	}
	return nil
}

// append makes entries and the hard state durable, in one frame and one sync.
func (w *wal) append(entries []entry, hard hardState) error {
	if w.size > walFileLimit {
		if err := w.begin(w.files[len(w.files)-1].sequence + 1); err != nil {
			return err
		}
	}
	var items []byte
	for _, e := range entries {
		if len(items) > frameSizeLimit/2 {
			if err := w.writeFrame(items); err != nil {
				return err
			}
			items = items[:0]
		}
		items = appendEntry(items, e)
		open := &w.files[len(w.files)-1]
		open.last = max(open.last, e.index)
	}
	w.hard = hard
	return w.writeFrame(appendHardState(items, hard))
}

// replaced notes that a snapshot from the leader stands in for every entry so far.
func (w *wal) replaced(base snapshotID) error {
	w.base = base
	item := appendSnapshotItem(nil, base)
	item[0] = itemReplaced
	return w.writeFrame(appendHardState(item, w.hard))
}

// snapshotted notes a snapshot that is durable, and forgets the files that only hold entries up to an older one.
func (w *wal) snapshotted(base snapshotID, keepAfter uint64) error {
	w.base = base
	if err := w.begin(w.files[len(w.files)-1].sequence + 1); err != nil {
		return err
	}
	for len(w.files) > 1 && w.files[0].last <= keepAfter {
		if err := w.fs.Remove(w.name(w.files[0].sequence)); err != nil {
			return fmt.Errorf("remove %s: %w", w.name(w.files[0].sequence), err)
		}
		w.files = w.files[1:]
	}
	return w.fs.SyncDir(w.dir)
}

func (w *wal) writeFrame(items []byte) error { return w.write(nil, items) }

// write makes a frame durable, behind what comes before it in the same write.
func (w *wal) write(before, items []byte) error {
	frame := make([]byte, frameHeader, frameHeader+len(items))
	copy(frame, frameMagic)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(items)))
	binary.BigEndian.PutUint64(frame[8:], w.next)
	frame = append(frame, items...)
	binary.BigEndian.PutUint32(frame[16:], frameCRC(frame))
	if len(before) > 0 {
		frame = append(before, frame...)
	}
	if _, err := w.file.WriteAt(frame, w.size); err != nil {
		return fmt.Errorf("write %s: %w", w.file.Name(), err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.file.Name(), err)
	}
	w.size += int64(len(frame))
	w.next++
	return nil
}

func frameCRC(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[4:16], castagnoli), castagnoli, frame[frameHeader:])
}

func appendEntry(to []byte, e entry) []byte {
	to = append(to, itemEntry, e.kind)
	to = binary.BigEndian.AppendUint64(to, e.index)
	to = binary.BigEndian.AppendUint64(to, e.term)
	to = binary.BigEndian.AppendUint32(to, uint32(len(e.data)))
	return append(to, e.data...)
}

func appendHardState(to []byte, h hardState) []byte {
	to = append(to, itemHardState)
	to = binary.BigEndian.AppendUint64(to, h.term)
	to = binary.BigEndian.AppendUint64(to, h.vote)
	return binary.BigEndian.AppendUint64(to, h.commit)
}

func appendSnapshotItem(to []byte, s snapshotID) []byte {
	to = append(to, itemSnapshot)
	to = binary.BigEndian.AppendUint64(to, s.index)
	return binary.BigEndian.AppendUint64(to, s.term)
}

// openWAL reads a log and makes it ready to append to.
func openWAL(fs vfs.FS, dir string, id uint64, log *slog.Logger) (*wal, recovered, error) {
	w := &wal{fs: fs, dir: dir, id: id}
	var found recovered
	sequences, err := walSequences(fs, dir)
	if err != nil {
		return nil, found, err
	}
	for n, sequence := range sequences {
		if n > 0 && sequence != sequences[n-1]+1 {
			return nil, found, fmt.Errorf("%w: %s is missing", ErrDamaged, w.name(sequences[n-1]+1))
		}
		if err := w.readFile(sequence, n == len(sequences)-1, &found, log); err != nil {
			return nil, found, err
		}
	}
	if len(w.files) == 0 {
		return nil, found, fmt.Errorf("%w: there is no file wal-… in %s", ErrDamaged, dir)
	}
	w.hard = found.hard
	if w.file == nil { // the last file was torn before it held anything
		return w, found, w.begin(w.files[len(w.files)-1].sequence + 1)
	}
	return w, found, w.settle()
}

// settle makes durable what was read. A process that was killed may have written it, or made the file, and not have come
// as far as the sync; from here on it counts as what was acknowledged.
func (w *wal) settle() error {
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.file.Name(), err)
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return fmt.Errorf("sync %s: %w", w.dir, err)
	}
	return nil
}

func walSequences(fs vfs.FS, dir string) ([]uint64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var sequences []uint64
	for _, name := range names {
		if digits, ok := strings.CutPrefix(name, "wal-"); ok {
			sequence, err := strconv.ParseUint(digits, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w: %s is not a name of a log file", ErrDamaged, path.Join(dir, name))
			}
			sequences = append(sequences, sequence)
		}
	}
	slices.Sort(sequences)
	return sequences, nil
}

// readFile reads one file's frames. The last file stays open, and is cut behind its last good frame.
func (w *wal) readFile(sequence uint64, last bool, found *recovered, log *slog.Logger) error {
	name := w.name(sequence)
	file, err := w.fs.Open(name)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	data, err := readAll(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	w.files = append(w.files, walFile{sequence: sequence})
	good, err := w.readFrames(data, sequence, found)
	if err == nil {
		if !last {
			return file.Release()
		}
		w.file, w.size = file, good
		return nil
	}
	if !last || !errors.Is(err, errTorn) {
		return fmt.Errorf("%w: %s at byte %d: %w", ErrDamaged, name, good, err)
	}
	if at := laterFrame(data, good, w.next); at >= 0 {
		return fmt.Errorf("%w: %s at byte %d: %w, but there is a good frame after it, at byte %d", ErrDamaged, name, good, err, at)
	}
	log.Warn("cut off what the metadata log had not finished writing when the process or the power went; nothing acknowledged is lost",
		"file", name, "at", good, "bytes", int64(len(data))-good, "because", err)
	if good <= walHeaderSize {
		// The file was being made, and holds nothing yet.
		w.files = w.files[:len(w.files)-1]
		if len(w.files) == 0 {
			return fmt.Errorf("%w: %s is the only file and has no frame", ErrDamaged, name)
		}
		if err := file.Release(); err != nil {
			return err
		}
		if err := w.fs.Remove(name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		return w.fs.SyncDir(w.dir)
	}
	if err := file.Truncate(good); err != nil {
		return fmt.Errorf("cut %s: %w", name, err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	w.file, w.size = file, good
	return nil
}

func readAll(file vfs.File) ([]byte, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := file.ReadAt(data, 0)
	if int64(n) == size || err == io.EOF {
		err = nil
	}
	return data[:n], err
}

// readFrames reads frames as far as they are good, and says how far that is and what is wrong then.
func (w *wal) readFrames(data []byte, sequence uint64, found *recovered) (good int64, err error) {
	if len(data) < walHeaderSize || crc32.Checksum(data[:28], castagnoli) != binary.BigEndian.Uint32(data[28:]) || string(data[:8]) != walMagic {
		return 0, fmt.Errorf("the file's header: %w", errTorn)
	}
	if format := binary.BigEndian.Uint32(data[8:]); format != walFormat {
		return 0, fmt.Errorf("format %d is not known to this version of Gregor", format)
	}
	if id := binary.BigEndian.Uint64(data[12:]); id != w.id || binary.BigEndian.Uint64(data[20:]) != sequence {
		return 0, fmt.Errorf("the file belongs to member %016x and another place", id)
	}
	at := walHeaderSize
	for at < len(data) {
		items, number, ok := parseFrame(data[at:])
		if !ok {
			return int64(at), fmt.Errorf("a frame: %w", errTorn)
		}
		if w.next != 0 && number != w.next {
			return int64(at), fmt.Errorf("frame %d stands where %d belongs", number, w.next)
		}
		if err := w.readItems(items, found); err != nil {
			return int64(at), err
		}
		w.next = number + 1
		at += frameHeader + len(items)
	}
	return int64(at), nil
}

func parseFrame(data []byte) (items []byte, number uint64, ok bool) {
	if len(data) < frameHeader || string(data[:4]) != frameMagic {
		return nil, 0, false
	}
	length := binary.BigEndian.Uint32(data[4:])
	if length > frameSizeLimit || int(length) > len(data)-frameHeader {
		return nil, 0, false
	}
	frame := data[:frameHeader+int(length)]
	return frame[frameHeader:], binary.BigEndian.Uint64(data[8:]), frameCRC(frame) == binary.BigEndian.Uint32(data[16:])
}

// laterFrame finds a good frame of this log behind a bad one; -1 if there is none.
func laterFrame(data []byte, from int64, number uint64) int64 {
	for at := from + 1; at+frameHeader <= int64(len(data)); at++ {
		if string(data[at:at+4]) != frameMagic {
			continue
		}
		if _, n, ok := parseFrame(data[at:]); ok && n >= number {
			return at
		}
	}
	return -1
}

// readItems reads what a good frame holds. Since its checksum is right, anything odd is our own mistake or newer software.
func (w *wal) readItems(items []byte, found *recovered) error {
	for len(items) > 0 {
		switch kind := items[0]; {
		case kind == itemEntry && len(items) >= entryHeader:
			e := entry{kind: items[1], index: binary.BigEndian.Uint64(items[2:]), term: binary.BigEndian.Uint64(items[10:])}
			length := int(binary.BigEndian.Uint32(items[18:]))
			items = items[entryHeader:]
			if length > len(items) {
				return errors.New("an entry is longer than its frame")
			}
			e.data, items = items[:length:length], items[length:]
			found.add(e)
			w.files[len(w.files)-1].last = max(w.files[len(w.files)-1].last, e.index)
		case kind == itemHardState && len(items) >= 25:
			found.hard = hardState{binary.BigEndian.Uint64(items[1:]), binary.BigEndian.Uint64(items[9:]), binary.BigEndian.Uint64(items[17:])}
			items = items[25:]
		case (kind == itemSnapshot || kind == itemReplaced) && len(items) >= 17:
			if kind == itemReplaced {
				found.entries = nil
			}
			w.base = snapshotID{binary.BigEndian.Uint64(items[1:]), binary.BigEndian.Uint64(items[9:])}
			items = items[17:]
		default:
			return fmt.Errorf("an item of type %d is not known to this version of Gregor", kind)
		}
	}
	return nil
}

// add takes an entry; it replaces those from its index on, as a new leader's do.
func (r *recovered) add(e entry) {
	if len(r.entries) > 0 {
		first, last := r.entries[0].index, r.entries[len(r.entries)-1].index
		switch {
		case e.index > last+1:
			// A snapshot from the leader may have stood in for entries: what is before it does not count.
			r.entries = nil
		case e.index <= first:
			r.entries = nil
		case e.index <= last:
			r.entries = r.entries[:e.index-first]
		}
	}
	r.entries = append(r.entries, e)
}

func (w *wal) close() error { return w.file.Release() }
