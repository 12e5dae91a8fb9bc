package streams

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/internal/store"
	"github.com/gregorhq/gregor/streams/serde"
)

// A Suppression holds back updates of a table, so that fewer of them are sent on (KIP-328).
type Suppression struct {
	wait   time.Duration
	closes bool // wait for the window to close instead
	buffer Buffer
}

// UntilWindowCloses sends a window's result once, when the window and its grace are over (Suppressed.untilWindowCloses). The
// buffer must not emit early.
func UntilWindowCloses(b Buffer) Suppression { return Suppression{closes: true, buffer: b} }

// UntilTimeLimit sends the latest value of a row when the stream's time has passed its first update by d
// (Suppressed.untilTimeLimit).
func UntilTimeLimit(d time.Duration, b Buffer) Suppression { return Suppression{wait: d, buffer: b} }

// A Buffer says how much may be held back, and what happens when it is more (Suppressed.BufferConfig).
type Buffer struct {
	records int
	bytes   int64
	early   bool
}

// Unbounded holds back whatever it takes.
func Unbounded() Buffer { return Buffer{records: math.MaxInt, bytes: math.MaxInt64} }

// MaxRecords holds back at most n rows. A buffer that is full stops the task with an error, which is Java's shutDownWhenFull,
// unless it may emit early.
func MaxRecords(n int) Buffer { return Buffer{records: n, bytes: math.MaxInt64} }

// MaxBytes holds back at most n bytes of rows, counted as Java counts them.
func MaxBytes(n int64) Buffer { return Buffer{records: math.MaxInt, bytes: n} }

// And is a buffer with both limits; it may emit early if one of them may.
func (b Buffer) And(c Buffer) Buffer {
	return Buffer{min(b.records, c.records), min(b.bytes, c.bytes), b.early || c.early}
}

// EmitEarlyWhenFull sends the oldest rows early when the buffer is full.
func (b Buffer) EmitEarlyWhenFull() Buffer {
	b.early = true
	return b
}

// Suppress holds back updates of the table (KTable.suppress).
func (t *Table[K, V]) Suppress(s Suppression, opts ...Option) *Table[K, V] {
	name := optionsOf(opts).name
	storeName := name + "-store"
	if name == "" {
		name, storeName = t.b.next("KTABLE-SUPPRESS-"), t.b.nextStore("KTABLE-SUPPRESS-")
	}
	t.impl.sendOld(true) // what downstream saw last is kept in the buffer
	wait := s.wait.Milliseconds()
	if s.closes {
		wait = t.checkCloses(s)
	}
	n := &suppressed[K, V]{parent: t, store: storeName}
	addBuffer(t.b, storeName, t.keys, t.values)
	node := addNode(t.b, name, []*node{t.node}, []string{storeName}, func(task *Task, out *outlet[K, change[V]]) func(*update[K, V]) {
		p := &suppressor[K, V]{Suppression: s, wait: wait, task: task, out: out, observed: -1, name: name,
			state: stateOf[*bufferState[K, V]](task, storeName)}
		return p.process
	})
	return &Table[K, V]{t.b, node, t.keys, t.values, n}
}

// checkCloses returns the grace of the windows that end in this table.
func (t *Table[K, V]) checkCloses(s Suppression) int64 {
	if s.buffer.early {
		t.b.fail("final results cannot be emitted early: let the buffer be unbounded or stop when it is full")
	}
	if _, ok := any(*new(K)).(interface{ windowEnd() int64 }); !ok {
		t.b.fail("only a table of windows can wait until they close; its keys are %s", reflect.TypeFor[K]())
	}
	grace, ok := t.node.graceBehind()
	if !ok {
		t.b.fail("no window aggregation leads to this table, so nothing says when its windows close")
	}
	return grace
}

// graceBehind finds the longest grace of the window aggregations that lead to a node.
func (n *node) graceBehind() (grace int64, ok bool) {
	if n.hasGrace {
		return n.grace, true
	}
	for _, p := range n.parents {
		if g, found := p.graceBehind(); found {
			grace, ok = max(grace, g), true
		}
	}
	return grace, ok
}

// suppressed is the view of a table as downstream has seen it.
type suppressed[K, V any] struct {
	parent *Table[K, V]
	store  string
}

