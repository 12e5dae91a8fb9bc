package streams

import (
	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/serde"
)

// GroupedTable is a table whose rows are to be aggregated by a new key (Java's KGroupedTable). A row that changes is taken
// out of one group and put into another, so aggregations need to know how to do both.
type GroupedTable[K, V any] struct {
	b      *Builder
	node   *node
	keys   serde.Serde[K]
	values serde.Serde[V]
	name   string
	parts  int
}

// GroupTable groups a table's rows by a new key and value (KTable.groupBy). Rows for which f gives a null key or value are
// in no group.
func GroupTable[K, V, K2, V2 any](t *Table[K, V], f func(K, V) (K2, V2), opts ...Option) *GroupedTable[K2, V2] {
	o := optionsOf(opts)
	t.impl.sendOld(true)
	name := t.b.suffixed(o.name, "", "KTABLE-SELECT-")
	history := t.impl.versioned()
	n := addNode(t.b, name, []*node{t.node}, nil, func(task *Task, out *outlet[K2, change[V2]]) func(*update[K, V]) {
		keys, values := nullsOf[K2](), nullsOf[V2]()
		pair := func(k K, v opt[V]) (opt[K2], opt[V2]) {
			if !v.ok {
				return opt[K2]{}, opt[V2]{}
			}
			k2, v2 := f(k, v.v)
			return keys.some(k2), values.some(v2)
		}
		return func(r *update[K, V]) {
			c := r.value.v
			if history && !c.latest {
				task.drop() // the row has a later value already (KIP-914)
				return
			}
			newKey, newValue := pair(r.key.v, c.new)
			oldKey, oldValue := pair(r.key.v, c.old)
			// One record with both values, if they stay in one group, is made where the keys' bytes are known.
			send := func(k opt[K2], now, was opt[V2]) {
				out.forward(&update[K2, V2]{k, opt[change[V2]]{change[V2]{now, was, c.latest}, true}, r.time, r.headers})
			}
			hasNew, hasOld := newKey.ok && newValue.ok, oldKey.ok && oldValue.ok
			switch {
			case hasNew && hasOld && equalKeys(newKey.v, oldKey.v):
				send(newKey, newValue, oldValue)
			default:
				if hasOld {
					send(oldKey, opt[V2]{}, oldValue)
				}
				if hasNew {
					send(newKey, newValue, opt[V2]{})
				}
			}
		}
	})
	return &GroupedTable[K2, V2]{b: t.b, node: n, name: o.name, parts: o.partitions}
}

// WithSerdes names the serdes of keys and values in the repartition topic.
func (g *GroupedTable[K, V]) WithSerdes(keys serde.Serde[K], values serde.Serde[V]) *GroupedTable[K, V] {
	c := *g
	c.keys, c.values = keys, values
	return &c
}

// tableStep takes a value out of an aggregate or puts one in.
type tableStep[K, V, A any] struct {
	put  func(k K, v V, sofar opt[A]) opt[A]
	take func(k K, v V, sofar opt[A]) opt[A]
}

const tableAggregate, tableReduce = "KTABLE-AGGREGATE-", "KTABLE-REDUCE-"

// Count counts the rows of each group (KGroupedTable.count).
func (g *GroupedTable[K, V]) Count(counts KVStore[K, int64], opts ...Option) *Table[K, int64] {
	if counts.values == nil {
		counts.values = serde.Int64
	}
	return AggregateTable(g, func() int64 { return 0 },
		func(_ K, _ V, n int64) int64 { return n + 1 },
		func(_ K, _ V, n int64) int64 { return n - 1 }, counts, opts...)
}

// Reduce combines the values of each group: add puts a value in, subtract takes one out (KGroupedTable.reduce).
func (g *GroupedTable[K, V]) Reduce(add, subtract func(sofar, v V) V, results KVStore[K, V], opts ...Option) *Table[K, V] {
	if results.values == nil {
		results.values = g.values
	}
	nulls := nullsOf[V]()
	return aggregateTable(g, tableStep[K, V, V]{
		put: func(_ K, v V, sofar opt[V]) opt[V] {
			if !sofar.ok {
				return nulls.some(v)
			}
			return nulls.some(add(sofar.v, v))
		},
		take: func(_ K, v V, sofar opt[V]) opt[V] { return nulls.some(subtract(sofar.v, v)) },
	}, results, tableReduce, opts)
}

