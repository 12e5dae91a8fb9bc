package streams

import (
	"time"

	"github.com/gregorhq/gregor/streams/serde"
)

// A Topic is a handle on a topic of Kafka: its name, how keys and values are written, and how a source or a sink uses it.
// One handle serves sources, sinks and tests. Handles are values; the methods return changed copies.
type Topic[K, V any] struct {
	name        string
	keys        serde.Serde[K]
	values      serde.Serde[V]
	eventTime   func(Record[K, V], time.Time) (time.Time, error)
	partitioner func(r Record[K, V], partitions int) []int
	reset       StartFrom
	arrival     bool
}

// NewTopic returns a handle on a topic (Java's Consumed and Produced in one).
func NewTopic[K, V any](name string, keys serde.Serde[K], values serde.Serde[V]) Topic[K, V] {
	return Topic[K, V]{name: name, keys: keys, values: values}
}

// Name returns the topic's name.
func (t Topic[K, V]) Name() string { return t.name }

// Keys returns the serde of the keys.
func (t Topic[K, V]) Keys() serde.Serde[K] { return t.keys }

// Values returns the serde of the values.
func (t Topic[K, V]) Values() serde.Serde[V] { return t.values }

// EventTime makes sources take a record's time from f instead of the record's timestamp (Java's TimestampExtractor). f also
// gets the highest time seen in the partition so far, which is the zero Time before the first record. A time before 1970
// skips the record; an error is a processing error.
func (t Topic[K, V]) EventTime(f func(r Record[K, V], partitionTime time.Time) (time.Time, error)) Topic[K, V] {
	t.eventTime = f
	return t
}

// ArrivalTime makes sources take the wall clock as a record's time (Java's WallclockTimestampExtractor).
func (t Topic[K, V]) ArrivalTime() Topic[K, V] {
	t.arrival = true
	return t
}

// Partitioned makes sinks ask f where a record goes (Java's StreamPartitioner, KIP-873): to one partition, to several, or
// nowhere for an empty list. nil means that the key decides.
func (t Topic[K, V]) Partitioned(f func(r Record[K, V], partitions int) []int) Topic[K, V] {
	t.partitioner = f
	return t
}

// StartFrom says where a source begins where the application has no committed offset (Java's AutoOffsetReset).
type StartFrom int

// Where sources begin.
const (
	Earliest StartFrom = iota
	Latest
)

// StartingFrom sets where sources of this topic begin; the default is [Earliest].
func (t Topic[K, V]) StartingFrom(s StartFrom) Topic[K, V] {
	t.reset = s
	return t
}

// LogAndSkip is an event time that takes the record's own timestamp and skips records that have none (Java's
// LogAndSkipOnInvalidTimestamp); the default fails on them.
func LogAndSkip[K, V any](r Record[K, V], _ time.Time) (time.Time, error) { return r.Time, nil }

// PartitionTime is an event time that gives records without a timestamp the highest one seen before (Java's
// UsePartitionTimeOnInvalidTimestamp).
func PartitionTime[K, V any](r Record[K, V], partitionTime time.Time) (time.Time, error) {
	if r.Time.UnixMilli() < 0 && !partitionTime.IsZero() {
		return partitionTime, nil
	}
	return r.Time, nil
}
