package streams

import (
	"time"

	"github.com/gregorhq/gregor/streams/serde"
)

// CountWindows counts the records of each key and window; other than [Grouped.Count] it counts those with a null value, too
// (TimeWindowedKStream.count).
func CountWindows[K, V any](g *WindowedGroup[K, V], counts WindowStore[K, int64], opts ...Option) *Table[Windowed[K], int64] {
	if counts.name == "" && counts.given() && g.w.sliding == nil {
		g.g.s.b.nextStore("KSTREAM-AGGREGATE-") // Java uses up an index here
	}
	if counts.values == nil {
		counts.values = serde.Int64
	}
	return aggregateWindows(g, countStep[K, V](), counts, "KSTREAM-AGGREGATE-", opts)
}

// ReduceWindows combines the values of each key and window (TimeWindowedKStream.reduce).
func ReduceWindows[K, V any](g *WindowedGroup[K, V], f func(sofar, v V) V, results WindowStore[K, V], opts ...Option) *Table[Windowed[K], V] {
	if results.values == nil {
		results.values = g.g.s.values
	}
	return aggregateWindows(g, reduceStep[K](f), results, "KSTREAM-REDUCE-", opts)
}

// AggregateWindows combines the values of each key and window into an aggregate that begins with init
// (TimeWindowedKStream.aggregate). Records with a null key are dropped, and those that come after their window's grace.
func AggregateWindows[K, V, A any](g *WindowedGroup[K, V], init func() A, add func(k K, v V, sofar A) A, results WindowStore[K, A], opts ...Option) *Table[Windowed[K], A] {
	return aggregateWindows(g, aggregateStep(init, add), results, "KSTREAM-AGGREGATE-", opts)
}

func aggregateWindows[K, V, A any](given *WindowedGroup[K, V], s step[K, V, A], results WindowStore[K, A], prefix string, opts []Option) *Table[Windowed[K], A] {
	g, b := *given, given.g.s.b
	if results.keys == nil {
		results.keys = g.g.s.keys
	}
	if results.name == "" {
		results.name = b.nextStore(prefix)
	}
	g.w.lossy = b.segmented
	name := b.named(optionsOf(opts).name, prefix)
	parent := g.g.parent(results.keys, results.name)
	results.addTo(b, results.name, "", g.w.retentionMillis(), g.w.longerMillis(), g.w.onClose)
	table := &windowTable[K, A]{store: results.name}
	n := addWindowAggregate(b, name, parent, s, g.w, table)
	return &Table[Windowed[K], A]{b, n, windowedKeys(results.keys, g.w), results.values, table}
}

// AggregateCogroupWindows ends a cogroup in a table of windows.
func AggregateCogroupWindows[K, A any](c *Cogrouped[K, A], w Windows, init func() A, results WindowStore[K, A], opts ...Option) *Table[Windowed[K], A] {
	return cogroupWindows(c, windowing{windows: w}, init, results, opts)
}

// AggregateCogroupSliding ends a cogroup in a table of sliding windows.
func AggregateCogroupSliding[K, A any](c *Cogrouped[K, A], w SlidingWindows, init func() A, results WindowStore[K, A], opts ...Option) *Table[Windowed[K], A] {
	return cogroupWindows(c, windowing{sliding: &w}, init, results, opts)
}

func cogroupWindows[K, A any](c *Cogrouped[K, A], w windowing, init func() A, results WindowStore[K, A], opts []Option) *Table[Windowed[K], A] {
	if results.name == "" {
		results.name = c.b.nextStore(cogroupAggregate)
	}
	if results.keys == nil {
		results.keys = c.keys
	}
	results.addTo(c.b, results.name, "", w.retentionMillis(), 0, false)
	table := &windowTable[K, A]{store: results.name}
	n := cogroup[K, Windowed[K]](c, results.keys, results.name, optionsOf(opts).name, func(p copart[K, A], name string, parent *node) *node {
		return p.window(name, parent, init, w, table)
	})
	return &Table[Windowed[K], A]{c.b, n, windowedKeys(results.keys, w), results.values, table}
}

