package streams

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/internal/store"
	"github.com/gregorhq/gregor/streams/serde"
)

// changelog writes what a store does, for others to follow. Every store of a task has one.
type changelog struct {
	task  *Task
	topic string // "" where the store is not logged
}

func (t *Task) changelogOf(n *storeNode, restore func(Message) error) changelog {
	if !n.logged {
		return changelog{task: t}
	}
	topic := t.changelog(n)
	t.restores[topic] = restore
	if t.keptOnDisk(n) {
		t.onDisk[topic] = true
	}
	if n.changelog != "" {
		return changelog{task: t} // the source topic has every change already
	}
	return changelog{t, topic}
}

func (c changelog) write(key, value []byte, time int64, headers ...Header) {
	if c.topic != "" {
		c.task.counts.logged++
		c.task.out.Log(Message{Topic: c.topic, Partition: c.task.config.Partition, Key: key, Value: value, Timestamp: time, Headers: headers})
	}
}

// kvState is a key-value store at work: rows with the time of their last change, and their history where it is versioned.
type kvState[K, V any] struct {
	keys    serde.Serde[K]
	values  serde.Serde[V]
	nulls   nulls[V]
	log     changelog
	form    rowForm
	rows    store.KeyValue  // values as the form has them
	history store.Versioned // instead of rows
	held    *heldBack[K, V] // nil where changes are not held back
}

func (s KVStore[K, V]) addTo(b *Builder, name, where string) {
	keys := needSerde(b, s.keys, "the store "+name)
	values := needSerde(b, s.values, "the store "+name)
	if s.headers && s.versioned {
		b.fail("the store %s cannot keep both headers and versions", name)
	}
	n := &storeNode{name: name, logged: !s.unlogged, where: where, kind: reflect.TypeFor[*kvState[K, V]](), onDisk: s.newest == 0 && s.open == nil && (s.onDisk || b.onDisk)}
	if s.versioned {
		n.versioned, n.retention = true, s.history.Milliseconds()
	}
	n.open = func(t *Task) any {
		state := &kvState[K, V]{keys: keys, values: values, nulls: nullsOf[V](), form: t.form(n, s.headers)}
		switch {
		case s.versioned:
			state.history = t.versions(n, s.history.Milliseconds())
		case s.open != nil:
			state.rows = t.customRows(n, s.open)
		case s.newest > 0:
			state.rows = store.NewLRU(s.newest, func(key []byte) { state.log.write(key, nil, t.time) })
		default:
			state.rows = t.keyValues(n)
		}
		state.log = t.changelogOf(n, state.restore)
		state.held = holdBack[K, V](t, s.cached && !s.versioned, &state.log)
		return state
	}
	b.addStore(n)
}

// define adds the store for [Stores], or finds it there.
func (s KVStore[K, V]) define(b *Builder, where string) string {
	return define(b, s.name, reflect.TypeFor[*kvState[K, V]](), func() { s.addTo(b, s.name, where) })
}

func define(b *Builder, name string, kind reflect.Type, add func()) string {
	switch n := b.stores[name]; {
	case name == "":
		b.fail("a store for a processor needs a name")
	case n == nil:
		add()
	case n.kind != kind:
		b.fail("store %s holds other types: %s", name, n.where)
	}
	return name
}

func (s *kvState[K, V]) restore(m Message) error {
	switch {
	case s.history != nil:
		s.history.Put(m.Key, m.Value, m.Timestamp)
	case m.Value == nil:
		s.rows.Put(m.Key, nil)
	default:
		s.rows.Put(m.Key, s.form.row(m.Timestamp, m.Value, m.Headers))
	}
	return nil
}

func (s *kvState[K, V]) get(key K) stamped[V] { return s.getBytes(encoded(s.keys, key)) }

func (s *kvState[K, V]) getBytes(key []byte) stamped[V] {
	if s.history != nil {
		v, ok := s.history.Get(key)
		return s.version(v, ok)
	}
	return s.row(s.rows.Get(key))
}

// asOf is the row as it was at a time, if the store knows.
func (s *kvState[K, V]) asOf(key K, time int64) stamped[V] {
	if s.history == nil {
		return s.get(key)
	}
	v, ok := s.history.GetAsOf(encoded(s.keys, key), time)
	return s.version(v, ok)
}

func (s *kvState[K, V]) version(v store.Version, ok bool) stamped[V] {
	if !ok {
		return stamped[V]{}
	}
	return stamped[V]{decode(s.values, s.nulls, v.Value), v.Time}
}

func (s *kvState[K, V]) row(b []byte) stamped[V] {
	if b == nil {
		return stamped[V]{}
	}
	time, value, _ := s.form.parse(b)
	return stamped[V]{decode(s.values, s.nulls, value), time}
}

// headers are those of a row.
func (s *kvState[K, V]) headers(key K) []Header {
	if s.history != nil {
		return nil
	}
	return s.form.headers(s.rows.Get(encoded(s.keys, key)))
}

