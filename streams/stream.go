package streams

import (
	"fmt"
	"io"

	"github.com/gregorhq/gregor/streams/serde"
)

// derive makes the stream that comes out of a new stateless node.
func derive[K, V, K2, V2 any](s *Stream[K, V], name string, keys serde.Serde[K2], values serde.Serde[V2], rekeyed bool,
	make func(t *Task, out *outlet[K2, V2]) func(*rec[K, V])) *Stream[K2, V2] {
	n := addNode(s.b, name, []*node{s.node}, nil, make)
	return &Stream[K2, V2]{b: s.b, node: n, keys: keys, values: values, rekeyed: rekeyed}
}

// Filter keeps the records that f holds for (KStream.filter).
func (s *Stream[K, V]) Filter(f func(K, V) bool, opts ...Option) *Stream[K, V] {
	return s.filter(f, true, opts)
}

// FilterNot keeps the records that f does not hold for (KStream.filterNot).
func (s *Stream[K, V]) FilterNot(f func(K, V) bool, opts ...Option) *Stream[K, V] {
	return s.filter(f, false, opts)
}

func (s *Stream[K, V]) filter(f func(K, V) bool, want bool, opts []Option) *Stream[K, V] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-FILTER-")
	return derive(s, name, s.keys, s.values, s.rekeyed, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		nulls := nullsOf[V]()
		return func(r *rec[K, V]) {
			if !nulls.shows(r.value) || f(r.key.v, r.value.v) == want {
				out.forward(r)
			}
		}
	})
}

// Peek calls f for each record and passes it on unchanged (KStream.peek).
func (s *Stream[K, V]) Peek(f func(K, V), opts ...Option) *Stream[K, V] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-PEEK-")
	return derive(s, name, s.keys, s.values, s.rekeyed, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		nulls := nullsOf[V]()
		return func(r *rec[K, V]) {
			if nulls.shows(r.value) {
				f(r.key.v, r.value.v)
			}
			out.forward(r)
		}
	})
}

// ForEach calls f for each record and ends the stream (KStream.foreach). f is called again for records that are processed
// again after a crash.
func (s *Stream[K, V]) ForEach(f func(K, V), opts ...Option) {
	s.forEach(s.b.named(optionsOf(opts).name, "KSTREAM-FOREACH-"), f)
}

func (s *Stream[K, V]) forEach(name string, f func(K, V)) {
	addNode(s.b, name, []*node{s.node}, nil, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		nulls := nullsOf[V]()
		return func(r *rec[K, V]) {
			if nulls.shows(r.value) {
				f(r.key.v, r.value.v)
			}
		}
	})
}

// Print writes each record to w as a line "[label]: key, value" and ends the stream (KStream.print).
func (s *Stream[K, V]) Print(w io.Writer, label string, opts ...Option) {
	s.forEach(s.b.named(optionsOf(opts).name, "KSTREAM-PRINTER-"), func(k K, v V) {
		_, err := fmt.Fprintf(w, "[%s]: %v, %v\n", label, k, v)
		must(err)
	})
}

// Merge is one stream of the records of both, without order between them (KStream.merge).
func (s *Stream[K, V]) Merge(other *Stream[K, V], opts ...Option) *Stream[K, V] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-MERGE-")
	n := addNode(s.b, name, []*node{s.node, other.node}, nil, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		return out.forward
	})
	return &Stream[K, V]{b: s.b, node: n, keys: s.keys, values: s.values, rekeyed: s.rekeyed || other.rekeyed}
}

// Map makes each record anew; the key may change, so what groups or joins by key after it repartitions (KStream.map).
func Map[K, V, K2, V2 any](s *Stream[K, V], f func(K, V) (K2, V2), opts ...Option) *Stream[K2, V2] {
	return TryMap(s, func(k K, v V) (K2, V2, error) {
		k2, v2 := f(k, v)
		return k2, v2, nil
	}, opts...)
}

// TryMap is [Map] with a function that may fail; see [ErrorPolicy].
func TryMap[K, V, K2, V2 any](s *Stream[K, V], f func(K, V) (K2, V2, error), opts ...Option) *Stream[K2, V2] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-MAP-")
	return derive(s, name, nil, nil, true, func(t *Task, out *outlet[K2, V2]) func(*rec[K, V]) {
		nulls, keys, values := nullsOf[V](), nullsOf[K2](), nullsOf[V2]()
		return func(r *rec[K, V]) {
			if !nulls.shows(r.value) {
				t.drop()
				return
			}
			k, v, err := f(r.key.v, r.value.v)
			must(err)
			out.forward(&rec[K2, V2]{keys.some(k), values.some(v), r.time, r.headers})
		}
	})
}

// FlatMap makes any number of records of each (KStream.flatMap).
func FlatMap[K, V, K2, V2 any](s *Stream[K, V], f func(k K, v V, emit func(K2, V2)), opts ...Option) *Stream[K2, V2] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-FLATMAP-")
	return derive(s, name, nil, nil, true, func(t *Task, out *outlet[K2, V2]) func(*rec[K, V]) {
		nulls, keys, values := nullsOf[V](), nullsOf[K2](), nullsOf[V2]()
		return func(r *rec[K, V]) {
			if !nulls.shows(r.value) {
				t.drop()
				return
			}
			f(r.key.v, r.value.v, func(k K2, v V2) {
				out.forward(&rec[K2, V2]{keys.some(k), values.some(v), r.time, r.headers})
			})
		}
	})
}

// MapValues makes each value anew and keeps the key, so nothing is repartitioned because of it (KStream.mapValues).
func MapValues[K, V, V2 any](s *Stream[K, V], f func(V) V2, opts ...Option) *Stream[K, V2] {
	return TryMapValues(s, func(_ K, v V) (V2, error) { return f(v), nil }, opts...)
}

