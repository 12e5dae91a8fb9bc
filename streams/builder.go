package streams

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/streams/serde"
)

// A Builder collects a topology. It corresponds to Java's StreamsBuilder, and gives nodes, stores and topics the names that
// Java would give them in the same order of calls. Mistakes are kept, with the file and line of the call, until Build. A
// Builder is used from one goroutine.
type Builder struct {
	segmented bool
	onDisk    bool
	around    func(node string, process func())
	index     int
	nodes     []*node
	names     map[string]*node
	stores    map[string]*storeNode
	topics    map[string]*node // source nodes by topic
	internal  []internalTopic
	errs      []error
	same      []copartition
}

// copartition is topics that have to have equally many partitions, because records of one key must meet.
type copartition struct {
	where string
	nodes []*node
}

// internalTopic is a repartition topic, without the application id before its name.
type internalTopic struct {
	name       string
	partitions int // 0: as many as what feeds it
}

// A BuilderOption changes a Builder.
type BuilderOption func(*Builder)

// RocksDBExpiry makes windows, sessions and the records that wait for a join expire exactly when they would in Java's
// RocksDB stores, for who compares results with a Java application record by record. Without it they expire as in Java's
// in-memory stores, but the final result of a window is never lost. Java loses it where the stream's time jumps so far
// that the window expires in the moment in which it closes.
func RocksDBExpiry() BuilderOption { return func(b *Builder) { b.segmented = true } }

// Around puts f around what every node does with every record, for tracing and the like (Java's ProcessorWrapper, KIP-1112). f
// has to call process, once.
func Around(f func(node string, process func())) BuilderOption {
	return func(b *Builder) { b.around = f }
}

// NewBuilder returns an empty Builder.
func NewBuilder(opts ...BuilderOption) *Builder {
	b := &Builder{names: map[string]*node{}, stores: map[string]*storeNode{}, topics: map[string]*node{}}
	for _, o := range opts {
		o(b)
	}
	return b
}

// node is a node of the topology, without types. start puts the node into a task.
type node struct {
	id       int
	name     string
	kind     kind
	parents  []*node
	children []*node
	stores   []string
	topics   []string       // of a source
	pattern  *regexp.Regexp // of a source
	target   string         // of a sink, or what says that it is computed
	internal bool           // source or sink of a repartition topic
	global   bool
	where    string
	start    func(t *Task, at *place)
	reset    StartFrom
	shared   bool         // a source that streams of the same topic may have in common
	carries  reflect.Type // the records of a source
	grace    int64        // of a window aggregation, for suppress
	hasGrace bool
	writer   *node // of the source of a repartition topic: its sink
	// wantsNulls says that this node, or one after it, has a use for stream records without a key: a left or outer join.
	wantsNulls bool
}

type kind int

const (
	sourceNode kind = iota
	processorNode
	sinkNode
)

// storeNode is a store of the topology, without types.
type storeNode struct {
	name      string
	logged    bool
	onDisk    bool
	changelog string // where it is not the store's own: the topic of a table's source
	windowed  bool   // the changelog is compacted and also deleted after a time
	unique    bool   // no key is written twice: the changelog is deleted only
	versioned bool   // the changelog is compacted only after a time
	retention int64  // of windows or versions, in milliseconds
	global    bool
	where     string
	open      func(t *Task) any
	kind      reflect.Type // of what open returns
}

func (b *Builder) next(prefix string) string {
	name := fmt.Sprintf("%s%010d", prefix, b.index)
	b.index++
	return name
}

func (b *Builder) nextStore(prefix string) string { return b.next(prefix + "STATE-STORE-") }

// named is the given name, or the next one with the prefix.
func (b *Builder) named(name, prefix string) string { return b.suffixed(name, "", prefix) }

// suffixed is the given name with a suffix, or the next one with the prefix. The index is used up either way, as in Java:
// giving a name to one operator must not rename those after it.
func (b *Builder) suffixed(name, suffix, prefix string) string {
	generated := b.next(prefix)
	if name != "" {
		return name + suffix
	}
	return generated
}

func (b *Builder) add(n *node) *node {
	if n.where == "" {
		n.where = caller()
	}
	if other, ok := b.names[n.name]; ok {
		b.fail("%s: the name is taken by the call at %s", n.name, other.where)
	}
	n.id = len(b.nodes)
	b.nodes = append(b.nodes, n)
	b.names[n.name] = n
	for _, p := range n.parents {
		p.children = append(p.children, n)
	}
	return n
}

func (b *Builder) addStore(s *storeNode) {
	if s.where == "" {
		s.where = caller()
	}
	if other, ok := b.stores[s.name]; ok {
		b.fail("store %s is there already: %s", s.name, other.where)
		return
	}
	b.stores[s.name] = s
}

// connect gives a node the use of stores.
func (n *node) connect(stores ...string) {
	for _, s := range stores {
		if !slices.Contains(n.stores, s) {
			n.stores = append(n.stores, s)
		}
	}
}

func (b *Builder) fail(format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("%s: "+format, append([]any{caller()}, args...)...))
}

// caller is the file and line of the user's call that we are in.
func caller() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "github.com/gregorhq/gregor/streams.") || strings.HasSuffix(f.File, "_test.go") {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "?"
		}
	}
}

// autoSerde is the given serde, or the one that is beyond doubt for the type.
func autoSerde[T any](given serde.Serde[T]) serde.Serde[T] {
	if given == nil {
		given, _ = serde.Auto[T]()
	}
	return given
}

// needSerde is autoSerde, or a mistake.
func needSerde[T any](b *Builder, given serde.Serde[T], what string) serde.Serde[T] {
	s := autoSerde(given)
	if s == nil {
		b.fail("%s needs a serde for %s: call WithSerdes before it", what, reflect.TypeFor[T]())
	}
	return s
}

// Build checks the topology as a whole and returns it, or every mistake that was made, each with file and line. The Builder
// must not be used after that.
func (b *Builder) Build() (*Topology, error) {
	if len(b.nodes) == 0 {
		b.fail("the topology is empty")
	}
	for _, n := range b.nodes {
		for _, s := range n.stores {
			if b.stores[s] == nil {
				b.errs = append(b.errs, fmt.Errorf("%s: %s uses the store %q, which nobody added", n.where, n.name, s))
			}
		}
		if n.start == nil {
			b.errs = append(b.errs, fmt.Errorf("%s: %s does nothing", n.where, n.name))
		}
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return newTopology(b), nil
}

// copartitioned says that records of one key from all these nodes have to meet in one task.
func (b *Builder) copartitioned(nodes ...*node) {
	b.same = append(b.same, copartition{caller(), nodes})
}
