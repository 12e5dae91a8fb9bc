// Package store keeps the state of a task as sorted bytes: key-value rows, windows, sessions, versions and buffers.
//
// It promises Kafka Streams' order (keys by their bytes, windows by start, sessions by end) and its rules of expiry, and
// that what a read returned stays as it was while the store changes. Only package streams calls it, from one goroutine per
// store. It knows no serdes, writes no changelog and forwards nothing: package streams does that around it.
//
// Each kind of store comes in memory, and on a [Disk]; the interfaces are what both are. Tests hold the one against the other.
package store

import (
	"iter"

	"github.com/tidwall/btree"
)

// KeyValue is rows sorted by key.
type KeyValue interface {
	// Get returns a row's value, nil where there is none.
	Get(key []byte) []byte
	// Put sets a row; a nil value deletes it.
	Put(key, value []byte)
	// Range walks the rows from from to to, both included, in the order of their keys, or backwards. nil leaves an end open.
	// It walks the rows as they were when it began.
	Range(from, to []byte, backwards bool) iter.Seq2[[]byte, []byte]
	// Len is the number of rows.
	Len() int
}

// NewKeyValue returns a store in memory.
func NewKeyValue() KeyValue { return &memory{} }

type memory struct{ rows btree.Map[string, []byte] }

func (m *memory) Get(key []byte) []byte {
	v, _ := m.rows.Get(string(key))
	return v
}

func (m *memory) Put(key, value []byte) {
	if value == nil {
		m.rows.Delete(string(key))
		return
	}
	m.rows.Set(string(key), value)
}

func (m *memory) Len() int { return m.rows.Len() }

func (m *memory) Range(from, to []byte, backwards bool) iter.Seq2[[]byte, []byte] {
	rows := m.rows.Copy()
	return func(yield func([]byte, []byte) bool) {
		switch {
		case !backwards:
			rows.Ascend(string(from), func(k string, v []byte) bool {
				return (to == nil || k <= string(to)) && yield([]byte(k), v)
			})
		case to == nil:
			rows.Reverse(func(k string, v []byte) bool {
				return k >= string(from) && yield([]byte(k), v)
			})
		default:
			rows.Descend(string(to), func(k string, v []byte) bool {
				return k >= string(from) && yield([]byte(k), v)
			})
		}
	}
}
