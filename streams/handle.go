package streams

import (
	"time"

	"github.com/gregorhq/gregor/streams/internal/store"
	"github.com/gregorhq/gregor/streams/serde"
)

// keeping is what the handles of stores have in common. It is an [Option], too: given to an operator whose result may be
// kept, it says where.
type keeping struct {
	name      string
	unlogged  bool
	retention time.Duration
	history   time.Duration
	versioned bool
	newest    int // rows to keep, 0 for all
	onDisk    bool
	cached    bool
	headers   bool
	open      func(task TaskID, name string) (RowStore, error) // of your own
}

// A KVStore is a handle on a key-value store: rows with the time of their last change (Java's Materialized of a
// TimestampedKeyValueStore). An empty name lets the topology choose the name that Java would.
type KVStore[K, V any] struct {
	keeping
	keys   serde.Serde[K]
	values serde.Serde[V]
}

// KV returns a handle on a key-value store.
func KV[K, V any](name string, keys serde.Serde[K], values serde.Serde[V]) KVStore[K, V] {
	return KVStore[K, V]{keeping{name: name}, keys, values}
}

// Versioned makes the store keep the history of each key (KIP-889): tables over it know what a row was at a time, and joins
// with it look rows up as of the record's time.
func (s KVStore[K, V]) Versioned(history time.Duration) KVStore[K, V] {
	s.versioned, s.history = true, history
	return s
}

// LRU makes the store keep at most n rows: the one that was not read or written for the longest time goes (Stores.lruMap), and
// the changelog hears of it. Java does not write that for results of the DSL, and their changelogs keep such rows for ever.
func (s KVStore[K, V]) LRU(n int) KVStore[K, V] {
	s.newest = n
	return s
}

// OnDisk keeps the rows in the app's state folder ([Config.StateDir]), so that a task which starts there again reads only the
// rest of its changelog, and rows need not fit in memory (Java's persistent stores). An [KVStore.LRU] stays in memory.
func (s KVStore[K, V]) OnDisk() KVStore[K, V] {
	s.onDisk = true
	return s
}

// A RowStore is rows sorted by their keys' bytes, see [KVStore.KeptIn].
type RowStore = store.KeyValue

// KeptIn makes the store keep its rows in a store of your own (Java's store suppliers), which open makes for each task and which
// has to be empty then: its rows come from the changelog. If it is an io.Closer, it is closed with the task.
func (s KVStore[K, V]) KeptIn(open func(task TaskID, name string) (RowStore, error)) KVStore[K, V] {
	s.open = open
	return s
}

// Cached makes the store hold changes back until a commit, or until the app's caches are full ([Config.CacheBytes]): of several
// changes of a row only the last goes to the changelog and downstream (Java's withCachingEnabled; there it is the default).
// A versioned store holds nothing back.
func (s KVStore[K, V]) Cached() KVStore[K, V] {
	s.cached = true
	return s
}

// WithHeaders makes the store keep headers with its rows (KIP-1271's TimestampedKeyValueStoreWithHeaders): [KVRows.PutWithHeaders]
// sets them, and they are the headers of the changelog's records. Operators set none. A versioned store cannot keep them.
func (s KVStore[K, V]) WithHeaders() KVStore[K, V] {
	s.headers = true
	return s
}

// Unlogged makes the store have no changelog topic: its rows are lost with the process (Java's withLoggingDisabled).
func (s KVStore[K, V]) Unlogged() KVStore[K, V] {
	s.unlogged = true
	return s
}

// given reports whether the handle is more than its zero value.
func (s KVStore[K, V]) given() bool { return s.name != "" || s.keys != nil || s.values != nil }

// Name returns the store's name.
func (s KVStore[K, V]) Name() string { return s.name }

// A WindowStore is a handle on a window store: rows by key and window (Java's Materialized of a TimestampedWindowStore).
type WindowStore[K, V any] struct {
	keeping
	keys   serde.Serde[K]
	values serde.Serde[V]
}

// Window returns a handle on a window store. An empty name lets the topology choose the name that Java would.
func Window[K, V any](name string, keys serde.Serde[K], values serde.Serde[V]) WindowStore[K, V] {
	return WindowStore[K, V]{keeping{name: name}, keys, values}
}

// Retention makes the store keep windows longer than their size and grace need, for queries (Java's withRetention).
func (s WindowStore[K, V]) Retention(d time.Duration) WindowStore[K, V] {
	s.retention = d
	return s
}

