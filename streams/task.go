package streams

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/internal/store"
)

// A TaskID names a task: the number of its sub-topology and its partition (Java's TaskId).
type TaskID struct {
	Group     int
	Partition int32
}

// compare sorts tasks by sub-topology, then by partition.
func (id TaskID) compare(other TaskID) int {
	return cmp.Or(cmp.Compare(id.Group, other.Group), cmp.Compare(id.Partition, other.Partition))
}

// String is the id as Java writes it: sub-topology_partition.
func (id TaskID) String() string { return fmt.Sprintf("%d_%d", id.Group, id.Partition) }

// NoTime is the timestamp of a [Message] that has none: a producer sets it when it sends.
const NoTime = math.MinInt64

// A Message is a record as Kafka has it, at the edge of a [Task]: bytes, nil for null, and a timestamp in milliseconds.
type Message struct {
	Topic     string
	Partition int32 // -1 in output: the key decides
	Offset    int64
	Key       []byte
	Value     []byte
	Timestamp int64
	Headers   []Header
}

// Output takes what a task sends, in the order in which it does.
type Output interface {
	// Send takes a record for a topic: a sink's, a repartition topic or the dead letters.
	Send(Message)
	// Log takes a change of a store for its changelog. Its partition is the task's.
	Log(Message)
}

// TaskConfig is what a task needs to know beyond the topology.
type TaskConfig struct {
	// AppID is the application id: a prefix of all internal topics (application.id).
	AppID string
	// Partition is the task's partition.
	Partition int32
	// Now is the wall clock when the task starts.
	Now time.Time
	// Partitions says how many partitions a topic has, for sinks that choose; nil means one each.
	Partitions func(topic string) int
	// EmitEvery limits how often results of closed windows and unmatched records of joins are looked for, by the wall clock;
	// 0 looks at each record.
	EmitEvery time.Duration
	// Errors says what happens to bad records. The zero value stops the task at the first.
	Errors ErrorPolicy
	// StateDir is the task's folder for its stores on disk, see [KVStore.OnDisk]. Without one they are in memory, in the form
	// that they have on disk.
	StateDir string
	// CacheBytes is how many bytes of changes its cached stores hold back, see [KVStore.Cached]; at 0 they hold nothing back.
	CacheBytes int64

	cache *cacheBudget // of the app, instead of CacheBytes
}

// A Task is a topology, or one of its sub-topologies, at work on one partition, as a pure state machine: records and ticks
// of the clock go in; records and changes of stores come out of Output. It starts no goroutine, reads no clock and does no
// I/O, so the same input gives the same output, always. It is used from one goroutine at a time. It corresponds to Java's
// StreamTask.
//
// An error from any method means that the task has stopped in the middle of a record, and must not be used again.
type Task struct {
	topology *Topology
	config   TaskConfig
	id       TaskID
	out      Output
	outlets  []any
	sources  map[string]*source
	patterns []*source // each for the topics that match
	stores   map[string]any
	restores map[string]func(Message) error
	flushes  []func()
	closes   []func() error
	clocks   [2]schedule
	disk     *store.Disk     // opened by the first store that needs it
	onDisk   map[string]bool // the changelogs of stores on disk
	cache    *cacheBudget
	dropped  int64
	counts   taskCounts
	places   []*place

	now        int64 // wall clock
	streamTime int64 // highest time of a record so far, -1 before the first
	input      Message
	hasInput   bool  // false while punctuating: there is no record then
	time       int64 // of the record that a processor is at, for the changelog
	commit     bool
	partition  map[string]int64 // partition time by topic
	emitted    map[string]int64 // by window store: until when results of closed windows were sent
}

// source is a source node at work.
type source struct {
	receive func(m Message)
	time    func(m Message) int64 // nil: records have the time that they have
	pattern *regexp.Regexp
}

// place is a node at work.
type place struct {
	task      *Task
	node      *node
	processed int64 // records, for the metrics
}

