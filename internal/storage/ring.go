package storage

import "sync/atomic"

// ring remembers where the last batches of the active segment are, so that whoever reads at the tail needs no index and
// no look into the file. The writer adds, readers search, nobody waits: a reader that the writer has overtaken notices
// and falls back to the index.
type ring struct {
	added atomic.Int64 // batches ever added; the slot of number n is n modulo the length
	slots []ringSlot
}

type ringSlot struct {
	base, last, position atomic.Int64
}

const (
	ringSmallest = 16
	ringLargest  = 1024
)

func newRing(size int) *ring { return &ring{slots: make([]ringSlot, size)} }

// add returns the ring to use from now on, which is a larger one where this one is full and may grow.
func (r *ring) add(base, last, position int64) *ring {
	n := r.added.Load()
	size := int64(len(r.slots))
	if n == size && size < ringLargest {
		larger := newRing(int(size) * 4)
		for i := range r.slots {
			larger.slots[i].set(r.slots[i].base.Load(), r.slots[i].last.Load(), r.slots[i].position.Load())
		}
		larger.added.Store(n)
		return larger.add(base, last, position)
	}
	r.slots[n%size].set(base, last, position)
	r.added.Store(n + 1)
	return r
}

func (s *ringSlot) set(base, last, position int64) {
	s.base.Store(base)
	s.last.Store(last)
	s.position.Store(position)
}

// window is the numbers of the slots that a reader may look at, leaving the writer some room to go on meanwhile.
func (r *ring) window() (low, high int64) {
	high = r.added.Load()
	size := int64(len(r.slots))
	if high < size {
		return 0, high
	}
	return high - size + size/4, high
}

// intact reports whether the slots from low on are still what they were.
func (r *ring) intact(low int64) bool { return r.added.Load()-int64(len(r.slots)) < low }

// spot is the start of a batch: where it is, and the offset it starts with. At the end of a segment there is no batch:
// the offset is the least that one could start with.
type spot struct {
	position int64
	base     int64
}

// holding finds the first batch whose last offset is not below an offset. ok is false where the ring does not reach far
// enough back to know, or knows of no such batch.
func (r *ring) holding(offset int64) (s spot, ok bool) {
	low, high := r.window()
	first, end := low, high
	for low < high {
		mid := (low + high) / 2
		if r.slots[mid%int64(len(r.slots))].last.Load() >= offset {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == end {
		return spot{}, false
	}
	slot := &r.slots[low%int64(len(r.slots))]
	s = spot{slot.position.Load(), slot.base.Load()}
	// An earlier batch than the first known one might hold the offset too, unless there is none.
	if low == first && s.position != 0 && s.base > offset {
		return spot{}, false
	}
	return s, r.intact(first)
}

// startingBy finds the last batch that starts at or before a position.
func (r *ring) startingBy(position int64) (s spot, ok bool) {
	low, high := r.window()
	first := low
	for low < high {
		mid := (low + high) / 2
		if r.slots[mid%int64(len(r.slots))].position.Load() > position {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == first {
		return spot{}, false
	}
	slot := &r.slots[(low-1)%int64(len(r.slots))]
	s = spot{slot.position.Load(), slot.base.Load()}
	return s, r.intact(first)
}
