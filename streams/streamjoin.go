package streams

import (
	"math"
	"reflect"
	"time"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/internal/store"
	"github.com/gregorhq/gregor/streams/serde"
)

// JoinWindow says which records of two streams belong together: those of the right from Before a record of the left until
// After it, both included (Java's JoinWindows). Grace is how long late records of either side still join; an unmatched
// record is known to be one only after that.
type JoinWindow struct{ Before, After, Grace time.Duration }

// Within is a window of d to both sides (JoinWindows.ofTimeDifferenceWithNoGrace).
func Within(d time.Duration) JoinWindow { return JoinWindow{Before: d, After: d} }

// Join joins the records of two streams that have the same key and belong together by time; each pair makes a result, with
// the later time of the two (KStream.join). Records with a null key or value are dropped.
func Join[K, V1, V2, R any](left *Stream[K, V1], right *Stream[K, V2], w JoinWindow, f func(k K, l V1, r V2) R, opts ...Option) *Stream[K, R] {
	return joinStreams(left, right, w, innerJoin, func(k K, l opt[V1], r opt[V2]) R { return f(k, l.v, r.v) }, opts)
}

// LeftJoin is [Join] with a result for each record of the left that has no partner, too; r is nil there. It is sent when the
// window and its grace are over (KStream.leftJoin, KIP-633). A record of the left without a key has no partner (KIP-962).
func LeftJoin[K, V1, V2, R any](left *Stream[K, V1], right *Stream[K, V2], w JoinWindow, f func(k K, l V1, r *V2) R, opts ...Option) *Stream[K, R] {
	return joinStreams(left, right, w, leftJoin, func(k K, l opt[V1], r opt[V2]) R { return f(k, l.v, r.pointer()) }, opts)
}

// OuterJoin is [LeftJoin] for both sides (KStream.outerJoin).
func OuterJoin[K, V1, V2, R any](left *Stream[K, V1], right *Stream[K, V2], w JoinWindow, f func(k K, l *V1, r *V2) R, opts ...Option) *Stream[K, R] {
	return joinStreams(left, right, w, outerJoin, func(k K, l opt[V1], r opt[V2]) R { return f(k, l.pointer(), r.pointer()) }, opts)
}

// streamJoin is what the two sides of a join have in common.
type streamJoin[K, V1, V2, R any] struct {
	kind   joinKind
	before int64
	after  int64
	grace  int64
	keys   serde.Serde[K]
	lefts  serde.Serde[V1]
	rights serde.Serde[V2]
	shared string // the store of records without a partner so far; "" in an inner join
	join   func(K, opt[V1], opt[V2]) R
}

func joinStreams[K, V1, V2, R any](left *Stream[K, V1], right *Stream[K, V2], w JoinWindow, kind joinKind, join func(K, opt[V1], opt[V2]) R, opts []Option) *Stream[K, R] {
	b, o := left.b, optionsOf(opts)
	if w.Before+w.After < 0 || w.Grace < 0 {
		b.fail("a join window cannot end before it begins: %+v", w)
	}
	left, right = alignJoin(left, right, o.name)
	keys := left.keys
	if keys == nil {
		keys = right.keys
	}
	j := &streamJoin[K, V1, V2, R]{kind: kind, before: w.Before.Milliseconds(), after: w.After.Milliseconds(), grace: w.Grace.Milliseconds(),
		keys: needSerde(b, keys, "the join"), lefts: needSerde(b, left.values, "the join"), rights: needSerde(b, right.values, "the join"), join: join}

	names := nameJoin(b, o, kind)
	retention := j.before + j.after + j.grace
	addDuplicates(b, names.thisStore, j.keys, j.lefts, retention)
	addDuplicates(b, names.otherStore, j.keys, j.rights, retention)
	var sharedStores []string
	if kind != innerJoin {
		j.shared = names.shared
		addUnmatched(b, names.shared)
		sharedStores = []string{names.shared}
	}
	thisWindow := addJoinWindow[K, V1](b, names.thisWindow, left.node, names.thisStore)
	otherWindow := addJoinWindow[K, V2](b, names.otherWindow, right.node, names.otherStore)
	this := addNode(b, names.this, []*node{thisWindow}, append([]string{names.otherStore}, sharedStores...), func(t *Task, out *outlet[K, R]) func(*rec[K, V1]) {
		side := &joinSide[K, V1, V2, R]{task: t, left: true, outer: kind != innerJoin, before: j.before, after: j.after, grace: j.grace,
			join: func(k K, l opt[V1], r opt[V2]) R { return j.join(k, l, r) }}
		return startSide(side, out, j, j.lefts, names.otherStore)
	})
	other := addNode(b, names.other, []*node{otherWindow}, append([]string{names.thisStore}, sharedStores...), func(t *Task, out *outlet[K, R]) func(*rec[K, V2]) {
		side := &joinSide[K, V2, V1, R]{task: t, outer: kind == outerJoin, before: j.after, after: j.before, grace: j.grace,
			join: func(k K, r opt[V2], l opt[V1]) R { return j.join(k, l, r) }}
		return startSide(side, out, j, j.rights, names.thisStore)
	})
	this.wantsNulls, other.wantsNulls = kind != innerJoin, kind != innerJoin
	merge := addNode(b, names.merge, []*node{this, other}, nil, func(t *Task, out *outlet[K, R]) func(*rec[K, R]) { return out.forward })
	b.copartitioned(left.node, right.node)
	return &Stream[K, R]{b: b, node: merge, keys: keys}
}