// NewTask starts a task over the given sub-topologies, or over all where none are given, as a test does: then records
// for repartition topics have to be brought back to it.
func (t *Topology) NewTask(config TaskConfig, out Output, groups ...int) (task *Task, err error) {
	task = &Task{topology: t, config: config, out: out, outlets: make([]any, len(t.nodes)), sources: map[string]*source{},
		stores: map[string]any{}, restores: map[string]func(Message) error{}, now: config.Now.UnixMilli(), streamTime: -1,
		time: config.Now.UnixMilli(), partition: map[string]int64{}, emitted: map[string]int64{}, onDisk: map[string]bool{}, cache: config.cache}
	if task.cache == nil {
		task.cache = &cacheBudget{max: config.CacheBytes}
	}
	task.id.Partition = config.Partition
	if len(groups) > 0 {
		task.id.Group = groups[0]
	}
	defer func() {
		if err != nil && task.disk != nil {
			err = errors.Join(err, task.disk.Close())
		}
	}()
	defer task.caught(&err)
	mine := t.nodes
	if len(groups) > 0 {
		mine = nil
		for _, n := range t.nodes {
			for _, g := range groups {
				if slices.Contains(t.groups[g].nodes, n) {
					mine = append(mine, n)
				}
			}
		}
	}
	for _, n := range mine {
		for _, s := range n.stores {
			task.open(s)
		}
	}
	for _, n := range mine {
		at := &place{task: task, node: n}
		task.places = append(task.places, at)
		n.start(task, at)
	}
	return task, nil
}

func (t *Task) open(name string) any {
	s, ok := t.stores[name]
	if !ok {
		s = t.topology.stores[name].open(t)
		t.stores[name] = s
	}
	return s
}

// ID returns the task's id.
func (t *Task) ID() TaskID { return t.id }

// StreamTime is the highest time of a record so far, in milliseconds; -1 before the first record.
func (t *Task) StreamTime() int64 { return t.streamTime }

// source finds who takes a topic's records.
func (t *Task) source(topic string) *source {
	if s, ok := t.sources[topic]; ok {
		return s
	}
	for _, s := range t.patterns {
		if s.pattern.MatchString(topic) {
			return s
		}
	}
	return nil
}

// Reads reports whether the task reads a topic.
func (t *Task) Reads(topic string) bool { return t.source(topic) != nil }

// Sources lists the topics that the task reads by name.
func (t *Task) Sources() []string { return slices.Sorted(maps.Keys(t.sources)) }

// Dropped counts the records that were left out: late ones, ones with a null key where a key is needed, and skipped bad
// ones (Java's dropped-records metric).
func (t *Task) Dropped() int64 { return t.dropped }

// Process takes one record from a source topic, and then runs the punctuations of stream time that it made due.
func (t *Task) Process(m Message) (err error) {
	defer t.caught(&err)
	s := t.source(m.Topic)
	if s == nil {
		return fmt.Errorf("streams: task %s does not read topic %s", t.id, m.Topic)
	}
	t.counts.processed++
	t.input, t.hasInput = m, true
	s.receive(m)
	t.hasInput = false
	t.punctuate(StreamTime, t.streamTime)
	return nil
}

// Tick moves the wall clock and runs the punctuations that it made due.
func (t *Task) Tick(now time.Time) (err error) {
	defer t.caught(&err)
	t.now = max(t.now, now.UnixMilli())
	t.punctuate(WallTime, t.now)
	return nil
}

// Flush sends what waits for a commit: what caches hold back, and the changelogs of buffers. Whoever drives the task calls it before each commit.
func (t *Task) Flush() (err error) {
	defer t.caught(&err)
	for _, f := range t.flushes {
		f()
	}
	return nil
}

// Progress is what to commit along with an offset of a topic: the partition's time, and what results of windows were sent, in
// Java's encoding (KIP-568).
func (t *Task) Progress(topic string) string {
	time, ok := t.partition[topic]
	if !ok {
		time = -1
	}
	return layout.Progress{Time: time, Emitted: t.emitted}.Encode()
}

