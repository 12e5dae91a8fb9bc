package streams

import (
	"fmt"
	"math"
	"reflect"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/internal/store"
	"github.com/gregorhq/gregor/streams/serde"
)

// JoinTable joins each record of a stream with the table's row of the same key (KStream.join with a KTable). Records without
// a row are dropped; updates of the table make no results. Over a versioned table the row is the one of the record's
// time, see [JoinGrace], too.
func JoinTable[K, V, T, R any](s *Stream[K, V], t *Table[K, T], f func(k K, v V, row T) R, opts ...Option) *Stream[K, R] {
	return joinTable(s, t, false, func(k K, v V, row opt[T]) R { return f(k, v, row.v) }, opts)
}

// LeftJoinTable is [JoinTable] with a result for every record; row is nil where the table has none (KStream.leftJoin).
func LeftJoinTable[K, V, T, R any](s *Stream[K, V], t *Table[K, T], f func(k K, v V, row *T) R, opts ...Option) *Stream[K, R] {
	return joinTable(s, t, true, func(k K, v V, row opt[T]) R { return f(k, v, row.pointer()) }, opts)
}

// JoinGlobal joins each record of a stream with the row of a global table whose key f gives (KStream.join with a
// GlobalKTable). ok is false where there is no such key.
func JoinGlobal[K, V, GK, GV, R any](s *Stream[K, V], t *GlobalTable[GK, GV], key func(K, V) (gk GK, ok bool), f func(k K, v V, row GV) R, opts ...Option) *Stream[K, R] {
	return joinGlobal(s, t, key, false, func(k K, v V, row opt[GV]) R { return f(k, v, row.v) }, opts)
}

// LeftJoinGlobal is [JoinGlobal] with a result for every record; row is nil where the table has none, or where f gives no key.
func LeftJoinGlobal[K, V, GK, GV, R any](s *Stream[K, V], t *GlobalTable[GK, GV], key func(K, V) (gk GK, ok bool), f func(k K, v V, row *GV) R, opts ...Option) *Stream[K, R] {
	return joinGlobal(s, t, key, true, func(k K, v V, row opt[GV]) R { return f(k, v, row.pointer()) }, opts)
}

func lookupName(b *Builder, o options, left bool) string {
	if left {
		return b.named(o.name, "KSTREAM-LEFTJOIN-")
	}
	return b.named(o.name, "KSTREAM-JOIN-")
}

func joinGlobal[K, V, GK, GV, R any](s *Stream[K, V], g *GlobalTable[GK, GV], key func(K, V) (GK, bool), left bool,
	f func(K, V, opt[GV]) R, opts []Option) *Stream[K, R] {
	rows := g.table.impl.view()
	name := s.b.named(optionsOf(opts).name, "KSTREAM-LEFTJOIN-") // also for the inner join, as in Java
	n := addNode(s.b, name, []*node{s.node}, nil, func(t *Task, out *outlet[K, R]) func(*rec[K, V]) {
		l := lookup[K, V, GK, GV, R]{task: t, left: left, join: f, rows: rows.open(t), out: out, nulls: nullsOf[R]()}
		globals := nullsOf[GK]()
		l.key = func(r *rec[K, V]) opt[GK] {
			k, ok := key(r.key.v, r.value.v)
			if !ok {
				return opt[GK]{}
			}
			return globals.some(k)
		}
		return func(r *rec[K, V]) {
			if l.usable(r) {
				l.do(r)
			}
		}
	})
	n.wantsNulls = left
	return &Stream[K, R]{b: s.b, node: n, keys: s.keys, rekeyed: s.rekeyed}
}

func joinTable[K, V, T, R any](given *Stream[K, V], table *Table[K, T], left bool, f func(K, V, opt[T]) R, opts []Option) *Stream[K, R] {
	b, o := given.b, optionsOf(opts)
	s := given
	if s.rekeyed {
		prefix := o.name
		if prefix == "" {
			prefix = s.node.name
		}
		c := *s
		if c.keys == nil {
			c.keys = table.keys
		}
		s = c.repartitioned(prefix)
	}
	name := lookupName(b, o, left)
	rows := table.impl.view()
	stores := rows.stores
	buffer := ""
	if o.grace != nil {
		if !table.impl.versioned() {
			b.fail("a join with grace needs a versioned table")
		}
		buffer = name + "-Buffer"
		addJoinBuffer(b, buffer, s.keys, s.values)
		stores = append(stores[:len(stores):len(stores)], buffer)
	}
	b.copartitioned(s.node, table.node)
	n := addNode(b, name, []*node{s.node}, stores, func(t *Task, out *outlet[K, R]) func(*rec[K, V]) {
		l := lookup[K, V, K, T, R]{task: t, left: left, join: f, rows: rows.open(t), out: out, nulls: nullsOf[R]()}
		l.key = func(r *rec[K, V]) opt[K] { return r.key }
		if buffer == "" {
			return func(r *rec[K, V]) {
				if l.usable(r) {
					l.do(r)
				}
			}
		}
		state := stateOf[*joinBuffer[K, V]](t, buffer)
		grace := o.grace.Milliseconds()
		return func(r *rec[K, V]) {
			if !l.usable(r) {
				return
			}
			if !state.put(r, grace) {
				l.do(r)
			}
			state.evict(grace, l.do)
		}
	})
	n.wantsNulls = left
	return &Stream[K, R]{b: b, node: n, keys: s.keys, rekeyed: false}
}