func (s *suppressed[K, V]) sendOld(force bool) bool { return s.parent.impl.sendOld(force) }
func (s *suppressed[K, V]) versioned() bool         { return false }
func (s *suppressed[K, V]) view() view[K, V] {
	behind := s.parent.impl.view()
	return view[K, V]{append([]string{s.store}, behind.stores...), func(t *Task) getter[K, V] {
		state, rows := stateOf[*bufferState[K, V]](t, s.store), behind.open(t)
		return getFunc[K, V](func(key K) stamped[V] {
			if _, r := state.rows.Get(encoded(state.keys, key)); r != nil {
				return stamped[V]{decode(state.values, state.nulls, r.Prior), -1} // its time is not known any more
			}
			return rows.get(key)
		})
	}}
}

// bufferState is the buffer at work. Its changelog is written at a commit: most of what happens in it is soon undone.
type bufferState[K, V any] struct {
	keys   serde.Serde[K]
	values serde.Serde[V]
	nulls  nulls[V]
	rows   *store.Buffer
	log    changelog
	dirty  map[string]bool
}

func addBuffer[K, V any](b *Builder, name string, keys serde.Serde[K], values serde.Serde[V]) {
	keys, values = needSerde(b, keys, "the buffer "+name), needSerde(b, values, "the buffer "+name)
	n := &storeNode{name: name, logged: true, kind: reflect.TypeFor[*bufferState[K, V]]()}
	n.open = func(t *Task) any {
		s := &bufferState[K, V]{keys: keys, values: values, nulls: nullsOf[V](), rows: store.NewBuffer(), dirty: map[string]bool{}}
		s.log = t.changelogOf(n, s.restore)
		t.flushes = append(t.flushes, s.flush)
		return s
	}
	b.addStore(n)
}

func (s *bufferState[K, V]) restore(m Message) error {
	if m.Value == nil {
		s.rows.Remove(m.Key)
		return nil
	}
	record, time, err := layout.ParseBuffered(m.Value)
	if err == nil {
		s.rows.Restore(time, m.Key, &record)
	}
	return err
}

// bufferVersion is the header that says which format the buffer's changelog has.
var bufferVersion = Header{Key: "v", Value: []byte{3}}

func (s *bufferState[K, V]) flush() {
	for _, key := range slices.Sorted(maps.Keys(s.dirty)) {
		if time, r := s.rows.Get([]byte(key)); r != nil {
			s.log.write([]byte(key), r.Append(nil, time), NoTime, bufferVersion)
		} else {
			s.log.write([]byte(key), nil, NoTime)
		}
	}
	clear(s.dirty)
}

// suppressor is a suppress node at work.
type suppressor[K, V any] struct {
	Suppression
	wait     int64
	task     *Task
	out      *outlet[K, change[V]]
	state    *bufferState[K, V]
	observed int64
	name     string
}

func (p *suppressor[K, V]) process(r *update[K, V]) {
	p.observed = max(p.observed, r.time)
	key := encoded(p.state.keys, r.key.v)
	place := r.time
	if p.closes {
		place = any(r.key.v).(interface{ windowEnd() int64 }).windowEnd()
	}
	in := p.task.input
	p.state.rows.Put(place, key, &layout.Buffered{Time: r.time, Offset: in.Offset, Partition: in.Partition, Topic: in.Topic,
		Headers: r.headers, Old: encode(p.state.values, r.value.v.old), New: encode(p.state.values, r.value.v.new)})
	p.state.dirty[string(key)] = true
	for p.state.rows.FirstTime() <= p.observed-p.wait {
		p.emit()
	}
	for p.full() {
		if !p.buffer.early {
			must(fmt.Errorf("%s: the buffer is full: %d records, %d bytes", p.name, p.state.rows.Len(), p.state.rows.Bytes()))
		}
		p.emit()
	}
}

func (p *suppressor[K, V]) full() bool {
	return p.state.rows.Len() > p.buffer.records || p.state.rows.Bytes() > p.buffer.bytes
}

// emit sends the first record of the buffer.
func (p *suppressor[K, V]) emit() {
	w, _ := p.state.rows.First()
	r := w.Record
	if r.New != nil || !p.closes { // who only sees final results has not seen a row that is deleted now
		p.out.forward(&update[K, V]{decode(p.state.keys, nullsOf[K](), []byte(w.Key)), opt[change[V]]{change[V]{
			new: decode(p.state.values, p.state.nulls, r.New), old: decode(p.state.values, p.state.nulls, r.Old), latest: true}, true},
			r.Time, r.Headers})
	}
	p.state.rows.Remove([]byte(w.Key))
	p.state.dirty[w.Key] = true
}