// MapValuesWithKey is [MapValues] with a function that sees the key, too.
func MapValuesWithKey[K, V, V2 any](s *Stream[K, V], f func(K, V) V2, opts ...Option) *Stream[K, V2] {
	return TryMapValues(s, func(k K, v V) (V2, error) { return f(k, v), nil }, opts...)
}

// TryMapValues is [MapValuesWithKey] with a function that may fail; see [ErrorPolicy].
func TryMapValues[K, V, V2 any](s *Stream[K, V], f func(K, V) (V2, error), opts ...Option) *Stream[K, V2] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-MAPVALUES-")
	return derive(s, name, s.keys, nil, s.rekeyed, func(t *Task, out *outlet[K, V2]) func(*rec[K, V]) {
		nulls, values := nullsOf[V](), nullsOf[V2]()
		return func(r *rec[K, V]) {
			if !nulls.shows(r.value) {
				out.forward(withValue(r, opt[V2]{}))
				return
			}
			v, err := f(r.key.v, r.value.v)
			must(err)
			out.forward(withValue(r, values.some(v)))
		}
	})
}

// FlatMapValues makes any number of values of each and keeps the key (KStream.flatMapValues).
func FlatMapValues[K, V, V2 any](s *Stream[K, V], f func(v V, emit func(V2)), opts ...Option) *Stream[K, V2] {
	name := s.b.named(optionsOf(opts).name, "KSTREAM-FLATMAPVALUES-")
	return derive(s, name, s.keys, nil, s.rekeyed, func(t *Task, out *outlet[K, V2]) func(*rec[K, V]) {
		nulls, values := nullsOf[V](), nullsOf[V2]()
		return func(r *rec[K, V]) {
			if !nulls.shows(r.value) {
				out.forward(withValue(r, opt[V2]{}))
				return
			}
			f(r.value.v, func(v V2) { out.forward(withValue(r, values.some(v))) })
		}
	})
}

// SelectKey gives each record a new key (KStream.selectKey).
func SelectKey[K, V, K2 any](s *Stream[K, V], f func(K, V) K2, opts ...Option) *Stream[K2, V] {
	return selectKey(s, s.b.named(optionsOf(opts).name, "KSTREAM-KEY-SELECT-"), f)
}

func selectKey[K, V, K2 any](s *Stream[K, V], name string, f func(K, V) K2) *Stream[K2, V] {
	return derive(s, name, nil, s.values, true, func(t *Task, out *outlet[K2, V]) func(*rec[K, V]) {
		nulls, keys := nullsOf[V](), nullsOf[K2]()
		return func(r *rec[K, V]) {
			if !nulls.shows(r.value) {
				t.drop()
				return
			}
			out.forward(&rec[K2, V]{keys.some(f(r.key.v, r.value.v)), r.value, r.time, r.headers})
		}
	})
}

// Split sends each record into the first branch whose predicate holds (KStream.split). Branches are added with
// [Splitter.Branch] and, for the rest, [Splitter.Default]; records that no branch takes are left out.
func (s *Stream[K, V]) Split(opts ...Option) *Splitter[K, V] {
	given := optionsOf(opts).name
	p := &Splitter[K, V]{s: s, name: s.b.named(given, "KSTREAM-BRANCH-")}
	p.node = addNode(s.b, p.name, []*node{s.node}, nil, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		nulls := nullsOf[V]()
		return func(r *rec[K, V]) { p.route(r, out, nulls) }
	})
	return p
}

// A Splitter is a stream that is being split (Java's BranchedKStream).
type Splitter[K, V any] struct {
	s        *Stream[K, V]
	name     string
	node     *node
	branches []branch[K, V]
}

type branch[K, V any] struct {
	name  string
	takes func(K, V) bool // nil: takes everything, nulls too
}

func (p *Splitter[K, V]) route(r *rec[K, V], out *outlet[K, V], nulls nulls[V]) {
	for _, b := range p.branches {
		if b.takes == nil || nulls.shows(r.value) && b.takes(r.key.v, r.value.v) {
			must(out.forwardTo(b.name, r))
			return
		}
	}
}

// Branch is the stream of the records that no earlier branch took and that f holds for. A [Name] is added to the
// splitter's; without one branches are numbered from 1.
func (p *Splitter[K, V]) Branch(f func(K, V) bool, opts ...Option) *Stream[K, V] {
	return p.branch(optionsOf(opts).name, fmt.Sprint(len(p.branches)+1), f)
}

// Default is the stream of the records that no branch took. It has to be the last.
func (p *Splitter[K, V]) Default(opts ...Option) *Stream[K, V] {
	return p.branch(optionsOf(opts).name, "0", nil)
}

func (p *Splitter[K, V]) branch(given, numbered string, f func(K, V) bool) *Stream[K, V] {
	if n := len(p.branches); n > 0 && p.branches[n-1].takes == nil {
		p.s.b.fail("%s: no branch can come after the default", p.name)
	}
	suffix := p.s.b.named(given, "KSTREAM-BRANCHCHILD-") // uses up an index, as in Java
	if given == "" {
		suffix = numbered
	}
	name := p.name + suffix
	p.branches = append(p.branches, branch[K, V]{name, f})
	n := addNode(p.s.b, name, []*node{p.node}, nil, func(t *Task, out *outlet[K, V]) func(*rec[K, V]) {
		return out.forward
	})
	return &Stream[K, V]{b: p.s.b, node: n, keys: p.s.keys, values: p.s.values, rekeyed: p.s.rekeyed}
}