// AggregateTable combines the values of each group into an aggregate that begins with init: add puts a value in, subtract
// takes one out (KGroupedTable.aggregate).
func AggregateTable[K, V, A any](g *GroupedTable[K, V], init func() A, add, subtract func(k K, v V, sofar A) A,
	results KVStore[K, A], opts ...Option) *Table[K, A] {
	nulls := nullsOf[A]()
	return aggregateTable(g, tableStep[K, V, A]{
		put: func(k K, v V, sofar opt[A]) opt[A] {
			if !sofar.ok {
				sofar = nulls.some(init())
			}
			return nulls.some(add(k, v, sofar.v))
		},
		take: func(k K, v V, sofar opt[A]) opt[A] { return nulls.some(subtract(k, v, sofar.v)) },
	}, results, tableAggregate, opts)
}

func aggregateTable[K, V, A any](g *GroupedTable[K, V], s tableStep[K, V, A], results KVStore[K, A], prefix string, opts []Option) *Table[K, A] {
	b := g.b
	if results.keys == nil {
		results.keys = g.keys
	}
	if results.name == "" {
		results.name = b.nextStore(tableAggregate) // also for reduce, as in Java
	}
	given := optionsOf(opts).name
	sink, source := b.suffixed(given, "-sink", "KSTREAM-SINK-"), b.suffixed(given, "-source", "KSTREAM-SOURCE-")
	name := b.named(given, prefix)
	prefixed := g.name
	if prefixed == "" {
		prefixed = results.name
	}
	parent := g.through(sink, source, prefixed+"-repartition", results.keys)
	results.addTo(b, results.name, "")
	table := &stored[K, A]{store: results.name, isVersions: results.keeping.versioned}
	n := addNode(b, name, []*node{parent}, []string{table.store}, func(t *Task, out *outlet[K, change[A]]) func(*update[K, V]) {
		state := stateOf[*kvState[K, A]](t, table.store)
		state.held.sendTo(out, &table.old)
		return func(r *update[K, V]) {
			before := state.get(r.key.v)
			now, time := before.opt, r.time
			if before.ok {
				time = max(time, before.time)
			}
			c := r.value.v
			if c.old.ok && before.ok {
				now = s.take(r.key.v, c.old.v, now)
			} else if !c.new.ok {
				time = r.time
			}
			if c.new.ok {
				now = s.put(r.key.v, c.new.v, now)
			}
			kept, latest := state.put(r.key.v, now, time, r.time)
			if !kept || state.held.waits(r.headers) {
				return
			}
			was := before.opt
			if !table.old {
				was = opt[A]{}
			}
			out.forward(updateOf(r, now, was, latest, time))
		}
	})
	return &Table[K, A]{b, n, results.keys, results.values, table}
}

// through sends changes through a repartition topic.
func (g *GroupedTable[K, V]) through(sink, source, topic string, keys serde.Serde[K]) *node {
	if g.keys == nil {
		g.keys = keys
	}
	ks, vs := needSerde(g.b, g.keys, "the repartition topic "+topic), needSerde(g.b, g.values, "the repartition topic "+topic)
	nulls := nullsOf[V]()
	changes := serde.Of(nil, func(b []byte) (c change[V], err error) {
		now, was, err := layout.ParseChange(b)
		if err != nil {
			return c, err
		}
		return change[V]{decode(vs, nulls, now), decode(vs, nulls, was), true}, nil
	})
	t := Topic[K, change[V]]{name: topic, keys: ks, values: changes}
	return pipe(g.b, []*node{g.node}, sink, source, t, g.parts, func(r *update[K, V]) (key, value []byte, partition int32) {
		value, err := layout.Change(encode(vs, r.value.v.new), encode(vs, r.value.v.old))
		must(err)
		return encode(ks, r.key), value, -1
	})
}
