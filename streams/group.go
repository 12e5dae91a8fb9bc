package streams

import (
	"strconv"

	"github.com/gregorhq/gregor/streams/serde"
)

// Grouped is a stream whose records are to be aggregated by key (Java's KGroupedStream).
type Grouped[K, V any] struct {
	s       *Stream[K, V]
	name    string
	through *node // the repartition topic, where it has a name and so is shared by all aggregations
	parts   int
}

// GroupByKey groups by the key that records have (KStream.groupByKey). Only where the key may have changed since the last
// repartition topic, another one is put between, named after [Name] or the store.
func (s *Stream[K, V]) GroupByKey(opts ...Option) *Grouped[K, V] {
	o := optionsOf(opts)
	return &Grouped[K, V]{s: s, name: o.name, parts: o.partitions}
}

// GroupBy groups by a new key (KStream.groupBy); records are repartitioned.
func GroupBy[K, V, K2 any](s *Stream[K, V], f func(K, V) K2, opts ...Option) *Grouped[K2, V] {
	o := optionsOf(opts)
	return &Grouped[K2, V]{s: selectKey(s, s.b.suffixed(o.name, "", "KSTREAM-KEY-SELECT-"), f), name: o.name, parts: o.partitions}
}

// WithSerdes names the serdes of keys and values in the repartition topic.
func (g *Grouped[K, V]) WithSerdes(keys serde.Serde[K], values serde.Serde[V]) *Grouped[K, V] {
	c := *g
	c.s = g.s.WithSerdes(keys, values)
	return &c
}

// parent is the node that an aggregation into a store follows.
func (g *Grouped[K, V]) parent(keys serde.Serde[K], storeName string) *node {
	if !g.s.rekeyed {
		return g.s.node
	}
	if g.through != nil {
		for range 3 { // Java uses up the names of a sink, a filter and a source here
			g.s.b.next("")
		}
		return g.through
	}
	p := repartition[K, V]{keys: g.s.keys, values: g.s.values, partitions: g.parts}
	if p.keys == nil {
		p.keys = keys
	}
	prefix := g.name
	if prefix == "" {
		prefix = storeName
	}
	n := p.through(g.s.b, g.s.node, prefix)
	if g.name != "" {
		g.through = n
	}
	return n
}

// step is a step of an aggregation: the aggregate after a value, and the one before it that is told downstream.
type step[K, V, A any] struct {
	do func(k K, v V, old opt[A]) (now, was opt[A])
	// blind steps do not look at the value, so any null will do.
	blind bool
}

func aggregateStep[K, V, A any](init func() A, add func(K, V, A) A) step[K, V, A] {
	nulls := nullsOf[A]()
	return step[K, V, A]{do: func(k K, v V, old opt[A]) (now, was opt[A]) {
		if !old.ok {
			old = nulls.some(init())
		}
		return nulls.some(add(k, v, old.v)), old
	}}
}

func countStep[K, V any]() step[K, V, int64] {
	s := aggregateStep(func() int64 { return 0 }, func(_ K, _ V, n int64) int64 { return n + 1 })
	s.blind = true
	return s
}

func reduceStep[K, V any](f func(V, V) V) step[K, V, V] {
	nulls := nullsOf[V]()
	return step[K, V, V]{do: func(_ K, v V, old opt[V]) (now, was opt[V]) {
		if !old.ok {
			return nulls.some(v), old
		}
		return nulls.some(f(old.v, v)), old
	}}
}

// Count counts the records of each key; records with a null value are not counted (KGroupedStream.count). Without a handle
// the store has the name that Java would give it.
func (g *Grouped[K, V]) Count(counts KVStore[K, int64], opts ...Option) *Table[K, int64] {
	if counts.name == "" && counts.given() {
		g.s.b.nextStore("KSTREAM-AGGREGATE-") // Java uses up an index here
	}
	if counts.values == nil {
		counts.values = serde.Int64
	}
	return aggregate(g, countStep[K, V](), counts, "KSTREAM-AGGREGATE-", opts)
}

// Reduce combines the values of each key; the first value is the first result (KGroupedStream.reduce).
func (g *Grouped[K, V]) Reduce(f func(sofar, v V) V, results KVStore[K, V], opts ...Option) *Table[K, V] {
	if results.values == nil {
		results.values = g.s.values
	}
	return aggregate(g, reduceStep[K](f), results, "KSTREAM-REDUCE-", opts)
}

// Aggregate combines the values of each key into an aggregate that begins with init (KGroupedStream.aggregate). Records with
// a null key or value are dropped; an aggregate of nil deletes the row. The result's time is the highest of its records.
func Aggregate[K, V, A any](g *Grouped[K, V], init func() A, add func(k K, v V, sofar A) A, results KVStore[K, A], opts ...Option) *Table[K, A] {
	return aggregate(g, aggregateStep(init, add), results, "KSTREAM-AGGREGATE-", opts)
}

