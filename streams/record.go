package streams

import (
	"reflect"
	"time"
	"unsafe"

	"github.com/gregorhq/gregor/streams/internal/layout"
)

// A Record is one record as processors see it (Java's org.apache.kafka.streams.processor.api.Record).
//
// NullKey and NullValue say that Kafka's key or value is null. Key or Value is then nil where its type has a nil, and its
// zero value otherwise.
type Record[K, V any] struct {
	Key       K
	Value     V
	Time      time.Time
	Headers   []Header
	NullKey   bool
	NullValue bool
}

// A Header is a header of a record.
type Header = layout.Header

// opt is a key or a value that may be Kafka's null: ok is false exactly for null, and v is then the zero value. A nil
// pointer, slice, map or interface never hides in an opt that is ok, see [some].
type opt[T any] struct {
	v  T
	ok bool
}

// rec is a record between two nodes. Nodes share it and never change it.
type rec[K, V any] struct {
	key     opt[K]
	value   opt[V]
	time    int64
	headers []Header
}

// change is the value of a record between two table nodes: the row as it is now and, where somebody downstream asked for
// it, as it was. latest is false for an out-of-order update of a versioned table.
type change[V any] struct {
	new, old opt[V]
	latest   bool
}

// update is a record of a table.
type update[K, V any] = rec[K, change[V]]

// stamped is a row of a table with its time.
type stamped[V any] struct {
	opt[V]
	time int64
}

// nilable reports whether nil is a value of T. Then nil is null, and functions of a topology are shown nulls.
func nilable[T any]() bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan:
		return true
	}
	return false
}

// isNil may only be called for a nilable T. Every kind of nilable value is nil exactly if its first word is: the pointer
// itself, a slice's data, an interface's type. Asking reflect would put each value on the heap.
func isNil[T any](v T) bool { return *(*unsafe.Pointer)(unsafe.Pointer(&v)) == nil }

// nulls knows what null is in T; every node asks once.
type nulls[T any] struct{ nilable bool }

func nullsOf[T any]() nulls[T] { return nulls[T]{nilable[T]()} }

// some is v, or null if v is nil.
func (n nulls[T]) some(v T) opt[T] {
	if n.nilable && isNil(v) {
		return opt[T]{}
	}
	return opt[T]{v, true}
}

// shows reports whether a function can be given o: a null that its type cannot show is kept from it.
func (n nulls[T]) shows(o opt[T]) bool { return o.ok || n.nilable }

func (o opt[T]) pointer() *T {
	if !o.ok {
		return nil
	}
	return &o.v
}

func (r *rec[K, V]) public() Record[K, V] {
	return Record[K, V]{Key: r.key.v, Value: r.value.v, Time: time.UnixMilli(r.time), Headers: r.headers,
		NullKey: !r.key.ok, NullValue: !r.value.ok}
}

func private[K, V any](r Record[K, V], keys nulls[K], values nulls[V]) *rec[K, V] {
	out := &rec[K, V]{time: r.Time.UnixMilli(), headers: r.Headers}
	if !r.NullKey {
		out.key = keys.some(r.Key)
	}
	if !r.NullValue {
		out.value = values.some(r.Value)
	}
	return out
}

func withValue[K, V, V2 any](r *rec[K, V], value opt[V2]) *rec[K, V2] {
	return &rec[K, V2]{r.key, value, r.time, r.headers}
}

func updateOf[K, V, V2 any](r *rec[K, V], new, old opt[V2], latest bool, time int64) *update[K, V2] {
	return &update[K, V2]{r.key, opt[change[V2]]{change[V2]{new, old, latest}, true}, time, r.headers}
}

// A Windowed is a key in a window (Java's Windowed). Time windows end before End, sliding windows and sessions at it.
type Windowed[K any] struct {
	Key        K
	Start, End time.Time
}

func windowed[K any](key K, start, end int64) opt[Windowed[K]] {
	return opt[Windowed[K]]{Windowed[K]{key, time.UnixMilli(start), time.UnixMilli(end)}, true}
}

// windowEnd lets suppress find out when a window ends without knowing the type of the key.
func (w Windowed[K]) windowEnd() int64 { return w.End.UnixMilli() }

// equalKeys compares the Go values of keys: those of a nilable type by what they point to.
func equalKeys[K any](a, b K) bool { return reflect.DeepEqual(a, b) }
