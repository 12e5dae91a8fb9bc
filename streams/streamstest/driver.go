// Package streamstest runs a topology in a test: without a broker, in one goroutine, with a clock that only the test moves.
// It is what Java's TopologyTestDriver is to Kafka Streams.
//
// It promises that each record goes all the way through the topology before the call that brought it returns, repartition
// topics included, and that the same calls give the same results. Topics have one partition here.
//
// Tests call it. It does not test serialisation between instances, rebalances or restarts: those need the real runtime.
package streamstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gregorhq/gregor/streams"
)

// T is what a driver needs of a *testing.T.
type T interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Error(args ...any)
	Cleanup(func())
}

// Panicking is a T that panics, for examples and programs that have no *testing.T.
var Panicking T = panicking{}

type panicking struct{}

func (panicking) Helper()                           {}
func (panicking) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (panicking) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panicking) Error(args ...any)                 { panic(fmt.Sprint(args...)) }
func (panicking) Cleanup(func())                    {}

// A Driver is a topology under test. Stores are opened on it: words.Open(driver).Get("be").
type Driver struct {
	*streams.Task
	t       T
	now     time.Time
	queues  map[string][]streams.Message
	order   []string // topics of the queues, in the order in which they first had records
	offsets map[string]int64
	outputs map[string][]streams.Message
	logs    []streams.Message
}

