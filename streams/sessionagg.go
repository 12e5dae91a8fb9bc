package streams

import (
	"github.com/gregorhq/gregor/streams/serde"
)

// CountSessions counts the records of each session (SessionWindowedKStream.count).
func CountSessions[K, V any](g *SessionGroup[K, V], counts SessionStore[K, int64], opts ...Option) *Table[Windowed[K], int64] {
	if counts.name == "" && counts.given() {
		g.g.s.b.nextStore("KSTREAM-AGGREGATE-") // Java uses up an index here
	}
	if counts.values == nil {
		counts.values = serde.Int64
	}
	return aggregateSessions(g, func() int64 { return 0 }, countStep[K, V](),
		func(_ K, a, b int64) int64 { return a + b }, counts, "KSTREAM-AGGREGATE-", opts)
}

// ReduceSessions combines the values of each session (SessionWindowedKStream.reduce).
func ReduceSessions[K, V any](g *SessionGroup[K, V], f func(sofar, v V) V, results SessionStore[K, V], opts ...Option) *Table[Windowed[K], V] {
	if results.values == nil {
		results.values = g.g.s.values
	}
	return aggregateSessions(g, nil, reduceStep[K](f), func(_ K, a, b V) V { return f(a, b) }, results, "KSTREAM-REDUCE-", opts)
}

// AggregateSessions combines the values of each session (SessionWindowedKStream.aggregate). A record that comes between two
// sessions makes one of them: merge combines their aggregates, and the two rows are deleted. The result's time is the
// session's end.
func AggregateSessions[K, V, A any](g *SessionGroup[K, V], init func() A, add func(k K, v V, sofar A) A, merge func(k K, a, b A) A,
	results SessionStore[K, A], opts ...Option) *Table[Windowed[K], A] {
	return aggregateSessions(g, init, aggregateStep(init, add), merge, results, "KSTREAM-AGGREGATE-", opts)
}

func aggregateSessions[K, V, A any](g *SessionGroup[K, V], init func() A, s step[K, V, A], merge func(K, A, A) A,
	results SessionStore[K, A], prefix string, opts []Option) *Table[Windowed[K], A] {
	b := g.g.s.b
	if results.keys == nil {
		results.keys = g.g.s.keys
	}
	if results.name == "" {
		results.name = b.nextStore(prefix)
	}
	name := b.named(optionsOf(opts).name, prefix)
	parent := g.g.parent(results.keys, results.name)
	longer := int64(0)
	if g.onClose && !b.segmented {
		longer = g.w.slack()
	}
	results.addTo(b, results.name, "", g.w.retentionMillis(), longer, g.onClose)
	table := &sessionTable[K, A]{store: results.name}
	n := addSessionAggregate(b, name, parent, init, s, merge, g.w, g.onClose, table)
	return &Table[Windowed[K], A]{b, n, sessionKeys(results.keys), results.values, table}
}

func (w SessionWindows) retentionMillis() int64 { return w.gap.Milliseconds() + w.grace.Milliseconds() }

func (w SessionWindows) slack() int64 { return max(w.gap.Milliseconds(), 60_000) }

// AggregateCogroupSessions ends a cogroup in a table of sessions.
func AggregateCogroupSessions[K, A any](c *Cogrouped[K, A], w SessionWindows, init func() A, merge func(k K, a, b A) A,
	results SessionStore[K, A], opts ...Option) *Table[Windowed[K], A] {
	if results.name == "" {
		results.name = c.b.nextStore(cogroupAggregate)
	}
	if results.keys == nil {
		results.keys = c.keys
	}
	results.addTo(c.b, results.name, "", w.retentionMillis(), 0, false)
	table := &sessionTable[K, A]{store: results.name}
	n := cogroup[K, Windowed[K]](c, results.keys, results.name, optionsOf(opts).name, func(p copart[K, A], name string, parent *node) *node {
		return p.session(name, parent, init, merge, w, table)
	})
	return &Table[Windowed[K], A]{c.b, n, sessionKeys(results.keys), results.values, table}
}

