package streams

// ReadOnlyStore keeps a store that mirrors a topic, for processors to look things up in (KIP-813's addReadOnlyStateStore). The
// topic itself is the changelog, so nothing is written. Give the handle to [Stores] of a processor.
func ReadOnlyStore[K, V any](b *Builder, topic Topic[K, V], rows KVStore[K, V], opts ...Option) {
	if rows.name == "" {
		b.fail("a read-only store needs a name")
		return
	}
	TableFrom(b, topic, append(opts, rows)...)
	if s := b.stores[rows.name]; s != nil {
		s.changelog, s.logged = topic.name, true
	}
}

// GlobalStore keeps a store that every instance has whole, filled by a processor of yours from all partitions of a topic
// (StreamsBuilder.addGlobalStore). Any processor may read it without [Stores].
func GlobalStore[K, V, SK, SV any](b *Builder, topic Topic[K, V], rows KVStore[SK, SV], make func() Processor[K, V, struct{}, struct{}], opts ...Option) {
	if rows.name == "" {
		b.fail("a global store needs a name")
		return
	}
	source := addSource(b, b.next("KSTREAM-SOURCE-"), []string{topic.name}, topic)
	source.global = true
	from := &Stream[K, V]{b: b, node: source, keys: topic.keys, values: topic.values}
	n := addProcessor(from, b.named(optionsOf(opts).name, "KTABLE-SOURCE-"), make, false, []storeHandle{rows})
	n.global = true
	if s := b.stores[rows.name]; s != nil {
		s.global, s.logged = true, false
	}
}
