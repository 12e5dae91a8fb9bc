package raft

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/gregorhq/gregor/internal/vfs"
)

// Inspected is one item of a log file, for people who look into a metadata directory.
type Inspected struct {
	Position    int64  // of the frame that the item is in
	Frame       uint64 // its number
	Kind        string // entry, members, state, snapshot or replaced
	Index, Term uint64
	Vote        uint64 // of a state
	Commit      uint64
	Data        []byte // of an entry: a batch, or nothing
}

// InspectLog visits the items of a wal-… file, also of one that a running member writes, up to the first frame that is not
// whole: err then says where that is, and is nil at the end of the file.
func InspectLog(fs vfs.FS, name string, visit func(Inspected) error) error {
	data, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		return err
	}
	if len(data) < walHeaderSize || string(data[:8]) != walMagic || crc32.Checksum(data[:28], castagnoli) != binary.BigEndian.Uint32(data[28:]) {
		return fmt.Errorf("%s: %w: it has no header of a log file", name, ErrDamaged)
	}
	for at := walHeaderSize; at < len(data); {
		items, number, ok := parseFrame(data[at:])
		if !ok {
			return fmt.Errorf("%s: the frame at byte %d is %w", name, at, errTorn)
		}
		// The items go through the reader of a start, one by one, so that both read the same.
		for rest := items; len(rest) > 0; {
			size := itemSize(rest)
			w, found := &wal{files: []walFile{{}}}, recovered{}
			if err := w.readItems(rest[:size], &found); err != nil {
				return fmt.Errorf("%s: the frame at byte %d: %w", name, at, err)
			}
			if err := visit(inspected(int64(at), number, rest[0], w, found)); err != nil {
				return err
			}
			rest = rest[size:]
		}
		at += frameHeader + len(items)
	}
	return nil
}

// itemSize is how many bytes the first item takes, all of them where that cannot be.
func itemSize(items []byte) int {
	size := len(items)
	switch items[0] {
	case itemEntry:
		if len(items) >= entryHeader {
			size = entryHeader + int(binary.BigEndian.Uint32(items[18:]))
		}
	case itemHardState:
		size = 25
	case itemSnapshot, itemReplaced:
		size = 17
	}
	return min(size, len(items))
}

func inspected(position int64, frame uint64, kind byte, w *wal, found recovered) Inspected {
	i := Inspected{Position: position, Frame: frame}
	switch kind {
	case itemEntry:
		e := found.entries[0]
		i.Kind, i.Index, i.Term, i.Data = "entry", e.index, e.term, e.data
		if e.kind != 0 {
			i.Kind = "members"
		}
	case itemHardState:
		i.Kind, i.Term, i.Vote, i.Commit = "state", found.hard.term, found.hard.vote, found.hard.commit
	case itemSnapshot, itemReplaced:
		i.Kind, i.Index, i.Term = "snapshot", w.base.index, w.base.term
		if kind == itemReplaced {
			i.Kind = "replaced"
		}
	}
	return i
}

// InspectSnapshot reads a snapshot-… file: the entry that it is of, and its batches.
func InspectSnapshot(fs vfs.FS, name string) (index, term uint64, batches [][]byte, err error) {
	data, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		return 0, 0, nil, err
	}
	s, err := parseSnapshot(data)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("%s: %w", name, err)
	}
	return s.id.index, s.id.term, s.batches, nil
}