func aggregate[K, V, A any](g *Grouped[K, V], s step[K, V, A], results KVStore[K, A], prefix string, opts []Option) *Table[K, A] {
	b := g.s.b
	if results.keys == nil {
		results.keys = g.s.keys
	}
	if results.name == "" {
		results.name = b.nextStore(prefix)
	}
	name := b.named(optionsOf(opts).name, prefix)
	parent := g.parent(results.keys, results.name)
	results.addTo(b, results.name, "")
	table := &stored[K, A]{store: results.name, isVersions: results.keeping.versioned}
	n := addAggregate(b, name, parent, s, table)
	return &Table[K, A]{b, n, results.keys, results.values, table}
}

func addAggregate[K, V, A any](b *Builder, name string, parent *node, s step[K, V, A], table *stored[K, A]) *node {
	return addNode(b, name, []*node{parent}, []string{table.store}, func(t *Task, out *outlet[K, change[A]]) func(*rec[K, V]) {
		state := stateOf[*kvState[K, A]](t, table.store)
		state.held.sendTo(out, &table.old)
		return func(r *rec[K, V]) {
			if !r.key.ok || !r.value.ok {
				t.drop()
				return
			}
			before := state.get(r.key.v)
			time := r.time
			if before.ok {
				time = max(time, before.time)
			}
			now, was := s.do(r.key.v, r.value.v, before.opt)
			kept, latest := state.put(r.key.v, now, time, r.time)
			if !kept || state.held.waits(r.headers) {
				return
			}
			if !table.old {
				was = opt[A]{}
			}
			out.forward(updateOf(r, now, was, latest, time))
		}
	})
}

// Cogrouped is several grouped streams that are aggregated into one table (Java's CogroupedKStream, KIP-150).
type Cogrouped[K, A any] struct {
	b     *Builder
	keys  serde.Serde[K]
	parts []copart[K, A]
}

// copart is one of the streams, its type hidden in closures.
type copart[K, A any] struct {
	parent  func(keys serde.Serde[K], store string) *node
	plain   func(name string, parent *node, init func() A, table *stored[K, A]) *node
	window  func(name string, parent *node, init func() A, w windowing, table *windowTable[K, A]) *node
	session func(name string, parent *node, init func() A, merge func(K, A, A) A, w SessionWindows, table *sessionTable[K, A]) *node
}

// Cogroup begins a cogroup with its first stream.
func Cogroup[K, V, A any](g *Grouped[K, V], add func(k K, v V, sofar A) A) *Cogrouped[K, A] {
	return CogroupWith(&Cogrouped[K, A]{b: g.s.b, keys: g.s.keys}, g, add)
}

// CogroupWith adds a stream to a cogroup.
func CogroupWith[K, V, A any](c *Cogrouped[K, A], g *Grouped[K, V], add func(k K, v V, sofar A) A) *Cogrouped[K, A] {
	part := copart[K, A]{
		parent: g.parent,
		plain: func(name string, parent *node, init func() A, table *stored[K, A]) *node {
			return addAggregate(g.s.b, name, parent, aggregateStep(init, add), table)
		},
		window: func(name string, parent *node, init func() A, w windowing, table *windowTable[K, A]) *node {
			return addWindowAggregate(g.s.b, name, parent, aggregateStep(init, add), w, table)
		},
		session: func(name string, parent *node, init func() A, merge func(K, A, A) A, w SessionWindows, table *sessionTable[K, A]) *node {
			return addSessionAggregate(g.s.b, name, parent, init, aggregateStep(init, add), merge, w, false, table)
		},
	}
	return &Cogrouped[K, A]{b: c.b, keys: c.keys, parts: append(c.parts[:len(c.parts):len(c.parts)], part)}
}

const (
	cogroupAggregate = "COGROUPKSTREAM-AGGREGATE-"
	cogroupMerge     = "COGROUPKSTREAM-MERGE-"
)

// Aggregate ends a cogroup in a table.
func (c *Cogrouped[K, A]) Aggregate(init func() A, results KVStore[K, A], opts ...Option) *Table[K, A] {
	if results.name == "" {
		results.name = c.b.nextStore(cogroupAggregate)
	}
	if results.keys == nil {
		results.keys = c.keys
	}
	results.addTo(c.b, results.name, "")
	table := &stored[K, A]{store: results.name, isVersions: results.keeping.versioned}
	n := cogroup[K, K](c, results.keys, results.name, optionsOf(opts).name, func(p copart[K, A], name string, parent *node) *node {
		return p.plain(name, parent, init, table)
	})
	return &Table[K, A]{c.b, n, results.keys, results.values, table}
}

// cogroup adds the nodes of all streams, and the one where their results meet.
func cogroup[K, KR, A any](c *Cogrouped[K, A], keys serde.Serde[K], store, given string, add func(p copart[K, A], name string, parent *node) *node) *node {
	var parents, nodes []*node
	for _, p := range c.parts {
		parents = append(parents, p.parent(keys, store))
	}
	for i, p := range c.parts {
		name := c.b.suffixed(given, "-cogroup-agg-"+strconv.Itoa(i), cogroupAggregate)
		nodes = append(nodes, add(p, name, parents[i]))
	}
	c.b.copartitioned(parents...)
	name := c.b.suffixed(given, "-cogroup-merge", cogroupMerge)
	return addNode(c.b, name, nodes, nil, func(t *Task, out *outlet[KR, change[A]]) func(*update[KR, A]) {
		return out.forward
	})
}
