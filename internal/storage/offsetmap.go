package storage

import (
	"crypto/sha256"
	"encoding/binary"
)

// offsetMap remembers the last offset of each key, in memory whose size is fixed beforehand. Keys are known by 128 bits
// of their SHA-256: nobody can make two that collide, so one key never removes another's record.
type offsetMap struct {
	slots []offsetSlot
	count int
}

type offsetSlot struct {
	high, low uint64
	offset    int64 // plus one; 0 is an empty slot
}

const offsetSlotSize = 24

func newOffsetMap(bytes int) *offsetMap {
	size := 16
	for size*2*offsetSlotSize <= bytes {
		size *= 2
	}
	return &offsetMap{slots: make([]offsetSlot, size)}
}

// slot finds a key's slot, or the empty one where it would be.
func (m *offsetMap) slot(key []byte) (s *offsetSlot, high, low uint64) {
	sum := sha256.Sum256(key)
	high, low = binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])
	mask := uint64(len(m.slots) - 1)
	for i := high & mask; ; i = (i + 1) & mask {
		s = &m.slots[i]
		if s.offset == 0 || s.high == high && s.low == low {
			return s, high, low
		}
	}
}

// put notes a key's offset, which is above all before. It reports false where the map is full.
func (m *offsetMap) put(key []byte, offset int64) bool {
	s, high, low := m.slot(key)
	if s.offset == 0 {
		if m.count*10 >= len(m.slots)*9 {
			return false
		}
		m.count++
	}
	*s = offsetSlot{high, low, offset + 1}
	return true
}

// latest is the last offset put for a key, or -1.
func (m *offsetMap) latest(key []byte) int64 {
	s, _, _ := m.slot(key)
	return s.offset - 1
}