// joinNames are the names of a join's nodes and stores.
type joinNames struct {
	thisWindow, otherWindow, this, other, merge string
	thisStore, otherStore, shared               string
}

func nameJoin(b *Builder, o options, kind joinKind) (n joinNames) {
	thisPrefix, otherPrefix := "KSTREAM-JOINTHIS-", "KSTREAM-JOINOTHER-"
	thisSuffix, otherSuffix, sharedSuffix := "-this-join", "-other-join", "-left-shared-join"
	if kind != innerJoin {
		otherPrefix, otherSuffix = "KSTREAM-OUTEROTHER-", "-outer-other-join"
	}
	if kind == outerJoin {
		thisPrefix, thisSuffix, sharedSuffix = "KSTREAM-OUTERTHIS-", "-outer-this-join", "-outer-shared-join"
	}
	n.thisWindow = b.suffixed(o.name, "-this-windowed", "KSTREAM-WINDOWED-")
	n.otherWindow = b.suffixed(o.name, "-other-windowed", "KSTREAM-WINDOWED-")
	n.this, n.other = b.next(thisPrefix), b.next(otherPrefix)
	n.thisStore, n.otherStore, n.shared = n.this, n.other, "KSTREAM-OUTERSHARED-"+n.this[len(thisPrefix):]
	if o.name != "" {
		n.this, n.other = o.name+thisSuffix, o.name+otherSuffix
	}
	if o.storeName != "" {
		n.thisStore, n.otherStore, n.shared = o.storeName+thisSuffix, o.storeName+otherSuffix, o.storeName+sharedSuffix
	}
	n.thisStore, n.otherStore, n.shared = n.thisStore+"-store", n.otherStore+"-store", n.shared+"-store"
	n.merge = b.suffixed(o.name, "-merge", "KSTREAM-MERGE-")
	return n
}

// alignJoin repartitions the sides whose keys may have changed.
func alignJoin[K, V1, V2 any](left *Stream[K, V1], right *Stream[K, V2], name string) (*Stream[K, V1], *Stream[K, V2]) {
	leftPrefix, rightPrefix := name+"-left", name+"-right"
	if name == "" {
		leftPrefix, rightPrefix = left.node.name, right.node.name
	}
	return left.repartitioned(leftPrefix), right.repartitioned(rightPrefix)
}

// duplicates is a window store of one side's records: any number of a key and time. Values are as Kafka has them.
type duplicates[K, V any] struct {
	keys   serde.Serde[K]
	values serde.Serde[V]
	rows   store.Window
	log    changelog
	seq    *int64
	// nullsCount lets records without a value move the time by which others expire, as in Java's in-memory stores and unlike
	// in its RocksDB stores.
	nullsCount bool
}

