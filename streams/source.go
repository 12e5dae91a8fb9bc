package streams

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/gregorhq/gregor/streams/serde"
)

// A Stream is an endless sequence of records, each a fact of its own (Java's KStream).
//
// Where V has no nil, functions are not shown records whose value is null: value functions pass the null on, functions
// that make keys drop the record. Where V has one, as a [serde.Nullable] gives, nil is null and functions see it.
type Stream[K, V any] struct {
	b       *Builder
	node    *node
	keys    serde.Serde[K] // nil where an operator brought a new type
	values  serde.Serde[V]
	rekeyed bool // keys may have changed: what groups or joins by key has to repartition first
}

// From reads a topic as a stream (Java's StreamsBuilder.stream).
func From[K, V any](b *Builder, topic Topic[K, V], opts ...Option) *Stream[K, V] {
	return FromTopics(b, []Topic[K, V]{topic}, opts...)
}

// FromTopics reads several topics as one stream, without order between them. The first topic's serdes and event time are
// used for all.
func FromTopics[K, V any](b *Builder, topics []Topic[K, V], opts ...Option) *Stream[K, V] {
	o := optionsOf(opts)
	if len(topics) == 0 {
		b.fail("FromTopics needs a topic")
		topics = []Topic[K, V]{{}}
	}
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	s := &Stream[K, V]{b: b, keys: topics[0].keys, values: topics[0].values}
	name := b.named(o.name, "KSTREAM-SOURCE-")
	if n := b.topics[names[0]]; n != nil && n.shared && slices.Equal(n.topics, slices.Sorted(slices.Values(names))) {
		if carries := reflect.TypeFor[rec[K, V]](); n.carries != carries {
			b.fail("topic %s is read with other types already: %s", names[0], n.where)
		}
		s.node = n // the same topic twice is one source, as in Java
		return s
	}
	s.node = addSource(b, name, names, topics[0])
	s.node.shared = true
	return s
}

// FromPattern reads every topic whose name matches (Java's stream(Pattern)). The topic gives serdes and event time, its
// name is not used.
func FromPattern[K, V any](b *Builder, pattern *regexp.Regexp, topic Topic[K, V], opts ...Option) *Stream[K, V] {
	n := addSource(b, b.named(optionsOf(opts).name, "KSTREAM-SOURCE-"), nil, topic)
	n.pattern = pattern
	return &Stream[K, V]{b: b, node: n, keys: topic.keys, values: topic.values}
}

func addSource[K, V any](b *Builder, name string, topics []string, topic Topic[K, V]) *node {
	n := &node{name: name, kind: sourceNode, topics: slices.Sorted(slices.Values(topics)), reset: topic.reset,
		carries: reflect.TypeFor[rec[K, V]]()}
	for _, t := range topics {
		if other := b.topics[t]; other != nil {
			b.fail("topic %s is read already: %s", t, other.where)
			continue
		}
		b.topics[t] = n
	}
	if topic.keys == nil || topic.values == nil {
		b.fail("topic %s has no serdes", topic.name)
	}
	n.start = func(t *Task, at *place) { startSource(t, at, topics, false, topic) }
	return b.add(n)
}

// startSource makes a task take records of the topics.
func startSource[K, V any](t *Task, at *place, topics []string, internal bool, topic Topic[K, V]) {
	out := outletOf[K, V](t, at.node)
	keys, values := nullsOf[K](), nullsOf[V]()
	s := &source{receive: func(m Message) {
		defer at.rescue()
		at.processed++
		r := &rec[K, V]{time: m.Timestamp, headers: m.Headers}
		r.key = decode(topic.keys, keys, m.Key)
		r.value = decode(topic.values, values, m.Value)
		if !extractTime(t, topic, r, m, at.node.global) {
			return
		}
		t.time = r.time
		out.forward(r)
	}}
	if topic.eventTime != nil || topic.arrival {
		s.time = func(m Message) (at int64) {
			defer func() {
				if recover() != nil { // whoever processes the record says what is wrong with it
					at = m.Timestamp
				}
			}()
			return givenTime(t, topic, &rec[K, V]{decode(topic.keys, keys, m.Key), decode(topic.values, values, m.Value), m.Timestamp, m.Headers}, m.Topic)
		}
	}
	for _, name := range topics {
		t.sources[t.topic(name, internal)] = s
	}
	if s.pattern = at.node.pattern; s.pattern != nil {
		t.patterns = append(t.patterns, s)
	}
}

// givenTime is the time that a topic gives a record.
func givenTime[K, V any](t *Task, topic Topic[K, V], r *rec[K, V], name string) int64 {
	at := r.time
	if topic.arrival {
		at = t.now
	}
	if topic.eventTime == nil {
		return at
	}
	var partitionTime time.Time
	if seen, ok := t.partition[name]; ok {
		partitionTime = time.UnixMilli(seen)
	}
	said, err := topic.eventTime((&rec[K, V]{r.key, r.value, at, r.headers}).public(), partitionTime)
	must(err)
	return said.UnixMilli()
}

// extractTime sets the record's time, and moves the stream's. It reports false for a record that is to be skipped.
func extractTime[K, V any](t *Task, topic Topic[K, V], r *rec[K, V], m Message, global bool) bool {
	seen := t.partition[m.Topic]
	if r.time = givenTime(t, topic, r, m.Topic); r.time < 0 && topic.eventTime != nil {
		t.drop()
		return false
	}
	if r.time < 0 {
		must(fmt.Errorf("the timestamp %d is not valid", r.time))
	}
	t.partition[m.Topic] = max(seen, r.time)
	if !global { // a global table has no part in the task's time
		t.streamTime = max(t.streamTime, r.time)
	}
	return true
}

func decode[T any](s serde.Serde[T], n nulls[T], b []byte) opt[T] {
	if b == nil {
		return opt[T]{}
	}
	v, err := s.Decode(b)
	if err != nil {
		panic(thrown{err, decoding})
	}
	return n.some(v)
}

// encode returns nil for null, and never nil for a value.
func encode[T any](s serde.Serde[T], v opt[T]) []byte {
	if !v.ok {
		return nil
	}
	return encoded(s, v.v)
}

func encoded[T any](s serde.Serde[T], v T) []byte {
	b, err := s.Encode(nil, v)
	if err != nil {
		panic(thrown{err, producing})
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

// WithSerdes names the serdes of a stream whose types an operator brought; what follows uses them where bytes are needed.
func (s *Stream[K, V]) WithSerdes(keys serde.Serde[K], values serde.Serde[V]) *Stream[K, V] {
	c := *s
	c.keys, c.values = keys, values
	return &c
}
