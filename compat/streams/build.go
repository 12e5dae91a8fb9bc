package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

var strs = serde.Nullable(serde.String)

type (
	stream  = streams.Stream[str, str]
	table   = streams.Table[str, str]
	wtable  = streams.Table[streams.Windowed[str], str]
	grouped = streams.Grouped[str, str]
)

// made is what a node is in Go: one of these is set.
type made struct {
	s        *stream
	t        *table
	w        *wtable
	g        *streams.GlobalTable[str, str]
	branches []*stream
}

// building is a topology that is being built.
type building struct {
	b      *streams.Builder
	prefix string // of topics
	base   int64  // what times in results count from, so that they are the same on each day
	nodes  []made
}

// build builds a topology. Topics get the prefix; times in results count from base, in milliseconds.
func build(spec Spec, prefix string, base int64) (*streams.Topology, error) {
	opts := []streams.BuilderOption{streams.RocksDBExpiry()}
	if spec.OnDisk {
		opts = append(opts, streams.KeepOnDisk())
	}
	x := &building{b: streams.NewBuilder(opts...), prefix: prefix, base: base}
	for _, n := range spec.Nodes {
		f, ok := builders[n.Op]
		if !ok {
			return nil, fmt.Errorf("no operator %q", n.Op)
		}
		x.nodes = append(x.nodes, f(x, n))
	}
	return x.b.Build()
}

func (x *building) topic(name string) streams.Topic[str, str] {
	return streams.NewTopic(x.prefix+"."+name, strs, strs)
}

func (x *building) in(n Node, i int) made { return x.nodes[n.In[i]] }

func ms(arg string) time.Duration {
	n, err := strconv.Atoi(arg)
	if err != nil {
		panic(err)
	}
	return time.Duration(n) * time.Millisecond
}

// named is a store's name: none for "-".
func named(arg string) string {
	if arg == "-" {
		return ""
	}
	return arg
}

func kept(arg string) streams.KVStore[str, str] { return streams.KV(named(arg), strs, strs) }

// keptIf is a store for the result of an operator that may do without one.
func keptIf(arg string) []streams.Option {
	if arg == "-" {
		return nil
	}
	return []streams.Option{kept(arg)}
}

func ofStream(s *stream) made { return made{s: s.WithSerdes(strs, strs)} }
func ofTable(t *table) made   { return made{t: t.WithSerdes(strs, strs)} }

// builders has the operators, by name. Each takes a node and calls what it stands for.
var builders map[string]func(x *building, n Node) made

func init() {
	builders = map[string]func(x *building, n Node) made{
		"stream": func(x *building, n Node) made { return ofStream(streams.From(x.b, x.topic(n.Args[0]))) },
		"table":  (*building).table,
		"global": func(x *building, n Node) made { return made{g: streams.GlobalTableFrom(x.b, x.topic(n.Args[0]))} },

		"filter":    func(x *building, n Node) made { return ofStream(x.in(n, 0).s.Filter(predicates[n.Args[0]])) },
		"filterNot": func(x *building, n Node) made { return ofStream(x.in(n, 0).s.FilterNot(predicates[n.Args[0]])) },
		"mapValues": func(x *building, n Node) made {
			return ofStream(streams.MapValues(x.in(n, 0).s, mappers[n.Args[0]]))
		},
		"flatMapValues": func(x *building, n Node) made {
			return ofStream(streams.FlatMapValues(x.in(n, 0).s, func(v str, emit func(str)) {
				if v != nil {
					emit(plus(v, ".1"))
					emit(plus(v, ".2"))
				}
			}))
		},
		"selectKey": func(x *building, n Node) made {
			return ofStream(streams.SelectKey(x.in(n, 0).s, keyMappers[n.Args[0]]))
		},
		"map": func(x *building, n Node) made {
			f := keyMappers[n.Args[0]]
			return ofStream(streams.Map(x.in(n, 0).s, func(k, v str) (str, str) { return f(k, v), plus(v, k) }))
		},
		"flatMap": func(x *building, n Node) made {
			return ofStream(streams.FlatMap(x.in(n, 0).s, func(k, v str, emit func(str, str)) {
				emit(k, v)
				if v != nil {
					emit(v, k)
				}
			}))
		},
		"peek":        func(x *building, n Node) made { return ofStream(x.in(n, 0).s.Peek(func(_, _ str) {})) },
		"merge":       func(x *building, n Node) made { return ofStream(x.in(n, 0).s.Merge(x.in(n, 1).s)) },
		"repartition": (*building).repartition,
		"split":       (*building).split,
		"branch": func(x *building, n Node) made {
			i, err := strconv.Atoi(n.Args[0])
			if err != nil {
				panic(err)
			}
			return ofStream(x.in(n, 0).branches[i])
		},
		"seen": (*building).seen,
		"to": func(x *building, n Node) made {
			x.in(n, 0).s.To(x.topic(n.Args[0]))
			return made{}
		},

		"toTable":   func(x *building, n Node) made { return ofTable(x.in(n, 0).s.ToTable(keptIf(n.Args[0])...)) },
		"toStream":  func(x *building, n Node) made { return ofStream(x.in(n, 0).t.ToStream()) },
		"count":     (*building).count,
		"reduce":    func(x *building, n Node) made { return ofTable(x.grouped(n).Reduce(reduce, kept(n.Args[1]))) },
		"aggregate": (*building).aggregate,
		"cogroup": func(x *building, n Node) made {
			return ofTable(x.cogrouped(n).Aggregate(aggregations["list"].init, kept(n.Args[0])))
		},

		"tfilter": func(x *building, n Node) made {
			return ofTable(x.in(n, 0).t.Filter(predicates[n.Args[0]], keptIf(n.Args[1])...))
		},
		"tfilterNot": func(x *building, n Node) made { return ofTable(x.in(n, 0).t.FilterNot(predicates[n.Args[0]])) },
		"tmap": func(x *building, n Node) made {
			f := mappers[n.Args[0]]
			return ofTable(streams.MapTable(x.in(n, 0).t, func(_, v str) str { return f(v) }))
		},
		"tgroup": (*building).tgroup,
		"suppress": func(x *building, n Node) made {
			return ofTable(x.in(n, 0).t.Suppress(streams.UntilTimeLimit(ms(n.Args[0]), streams.Unbounded())))
		},

		"window":    (*building).window,
		"cowindow":  (*building).cowindow,
		"wfilter":   (*building).wfilter,
		"wsuppress": (*building).wsuppress,
		"wgroup":    (*building).wgroup,
		"wstream":   (*building).wstream,

		"sjoin":  (*building).sjoin,
		"stjoin": (*building).stjoin,
		"sgjoin": (*building).sgjoin,
		"tjoin":  (*building).tjoin,
		"fkjoin": (*building).fkjoin,
	}
}

