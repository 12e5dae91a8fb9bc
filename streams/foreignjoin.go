package streams

import (
	"bytes"
	"reflect"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/internal/store"
	"github.com/gregorhq/gregor/streams/serde"
)

// JoinForeign joins each row on the left with the row on the right whose key f finds in it (KTable.join by foreign key,
// KIP-213). A row for which foreign says ok = false has no partner. Updates of either side update the result.
//
// Rows of the two tables need not be in the same task: the left subscribes at the right with an internal topic, and the
// right answers through another.
func JoinForeign[K, V, FK, FV, R any](left *Table[K, V], right *Table[FK, FV], foreign func(k K, v V) (fk FK, ok bool), f func(k K, v V, fv FV) R, opts ...Option) *Table[K, R] {
	return joinForeign(left, right, foreign, false, func(k K, v V, fv opt[FV]) R { return f(k, v, fv.v) }, opts)
}

// LeftJoinForeign is [JoinForeign] with a result for every row on the left; fv is nil where it has no partner.
func LeftJoinForeign[K, V, FK, FV, R any](left *Table[K, V], right *Table[FK, FV], foreign func(k K, v V) (fk FK, ok bool), f func(k K, v V, fv *FV) R, opts ...Option) *Table[K, R] {
	return joinForeign(left, right, foreign, true, func(k K, v V, fv opt[FV]) R { return f(k, v, fv.pointer()) }, opts)
}

const foreignPrefix = "KTABLE-FK-JOIN-"

// foreignJoin is a foreign-key join: subscribe, receive, look up, answer, resolve.
type foreignJoin[K, V, FK, FV, R any] struct {
	left        *Table[K, V]
	right       *Table[FK, FV]
	foreign     func(K, V) opt[FK]
	optional    bool // rows on the left need no partner
	join        func(K, V, opt[FV]) R
	keys        serde.Serde[K]
	values      serde.Serde[V]
	foreignKeys serde.Serde[FK]
	foreigns    serde.Serde[FV]
	store       string
}

// answer is a response on its way to the topic that brings it to the row's task.
type answer struct {
	response  layout.Response
	partition int32
}

func joinForeign[K, V, FK, FV, R any](left *Table[K, V], right *Table[FK, FV], foreign func(K, V) (FK, bool), optional bool, join func(K, V, opt[FV]) R, opts []Option) *Table[K, R] {
	b, o := left.b, optionsOf(opts)
	nullKeys := nullsOf[FK]()
	j := &foreignJoin[K, V, FK, FV, R]{left: left, right: right, optional: optional, join: join,
		keys: needSerde(b, left.keys, "the foreign-key join"), values: needSerde(b, left.values, "the foreign-key join"),
		foreignKeys: needSerde(b, right.keys, "the foreign-key join"), foreigns: needSerde(b, right.values, "the foreign-key join"),
		foreign: func(k K, v V) opt[FK] {
			fk, ok := foreign(k, v)
			if !ok {
				return opt[FK]{}
			}
			return nullKeys.some(fk)
		}}
	right.impl.sendOld(true)
	left.impl.sendOld(true)

	registration := b.suffixed(o.name, "-subscription-registration", foreignPrefix+"SUBSCRIPTION-REGISTRATION-")
	topic := registration + "-topic"
	subscribeName := b.suffixed(o.name, "-subscription-registration-processor", foreignPrefix+"SUBSCRIPTION-REGISTRATION-")
	sink := b.suffixed(o.name, "-subscription-registration-sink", "KTABLE-SINK-")
	source := b.suffixed(o.name, "-subscription-registration-source", "KTABLE-SOURCE-")
	subscribe := j.addSubscribe(b, subscribeName)
	arrived := j.pipeSubscriptions(b, subscribe, sink, source, topic)

	j.store = b.suffixed(o.name, "-subscription-store", foreignPrefix+"SUBSCRIPTION-STATE-STORE-")
	addSubscriptions(b, j.store)
	receive := j.addReceive(b, b.suffixed(o.name, "-subscription-receive", foreignPrefix+"SUBSCRIPTION-PROCESSOR-"), arrived)
	lookUp := j.addLookUp(b, b.suffixed(o.name, "-subscription-join-foreign", foreignPrefix+"SUBSCRIPTION-PROCESSOR-"), receive)
	changed := j.addForeignChanged(b, b.suffixed(o.name, "-foreign-join-subscription", foreignPrefix+"SUBSCRIPTION-PROCESSOR-"))

	responses := b.suffixed(o.name, "-subscription-response", foreignPrefix+"SUBSCRIPTION-RESPONSE-") + "-topic"
	sink = b.suffixed(o.name, "-subscription-response-sink", "KTABLE-SINK-")
	source = b.suffixed(o.name, "-subscription-response-source", "KTABLE-SOURCE-")
	answered := j.pipeAnswers(b, []*node{lookUp, changed}, sink, source, responses)
	resolve := j.addResolve(b, b.suffixed(o.name, "-subscription-response-resolver", foreignPrefix+"SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-"), answered)
	return foreignResult[K, R](b, o, resolve, left.keys)
}

