package streams

import (
	"github.com/gregorhq/gregor/streams/serde"
)

// To writes the stream to a topic (KStream.to).
func (s *Stream[K, V]) To(topic Topic[K, V], opts ...Option) {
	s.to(topic, "topic: "+topic.name, func(Record[K, V]) string { return topic.name }, opts)
}

// ToEach writes each record to the topic that f names; the topics have to exist (KStream.to with a TopicNameExtractor). The
// handle gives the serdes and the partitioner, its name is not used.
func (s *Stream[K, V]) ToEach(topic Topic[K, V], f func(Record[K, V]) string, opts ...Option) {
	s.to(topic, "extractor class: func", f, opts)
}

func (s *Stream[K, V]) to(topic Topic[K, V], target string, name func(Record[K, V]) string, opts []Option) {
	n := &node{name: s.b.named(optionsOf(opts).name, "KSTREAM-SINK-"), kind: sinkNode, parents: []*node{s.node}, target: target}
	if topic.keys == nil || topic.values == nil {
		s.b.fail("topic %s has no serdes", topic.name)
	}
	n.start = func(t *Task, at *place) {
		connect(s.node, at, func(r *rec[K, V]) {
			m := Message{Topic: name(r.public()), Partition: -1, Key: encode(topic.keys, r.key), Value: encode(topic.values, r.value),
				Timestamp: r.time, Headers: r.headers}
			for _, p := range topic.partitions(t, r, m.Topic) {
				m.Partition = int32(p)
				t.out.Send(m)
			}
		})
	}
	s.b.add(n)
}

var keyDecides = []int{-1}

func (t Topic[K, V]) partitions(task *Task, r *rec[K, V], topic string) []int {
	if t.partitioner == nil {
		return keyDecides
	}
	n := 1
	if task.config.Partitions != nil {
		n = task.config.Partitions(topic)
	}
	chosen := t.partitioner(r.public(), n)
	if chosen == nil {
		return keyDecides
	}
	return chosen
}

// Through a repartition topic records go to other tasks, so that those of one key meet in one. Its nodes come in pairs: a
// sink and a source.
type repartition[K, V any] struct {
	topic      string // without the application id
	keys       serde.Serde[K]
	values     serde.Serde[V]
	partitions int
}

// generatedStore tells names that the topology chose from a user's: a generated repartition topic has generated nodes.
func generatedName(s string) bool {
	if len(s) < 11 || s[len(s)-11] != '-' || len(s) < 7 || s[:7] != "KSTREAM" {
		return false
	}
	for _, c := range s[len(s)-10:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// through sends a stream through a repartition topic and returns its source node.
func (p repartition[K, V]) through(b *Builder, parent *node, prefix string) *node {
	sink, filter, source := b.next("KSTREAM-SINK-"), b.next("KSTREAM-FILTER-"), b.next("KSTREAM-SOURCE-")
	p.topic = prefix + "-repartition"
	if !generatedName(prefix) {
		sink, filter, source = p.topic+"-sink", p.topic+"-filter", p.topic+"-source"
	}
	p.keys, p.values = needSerde(b, p.keys, "the repartition topic "+p.topic), needSerde(b, p.values, "the repartition topic "+p.topic)
	var n *node
	n = addNode(b, filter, []*node{parent}, nil, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		keep := n.wantsNulls
		return func(r *rec[K, V]) {
			if r.key.ok || keep {
				out.forward(r)
			}
		}
	})
	topic := Topic[K, V]{name: p.topic, keys: p.keys, values: p.values}
	return pipe(b, []*node{n}, sink, source, topic, p.partitions, func(r *rec[K, V]) (key, value []byte, partition int32) {
		return encode(p.keys, r.key), encode(p.values, r.value), -1
	})
}

// pipe adds the sink and the source of an internal topic.
func pipe[K, V any](b *Builder, parents []*node, sink, source string, topic Topic[K, V], partitions int,
	write func(*rec[K, V]) (key, value []byte, partition int32)) *node {
	n := &node{name: sink, kind: sinkNode, parents: parents, target: "topic: " + topic.name, internal: true}
	n.start = func(t *Task, at *place) {
		name := t.topic(topic.name, true)
		for _, p := range parents {
			connect(p, at, func(r *rec[K, V]) {
				m := Message{Topic: name, Timestamp: r.time, Headers: r.headers}
				m.Key, m.Value, m.Partition = write(r)
				t.out.Send(m)
			})
		}
	}
	b.add(n)
	b.internal = append(b.internal, internalTopic{topic.name, partitions})
	s := &node{name: source, kind: sourceNode, topics: []string{topic.name}, internal: true, writer: n}
	b.topics[topic.name] = s
	s.start = func(t *Task, at *place) { startSource(t, at, s.topics, true, topic) }
	return b.add(s)
}

// Repartition sends the stream through an internal topic, named after [Name] (KStream.repartition). Use it to give what
// follows more or fewer [Partitions]. Records without a key are dropped, unless a left or outer join of a stream follows (KIP-962).
func (s *Stream[K, V]) Repartition(opts ...Option) *Stream[K, V] {
	o := optionsOf(opts)
	name := o.name
	if name == "" {
		name = s.b.next("KSTREAM-REPARTITION-")
	}
	p := repartition[K, V]{keys: s.keys, values: s.values, partitions: o.partitions}
	return &Stream[K, V]{b: s.b, node: p.through(s.b, s.node, name), keys: s.keys, values: s.values}
}

// repartitioned is the stream itself, or what comes out of a repartition topic if its keys may have changed.
func (s *Stream[K, V]) repartitioned(prefix string) *Stream[K, V] {
	if !s.rekeyed {
		return s
	}
	p := repartition[K, V]{keys: s.keys, values: s.values}
	return &Stream[K, V]{b: s.b, node: p.through(s.b, s.node, prefix), keys: s.keys, values: s.values}
}