// sessionAggregate is an aggregation by sessions at work.
type sessionAggregate[K, V, A any] struct {
	closing
	lossy bool     // closed sessions may expire before they are sent, as in Java
	init  func() A // nil: begin with the first value
	step  step[K, V, A]
	merge func(K, A, A) A
	w     SessionWindows
	table *sessionTable[K, A]
	state *sessionState[K, A]
	nulls nulls[V]
	aggs  nulls[A]
	out   *outlet[Windowed[K], change[A]]
}

func addSessionAggregate[K, V, A any](b *Builder, name string, parent *node, init func() A, s step[K, V, A], merge func(K, A, A) A,
	w SessionWindows, onClose bool, table *sessionTable[K, A]) *node {
	n := addNode(b, name, []*node{parent}, []string{table.store}, func(t *Task, out *outlet[Windowed[K], change[A]]) func(*rec[K, V]) {
		a := &sessionAggregate[K, V, A]{closing: newClosing(t, table.store, onClose, w.slack()), lossy: b.segmented, init: init, step: s, merge: merge, w: w,
			table: table, state: stateOf[*sessionState[K, A]](t, table.store), nulls: nullsOf[V](), aggs: nullsOf[A](), out: out}
		a.state.held.sendTo(out, &table.old)
		return a.process
	})
	n.grace, n.hasGrace = w.grace.Milliseconds()+w.gap.Milliseconds(), true
	return n
}

func (a *sessionAggregate[K, V, A]) process(r *rec[K, V]) {
	if !r.key.ok || !r.value.ok && !a.nulls.nilable && !a.step.blind {
		a.task.drop()
		return
	}
	a.observed = max(a.observed, r.time)
	closeTime := a.observed - a.w.grace.Milliseconds() - a.w.gap.Milliseconds()
	if !a.lossy && a.due(closeTime) { // before this record may let something expire
		a.sendClosed(r, closeTime)
	}
	a.add(r, closeTime)
	if a.lossy && a.due(closeTime) {
		a.sendClosed(r, closeTime)
	}
}

// add brings the record into its session.
func (a *sessionAggregate[K, V, A]) add(r *rec[K, V], closeTime int64) {
	start, end := r.time, r.time
	var sofar opt[A]
	if a.init != nil {
		sofar = a.aggs.some(a.init())
	}
	gap := a.w.gap.Milliseconds()
	merged := a.state.find(r.key.v, r.time-gap, r.time+gap)
	for _, s := range merged {
		start, end = min(start, s.start), max(end, s.end)
		if sofar.ok || a.init != nil {
			sofar = a.aggs.some(a.merge(r.key.v, sofar.v, s.value.v))
		} else {
			sofar = s.value
		}
	}
	if end < closeTime {
		a.task.drop()
		return
	}
	if start != r.time || end != r.time {
		for _, s := range merged {
			a.state.put(r.key.v, s.start, s.end, opt[A]{}, r.time)
			a.send(r, s.start, s.end, opt[A]{}, s.value)
		}
	}
	now, _ := a.step.do(r.key.v, r.value.v, sofar)
	a.state.put(r.key.v, start, end, now, r.time)
	a.send(r, start, end, now, opt[A]{})
}

func (a *sessionAggregate[K, V, A]) send(r *rec[K, V], start, end int64, now, was opt[A]) {
	if a.on || a.state.held.waits(r.headers) {
		return
	}
	if !a.table.old {
		was = opt[A]{}
	}
	a.out.forward(&update[Windowed[K], A]{windowed(r.key.v, start, end), opt[change[A]]{change[A]{now, was, true}, true}, end, nil})
}

// sendClosed sends the results of the sessions that have closed since the last time.
func (a *sessionAggregate[K, V, A]) sendClosed(r *rec[K, V], closeTime int64) {
	for _, row := range a.state.findAll(max(0, a.sent()), closeTime-1) {
		a.out.forward(&update[Windowed[K], A]{windowed(row.key, row.start, row.end),
			opt[change[A]]{change[A]{row.value, opt[A]{}, true}, true}, row.end, r.headers})
	}
	a.task.emitted[a.store] = closeTime
}