// foreignResult is the table of the results.
func foreignResult[K, R any](b *Builder, o options, resolve *node, keys serde.Serde[K]) *Table[K, R] {
	handle, _ := storeOption[K, R](b, o)
	if handle.keys == nil {
		handle.keys = keys
	}
	name := b.suffixed(o.name, "-result", foreignPrefix+"OUTPUT-")
	t := &sourceTable[K, R]{handle: handle, name: handle.name}
	if t.name == "" {
		t.name = b.nextStore(foreignPrefix + "OUTPUT-")
	}
	t.addTo(b, name, resolve)
	return &Table[K, R]{b, t.node, handle.keys, handle.values, t}
}

// addSubscribe turns changes on the left into subscriptions.
func (j *foreignJoin[K, V, FK, FV, R]) addSubscribe(b *Builder, name string) *node {
	history := j.left.impl.versioned()
	return addNode(b, name, []*node{j.left.node}, nil, func(t *Task, out *outlet[FK, layout.Subscription]) func(*update[K, V]) {
		return func(r *update[K, V]) {
			c := r.value.v
			if history && !c.latest {
				t.drop()
				return
			}
			var was, now opt[FK]
			if c.old.ok {
				was = j.foreign(r.key.v, c.old.v)
			}
			if c.new.ok {
				now = j.foreign(r.key.v, c.new.v)
			}
			send := func(fk opt[FK], i layout.Instruction) {
				s := layout.Subscription{Instruction: i, Primary: encoded(j.keys, r.key.v), Partition: t.config.Partition}
				if c.new.ok {
					s.Hash = layout.HashOf(encoded(j.values, c.new.v))
				}
				out.forward(&rec[FK, layout.Subscription]{fk, opt[layout.Subscription]{s, true}, r.time, r.headers})
			}
			if j.optional {
				j.subscribeLeft(c, was, now, send)
			} else {
				j.subscribeInner(t, c, was, now, send)
			}
		}
	})
}

// subscribeLeft asks for an answer in every case, for there is always a result to send.
func (j *foreignJoin[K, V, FK, FV, R]) subscribeLeft(c change[V], was, now opt[FK], send func(opt[FK], layout.Instruction)) {
	if !c.old.ok && !c.new.ok {
		return
	}
	if was.ok && !sameKey(j.foreignKeys, was, now) {
		send(was, layout.DeleteNoPropagate)
	}
	send(now, layout.PropagateAlways)
}

// subscribeInner asks for an answer only where the result may change.
func (j *foreignJoin[K, V, FK, FV, R]) subscribeInner(t *Task, c change[V], was, now opt[FK], send func(opt[FK], layout.Instruction)) {
	switch {
	case !now.ok:
		if c.new.ok {
			t.drop()
		}
		if was.ok {
			send(was, layout.DeleteAndPropagate)
		}
	case was.ok && !sameKey(j.foreignKeys, was, now):
		send(was, layout.DeleteNoPropagate)
		send(now, layout.PropagateAlways) // with no row there, the old result has to go
	default:
		send(now, layout.PropagateIfPresent)
	}
}

// pipeSubscriptions sends subscriptions to the tasks of the rows on the right.
func (j *foreignJoin[K, V, FK, FV, R]) pipeSubscriptions(b *Builder, from *node, sink, source, topic string) *node {
	values := serde.Of(nil, layout.ParseSubscription)
	t := Topic[FK, layout.Subscription]{name: topic, keys: j.foreignKeys, values: values}
	return pipe(b, []*node{from}, sink, source, t, 0, func(r *rec[FK, layout.Subscription]) (key, value []byte, partition int32) {
		return encode(j.foreignKeys, r.key), r.value.v.Append(nil), -1
	})
}

// subscriptions is the store of who is interested in which row on the right.
type subscriptions struct {
	rows store.KeyValue // layout.CombinedKey -> layout.Subscription
	log  changelog
}

func addSubscriptions(b *Builder, name string) {
	n := &storeNode{name: name, logged: true, onDisk: b.onDisk, kind: reflect.TypeFor[*subscriptions]()}
	n.open = func(t *Task) any {
		s := &subscriptions{rows: t.keyValues(n)}
		s.log = t.changelogOf(n, func(m Message) error {
			s.rows.Put(m.Key, m.Value)
			return nil
		})
		return s
	}
	b.addStore(n)
}

func (s *subscriptions) put(key, value []byte, at int64) {
	s.rows.Put(key, value)
	s.log.write(key, value, at)
}