func addDuplicates[K, V any](b *Builder, name string, keys serde.Serde[K], values serde.Serde[V], retention int64) {
	expiry := store.Expiry{Retention: retention, Exactly: !b.segmented}
	n := &storeNode{name: name, logged: true, windowed: true, unique: true, retention: retention, onDisk: b.onDisk, kind: reflect.TypeFor[*duplicates[K, V]]()}
	n.open = func(t *Task) any {
		s := &duplicates[K, V]{keys: keys, values: values, rows: t.windows(n, expiry, false), nullsCount: !b.segmented,
			seq: t.number(n, "seq", 0)}
		s.log = t.changelogOf(n, s.restore)
		return s
	}
	b.addStore(n)
}

func (s *duplicates[K, V]) restore(m Message) error {
	key, start, seq, err := layout.ParseWindowKey(m.Key)
	if err == nil && m.Value != nil {
		s.rows.Put(key, start, seq, m.Value)
		*s.seq = int64(seq)
	}
	return err
}

// put adds a record. One with a null value takes a sequence and is logged, as in Java, but there is nothing to keep.
func (s *duplicates[K, V]) put(r *rec[K, V]) {
	*s.seq = (*s.seq + 1) & math.MaxInt32
	seq := int32(*s.seq)
	key, value := encode(s.keys, r.key), encode(s.values, r.value)
	if value != nil || s.nullsCount {
		s.rows.Put(key, r.time, seq, value) // a null moves the store's time on
	}
	s.log.write(layout.WindowKey(key, r.time, seq), value, r.time, r.headers...)
}

func addJoinWindow[K, V any](b *Builder, name string, parent *node, storeName string) *node {
	return addNode(b, name, []*node{parent}, []string{storeName}, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		state := stateOf[*duplicates[K, V]](t, storeName)
		return func(r *rec[K, V]) {
			if r.key.ok {
				state.put(r)
			}
			out.forward(r)
		}
	})
}

// unmatched holds the records of both sides that had no partner so far, by time, side and key, and what the two sides know
// together: the stream's time, and the lowest time of an unmatched record, or of one that was.
type unmatched struct {
	rows     store.KeyValue // layout.SideKey -> layout.AppendListed
	log      changelog
	observed int64
	lowest   int64
	looked   bool  // lowest says what there is; right after the start only a look into the store does
	next     int64 // wall clock of the next look at closed windows
}

func addUnmatched(b *Builder, name string) {
	n := &storeNode{name: name, logged: true, onDisk: b.onDisk, kind: reflect.TypeFor[*unmatched]()}
	n.open = func(t *Task) any {
		s := &unmatched{rows: t.keyValues(n), observed: -1, lowest: math.MaxInt64}
		s.log = t.changelogOf(n, s.restore)
		return s
	}
	b.addStore(n)
}

func (s *unmatched) restore(m Message) error {
	s.rows.Put(m.Key, m.Value)
	_, _, _, err := layout.ParseSideKey(m.Key)
	return err
}

func (s *unmatched) add(key []byte, left bool, value []byte, at int64) {
	row := layout.AppendListed(s.rows.Get(key), left, value)
	s.rows.Put(key, row)
	s.log.write(key, row, at)
}

func (s *unmatched) remove(key []byte, at int64) {
	s.rows.Put(key, nil)
	s.log.write(key, nil, at)
}

// joinSide is one side of a join at work. V is its own type, V2 the other side's.
type joinSide[K, V, V2, R any] struct {
	task          *Task
	left          bool
	outer         bool // unmatched records of this side have results
	before, after int64
	grace         int64
	join          func(K, opt[V], opt[V2]) R
	other         *duplicates[K, V2]
	shared        *unmatched // nil in an inner join
	values        serde.Serde[V]
	otherNulls    nulls[V2]
	results       nulls[R]
	keys          serde.Serde[K]
	out           *outlet[K, R]
	// lone makes the result of an unmatched record of either side, from its bytes.
	lone func(left bool, key opt[K], value []byte) opt[R]
}