// New starts a topology. The wall clock starts at config.Now, or at 1970 if that is zero. The application id is "test" where
// none is given.
func New(t T, topology *streams.Topology, config streams.TaskConfig) *Driver {
	t.Helper()
	if config.Now.IsZero() {
		config.Now = time.UnixMilli(0)
	}
	if config.AppID == "" {
		config.AppID = "test"
	}
	d := &Driver{t: t, now: config.Now, queues: map[string][]streams.Message{},
		offsets: map[string]int64{}, outputs: map[string][]streams.Message{}}
	task, err := topology.NewTask(config, d)
	if err != nil {
		t.Fatal(err)
	}
	d.Task = task
	t.Cleanup(func() {
		if err := d.Task.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Send implements streams.Output.
func (d *Driver) Send(m streams.Message) {
	d.outputs[m.Topic] = append(d.outputs[m.Topic], m)
	if d.Task != nil && d.Task.Reads(m.Topic) {
		d.enqueue(m)
	}
}

// Log implements streams.Output.
func (d *Driver) Log(m streams.Message) { d.logs = append(d.logs, m) }

func (d *Driver) enqueue(m streams.Message) {
	m.Partition, m.Offset = 0, d.offsets[m.Topic]
	d.offsets[m.Topic]++
	if !slices.Contains(d.order, m.Topic) {
		d.order = append(d.order, m.Topic)
	}
	d.queues[m.Topic] = append(d.queues[m.Topic], m)
}

// Feed gives the topology a record as bytes, and everything that follows from it. It returns the error that stopped the
// task.
func (d *Driver) Feed(m streams.Message) error {
	d.enqueue(m)
	return d.drain()
}

func (d *Driver) drain() error {
	for {
		topic, ok := d.next()
		if !ok {
			return nil
		}
		m := d.queues[topic][0]
		d.queues[topic] = d.queues[topic][1:]
		if err := d.Task.Process(m); err != nil {
			return err
		}
		if err := d.Task.Flush(); err != nil {
			return err
		}
	}
}

// next is the topic whose first record has the lowest time.
func (d *Driver) next() (topic string, ok bool) {
	for _, t := range d.order {
		if q := d.queues[t]; len(q) > 0 && (!ok || q[0].Timestamp < d.queues[topic][0].Timestamp) {
			topic, ok = t, true
		}
	}
	return topic, ok
}

// Advance moves the wall clock, and runs the punctuations that are due by then.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	if err := d.TryAdvance(by); err != nil {
		d.t.Fatal(err)
	}
}

// TryAdvance is Advance for tests of failures.
func (d *Driver) TryAdvance(by time.Duration) error {
	d.now = d.now.Add(by)
	if err := d.Task.Tick(d.now); err != nil {
		return err
	}
	if err := d.Task.Flush(); err != nil {
		return err
	}
	return d.drain()
}

// Sent returns what was sent to a topic since the last call, as bytes.
func (d *Driver) Sent(topic string) []streams.Message {
	m := d.outputs[topic]
	delete(d.outputs, topic)
	return m
}

// Logged returns what stores wrote to their changelogs since the last call.
func (d *Driver) Logged() []streams.Message {
	m := d.logs
	d.logs = nil
	return m
}

// An Input is a topic that the test writes to (Java's TestInputTopic).
type Input[K, V any] struct {
	d     *Driver
	topic streams.Topic[K, V]
}

// In returns an input topic of the topology.
func In[K, V any](d *Driver, topic streams.Topic[K, V]) *Input[K, V] {
	d.t.Helper()
	if !d.Task.Reads(topic.Name()) {
		d.t.Fatalf("streamstest: no source reads topic %s", topic.Name())
	}
	return &Input[K, V]{d, topic}
}

// Send writes a record.
func (in *Input[K, V]) Send(key K, value V, at time.Time) {
	in.d.t.Helper()
	in.SendRecord(streams.Record[K, V]{Key: key, Value: value, Time: at})
}

// SendNull writes a record with a null value: in a table, the deletion of a row.
func (in *Input[K, V]) SendNull(key K, at time.Time) {
	in.d.t.Helper()
	in.SendRecord(streams.Record[K, V]{Key: key, Time: at, NullValue: true})
}

// SendRecord writes a record with all that it has.
func (in *Input[K, V]) SendRecord(r streams.Record[K, V]) {
	in.d.t.Helper()
	if err := in.TrySend(r); err != nil {
		in.d.t.Fatal(err)
	}
}

// TrySend is SendRecord for tests of failures.
func (in *Input[K, V]) TrySend(r streams.Record[K, V]) (err error) {
	m := streams.Message{Topic: in.topic.Name(), Timestamp: r.Time.UnixMilli(), Headers: r.Headers}
	if !r.NullKey {
		if m.Key, err = in.topic.Keys().Encode([]byte{}, r.Key); err != nil {
			return err
		}
	}
	if !r.NullValue {
		if m.Value, err = in.topic.Values().Encode([]byte{}, r.Value); err != nil {
			return err
		}
	}
	return in.d.Feed(m)
}

// An Output is a topic that the test reads (Java's TestOutputTopic).
type Output[K, V any] struct {
	d     *Driver
	topic streams.Topic[K, V]
}

// Out returns an output topic of the topology.
func Out[K, V any](d *Driver, topic streams.Topic[K, V]) *Output[K, V] {
	return &Output[K, V]{d, topic}
}

// Read returns the records that came out since the last call.
func (out *Output[K, V]) Read() []streams.Record[K, V] {
	out.d.t.Helper()
	var records []streams.Record[K, V]
	for _, m := range out.d.Sent(out.topic.Name()) {
		r := streams.Record[K, V]{Time: time.UnixMilli(m.Timestamp), Headers: m.Headers, NullKey: m.Key == nil, NullValue: m.Value == nil}
		var err error
		if m.Key != nil {
			if r.Key, err = out.topic.Keys().Decode(m.Key); err != nil {
				out.d.t.Fatal(err)
			}
		}
		if m.Value != nil {
			if r.Value, err = out.topic.Values().Decode(m.Value); err != nil {
				out.d.t.Fatal(err)
			}
		}
		records = append(records, r)
	}
	return records
}

// Want reads what came out since the last call, and fails the test unless it is these records, written "key=value" each as
// fmt prints them. A null value is written "key=null".
func (out *Output[K, V]) Want(want ...string) {
	out.d.t.Helper()
	var got []string
	for _, r := range out.Read() {
		got = append(got, text(r.Key, r.NullKey)+"="+text(r.Value, r.NullValue))
	}
	if !slices.Equal(got, want) {
		out.d.t.Fatalf("topic %s\n got %s\nwant %s", out.topic.Name(), strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

func text(v any, null bool) string {
	if null {
		return "null"
	}
	return fmt.Sprint(v)
}
