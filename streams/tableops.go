package streams

import (
	"fmt"
	"slices"

	"github.com/gregorhq/gregor/streams/serde"
)

// derivedTable is a table that another one makes row by row. It is kept only where a handle was given.
type derivedTable[K, V, V2 any] struct {
	parent  *Table[K, V]
	node    *node
	store   string // "" where the rows are computed on demand
	history bool
	compute func(t *Task, at *place) func(K, opt[V]) opt[V2]
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
	return view[K, V2]{slices.Concat(behind.stores, d.node.stores), func(t *Task) getter[K, V2] {
		return computed[K, V, V2]{behind.open(t), d.compute(t, &place{task: t, node: d.node})}
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
	compute func(t *Task, at *place) func(K, opt[V]) opt[V2]) *Table[K, V2] {
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
	if skipNothing { // knowing what a row was saves tombstones for rows that were not there, if that costs nothing
		d.old = t.impl.sendOld(false)
	}
	d.node = addNode(t.b, name, []*node{t.node}, nil, func(task *Task, out *outlet[K, change[V2]]) func(*update[K, V]) {
		row := derivedRows[K, V, V2]{table: d, compute: compute(task, &place{task: task, node: d.node}), out: out, skipNothing: skipNothing}
		if d.store != "" {
			row.state = stateOf[*kvState[K, V2]](task, d.store)
			row.state.held.sendTo(out, &d.old)
		}
		return row.process
	})
	if d.store != "" {
		d.node.connect(d.store)
	}
	return &Table[K, V2]{t.b, d.node, keys, values, d}
}

// derivedRows is a derived table at work.
type derivedRows[K, V, V2 any] struct {
	table       *derivedTable[K, V, V2]
	compute     func(K, opt[V]) opt[V2]
	state       *kvState[K, V2] // nil where the table is not kept
	out         *outlet[K, change[V2]]
	skipNothing bool
}

func (d derivedRows[K, V, V2]) process(r *update[K, V]) {
	c := r.value.v
	now, latest := d.compute(r.key.v, c.new), c.latest
	var was opt[V2]
	switch {
	case !d.table.old:
	case d.state != nil:
		was = d.state.get(r.key.v).opt
	default:
		was = d.compute(r.key.v, c.old)
	}
	if d.skipNothing && d.table.old && !now.ok && !was.ok && !d.table.parent.impl.versioned() {
		return // of a versioned table even this says that what was before is over
	}
	if d.state != nil {
		var kept bool
		if kept, latest = d.state.put(r.key.v, now, r.time, r.time); !kept || d.state.held.waits(r.headers) {
			return
		}
	}
	d.out.forward(updateOf(r, now, was, latest, r.time))
}

// stateless is a computation that is the same in every task.
func stateless[K, V, V2 any](f func(K, opt[V]) opt[V2]) func(*Task, *place) func(K, opt[V]) opt[V2] {
	return func(*Task, *place) func(K, opt[V]) opt[V2] { return f }
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
	return deriveTable(t, optionsOf(opts), "KTABLE-FILTER-", t.values, true, stateless(func(k K, v opt[V]) opt[V] {
		if v.ok && f(k, v.v) == want {
			return v
		}
		return opt[V]{}
	}))
}

// MapTable makes each row's value anew (KTable.mapValues).
func MapTable[K, V, V2 any](t *Table[K, V], f func(K, V) V2, opts ...Option) *Table[K, V2] {
	nulls := nullsOf[V2]()
	return deriveTable(t, optionsOf(opts), "KTABLE-MAPVALUES-", nil, false, stateless(func(k K, v opt[V]) opt[V2] {
		if !v.ok {
			return opt[V2]{}
		}
		return nulls.some(f(k, v.v))
	}))
}

// A RowTransformer makes rows anew with the help of stores (Java's ValueTransformerWithKey).
type RowTransformer[K, V, V2 any] interface {
	// Init is called once in each task: open stores and schedule punctuations here. The context cannot forward.
	Init(c *Context[K, V2]) error
	// Transform returns the new row for a row; nil stands for no row on both sides.
	Transform(key K, row *V) (*V2, error)
}

// TransformTable makes each row's value anew with the help of stores, which [Stores] connects (KTable.transformValues). A table
// that is not kept is computed again whenever a row is looked up, by a transformer of its own.
func TransformTable[K, V, V2 any](t *Table[K, V], make func() RowTransformer[K, V, V2], opts ...Option) *Table[K, V2] {
	nulls, o := nullsOf[V2](), optionsOf(opts)
	table := deriveTable(t, o, "KTABLE-TRANSFORMVALUES-", nil, false, func(task *Task, at *place) func(K, opt[V]) opt[V2] {
		nowhere := func(*rec[K, V2]) { must(fmt.Errorf("streams: %s can only return rows", at.node.name)) }
		p := make()
		must(p.Init(&Context[K, V2]{at: at, forward: nowhere, child: func(_ string, r *rec[K, V2]) error { nowhere(r); return nil },
			keys: nullsOf[K](), values: nulls}))
		return func(k K, v opt[V]) opt[V2] {
			row, err := p.Transform(k, v.pointer())
			must(err)
			if row == nil {
				return opt[V2]{}
			}
			return nulls.some(*row)
		}
	})
	for _, h := range o.stores {
		table.node.connect(h.define(t.b, table.node.where))
	}
	return table
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

// ToStreamByKey is [Table.ToStream] with new keys (KTable.toStream with a mapper). The new key is made of the old one alone,
// so that deletions have one, too.
func ToStreamByKey[K, V, K2 any](t *Table[K, V], f func(K) K2, opts ...Option) *Stream[K2, V] {
	s := t.toStream(t.b.named(optionsOf(opts).name, "KTABLE-TOSTREAM-"))
	return derive(s, t.b.next("KSTREAM-KEY-SELECT-"), nil, s.values, true, func(_ *Task, out *outlet[K2, V]) func(*rec[K, V]) {
		keys := nullsOf[K2]()
		return func(r *rec[K, V]) {
			out.forward(&rec[K2, V]{keys.some(f(r.key.v)), r.value, r.time, r.headers})
		}
	})
}
