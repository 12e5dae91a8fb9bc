package streams

import (
	"github.com/gregorhq/gregor/streams/serde"
)

// derivedTable is a table that another one makes row by row. It is kept only where a handle was given.
type derivedTable[K, V, V2 any] struct {
	parent  *Table[K, V]
	store   string // "" where the rows are computed on demand
	history bool
	compute func(K, opt[V]) opt[V2]
	old     bool
}

func (d *derivedTable[K, V, V2]) sendOld(force bool) bool {
	if d.store != "" || d.parent.impl.sendOld(force) {
		d.old = true
	}
	return d.old
}

func (d *derivedTable[K, V, V2]) versioned() bool {
	if d.store != "" {
		return d.history
	}
	return d.parent.impl.versioned()
}

func (d *derivedTable[K, V, V2]) view() view[K, V2] {
	if d.store != "" {
		return view[K, V2]{[]string{d.store}, func(t *Task) getter[K, V2] { return stateOf[*kvState[K, V2]](t, d.store) }}
	}
	behind := d.parent.impl.view()
	return view[K, V2]{behind.stores, func(t *Task) getter[K, V2] {
		return computed[K, V, V2]{behind.open(t), d.compute}
	}}
}

// computed looks rows up by computing them from another table's.
type computed[K, V, V2 any] struct {
	of      getter[K, V]
	compute func(K, opt[V]) opt[V2]
}

func (c computed[K, V, V2]) get(key K) stamped[V2] { return c.row(key, c.of.get(key)) }
func (c computed[K, V, V2]) asOf(key K, time int64) stamped[V2] {
	return c.row(key, c.of.asOf(key, time))
}
func (c computed[K, V, V2]) isVersioned() bool { return c.of.isVersioned() }
func (c computed[K, V, V2]) row(key K, r stamped[V]) stamped[V2] {
	v := c.compute(key, r.opt)
	if !v.ok {
		return stamped[V2]{}
	}
	return stamped[V2]{v, r.time}
}

// deriveTable adds the node of a derived table. skipNothing leaves out updates from no row to no row.
func deriveTable[K, V, V2 any](t *Table[K, V], o options, prefix string, values serde.Serde[V2], skipNothing bool,
	compute func(K, opt[V]) opt[V2]) *Table[K, V2] {
	d := &derivedTable[K, V, V2]{parent: t, compute: compute}
	keys := t.keys
	handle, given := storeOption[K, V2](t.b, o)
	if given {
		// Java uses up an index for a store without a name although it does not keep one.
		d.store, d.history = handle.name, handle.keeping.versioned
		if d.store == "" {
			t.b.nextStore(prefix)
		}
		if handle.keys == nil {
			handle.keys = t.keys
		}
		if handle.values == nil {
			handle.values = values
		}
		keys, values = handle.keys, handle.values
	}
	name := t.b.named(o.name, prefix)
	if d.store != "" {
		handle.addTo(t.b, d.store, "")
	}
	n := addNode(t.b, name, []*node{t.node}, nil, func(task *Task, out *outlet[K, change[V2]]) func(*update[K, V]) {
		var state *kvState[K, V2]
		if d.store != "" {
			state = stateOf[*kvState[K, V2]](task, d.store)
		}
		return func(r *update[K, V]) { d.process(r, out, state, skipNothing) }
	})
	if d.store != "" {
		n.connect(d.store)
	}
	return &Table[K, V2]{t.b, n, keys, values, d}
}

func (d *derivedTable[K, V, V2]) process(r *update[K, V], out *outlet[K, change[V2]], state *kvState[K, V2], skipNothing bool) {
	c := r.value.v
	now := d.compute(r.key.v, c.new)
	var was opt[V2]
	if d.old {
		if state != nil {
			was = state.get(r.key.v).opt
		} else {
			was = d.compute(r.key.v, c.old)
		}
	}
	if skipNothing && d.old && !now.ok && !was.ok {
		return
	}
	latest := c.latest
	if state != nil {
		kept, isLatest := state.put(r.key.v, now, r.time, r.time)
		if !kept {
			return
		}
		latest = isLatest
	}
	out.forward(updateOf(r, now, was, latest, r.time))
}

// Filter keeps the rows that f holds for; a row for which it ceases to hold is deleted (KTable.filter).
func (t *Table[K, V]) Filter(f func(K, V) bool, opts ...Option) *Table[K, V] {
	return t.filter(f, true, opts)
}

// FilterNot keeps the rows that f does not hold for (KTable.filterNot).
func (t *Table[K, V]) FilterNot(f func(K, V) bool, opts ...Option) *Table[K, V] {
	return t.filter(f, false, opts)
}

func (t *Table[K, V]) filter(f func(K, V) bool, want bool, opts []Option) *Table[K, V] {
	return deriveTable(t, optionsOf(opts), "KTABLE-FILTER-", t.values, true, func(k K, v opt[V]) opt[V] {
		if v.ok && f(k, v.v) == want {
			return v
		}
		return opt[V]{}
	})
}

// MapTable makes each row's value anew (KTable.mapValues).
func MapTable[K, V, V2 any](t *Table[K, V], f func(K, V) V2, opts ...Option) *Table[K, V2] {
	nulls := nullsOf[V2]()
	return deriveTable(t, optionsOf(opts), "KTABLE-MAPVALUES-", nil, false, func(k K, v opt[V]) opt[V2] {
		if !v.ok {
			return opt[V2]{}
		}
		return nulls.some(f(k, v.v))
	})
}

// WithSerdes names the serdes of a table whose types an operator brought; what follows uses them where bytes are needed.
func (t *Table[K, V]) WithSerdes(keys serde.Serde[K], values serde.Serde[V]) *Table[K, V] {
	c := *t
	c.keys, c.values = keys, values
	return &c
}

// ToStream is the stream of the table's updates; a deleted row is a record with a null value (KTable.toStream).
func (t *Table[K, V]) ToStream(opts ...Option) *Stream[K, V] {
	name := t.b.named(optionsOf(opts).name, "KTABLE-TOSTREAM-")
	return t.toStream(name)
}

func (t *Table[K, V]) toStream(name string) *Stream[K, V] {
	n := addNode(t.b, name, []*node{t.node}, nil, func(_ *Task, out *outlet[K, V]) func(*update[K, V]) {
		return func(r *update[K, V]) { out.forward(withValue(r, r.value.v.new)) }
	})
	return &Stream[K, V]{b: t.b, node: n, keys: t.keys, values: t.values}
}

// ToStreamByKey is [Table.ToStream] with new keys (KTable.toStream with a mapper).
func ToStreamByKey[K, V, K2 any](t *Table[K, V], f func(K, V) K2, opts ...Option) *Stream[K2, V] {
	name := t.b.named(optionsOf(opts).name, "KTABLE-TOSTREAM-")
	return selectKey(t.toStream(name), t.b.next("KSTREAM-KEY-SELECT-"), f)
}