// windowAggregate is an aggregation by windows at work.
type windowAggregate[K, V, A any] struct {
	closing
	step  step[K, V, A]
	w     windowing
	table *windowTable[K, A]
	state *windowState[K, A]
	nulls nulls[V]
	out   *outlet[Windowed[K], change[A]]
}

func addWindowAggregate[K, V, A any](b *Builder, name string, parent *node, s step[K, V, A], w windowing, table *windowTable[K, A]) *node {
	n := addNode(b, name, []*node{parent}, []string{table.store}, func(t *Task, out *outlet[Windowed[K], change[A]]) func(*rec[K, V]) {
		a := &windowAggregate[K, V, A]{closing: newClosing(t, table.store, w.onClose, w.slack()), step: s, w: w, table: table,
			state: stateOf[*windowState[K, A]](t, table.store), nulls: nullsOf[V](), out: out}
		a.state.held.sendTo(out, &table.old)
		return a.process
	})
	n.grace, n.hasGrace = w.graceMillis(), true
	return n
}

func (a *windowAggregate[K, V, A]) process(r *rec[K, V]) {
	// Java's sliding windows drop null values, its other windows do not.
	if !r.key.ok || !r.value.ok && (a.w.sliding != nil || !a.nulls.nilable && !a.step.blind) {
		a.task.drop()
		return
	}
	a.observed = max(a.observed, r.time)
	closeTime := a.observed - a.w.graceMillis()
	if !a.w.lossy && a.due(closeTime) { // before this record may let something expire
		a.sendClosed(r, closeTime)
	}
	a.add(r, closeTime)
	if a.w.lossy && a.due(closeTime) {
		a.sendClosed(r, closeTime)
	}
}

// add brings the record into its windows.
func (a *windowAggregate[K, V, A]) add(r *rec[K, V], closeTime int64) {
	if a.w.sliding != nil {
		a.slide(r, closeTime)
		return
	}
	for s, e := range a.w.windows.WindowsFor(time.UnixMilli(r.time)) {
		start, end := s.UnixMilli(), e.UnixMilli()
		if end <= closeTime {
			a.task.drop()
			continue
		}
		a.update(r, start, end, a.state.get(r.key.v, start), closeTime)
	}
}

// update adds the record to a window whose aggregate was before.
func (a *windowAggregate[K, V, A]) update(r *rec[K, V], start, end int64, before stamped[A], closeTime int64) {
	if a.w.sliding != nil && end < closeTime {
		a.task.drop()
		return
	}
	at := r.time
	if before.ok {
		at = max(at, before.time)
	}
	now, was := a.step.do(r.key.v, r.value.v, before.opt)
	a.put(r, start, end, stamped[A]{now, at}, was)
}

func (a *windowAggregate[K, V, A]) put(r *rec[K, V], start, end int64, row stamped[A], was opt[A]) {
	a.state.put(r.key.v, start, end, row, r.time)
	if a.w.onClose || a.state.held.waits(r.headers) {
		return
	}
	if !a.table.old {
		was = opt[A]{}
	}
	a.out.forward(&update[Windowed[K], A]{windowed(r.key.v, start, end), opt[change[A]]{change[A]{row.opt, was, true}, true}, row.time, r.headers})
}

// sendClosed sends the results of the windows that have closed since the last time.
func (a *windowAggregate[K, V, A]) sendClosed(r *rec[K, V], closeTime int64) {
	from, sent := int64(0), a.sent()
	if sent >= 0 {
		from = max(0, sent-a.w.sizeMillis())
	}
	for _, row := range a.state.fetchAll(from, closeTime) {
		end := a.w.endOf(row.start)
		if !a.w.closed(end, closeTime) || sent >= 0 && a.w.closed(end, sent) {
			continue
		}
		a.out.forward(&update[Windowed[K], A]{windowed(row.key, row.start, end),
			opt[change[A]]{change[A]{row.row.opt, opt[A]{}, true}, true}, row.row.time, r.headers})
	}
	a.task.emitted[a.store] = closeTime
}