// OnDisk keeps the rows in the app's state folder, see [KVStore.OnDisk].
func (s WindowStore[K, V]) OnDisk() WindowStore[K, V] {
	s.onDisk = true
	return s
}

// Cached makes the store hold changes back, see [KVStore.Cached]. One whose results are sent on close holds nothing back.
func (s WindowStore[K, V]) Cached() WindowStore[K, V] {
	s.cached = true
	return s
}

// WithHeaders makes the store keep headers with its rows, see [KVStore.WithHeaders] and [WindowRows.PutWithHeaders].
func (s WindowStore[K, V]) WithHeaders() WindowStore[K, V] {
	s.headers = true
	return s
}

// Unlogged makes the store have no changelog topic.
func (s WindowStore[K, V]) Unlogged() WindowStore[K, V] {
	s.unlogged = true
	return s
}

// given reports whether the handle is more than its zero value.
func (s WindowStore[K, V]) given() bool { return s.name != "" || s.keys != nil || s.values != nil }

// Name returns the store's name.
func (s WindowStore[K, V]) Name() string { return s.name }

// A SessionStore is a handle on a session store: rows by key and session (Java's Materialized of a SessionStore).
type SessionStore[K, V any] struct {
	keeping
	keys   serde.Serde[K]
	values serde.Serde[V]
}

// Session returns a handle on a session store. An empty name lets the topology choose the name that Java would.
func Session[K, V any](name string, keys serde.Serde[K], values serde.Serde[V]) SessionStore[K, V] {
	return SessionStore[K, V]{keeping{name: name}, keys, values}
}

// Retention makes the store keep sessions longer than their gap and grace need.
func (s SessionStore[K, V]) Retention(d time.Duration) SessionStore[K, V] {
	s.retention = d
	return s
}

// OnDisk keeps the rows in the app's state folder, see [KVStore.OnDisk].
func (s SessionStore[K, V]) OnDisk() SessionStore[K, V] {
	s.onDisk = true
	return s
}

// Cached makes the store hold changes back, see [KVStore.Cached]. One whose results are sent on close holds nothing back.
func (s SessionStore[K, V]) Cached() SessionStore[K, V] {
	s.cached = true
	return s
}

// WithHeaders makes the store keep headers with its rows, see [KVStore.WithHeaders] and [SessionRows.PutWithHeaders].
func (s SessionStore[K, V]) WithHeaders() SessionStore[K, V] {
	s.headers = true
	return s
}

// Unlogged makes the store have no changelog topic.
func (s SessionStore[K, V]) Unlogged() SessionStore[K, V] {
	s.unlogged = true
	return s
}

// given reports whether the handle is more than its zero value.
func (s SessionStore[K, V]) given() bool { return s.name != "" || s.keys != nil || s.values != nil }

// Name returns the store's name.
func (s SessionStore[K, V]) Name() string { return s.name }

// An Option changes an operator: [Name], or a handle of a store where the result of the operator may be kept in one.
type Option interface{ apply(*options) }

type options struct {
	name       string
	storeName  string
	store      any // a KVStore
	partitions int
	grace      *time.Duration
	stores     []storeHandle
}

func optionsOf(all []Option) (o options) {
	for _, option := range all {
		option.apply(&o)
	}
	return o
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// Name names an operator's node, and what Java derives from such a name (Java's Named, Grouped.as, StreamJoined.as, …).
func Name(name string) Option { return optionFunc(func(o *options) { o.name = name }) }

// StoreName names the stores of a stream-stream join, and so their changelogs (StreamJoined.withStoreName).
func StoreName(name string) Option { return optionFunc(func(o *options) { o.storeName = name }) }

// Partitions sets how many partitions a repartition topic gets (Java's Repartitioned.numberOfPartitions); the default is
// as many as the stream before it has.
func Partitions(n int) Option { return optionFunc(func(o *options) { o.partitions = n }) }

// JoinGrace makes a stream-table join wait: records of the stream are held until the stream's time has passed theirs by d,
// so that late updates of the table are seen (KIP-923). The table must be versioned.
func JoinGrace(d time.Duration) Option { return optionFunc(func(o *options) { o.grace = &d }) }

func (s KVStore[K, V]) apply(o *options) { o.store = s }

// storeHandle is any handle of a store, for [Stores].
type storeHandle interface {
	define(b *Builder, where string) string
}

// Stores connects stores to a processor (Java's connectProcessorAndStateStores). The handles open them there. A store that
// the topology does not have yet is added.
func Stores(handles ...storeHandle) Option {
	return optionFunc(func(o *options) { o.stores = append(o.stores, handles...) })
}
