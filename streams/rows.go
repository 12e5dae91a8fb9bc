package streams

import (
	"bytes"
	"fmt"
	"iter"
	"time"
)

// openAs opens a store with the handle's types, or stops the node.
func openAs[S any](c StoreContext, name string) (S, *Task) {
	s, t, err := c.state(name)
	must(err)
	state, ok := s.(S)
	if !ok {
		must(fmt.Errorf("streams: the store %s is a %T, the handle wants a %T", name, s, state))
	}
	return state, t
}

// KVRows is a key-value store, open in a task (Java's KeyValueStore, or VersionedKeyValueStore).
type KVRows[K, V any] struct {
	name  string
	state *kvState[K, V]
	task  *Task
}

// Open opens the store in a processor's Init, or in a test.
func (s KVStore[K, V]) Open(c StoreContext) *KVRows[K, V] {
	state, t := openAs[*kvState[K, V]](c, s.name)
	return &KVRows[K, V]{s.name, state, t}
}

// Get returns the value of a key.
func (r *KVRows[K, V]) Get(key K) (value V, ok bool) {
	row := r.state.get(key)
	return row.v, row.ok
}

// GetTimed returns the value of a key and when it was set.
func (r *KVRows[K, V]) GetTimed(key K) (value V, at time.Time, ok bool) {
	row := r.state.get(key)
	return row.v, time.UnixMilli(row.time), row.ok
}

// GetAsOf returns what the value of a key was at a time. Only a versioned store knows; others return the present value.
func (r *KVRows[K, V]) GetAsOf(key K, at time.Time) (value V, ok bool) {
	row := r.state.asOf(key, at.UnixMilli())
	return row.v, row.ok
}

// GetTimedAsOf is [KVRows.GetAsOf], and when the value was set.
func (r *KVRows[K, V]) GetTimedAsOf(key K, at time.Time) (value V, set time.Time, ok bool) {
	row := r.state.asOf(key, at.UnixMilli())
	return row.v, time.UnixMilli(row.time), row.ok
}

// Put sets the value of a key, with the time of the record that the processor is at. A nil value deletes.
func (r *KVRows[K, V]) Put(key K, value V) { r.put(key, r.state.nulls.some(value), r.task.time) }

// PutTimed sets the value of a key with a time.
func (r *KVRows[K, V]) PutTimed(key K, value V, at time.Time) {
	r.put(key, r.state.nulls.some(value), at.UnixMilli())
}

// GetWithHeaders returns the value of a key, when it was set, and its headers.
func (r *KVRows[K, V]) GetWithHeaders(key K) (value V, at time.Time, headers []Header, ok bool) {
	value, at, ok = r.GetTimed(key)
	return value, at, r.state.headers(key), ok
}

// PutWithHeaders sets the value of a key with a time and headers, in a store that keeps them.
func (r *KVRows[K, V]) PutWithHeaders(key K, value V, at time.Time, headers ...Header) {
	r.state.form.mustKeep(r.name)
	r.state.put(key, r.state.nulls.some(value), at.UnixMilli(), r.task.time, headers...)
}

// Delete deletes a key.
func (r *KVRows[K, V]) Delete(key K) { r.put(key, opt[V]{}, r.task.time) }

func (r *KVRows[K, V]) put(key K, value opt[V], at int64) { r.state.put(key, value, at, r.task.time) }

// All walks all rows in the order of their keys' bytes. It walks them as they were when it began. A versioned store cannot.
func (r *KVRows[K, V]) All() iter.Seq2[K, V] { return r.walk(nil, nil, false) }

// Backward walks all rows from the last key to the first.
func (r *KVRows[K, V]) Backward() iter.Seq2[K, V] { return r.walk(nil, nil, true) }

// Range walks the rows from from to to, both included, in the order of their keys' bytes.
func (r *KVRows[K, V]) Range(from, to K) iter.Seq2[K, V] {
	return r.walk(encoded(r.state.keys, from), encoded(r.state.keys, to), false)
}

// Prefix walks the rows whose keys' bytes begin with a prefix (Java's prefixScan).
func (r *KVRows[K, V]) Prefix(prefix []byte) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if r.state.rows == nil {
			must(fmt.Errorf("streams: a versioned store cannot be walked"))
		}
		for k, v := range r.state.rows.Range(prefix, nil, false) {
			if !bytes.HasPrefix(k, prefix) || !yield(decode(r.state.keys, nulls[K]{}, k).v, r.state.row(v).v) {
				return
			}
		}
	}
}

func (r *KVRows[K, V]) walk(from, to []byte, backwards bool) iter.Seq2[K, V] {
	if r.state.rows == nil {
		must(fmt.Errorf("streams: a versioned store cannot be walked"))
	}
	return func(yield func(K, V) bool) {
		for k, v := range r.state.rows.Range(from, to, backwards) {
			if !yield(decode(r.state.keys, nulls[K]{}, k).v, r.state.row(v).v) {
				return
			}
		}
	}
}

// Len is the number of rows.
func (r *KVRows[K, V]) Len() int {
	if r.state.rows == nil {
		must(fmt.Errorf("streams: a versioned store cannot be counted"))
	}
	return r.state.rows.Len()
}

// WindowRows is a window store, open in a task (Java's WindowStore).
type WindowRows[K, V any] struct {
	name  string
	state *windowState[K, V]
	task  *Task
}

