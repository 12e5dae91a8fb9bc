// Package streams is what Kafka Streams is, for Go: programs that read topics of Kafka, transform, join and aggregate
// them over time with state of their own, and write the results to other topics.
//
// A topology is built once with a [Builder], checked as a whole, and immutable from then on:
//
//	b := streams.NewBuilder()
//	words := streams.FlatMapValues(streams.From(b, lines), split)
//	streams.GroupBy(words, itself).Count(counts).ToStream().To(results)
//	topology, err := b.Build()
//
// Handles carry the types: a [Topic] or a store ([KVStore], [WindowStore], [SessionStore]) is declared once and used by
// sources, sinks, processors, queries and tests. What keeps the types of a [Stream] or [Table] is a method of it; what brings
// a new type is a function, because Go's methods have no type parameters of their own.
//
// Nulls. Kafka's null is a value's nil, where its type has one: a nil pointer, slice, map or interface is written as null,
// and a null is read as nil. Other types cannot show a null, so functions are not called for it: value functions pass it on,
// which deletes a row in a table, and aggregations drop it. [serde.Nullable] makes any type able to show it.
//
// It promises the semantics of Kafka Streams 4.5: the same results in the same order with the same timestamps, the same bytes
// in changelog and repartition topics, and the same names for nodes, stores and topics, so that tools work and an application
// can be handed over. Recordings of the Java library are replayed in its tests. Where it differs on purpose, the godoc says
// so.
//
// The engine is a pure state machine, [Task]: records and ticks of a clock in, records and changes of stores out. An [App] drives
// tasks on a cluster, at least once; package streamstest drives one in tests.
//
// Anybody may import this package. It knows nothing of Gregor's broker: it is a client of Kafka like any other.
//
// # Non-goals
//
// It runs no query language, and no code on brokers. Topologies are not changed while they run.
package streams