// addReceive keeps the subscriptions.
func (j *foreignJoin[K, V, FK, FV, R]) addReceive(b *Builder, name string, from *node) *node {
	return addNode(b, name, []*node{from}, []string{j.store}, func(t *Task, out *outlet[FK, layout.Subscription]) func(*rec[FK, layout.Subscription]) {
		state := stateOf[*subscriptions](t, j.store)
		return func(r *rec[FK, layout.Subscription]) {
			s := r.value.v
			switch {
			case !r.key.ok && s.Instruction != layout.PropagateAlways:
				t.drop()
				return
			case !r.key.ok: // nothing to subscribe to, but an answer is wanted
			case s.Instruction == layout.DeleteAndPropagate, s.Instruction == layout.DeleteNoPropagate:
				state.put(layout.CombinedKey(encoded(j.foreignKeys, r.key.v), s.Primary), nil, r.time)
			default:
				state.put(layout.CombinedKey(encoded(j.foreignKeys, r.key.v), s.Primary), s.Append(nil), r.time)
			}
			out.forward(r)
		}
	})
}

// addLookUp answers a subscription from the row on the right.
func (j *foreignJoin[K, V, FK, FV, R]) addLookUp(b *Builder, name string, from *node) *node {
	rows := j.right.impl.view()
	return addNode(b, name, []*node{from}, rows.stores, func(t *Task, out *outlet[K, answer]) func(*rec[FK, layout.Subscription]) {
		foreigns := rows.open(t)
		return func(r *rec[FK, layout.Subscription]) {
			s := r.value.v
			var row stamped[FV]
			if r.key.ok {
				row = foreigns.get(r.key.v)
			}
			time := r.time
			if row.ok {
				time = max(time, row.time)
			}
			a := answer{layout.Response{Hash: s.Hash}, s.Partition}
			switch s.Instruction {
			case layout.DeleteNoPropagate:
				return
			case layout.PropagateIfPresent:
				if !row.ok {
					return
				}
				a.response.Value = encode(j.foreigns, row.opt)
			case layout.PropagateAlways:
				a.response.Value = encode(j.foreigns, row.opt)
			}
			j.answer(out, s.Primary, a, time, r.headers)
		}
	})
}

func (j *foreignJoin[K, V, FK, FV, R]) answer(out *outlet[K, answer], primary []byte, a answer, time int64, headers []Header) {
	out.forward(&rec[K, answer]{decode(j.keys, nullsOf[K](), primary), opt[answer]{a, true}, time, headers})
}

// addForeignChanged tells all subscribers when a row on the right changes.
func (j *foreignJoin[K, V, FK, FV, R]) addForeignChanged(b *Builder, name string) *node {
	history := j.right.impl.versioned()
	return addNode(b, name, []*node{j.right.node}, []string{j.store}, func(t *Task, out *outlet[K, answer]) func(*update[FK, FV]) {
		state := stateOf[*subscriptions](t, j.store)
		return func(r *update[FK, FV]) {
			if !r.key.ok || history && !r.value.v.latest {
				t.drop()
				return
			}
			prefix := layout.CombinedPrefix(encoded(j.foreignKeys, r.key.v))
			value := encode(j.foreigns, r.value.v.new)
			for key, row := range state.rows.Range(prefix, nil, false) {
				if !bytes.HasPrefix(key, prefix) {
					return
				}
				s, err := layout.ParseSubscription(row)
				must(err)
				j.answer(out, s.Primary, answer{layout.Response{Hash: s.Hash, Value: value}, s.Partition}, r.time, r.headers)
			}
		}
	})
}

// pipeAnswers sends answers back to the tasks of the rows on the left.
func (j *foreignJoin[K, V, FK, FV, R]) pipeAnswers(b *Builder, from []*node, sink, source, topic string) *node {
	values := serde.Of(nil, func(b []byte) (a answer, err error) {
		a.response, err = layout.ParseResponse(b)
		return a, err
	})
	t := Topic[K, answer]{name: topic, keys: j.keys, values: values}
	return pipe(b, from, sink, source, t, 0, func(r *rec[K, answer]) (key, value []byte, partition int32) {
		return encode(j.keys, r.key), r.value.v.response.Append(nil), r.value.v.partition
	})
}

// addResolve joins answers with the rows they are for, unless a row has changed since it asked: then a later answer comes.
func (j *foreignJoin[K, V, FK, FV, R]) addResolve(b *Builder, name string, from *node) *node {
	rows := j.left.impl.view()
	return addNode(b, name, []*node{from}, rows.stores, func(t *Task, out *outlet[K, R]) func(*rec[K, answer]) {
		lefts := rows.open(t)
		foreigns, results := nullsOf[FV](), nullsOf[R]()
		return func(r *rec[K, answer]) {
			row := lefts.get(r.key.v)
			var hash layout.Hash
			if row.ok {
				hash = layout.HashOf(encoded(j.values, row.v))
			}
			a := r.value.v.response
			if hash != a.Hash {
				return
			}
			var result opt[R]
			if row.ok && (a.Value != nil || j.optional) {
				result = results.some(j.join(r.key.v, row.v, decode(j.foreigns, foreigns, a.Value)))
			}
			out.forward(withValue(r, result))
		}
	})
}
