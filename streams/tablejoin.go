package streams

import (
	"math"
)

// JoinTables joins the rows of two tables that have the same key (KTable.join). Either side's updates update the result;
// where both rows are there the result is f of them, and no row otherwise. Its time is the later one of the two.
func JoinTables[K, V1, V2, R any](left *Table[K, V1], right *Table[K, V2], f func(k K, l V1, r V2) R, opts ...Option) *Table[K, R] {
	return joinTables(left, right, innerJoin, func(k K, l opt[V1], r opt[V2]) R { return f(k, l.v, r.v) }, opts)
}

// LeftJoinTables is [JoinTables] with a result for every row on the left; r is nil where there is no row on the right
// (KTable.leftJoin).
func LeftJoinTables[K, V1, V2, R any](left *Table[K, V1], right *Table[K, V2], f func(k K, l V1, r *V2) R, opts ...Option) *Table[K, R] {
	return joinTables(left, right, leftJoin, func(k K, l opt[V1], r opt[V2]) R { return f(k, l.v, r.pointer()) }, opts)
}

// OuterJoinTables is [JoinTables] with a result for every row on either side; the side without a row is nil
// (KTable.outerJoin).
func OuterJoinTables[K, V1, V2, R any](left *Table[K, V1], right *Table[K, V2], f func(k K, l *V1, r *V2) R, opts ...Option) *Table[K, R] {
	return joinTables(left, right, outerJoin, func(k K, l opt[V1], r opt[V2]) R { return f(k, l.pointer(), r.pointer()) }, opts)
}

type joinKind int

const (
	innerJoin joinKind = iota
	leftJoin
	outerJoin
)

// tableJoin is a table that two others make row by row.
type tableJoin[K, V1, V2, R any] struct {
	left    *Table[K, V1]
	right   *Table[K, V2]
	kind    joinKind
	join    func(K, opt[V1], opt[V2]) R
	nulls   nulls[R]
	store   string // "" where rows are computed on demand
	history bool
	old     bool
}

func (j *tableJoin[K, V1, V2, R]) sendOld(bool) bool {
	j.left.impl.sendOld(true)
	j.right.impl.sendOld(true)
	j.old = true
	return true
}

func (j *tableJoin[K, V1, V2, R]) versioned() bool { return j.store != "" && j.history }

// result is the joined row, if these make one.
func (j *tableJoin[K, V1, V2, R]) result(k K, l opt[V1], r opt[V2]) opt[R] {
	switch {
	case j.kind == innerJoin && !(l.ok && r.ok), j.kind == leftJoin && !l.ok, !l.ok && !r.ok:
		return opt[R]{}
	}
	return j.nulls.some(j.join(k, l, r))
}

func (j *tableJoin[K, V1, V2, R]) view() view[K, R] {
	if j.store != "" {
		return view[K, R]{[]string{j.store}, func(t *Task) getter[K, R] { return stateOf[*kvState[K, R]](t, j.store) }}
	}
	l, r := j.left.impl.view(), j.right.impl.view()
	return view[K, R]{append(l.stores[:len(l.stores):len(l.stores)], r.stores...), func(t *Task) getter[K, R] {
		lefts, rights := l.open(t), r.open(t)
		return getFunc[K, R](func(k K) stamped[R] {
			a, b := lefts.get(k), rights.get(k)
			return stamped[R]{j.result(k, a.opt, b.opt), max(timeOf(a), timeOf(b))}
		})
	}}
}

func timeOf[V any](s stamped[V]) int64 {
	if !s.ok {
		return math.MinInt64
	}
	return s.time
}

func joinTables[K, V1, V2, R any](left *Table[K, V1], right *Table[K, V2], kind joinKind, join func(K, opt[V1], opt[V2]) R, opts []Option) *Table[K, R] {
	b, o := left.b, optionsOf(opts)
	j := &tableJoin[K, V1, V2, R]{left: left, right: right, kind: kind, join: join, nulls: nullsOf[R]()}
	handle, kept := storeOption[K, R](b, o)
	if kept {
		if handle.keys == nil {
			handle.keys = left.keys
		}
		if handle.name == "" {
			handle.name = b.nextStore("KTABLE-MERGE-")
		}
		j.store, j.history = handle.name, handle.keeping.versioned
	}
	mergeName := b.named(o.name, "KTABLE-MERGE-")
	thisName := b.suffixed(o.name, "-join-this", "KTABLE-JOINTHIS-")
	otherName := b.suffixed(o.name, "-join-other", "KTABLE-JOINOTHER-")
	lefts, rights := left.impl.view(), right.impl.view()
	b.copartitioned(left.node, right.node)
	if kind != innerJoin { // the old row tells whether there was a result that has to go
		left.impl.sendOld(true)
	}
	if kind == outerJoin {
		right.impl.sendOld(true)
	}

	fromLeft := func(k K, l opt[V1], r opt[V2]) opt[R] { return j.result(k, l, r) }
	fromRight := func(k K, r opt[V2], l opt[V1]) opt[R] { return j.result(k, l, r) }
	this := addTableJoinSide(b, thisName, left, rights, kind == innerJoin, &j.old, fromLeft)
	other := addTableJoinSide(b, otherName, right, lefts, kind != outerJoin, &j.old, fromRight)
	if kept {
		handle.addTo(b, j.store, "")
	}
	merge := addNode(b, mergeName, []*node{this, other}, nil, func(t *Task, out *outlet[K, change[R]]) func(*update[K, R]) {
		if j.store == "" {
			return out.forward
		}
		state := stateOf[*kvState[K, R]](t, j.store)
		state.held.sendTo(out, &j.old)
		return func(r *update[K, R]) {
			c := r.value.v
			kept, latest := state.put(r.key.v, c.new, r.time, r.time)
			if kept && !state.held.waits(r.headers) {
				out.forward(updateOf(r, c.new, c.old, latest, r.time))
			}
		}
	})
	if kept {
		merge.connect(j.store)
	}
	return &Table[K, R]{b, merge, left.keys, handle.values, j}
}

// addTableJoinSide adds the node that takes the updates of one side. needOther says that without a row on the other side
// there can be no result, neither now nor before.
func addTableJoinSide[K, V, V2, R any](b *Builder, name string, side *Table[K, V], others view[K, V2], needOther bool, old *bool,
	result func(K, opt[V], opt[V2]) opt[R]) *node {
	history := side.impl.versioned()
	return addNode(b, name, []*node{side.node}, others.stores, func(t *Task, out *outlet[K, change[R]]) func(*update[K, V]) {
		rows := others.open(t)
		return func(r *update[K, V]) {
			c := r.value.v
			if !r.key.ok || history && !c.latest {
				t.drop() // out-of-order updates of versioned tables do not join (KIP-914)
				return
			}
			other := rows.get(r.key.v)
			if !other.ok && (needOther || !c.new.ok && !c.old.ok) {
				return
			}
			now, time := result(r.key.v, c.new, other.opt), r.time
			if other.ok {
				time = max(time, other.time)
			}
			var was opt[R]
			if *old {
				was = result(r.key.v, c.old, other.opt)
			}
			out.forward(updateOf(r, now, was, c.latest, time))
		}
	})
}
