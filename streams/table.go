package streams

import (
	"github.com/gregorhq/gregor/streams/serde"
)

// A Table is the latest value of each key (Java's KTable). A record with a null value deletes the row.
//
// A table is kept in a store only where that is needed: because it was given a handle of one, or because something after it
// looks rows up. What is not kept is computed from the tables before it on demand.
type Table[K, V any] struct {
	b      *Builder
	node   *node
	keys   serde.Serde[K] // nil where an operator brought a new type
	values serde.Serde[V]
	impl   tableNode[K, V]
}

// tableNode is what a kind of table knows of itself while the topology is built.
type tableNode[K, V any] interface {
	// sendOld makes the node send a row's old value along with the new. Unless forced, a table that would have to be kept for
	// that says no.
	sendOld(force bool) bool
	// view lets others look rows up. A table that has to be kept for that is kept from then on.
	view() view[K, V]
	// versioned reports whether out-of-order updates are told apart.
	versioned() bool
}

// view is a way to look up rows: the stores that it needs, and how it is opened in a task.
type view[K, V any] struct {
	stores []string
	open   func(t *Task) getter[K, V]
}

// getter looks up rows.
type getter[K, V any] interface {
	get(K) stamped[V]
	asOf(key K, time int64) stamped[V]
	isVersioned() bool
}

// getFunc is a getter of a table that is computed on demand, and so has no history.
type getFunc[K, V any] func(K) stamped[V]

func (f getFunc[K, V]) get(key K) stamped[V]           { return f(key) }
func (f getFunc[K, V]) asOf(key K, _ int64) stamped[V] { return f(key) }
func (f getFunc[K, V]) isVersioned() bool              { return false }

// stored is a table that lives in a key-value store.
type stored[K, V any] struct {
	store      string
	old        bool
	isVersions bool
}

func (s *stored[K, V]) sendOld(bool) bool { s.old = true; return true }
func (s *stored[K, V]) versioned() bool   { return s.isVersions }
func (s *stored[K, V]) view() view[K, V] {
	return view[K, V]{[]string{s.store}, func(t *Task) getter[K, V] { return stateOf[*kvState[K, V]](t, s.store) }}
}

// windowTable is a table of windows in a window store.
type windowTable[K, V any] struct {
	store string
	old   bool
}

func (s *windowTable[K, V]) sendOld(bool) bool { s.old = true; return true }
func (s *windowTable[K, V]) versioned() bool   { return false }
func (s *windowTable[K, V]) view() view[Windowed[K], V] {
	return view[Windowed[K], V]{[]string{s.store}, func(t *Task) getter[Windowed[K], V] {
		state := stateOf[*windowState[K, V]](t, s.store)
		return getFunc[Windowed[K], V](func(w Windowed[K]) stamped[V] { return state.get(w.Key, w.Start.UnixMilli()) })
	}}
}

// sessionTable is a table of sessions in a session store.
type sessionTable[K, V any] struct {
	store string
	old   bool
}

func (s *sessionTable[K, V]) sendOld(bool) bool { s.old = true; return true }
func (s *sessionTable[K, V]) versioned() bool   { return false }
func (s *sessionTable[K, V]) view() view[Windowed[K], V] {
	return view[Windowed[K], V]{[]string{s.store}, func(t *Task) getter[Windowed[K], V] {
		state := stateOf[*sessionState[K, V]](t, s.store)
		return getFunc[Windowed[K], V](func(w Windowed[K]) stamped[V] {
			return stamped[V]{state.get(w.Key, w.Start.UnixMilli(), w.windowEnd()), w.windowEnd()}
		})
	}}
}

// sourceTable is a table straight from a topic. It is kept only if somebody needs it.
type sourceTable[K, V any] struct {
	handle KVStore[K, V]
	name   string // of the store, if it comes to be kept
	kept   bool
	old    bool
	node   *node
	b      *Builder
	global bool
}

func (s *sourceTable[K, V]) keep() {
	if s.kept {
		return
	}
	s.kept = true
	s.handle.addTo(s.b, s.name, s.node.where)
	if s.global {
		s.b.stores[s.name].global, s.b.stores[s.name].logged = true, false
	}
	s.node.connect(s.name)
}

func (s *sourceTable[K, V]) sendOld(force bool) bool {
	if !force && !s.kept {
		return false
	}
	s.keep()
	s.old = true
	return true
}

func (s *sourceTable[K, V]) versioned() bool { return s.handle.keeping.versioned }

func (s *sourceTable[K, V]) view() view[K, V] {
	s.keep()
	return view[K, V]{[]string{s.name}, func(t *Task) getter[K, V] { return stateOf[*kvState[K, V]](t, s.name) }}
}

