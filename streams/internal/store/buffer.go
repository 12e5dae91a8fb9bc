package store

import (
	"cmp"
	"math"

	"github.com/tidwall/btree"

	"github.com/gregorhq/gregor/streams/internal/layout"
)

// Buffer holds at most one record of each key until its time has come. A key that is updated keeps its place.
type Buffer struct {
	places map[string]int64
	queue  *btree.BTreeG[Waiting]
	bytes  int64
}

// Waiting is a record in a [Buffer].
type Waiting struct {
	Time   int64 // its place in the queue
	Key    string
	Record *layout.Buffered
}

// NewBuffer returns an empty buffer.
func NewBuffer() *Buffer {
	return &Buffer{places: map[string]int64{}, queue: btree.NewBTreeG(func(a, b Waiting) bool {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Key, b.Key)) < 0
	})}
}

// Get returns the record of a key and its place, or nil.
func (b *Buffer) Get(key []byte) (time int64, record *layout.Buffered) {
	time, ok := b.places[string(key)]
	if !ok {
		return 0, nil
	}
	w, _ := b.queue.Get(Waiting{Time: time, Key: string(key)})
	return time, w.Record
}

// Put adds or replaces the record of a key. The prior value of a record that was there stays: it is what downstream saw.
func (b *Buffer) Put(time int64, key []byte, record *layout.Buffered) {
	if place, old := b.Get(key); old != nil {
		time, record.Prior = place, old.Prior
		b.bytes -= old.Size(key)
	} else {
		record.Prior = record.Old
		b.places[string(key)] = time
	}
	b.bytes += record.Size(key)
	b.queue.Set(Waiting{time, string(key), record})
}

// Restore sets a record as a changelog has it.
func (b *Buffer) Restore(time int64, key []byte, record *layout.Buffered) {
	b.Remove(key)
	if record == nil {
		return
	}
	b.places[string(key)] = time
	b.bytes += record.Size(key)
	b.queue.Set(Waiting{time, string(key), record})
}

// First returns the record whose time comes first.
func (b *Buffer) First() (Waiting, bool) { return b.queue.Min() }

// FirstTime is the time of the first record, or the end of time.
func (b *Buffer) FirstTime() int64 {
	if w, ok := b.queue.Min(); ok {
		return w.Time
	}
	return math.MaxInt64
}

// Remove takes a key out.
func (b *Buffer) Remove(key []byte) {
	place, old := b.Get(key)
	if old == nil {
		return
	}
	b.bytes -= old.Size(key)
	delete(b.places, string(key))
	b.queue.Delete(Waiting{Time: place, Key: string(key)})
}

// Len is the number of records, Bytes what they are counted for.
func (b *Buffer) Len() int     { return b.queue.Len() }
func (b *Buffer) Bytes() int64 { return b.bytes }