// Open opens the store in a processor's Init, or in a test.
func (s WindowStore[K, V]) Open(c StoreContext) *WindowRows[K, V] {
	state, t := openAs[*windowState[K, V]](c, s.name)
	return &WindowRows[K, V]{s.name, state, t}
}

// Get returns the value of a key in the window that starts there.
func (r *WindowRows[K, V]) Get(key K, start time.Time) (value V, ok bool) {
	row := r.state.get(key, start.UnixMilli())
	return row.v, row.ok
}

// Put sets the value of a key in a window. A nil value deletes.
func (r *WindowRows[K, V]) Put(key K, start time.Time, value V) {
	r.state.put(key, start.UnixMilli(), 0, stamped[V]{r.state.nulls.some(value), r.task.time}, r.task.time)
}

// GetWithHeaders returns the value of a key in the window that starts there, and its headers.
func (r *WindowRows[K, V]) GetWithHeaders(key K, start time.Time) (value V, headers []Header, ok bool) {
	value, ok = r.Get(key, start)
	return value, r.state.headers(key, start.UnixMilli()), ok
}

// PutWithHeaders sets the value of a key in a window with headers, in a store that keeps them.
func (r *WindowRows[K, V]) PutWithHeaders(key K, start time.Time, value V, headers ...Header) {
	r.state.form.mustKeep(r.name)
	r.state.put(key, start.UnixMilli(), 0, stamped[V]{r.state.nulls.some(value), r.task.time}, r.task.time, headers...)
}

// Fetch walks the windows of a key that start from from to to, both included, by start.
func (r *WindowRows[K, V]) Fetch(key K, from, to time.Time) iter.Seq2[time.Time, V] {
	rows := r.state.fetch(key, from.UnixMilli(), to.UnixMilli())
	return func(yield func(time.Time, V) bool) {
		for _, row := range rows {
			if !yield(time.UnixMilli(row.start), row.row.v) {
				return
			}
		}
	}
}

// FetchAll walks the windows of all keys that start from from to to, both included, by start and then by key. The End of
// the keys it yields is not known to the store, and zero.
func (r *WindowRows[K, V]) FetchAll(from, to time.Time) iter.Seq2[Windowed[K], V] {
	rows := r.state.fetchAll(from.UnixMilli(), to.UnixMilli())
	return func(yield func(Windowed[K], V) bool) {
		for _, row := range rows {
			if !yield(Windowed[K]{Key: row.key, Start: time.UnixMilli(row.start)}, row.row.v) {
				return
			}
		}
	}
}

// SessionRows is a session store, open in a task (Java's SessionStore).
type SessionRows[K, V any] struct {
	name  string
	state *sessionState[K, V]
	task  *Task
}

// Open opens the store in a processor's Init, or in a test.
func (s SessionStore[K, V]) Open(c StoreContext) *SessionRows[K, V] {
	state, t := openAs[*sessionState[K, V]](c, s.name)
	return &SessionRows[K, V]{s.name, state, t}
}

// Get returns the value of one session.
func (r *SessionRows[K, V]) Get(w Windowed[K]) (value V, ok bool) {
	v := r.state.get(w.Key, w.Start.UnixMilli(), w.windowEnd())
	return v.v, v.ok
}

// Put sets the value of a session. A nil value deletes.
func (r *SessionRows[K, V]) Put(w Windowed[K], value V) {
	r.state.put(w.Key, w.Start.UnixMilli(), w.windowEnd(), r.state.nulls.some(value), r.task.time)
}

// GetWithHeaders returns the value of one session, and its headers.
func (r *SessionRows[K, V]) GetWithHeaders(w Windowed[K]) (value V, headers []Header, ok bool) {
	value, ok = r.Get(w)
	return value, r.state.headers(w.Key, w.Start.UnixMilli(), w.windowEnd()), ok
}

// PutWithHeaders sets the value of a session with headers, in a store that keeps them.
func (r *SessionRows[K, V]) PutWithHeaders(w Windowed[K], value V, headers ...Header) {
	r.state.form.mustKeep(r.name)
	r.state.put(w.Key, w.Start.UnixMilli(), w.windowEnd(), r.state.nulls.some(value), r.task.time, headers...)
}

// Delete deletes a session.
func (r *SessionRows[K, V]) Delete(w Windowed[K]) {
	r.state.put(w.Key, w.Start.UnixMilli(), w.windowEnd(), opt[V]{}, r.task.time)
}

// Find walks the sessions of a key that end at earliestEnd or later and start at latestStart or earlier, by end.
func (r *SessionRows[K, V]) Find(key K, earliestEnd, latestStart time.Time) iter.Seq2[Windowed[K], V] {
	rows := r.state.find(key, earliestEnd.UnixMilli(), latestStart.UnixMilli())
	return func(yield func(Windowed[K], V) bool) {
		for _, row := range rows {
			if !yield(windowed(row.key, row.start, row.end).v, row.value.v) {
				return
			}
		}
	}
}

// state lets tests open any store of a task.
func (t *Task) state(name string) (any, *Task, error) {
	if t.topology.stores[name] == nil {
		return nil, nil, fmt.Errorf("streams: there is no store %q", name)
	}
	s, ok := t.stores[name]
	if !ok {
		return nil, nil, fmt.Errorf("streams: task %s does not have the store %q", t.id, name)
	}
	return s, t, nil
}