// Resume lets a new task go on where the one was that committed this progress. Metadata of other origin is passed over.
func (t *Task) Resume(topic, progress string) {
	p, ok := layout.ParseProgress(progress)
	if !ok {
		return
	}
	if p.Time >= 0 {
		t.partition[topic] = max(t.partition[topic], p.Time)
		t.streamTime = max(t.streamTime, p.Time)
	}
	for store, at := range p.Emitted {
		t.emitted[store] = max(t.emitted[store], at)
	}
}

// CommitWanted reports whether a processor asked for a commit since the last call.
func (t *Task) CommitWanted() bool {
	wanted := t.commit
	t.commit = false
	return wanted
}

// Restore puts a record of a changelog back into its store.
func (t *Task) Restore(m Message) error {
	restore, ok := t.restores[m.Topic]
	if !ok {
		return fmt.Errorf("streams: task %s has no store with the changelog %s", t.id, m.Topic)
	}
	return restore(m)
}

// Changelogs lists the changelog topics of the task's stores.
func (t *Task) Changelogs() []string { return slices.Sorted(maps.Keys(t.restores)) }

// Close lets processors clean up. What stores on disk hold is lost if it was not saved.
func (t *Task) Close() (err error) {
	defer t.caught(&err)
	for _, c := range t.closes {
		if e := c(); e != nil && err == nil {
			err = e
		}
	}
	if t.disk != nil {
		err = errors.Join(err, t.disk.Close())
	}
	return err
}

func (t *Task) drop() { t.dropped++ }

// changelog is the name of a store's changelog topic.
func (t *Task) changelog(s *storeNode) string {
	if s.changelog != "" {
		return s.changelog
	}
	return t.config.AppID + "-" + s.name + "-changelog"
}

// topic is the name of a topic in Kafka: internal ones have the application id before them.
func (t *Task) topic(name string, internal bool) string {
	if internal {
		return t.config.AppID + "-" + name
	}
	return name
}

// outlet is where a node's records go on to its children.
type outlet[K, V any] struct{ kids []kid[K, V] }

type kid[K, V any] struct {
	at      *place
	process func(*rec[K, V])
}

// outletOf is a node's outlet in a task. The types are those that the builder connected the node with, so the assertion
// cannot fail.
func outletOf[K, V any](t *Task, n *node) *outlet[K, V] {
	if t.outlets[n.id] == nil {
		t.outlets[n.id] = &outlet[K, V]{}
	}
	return t.outlets[n.id].(*outlet[K, V])
}

func connect[K, V any](parent *node, at *place, process func(*rec[K, V])) {
	o := outletOf[K, V](at.task, parent)
	o.kids = append(o.kids, kid[K, V]{at, process})
}

func (o *outlet[K, V]) forward(r *rec[K, V]) {
	for i := range o.kids {
		o.kids[i].run(r)
	}
}

// run gives a record to a child. What goes wrong there is handled there: the record's other ways through the topology go
// on (KIP-1033).
func (k *kid[K, V]) run(r *rec[K, V]) {
	defer k.at.rescue()
	k.at.processed++
	if around := k.at.task.topology.around; around != nil {
		around(k.at.node.name, func() { k.process(r) })
		return
	}
	k.process(r)
}

// forwardTo gives a record to the child of that name only.
func (o *outlet[K, V]) forwardTo(name string, r *rec[K, V]) error {
	for i := range o.kids {
		if o.kids[i].at.node.name == name {
			o.kids[i].run(r)
			return nil
		}
	}
	return fmt.Errorf("streams: there is no child node %q", name)
}

// addNode adds a processor node. make is called once in each task; it returns what is done with a record.
func addNode[K, V, K2, V2 any](b *Builder, name string, parents []*node, stores []string,
	make func(t *Task, out *outlet[K2, V2]) func(*rec[K, V])) *node {
	n := &node{name: name, kind: processorNode, parents: parents}
	n.connect(stores...)
	n.start = func(t *Task, at *place) {
		process := make(t, outletOf[K2, V2](t, n))
		for _, p := range parents {
			connect(p, at, process)
		}
	}
	return b.add(n)
}