// start takes records of a topic as updates of the table.
func (s *sourceTable[K, V]) start(parent *node) func(t *Task, at *place) {
	return func(t *Task, at *place) {
		out := outletOf[K, change[V]](t, s.node)
		var state *kvState[K, V]
		if s.kept {
			state = stateOf[*kvState[K, V]](t, s.name)
			state.held.sendTo(out, &s.old)
		}
		connect(parent, at, func(r *rec[K, V]) {
			if !r.key.ok {
				t.drop()
				return
			}
			if state == nil {
				out.forward(updateOf(r, r.value, opt[V]{}, true, r.time))
				return
			}
			var old opt[V]
			if s.old {
				old = state.get(r.key.v).opt
			}
			kept, latest := state.put(r.key.v, r.value, r.time, r.time)
			if !kept {
				t.drop()
				return
			}
			if !state.held.waits(r.headers) {
				out.forward(updateOf(r, r.value, old, latest, r.time))
			}
		})
	}
}

func (s *sourceTable[K, V]) addTo(b *Builder, name string, parent *node) {
	s.b = b
	s.node = &node{name: name, kind: processorNode, parents: []*node{parent}, global: s.global}
	s.node.start = s.start(parent)
	b.add(s.node)
	if s.handle.name != "" || s.global {
		s.keep()
	}
}

// storeOption is the handle among an operator's options, which must be for these types.
func storeOption[K, V any](b *Builder, o options) (handle KVStore[K, V], given bool) {
	if o.store == nil {
		return handle, false
	}
	handle, ok := o.store.(KVStore[K, V])
	if !ok {
		b.fail("the store is a %T, but the rows are %T", o.store, handle)
	}
	return handle, ok
}

// TableFrom reads a topic as a table (StreamsBuilder.table). Give it a [KV] handle to query it, or to make it versioned.
func TableFrom[K, V any](b *Builder, topic Topic[K, V], opts ...Option) *Table[K, V] {
	o := optionsOf(opts)
	handle, given := storeOption[K, V](b, o)
	if !given {
		handle = KV("", topic.keys, topic.values)
	}
	if handle.keys == nil {
		handle.keys = topic.keys
	}
	if handle.values == nil {
		handle.values = topic.values
	}
	t := &sourceTable[K, V]{handle: handle, name: handle.name}
	if t.name == "" {
		t.name = b.nextStore(topic.name + "-")
	}
	source := addSource(b, b.next("KSTREAM-SOURCE-"), []string{topic.name}, topic)
	t.addTo(b, b.named(o.name, "KTABLE-SOURCE-"), source)
	return &Table[K, V]{b, t.node, topic.keys, topic.values, t}
}

// ToTable makes a table of the stream's latest value of each key (KStream.toTable).
func (s *Stream[K, V]) ToTable(opts ...Option) *Table[K, V] {
	o := optionsOf(opts)
	handle, given := storeOption[K, V](s.b, o)
	if !given {
		handle = KV("", s.keys, s.values)
	}
	if handle.keys == nil {
		handle.keys = s.keys
	}
	if handle.values == nil {
		handle.values = s.values
	}
	name := s.b.named(o.name, "KSTREAM-TOTABLE-")
	t := &sourceTable[K, V]{handle: handle, name: handle.name}
	if t.name == "" {
		t.name = s.b.nextStore("KSTREAM-TOTABLE-")
	}
	parent := s
	if s.rekeyed {
		c := *s
		c.keys, c.values = handle.keys, handle.values
		parent = c.repartitioned(name)
	}
	t.addTo(s.b, name, parent.node)
	return &Table[K, V]{s.b, t.node, handle.keys, handle.values, t}
}

// A GlobalTable is a table that every instance has whole (Java's GlobalKTable): it is filled from all partitions of its
// topic before anything else starts, and can be joined by any key. It has no stream time of its own.
type GlobalTable[K, V any] struct {
	table *Table[K, V]
}

// GlobalTableFrom reads a topic as a global table (StreamsBuilder.globalTable).
func GlobalTableFrom[K, V any](b *Builder, topic Topic[K, V], opts ...Option) *GlobalTable[K, V] {
	o := optionsOf(opts)
	handle, given := storeOption[K, V](b, o)
	if !given {
		handle = KV("", topic.keys, topic.values)
	}
	if handle.keeping.versioned {
		b.fail("a global table cannot be versioned")
	}
	t := &sourceTable[K, V]{handle: handle, name: handle.name, global: true}
	if t.name == "" {
		t.name = b.nextStore(topic.name + "-")
	}
	source := addSource(b, b.next("KSTREAM-SOURCE-"), []string{topic.name}, topic)
	source.global = true
	t.addTo(b, b.named(o.name, "KTABLE-SOURCE-"), source)
	return &GlobalTable[K, V]{&Table[K, V]{b, t.node, topic.keys, topic.values, t}}
}