// put sets or deletes a row. at is the time of the record that we are at: a deletion has no other.
func (s *kvState[K, V]) put(key K, value opt[V], time, at int64, headers ...Header) (kept, latest bool) {
	k, v := encoded(s.keys, key), encode(s.values, value)
	if s.history != nil {
		kept, latest = s.history.Put(k, v, time)
		s.log.write(k, v, time) // what is too old to be kept, too, as in Java
		return kept, latest
	}
	var was opt[V]
	if s.held != nil && !s.held.has(k) {
		was = s.getBytes(k).opt
	}
	if v == nil {
		time = at
		s.rows.Put(k, nil)
	} else {
		s.rows.Put(k, s.form.row(time, v, headers))
	}
	if s.held != nil {
		s.held.hold(heldRow[K, V]{bytes: k, key: opt[K]{key, true}, new: value, value: v, logged: time, sent: time, kept: headers}, was)
	} else {
		s.log.write(k, v, time, headers...)
	}
	return true, true
}

func (s *kvState[K, V]) isVersioned() bool { return s.history != nil }

// windowState is a window store of an aggregation at work.
type windowState[K, V any] struct {
	keys   serde.Serde[K]
	values serde.Serde[V]
	nulls  nulls[V]
	log    changelog
	form   rowForm
	rows   store.Window // values as the form has them
	held   *heldBack[Windowed[K], V]
}

// windowRow is a window of a key with its aggregate.
type windowRow[K, V any] struct {
	key   K
	start int64
	row   stamped[V]
}

// addTo adds the store to the topology. It keeps rows longer than the retention by so much; the changelog need not.
func (s WindowStore[K, V]) addTo(b *Builder, name, where string, retention, longer int64, timeIndex bool) {
	keys := needSerde(b, s.keys, "the store "+name)
	values := needSerde(b, s.values, "the store "+name)
	expiry := store.Expiry{Retention: min(max(retention+longer, s.retention.Milliseconds()), longest), Exactly: !b.segmented}
	retention = max(retention, s.retention.Milliseconds())
	n := &storeNode{name: name, logged: !s.unlogged, windowed: true, retention: retention, where: where,
		kind: reflect.TypeFor[*windowState[K, V]](), onDisk: s.onDisk || b.onDisk}
	n.open = func(t *Task) any {
		state := &windowState[K, V]{keys: keys, values: values, nulls: nullsOf[V](), form: t.form(n, s.headers), rows: t.windows(n, expiry, timeIndex)}
		state.log = t.changelogOf(n, state.restore)
		state.held = holdBack[Windowed[K], V](t, s.cached && !timeIndex, &state.log)
		return state
	}
	b.addStore(n)
}

// define adds the store for [Stores], or finds it there.
func (s WindowStore[K, V]) define(b *Builder, where string) string {
	return define(b, s.name, reflect.TypeFor[*windowState[K, V]](), func() {
		if s.retention <= 0 {
			b.fail("the window store %s of a processor needs a Retention", s.name)
		}
		s.addTo(b, s.name, where, 0, 0, false)
	})
}

func (s *windowState[K, V]) restore(m Message) error {
	key, start, seq, err := layout.ParseWindowKey(m.Key)
	if err != nil {
		return err
	}
	value := m.Value
	if value != nil {
		value = s.form.row(m.Timestamp, value, m.Headers)
	}
	s.rows.Put(key, start, seq, value)
	return nil
}

func (s *windowState[K, V]) get(key K, start int64) stamped[V] {
	return s.row(s.rows.Get(encoded(s.keys, key), start))
}

func (s *windowState[K, V]) row(b []byte) stamped[V] {
	if b == nil {
		return stamped[V]{}
	}
	time, value, _ := s.form.parse(b)
	return stamped[V]{decode(s.values, s.nulls, value), time}
}

// headers are those of the row of a window.
func (s *windowState[K, V]) headers(key K, start int64) []Header {
	return s.form.headers(s.rows.Get(encoded(s.keys, key), start))
}

// put sets or deletes the row of a window. Its end is told downstream if the change is held back.
func (s *windowState[K, V]) put(key K, start, end int64, value stamped[V], at int64, headers ...Header) {
	k, v := encoded(s.keys, key), encode(s.values, value.opt)
	logged := layout.WindowKey(k, start, 0)
	var was opt[V]
	if s.held != nil && !s.held.has(logged) {
		was = s.row(s.rows.Get(k, start)).opt
	}
	time := value.time
	if v == nil {
		time = at
		s.rows.Put(k, start, 0, nil)
	} else {
		s.rows.Put(k, start, 0, s.form.row(time, v, headers))
	}
	if s.held != nil {
		s.held.hold(heldRow[Windowed[K], V]{bytes: logged, key: windowed(key, start, end), new: value.opt, value: v, logged: time, sent: time, kept: headers}, was)
		return
	}
	s.log.write(logged, v, time, headers...)
}

func (s *windowState[K, V]) fetch(key K, from, to int64) []windowRow[K, V] {
	return s.typed(s.rows.Fetch(encoded(s.keys, key), from, to))
}

func (s *windowState[K, V]) fetchAll(from, to int64) []windowRow[K, V] {
	return s.typed(s.rows.FetchAll(from, to))
}