func startSide[K, V, V2, R, L, M any](s *joinSide[K, V, V2, R], out *outlet[K, R], j *streamJoin[K, L, M, R], values serde.Serde[V], otherStore string) func(*rec[K, V]) {
	s.out, s.keys, s.values, s.otherNulls, s.results = out, j.keys, values, nullsOf[V2](), nullsOf[R]()
	s.other = stateOf[*duplicates[K, V2]](s.task, otherStore)
	if j.shared != "" {
		s.shared = stateOf[*unmatched](s.task, j.shared)
	}
	ls, rs := nullsOf[L](), nullsOf[M]()
	s.lone = func(left bool, key opt[K], value []byte) opt[R] {
		if left {
			return s.results.some(j.join(key.v, decode(j.lefts, ls, value), opt[M]{}))
		}
		return s.results.some(j.join(key.v, opt[L]{}, decode(j.rights, rs, value)))
	}
	return s.process
}

func (s *joinSide[K, V, V2, R]) process(r *rec[K, V]) {
	if s.shared != nil {
		s.shared.observed = max(s.shared.observed, r.time)
	}
	if s.outer && !r.key.ok && r.value.ok {
		s.forward(r, r.value, opt[V2]{}, r.time)
		return
	}
	if !r.key.ok || !r.value.ok {
		s.task.drop()
		return
	}
	if s.shared != nil && r.time == s.shared.observed { // only what moves time can close windows
		s.sendUnmatched(r)
	}
	key := encoded(s.keys, r.key.v)
	partners := s.other.rows.Fetch(key, max(0, r.time-s.before), max(0, r.time+s.after))
	for _, p := range partners {
		if s.shared != nil {
			if k := layout.SideKey(p.Start, !s.left, key); s.shared.rows.Get(k) != nil {
				s.shared.remove(k, r.time)
			}
		}
		s.forward(r, r.value, decode(s.other.values, s.otherNulls, p.Value), max(r.time, p.Start))
	}
	if len(partners) > 0 || !s.outer {
		return
	}
	if r.time+s.after < s.shared.observed {
		s.forward(r, r.value, opt[V2]{}, r.time) // too late to wait for anybody
		return
	}
	s.shared.lowest = min(s.shared.lowest, r.time)
	s.shared.add(layout.SideKey(r.time, s.left, key), s.left, encode(s.values, r.value), r.time)
}

func (s *joinSide[K, V, V2, R]) forward(r *rec[K, V], this opt[V], other opt[V2], time int64) {
	s.out.forward(&rec[K, R]{r.key, s.results.some(s.join(r.key.v, this, other)), time, r.headers})
}

// sendUnmatched sends the results of unmatched records whose windows are over. A record of the left waits for After, one of
// the right for Before.
func (s *joinSide[K, V, V2, R]) sendUnmatched(r *rec[K, V]) {
	u := s.shared
	switch {
	case u.lowest < math.MaxInt64 && u.lowest+s.after+s.grace >= u.observed || s.task.now < u.next:
		return
	case u.lowest == math.MaxInt64 && (u.looked || s.after+s.grace == 0): // the sum overflows in Java, but for 0, and so it looks
		return
	}
	u.looked = true
	u.next = s.task.now + s.task.config.EmitEvery.Milliseconds()
	u.lowest = math.MaxInt64
	leftOpen, rightOpen := false, false
	for key, row := range u.rows.Range(nil, nil, false) {
		time, left, k, err := layout.ParseSideKey(key)
		must(err)
		values, err := layout.ParseListed(row)
		must(err)
		wait := s.before
		if left == s.left {
			wait = s.after
		}
		open := time+wait+s.grace >= u.observed
		typed := decode(s.keys, nulls[K]{}, k)
		for _, v := range values {
			// What stays waits until the window of the record at which we stop may be over. That is not the lowest one, but
			// Java's results come at the same steps.
			if u.lowest = time; leftOpen && rightOpen {
				return // nothing from here on can be over
			}
			if open {
				leftOpen, rightOpen = leftOpen || left, rightOpen || !left
			} else {
				s.out.forward(&rec[K, R]{typed, s.lone(left, typed, v), time, r.headers})
			}
		}
		if open {
			continue
		}
		u.remove(key, r.time)
	}
}