// lookup joins records with rows.
type lookup[K, V, TK, T, R any] struct {
	task  *Task
	left  bool
	key   func(*rec[K, V]) opt[TK]
	join  func(K, V, opt[T]) R
	rows  getter[TK, T]
	out   *outlet[K, R]
	nulls nulls[R]
}

// usable reports whether a record can have a result. One with a null value never has. One without a key to look up has only
// in a left join (KIP-962).
func (l *lookup[K, V, TK, T, R]) usable(r *rec[K, V]) bool {
	if !r.value.ok || !l.left && !l.key(r).ok {
		l.task.drop()
		return false
	}
	return true
}

func (l *lookup[K, V, TK, T, R]) do(r *rec[K, V]) {
	var row stamped[T]
	if k := l.key(r); k.ok {
		if l.rows.isVersioned() {
			row = l.rows.asOf(k.v, r.time)
		} else {
			row = l.rows.get(k.v)
		}
	}
	if row.ok || l.left {
		l.out.forward(withValue(r, l.nulls.some(l.join(r.key.v, r.value.v, row.opt))))
	}
}

// joinBuffer holds the records of a stream that wait for late updates of the table (KIP-923), by time.
type joinBuffer[K, V any] struct {
	task     *Task
	keys     serde.Serde[K]
	values   serde.Serde[V]
	rows     store.KeyValue // layout.TimeFirstKey -> layout.Buffered
	log      changelog
	seq      *int64
	observed *int64
}

func addJoinBuffer[K, V any](b *Builder, name string, keys serde.Serde[K], values serde.Serde[V]) {
	keys, values = needSerde(b, keys, "the buffer "+name), needSerde(b, values, "the buffer "+name)
	n := &storeNode{name: name, logged: true, onDisk: b.onDisk, kind: reflect.TypeFor[*joinBuffer[K, V]]()}
	n.open = func(t *Task) any {
		s := &joinBuffer[K, V]{task: t, keys: keys, values: values, rows: t.keyValues(n), observed: t.number(n, "observed", -1), seq: t.number(n, "seq", 0)}
		s.log = t.changelogOf(n, s.restore)
		return s
	}
	b.addStore(n)
}

func (s *joinBuffer[K, V]) restore(m Message) error {
	time, _, seq, err := layout.ParseTimeFirstKey(m.Key)
	if err != nil {
		return err
	}
	s.rows.Put(m.Key, m.Value)
	*s.observed, *s.seq = max(*s.observed, time), max(*s.seq, int64(seq))
	return nil
}

// put holds a record, unless its time is over already.
func (s *joinBuffer[K, V]) put(r *rec[K, V], grace int64) bool {
	if *s.observed-grace > r.time {
		return false
	}
	*s.observed = max(*s.observed, r.time)
	*s.seq = (*s.seq + 1) & math.MaxInt32
	key := layout.TimeFirstKey(r.time, encode(s.keys, r.key), int32(*s.seq))
	in := s.task.input
	held := layout.Buffered{Time: r.time, Offset: in.Offset, Partition: in.Partition, Topic: in.Topic, Headers: r.headers, New: encode(s.values, r.value)}
	value := held.Append(nil, 0)
	s.rows.Put(key, value)
	s.log.write(key, value, NoTime)
	return true
}

// evict lets go of the records whose grace is over.
func (s *joinBuffer[K, V]) evict(grace int64, do func(*rec[K, V])) {
	for key, value := range s.rows.Range(nil, nil, false) {
		time, k, _, err := layout.ParseTimeFirstKey(key)
		must(err)
		if time > *s.observed-grace {
			return
		}
		held, _, err := layout.ParseBuffered(value)
		if err != nil {
			must(fmt.Errorf("buffered record: %w", err))
		}
		do(&rec[K, V]{decode(s.keys, nullsOf[K](), k), decode(s.values, nullsOf[V](), held.New), held.Time, held.Headers})
		s.rows.Put(key, nil)
		s.log.write(key, nil, NoTime)
	}
}
