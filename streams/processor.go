package streams

import (
	"fmt"
	"slices"
	"time"
)

// A Processor takes records one by one and sends any number on (Java's Processor). Every task makes its own, so its fields
// need no locks. If it is an io.Closer, it is closed with the task.
type Processor[K, V, K2, V2 any] interface {
	// Init is called once, before the first record: open stores and schedule punctuations here.
	Init(c *Context[K2, V2]) error
	// Process is called for each record.
	Process(r Record[K, V]) error
}

// Context is a processor's way out: where its records go, and what it can ask for (Java's ProcessorContext).
type Context[K, V any] struct {
	at       *place
	forward  func(*rec[K, V])
	child    func(string, *rec[K, V]) error
	keys     nulls[K]
	values   nulls[V]
	fixedKey bool
	current  *opt[K] // of a processor with fixed keys
}

// Process sends a stream through a processor of your own; make is called once in each task (KStream.process). The keys of
// what it sends may be new, so what groups or joins by key after it repartitions.
func Process[K, V, K2, V2 any](s *Stream[K, V], make func() Processor[K, V, K2, V2], opts ...Option) *Stream[K2, V2] {
	o := optionsOf(opts)
	name := s.b.named(o.name, "KSTREAM-PROCESSOR-")
	n := addProcessor(s, name, make, false, o.stores)
	return &Stream[K2, V2]{b: s.b, node: n, rekeyed: true}
}

// ProcessValues is [Process] for a processor that keeps keys: records that it sends get the key of the record that it was
// given, and nothing is repartitioned because of it (KStream.processValues, KIP-820). It cannot send from a punctuation.
func ProcessValues[K, V, V2 any](s *Stream[K, V], make func() Processor[K, V, K, V2], opts ...Option) *Stream[K, V2] {
	o := optionsOf(opts)
	name := s.b.named(o.name, "KSTREAM-PROCESSVALUES-")
	n := addProcessor(s, name, make, true, o.stores)
	return &Stream[K, V2]{b: s.b, node: n, keys: s.keys, rekeyed: s.rekeyed}
}

func addProcessor[K, V, K2, V2 any](s *Stream[K, V], name string, make func() Processor[K, V, K2, V2], fixed bool, stores []storeHandle) *node {
	n := &node{name: name, kind: processorNode, parents: []*node{s.node}, where: caller()}
	for _, h := range stores {
		n.connect(h.define(s.b, n.where))
	}
	n.start = func(t *Task, at *place) {
		out := outletOf[K2, V2](t, n)
		var key opt[K2]
		c := &Context[K2, V2]{at: at, forward: out.forward, child: out.forwardTo, keys: nullsOf[K2](), values: nullsOf[V2](),
			fixedKey: fixed, current: &key}
		p := make()
		if err := p.Init(c); err != nil {
			must(fmt.Errorf("streams: node %s: %w", name, err))
		}
		if closer, ok := p.(interface{ Close() error }); ok {
			t.closes = append(t.closes, closer.Close)
		}
		connect(s.node, at, func(r *rec[K, V]) {
			if fixed {
				key = any(r.key).(opt[K2])
			}
			t.time = r.time
			must(p.Process(r.public()))
		})
	}
	return s.b.add(n)
}

// Forward sends a record to all nodes that follow.
func (c *Context[K, V]) Forward(r Record[K, V]) error {
	out, err := c.record(r)
	if err == nil {
		before := c.at.task.time
		c.forward(out)
		c.at.task.time = before
	}
	return err
}

// ForwardTo sends a record to one of the nodes that follow.
func (c *Context[K, V]) ForwardTo(node string, r Record[K, V]) error {
	out, err := c.record(r)
	if err == nil {
		before := c.at.task.time
		err = c.child(node, out)
		c.at.task.time = before
	}
	return err
}

func (c *Context[K, V]) record(r Record[K, V]) (*rec[K, V], error) {
	out := private(r, c.keys, c.values)
	if !c.fixedKey {
		return out, nil
	}
	if !c.at.task.hasInput {
		return nil, fmt.Errorf("streams: %s keeps the keys of its records, and there is none while punctuating", c.at.node.name)
	}
	out.key = *c.current
	return out, nil
}

// Schedule calls f whenever interval has passed on the clock, until cancel is called or the task ends (Java's schedule).
func (c *Context[K, V]) Schedule(interval time.Duration, clock Clock, f func(now time.Time) error) (cancel func()) {
	if interval < time.Millisecond {
		must(fmt.Errorf("streams: cannot schedule every %v: a millisecond is the least", interval))
	}
	return c.at.task.schedule(clock, &punctuation{interval: interval.Milliseconds(), at: c.at, run: f})
}

// AppID is the application's id.
func (c *Context[K, V]) AppID() string { return c.at.task.config.AppID }

// TaskID is the id of the task that the processor works for.
func (c *Context[K, V]) TaskID() TaskID { return c.at.task.id }

// StreamTime is the highest time of a record that the task has taken so far; zero before the first.
func (c *Context[K, V]) StreamTime() time.Time {
	if c.at.task.streamTime < 0 {
		return time.Time{}
	}
	return time.UnixMilli(c.at.task.streamTime)
}

// WallTime is the wall clock as the task knows it.
func (c *Context[K, V]) WallTime() time.Time { return time.UnixMilli(c.at.task.now) }

// RequestCommit asks for a commit soon.
func (c *Context[K, V]) RequestCommit() { c.at.task.commit = true }

// RecordMetadata says where a record came from.
type RecordMetadata struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Metadata says where the record that the task is at came from; ok is false while punctuating.
func (c *Context[K, V]) Metadata() (m RecordMetadata, ok bool) {
	in := c.at.task.input
	return RecordMetadata{in.Topic, in.Partition, in.Offset}, c.at.task.hasInput
}

// A StoreContext is where handles open their stores: the [Context] of a processor, a [Task], or a test's driver.
type StoreContext interface {
	state(name string) (s any, t *Task, err error)
}

// state finds a store that is connected to the processor.
func (c *Context[K, V]) state(name string) (any, *Task, error) {
	t := c.at.task
	if !slices.Contains(c.at.node.stores, name) {
		if n := t.topology.stores[name]; n == nil || !n.global {
			return nil, nil, fmt.Errorf("streams: node %s is not connected to a store %q: pass it to Stores", c.at.node.name, name)
		}
	}
	return t.open(name), t, nil
}