func (x *building) table(n Node) made {
	if n.Args[2] != "-" {
		return ofTable(streams.TableFrom(x.b, x.topic(n.Args[0]), kept(n.Args[1]).Versioned(ms(n.Args[2]))))
	}
	return ofTable(streams.TableFrom(x.b, x.topic(n.Args[0]), keptIf(n.Args[1])...))
}

func (x *building) repartition(n Node) made {
	if n.Args[0] == "-" {
		return ofStream(x.in(n, 0).s.Repartition())
	}
	return ofStream(x.in(n, 0).s.Repartition(streams.Name(n.Args[0])))
}

func (x *building) split(n Node) made {
	split := x.in(n, 0).s.Split()
	first := split.Branch(predicates[n.Args[0]])
	return made{branches: []*stream{first, split.Default()}}
}

// grouped groups a stream by the key that it has, or by a new one.
func (x *building) grouped(n Node) *grouped {
	if n.Args[0] == "-" {
		return x.in(n, 0).s.GroupByKey()
	}
	return streams.GroupBy(x.in(n, 0).s, keyMappers[n.Args[0]]).WithSerdes(strs, strs)
}

func (x *building) cogrouped(n Node) *streams.Cogrouped[str, str] {
	first := streams.Cogroup(x.in(n, 0).s.GroupByKey(), cogroupAdd("l"))
	return streams.CogroupWith(first, x.in(n, 1).s.GroupByKey(), cogroupAdd("r"))
}

func (x *building) count(n Node) made {
	return ofTable(streams.MapTable(x.grouped(n).Count(streams.KV(named(n.Args[1]), strs, serde.Int64)), countText[str]))
}

func (x *building) aggregate(n Node) made {
	how := aggregations[n.Args[1]]
	return ofTable(streams.Aggregate(x.grouped(n), how.init, how.add, kept(n.Args[2])))
}

func (x *building) tgroup(n Node) made {
	f := keyMappers[n.Args[0]]
	g := streams.GroupTable(x.in(n, 0).t, func(k, v str) (str, str) { return f(k, v), v }).WithSerdes(strs, strs)
	switch store := n.Args[2]; n.Args[1] {
	case "count":
		return ofTable(streams.MapTable(g.Count(streams.KV(named(store), strs, serde.Int64)), countText[str]))
	case "reduce":
		return ofTable(g.Reduce(reduce, unreduce, kept(store)))
	default:
		how := aggregations[n.Args[1]]
		return ofTable(streams.AggregateTable(g, how.init, how.add, how.subtract, kept(store)))
	}
}

// seen numbers the records of each key, with a store of its own.
func (x *building) seen(n Node) made {
	store := streams.KV(n.Args[0], strs, serde.Int64)
	keyed := x.in(n, 0).s.Filter(predicates["keyed"])
	return ofStream(streams.ProcessValues(keyed, func() streams.Processor[str, str, str, str] {
		return &numbering{store: store}
	}, streams.Stores(store)))
}

type numbering struct {
	store streams.KVStore[str, int64]
	rows  *streams.KVRows[str, int64]
	c     *streams.Context[str, str]
}

func (p *numbering) Init(c *streams.Context[str, str]) error {
	p.c, p.rows = c, p.store.Open(c)
	return nil
}

func (p *numbering) Process(r streams.Record[str, str]) error {
	n, _ := p.rows.Get(r.Key)
	p.rows.Put(r.Key, n+1)
	r.Value, r.NullValue = plus(r.Value, "#", n+1), false
	return p.c.Forward(r)
}