func (s *windowState[K, V]) typed(rows []store.WindowRow) []windowRow[K, V] {
	out := make([]windowRow[K, V], len(rows))
	for i, r := range rows {
		out[i] = windowRow[K, V]{decode(s.keys, nulls[K]{}, r.Key).v, r.Start, s.row(r.Value)}
	}
	return out
}

// sessionState is a session store at work.
type sessionState[K, V any] struct {
	keys   serde.Serde[K]
	values serde.Serde[V]
	nulls  nulls[V]
	log    changelog
	form   rowForm
	rows   store.Session // values without a time: it is the session's end
	held   *heldBack[Windowed[K], V]
}

// sessionRow is a session of a key with its aggregate.
type sessionRow[K, V any] struct {
	key        K
	start, end int64
	value      opt[V]
}

// addTo adds the store to the topology. It keeps rows longer than the retention by so much; the changelog need not.
func (s SessionStore[K, V]) addTo(b *Builder, name, where string, retention, longer int64, timeIndex bool) {
	keys := needSerde(b, s.keys, "the store "+name)
	values := needSerde(b, s.values, "the store "+name)
	expiry := store.Expiry{Retention: min(max(retention+longer, s.retention.Milliseconds()), longest), Exactly: !b.segmented}
	retention = max(retention, s.retention.Milliseconds())
	n := &storeNode{name: name, logged: !s.unlogged, windowed: true, retention: retention, where: where,
		kind: reflect.TypeFor[*sessionState[K, V]](), onDisk: s.onDisk || b.onDisk}
	n.open = func(t *Task) any {
		state := &sessionState[K, V]{keys: keys, values: values, nulls: nullsOf[V](), form: t.form(n, s.headers), rows: t.sessions(n, expiry, timeIndex)}
		state.log = t.changelogOf(n, state.restore)
		state.held = holdBack[Windowed[K], V](t, s.cached && !timeIndex, &state.log)
		return state
	}
	b.addStore(n)
}

// define adds the store for [Stores], or finds it there.
func (s SessionStore[K, V]) define(b *Builder, where string) string {
	return define(b, s.name, reflect.TypeFor[*sessionState[K, V]](), func() {
		if s.retention <= 0 {
			b.fail("the session store %s of a processor needs a Retention", s.name)
		}
		s.addTo(b, s.name, where, 0, 0, false)
	})
}

func (s *sessionState[K, V]) restore(m Message) error {
	key, start, end, err := layout.ParseSessionKey(m.Key)
	if err == nil {
		s.rows.Put(key, start, end, s.form.timeless(m.Value, m.Headers))
	}
	return err
}

func (s *sessionState[K, V]) put(key K, start, end int64, value opt[V], at int64, headers ...Header) {
	k, v := encoded(s.keys, key), encode(s.values, value)
	logged := layout.SessionKey(k, start, end)
	var was opt[V]
	if s.held != nil && !s.held.has(logged) {
		was = s.value(s.rows.Get(k, start, end))
	}
	s.rows.Put(k, start, end, s.form.timeless(v, headers))
	if s.held != nil {
		s.held.hold(heldRow[Windowed[K], V]{bytes: logged, key: windowed(key, start, end), new: value, value: v, logged: at, sent: end, kept: headers}, was)
		return
	}
	s.log.write(logged, v, at, headers...)
}

func (s *sessionState[K, V]) get(key K, start, end int64) opt[V] {
	return s.value(s.rows.Get(encoded(s.keys, key), start, end))
}

func (s *sessionState[K, V]) value(b []byte) opt[V] {
	_, value := s.form.parseTimeless(b)
	return decode(s.values, s.nulls, value)
}

// headers are those of a session.
func (s *sessionState[K, V]) headers(key K, start, end int64) []Header {
	headers, _ := s.form.parseTimeless(s.rows.Get(encoded(s.keys, key), start, end))
	return headers
}

func (s *sessionState[K, V]) find(key K, earliestEnd, latestStart int64) []sessionRow[K, V] {
	return s.typed(s.rows.Find(encoded(s.keys, key), earliestEnd, latestStart))
}

func (s *sessionState[K, V]) findAll(from, to int64) []sessionRow[K, V] {
	return s.typed(s.rows.FindAll(from, to))
}

func (s *sessionState[K, V]) typed(rows []store.SessionRow) []sessionRow[K, V] {
	out := make([]sessionRow[K, V], len(rows))
	for i, r := range rows {
		out[i] = sessionRow[K, V]{decode(s.keys, nulls[K]{}, r.Key).v, r.Start, r.End, s.value(r.Value)}
	}
	return out
}

// sameKey compares keys as Kafka does: by their bytes.
func sameKey[K any](s serde.Serde[K], a, b opt[K]) bool {
	if !a.ok || !b.ok {
		return a.ok == b.ok
	}
	return bytes.Equal(encoded(s, a.v), encoded(s, b.v))
}

// stateOf is a store of the task that the builder knows to have these types.
func stateOf[S any](t *Task, name string) S {
	s, ok := t.open(name).(S)
	if !ok {
		must(fmt.Errorf("the store %s holds other types: it is a %T", name, t.open(name)))
	}
	return s
}
