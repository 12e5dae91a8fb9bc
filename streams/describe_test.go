package streams_test

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// Java's descriptions of topologies, printed by Apache Kafka 4.4 from the same calls: names of nodes, stores and topics
// decide whether an application can be handed over.
func TestDescriptionsAreJavas(t *testing.T) {
	want := descriptions(t)
	for name, build := range described {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			build(b)
			topology, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			// Java prints the stores of a node in the order of a hash table.
			if got, want := sortStores(topology.Describe()), sortStores(want[name]); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	for name := range want {
		if described[name] == nil {
			t.Errorf("no topology %q here", name)
		}
	}
}

var storeList = regexp.MustCompile(`\(stores: \[[^\]]*`)

func sortStores(description string) string {
	return storeList.ReplaceAllStringFunc(description, func(list string) string {
		head, names, _ := strings.Cut(list, "[")
		all := strings.Split(names, ", ")
		slices.Sort(all)
		return head + "[" + strings.Join(all, ", ")
	})
}

func descriptions(t *testing.T) map[string]string {
	f, err := os.Open("testdata/descriptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, name := map[string]string{}, ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "# "); ok {
			name = n
			continue
		}
		all[name] += lines.Text() + "\n"
	}
	return all
}

var plain = serde.String

func topicOf(name string) streams.Topic[string, string] { return streams.NewTopic(name, plain, plain) }

func stream(b *streams.Builder, name string) *streams.Stream[string, string] {
	return streams.From(b, topicOf(name))
}

func table(b *streams.Builder, name string, opts ...streams.Option) *streams.Table[string, string] {
	return streams.TableFrom(b, topicOf(name), opts...)
}

func yes(_, _ string) bool                         { return true }
func value(_, v string) string                     { return v }
func same(v string) string                         { return v }
func last(_, v string) string                      { return v }
func first(_, a, _ string) string                  { return a }
func start() string                                { return "" }
func bothValues(_, v string) (string, string)      { return v, v }
func firstOf(_ string, a string, _ *string) string { return a }
func firstOfTwo(_ string, a, _ *string) string     { return *a }
func own(_, v string) (string, bool)               { return v, true }

func kv(name string) streams.KVStore[string, string]    { return streams.KV(name, plain, plain) }
func counts(name string) streams.KVStore[string, int64] { return streams.KV(name, plain, serde.Int64) }
func windowKey(w streams.Windowed[string]) string       { return w.Key }

func toOut[V any](t *streams.Table[string, V], topic string) {
	end(t.ToStream(), topic)
}

// end writes whatever the values are; the serde is of no importance here.
func end[V any](s *streams.Stream[string, V], topic string) {
	s.To(streams.NewTopic(topic, plain, serde.JSON[V]()))
}

func endWindows[V any](t *streams.Table[streams.Windowed[string], V]) {
	end(streams.ToStreamByKey(t, windowKey), "out")
}

type passing struct {
	c *streams.Context[string, string]
}

func (p *passing) Init(c *streams.Context[string, string]) error  { p.c = c; return nil }
func (p *passing) Process(r streams.Record[string, string]) error { return p.c.Forward(r) }

func pass() streams.Processor[string, string, string, string] { return &passing{} }

type unchanged struct{}

func (unchanged) Init(*streams.Context[string, string]) error      { return nil }
func (unchanged) Transform(_ string, row *string) (*string, error) { return row, nil }

var within = streams.Within(ms(10))

var described = map[string]func(b *streams.Builder){
	"stateless": func(b *streams.Builder) {
		s := stream(b, "in").Filter(yes).FilterNot(yes).Peek(func(_, _ string) {})
		s = streams.FlatMapValues(streams.MapValues(s, same), func(v string, emit func(string)) { emit(v) })
		m := streams.FlatMap(streams.Map(s, bothValues), func(k, v string, emit func(string, string)) { emit(k, v) })
		streams.SelectKey(m, value).To(topicOf("out"))
		s.ForEach(func(_, _ string) {})
		s.Print(os.Stderr, "")
		s.Merge(stream(b, "in2")).To(topicOf("out2"))
	},
	"stateless-named": func(b *streams.Builder) {
		s := streams.MapValues(stream(b, "in").Filter(yes, streams.Name("f")), same, streams.Name("m"))
		streams.SelectKey(s, value, streams.Name("sk")).To(topicOf("out"), streams.Name("sink"))
	},
	"split": func(b *streams.Builder) {
		p := stream(b, "in").Split()
		one, two, rest := p.Branch(yes), p.Branch(yes), p.Default()
		rest.To(topicOf("out0"))
		one.To(topicOf("out1"))
		two.To(topicOf("out2"))
	},
	"split-named": func(b *streams.Builder) {
		p := stream(b, "in").Split(streams.Name("s-"))
		x, rest := p.Branch(yes, streams.Name("x")), p.Default(streams.Name("rest"))
		x.To(topicOf("o1"))
		rest.To(topicOf("o2"))
	},
	"same-topic-twice": func(b *streams.Builder) {
		stream(b, "in").To(topicOf("o1"))
		streams.MapValues(stream(b, "in"), same).To(topicOf("o2"))
	},
	"two-topics": func(b *streams.Builder) {
		streams.FromTopics(b, []streams.Topic[string, string]{topicOf("y"), topicOf("x")}).To(topicOf("out"))
	},
	"pattern": func(b *streams.Builder) {
		streams.FromPattern(b, regexp.MustCompile("in-.*"), topicOf("")).To(topicOf("out"))
	},
	"repartition":       func(b *streams.Builder) { stream(b, "in").Repartition().To(topicOf("out")) },
	"repartition-named": func(b *streams.Builder) { stream(b, "in").Repartition(streams.Name("rep")).To(topicOf("out")) },
	"count":             func(b *streams.Builder) { toOut(stream(b, "in").GroupByKey().Count(counts("")), "out") },
	"count-default": func(b *streams.Builder) {
		toOut(stream(b, "in").GroupByKey().Count(streams.KVStore[string, int64]{}), "out")
	},
	"count-named": func(b *streams.Builder) {
		toOut(stream(b, "in").GroupByKey().Count(counts("st"), streams.Name("c")), "out")
	},
	"groupBy-count":       func(b *streams.Builder) { toOut(streams.GroupBy(stream(b, "in"), value).Count(counts("")), "out") },
	"groupBy-count-store": func(b *streams.Builder) { toOut(streams.GroupBy(stream(b, "in"), value).Count(counts("st")), "out") },
	"groupBy-named-count": func(b *streams.Builder) {
		toOut(streams.GroupBy(stream(b, "in"), value, streams.Name("g")).Count(counts("")), "out")
	},
	"groupBy-named-two": func(b *streams.Builder) {
		g := streams.GroupBy(stream(b, "in"), value, streams.Name("g"))
		toOut(g.Count(counts("")), "o1")
		toOut(g.Reduce(last, kv("")), "o2")
	},
	"groupBy-two": func(b *streams.Builder) {
		g := streams.GroupBy(stream(b, "in"), value)
		toOut(g.Count(counts("")), "o1")
		toOut(g.Reduce(last, kv("")), "o2")
	},
	"reduce-aggregate": func(b *streams.Builder) {
		g := stream(b, "in").GroupByKey()
		toOut(g.Reduce(last, kv("")), "o1")
		toOut(streams.Aggregate(g, start, first, kv("")), "o2")
	},
	"windows-count": func(b *streams.Builder) {
		endWindows(streams.CountWindows(stream(b, "in").GroupByKey().Windows(streams.Tumbling(ms(10))), streams.Window("", plain, serde.Int64)))
	},
	"windows-reduce": func(b *streams.Builder) {
		endWindows(streams.ReduceWindows(stream(b, "in").GroupByKey().Windows(streams.Tumbling(ms(10))), last, streams.Window("", plain, plain)))
	},
	"sliding-count": func(b *streams.Builder) {
		endWindows(streams.CountWindows(stream(b, "in").GroupByKey().Sliding(streams.Sliding(ms(10))), streams.Window("", plain, serde.Int64)))
	},
	"sliding-aggregate": func(b *streams.Builder) {
		endWindows(streams.AggregateWindows(stream(b, "in").GroupByKey().Sliding(streams.Sliding(ms(10))), start, first, streams.Window("", plain, plain)))
	},
	"sessions-count": func(b *streams.Builder) {
		endWindows(streams.CountSessions(stream(b, "in").GroupByKey().Sessions(streams.Sessions(ms(10))), streams.Session("", plain, serde.Int64)))
	},
	"sessions-reduce": func(b *streams.Builder) {
		endWindows(streams.ReduceSessions(stream(b, "in").GroupByKey().Sessions(streams.Sessions(ms(10))), last, streams.Session("", plain, plain)))
	},
	"cogroup": func(b *streams.Builder) {
		g := streams.GroupBy(stream(b, "L"), value)
		c := streams.CogroupWith(streams.Cogroup(g, first), stream(b, "R").GroupByKey(), first)
		toOut(c.Aggregate(start, kv("")), "out")
	},
	"cogroup-windows-named": func(b *streams.Builder) {
		g := stream(b, "L").GroupByKey()
		c := streams.CogroupWith(streams.Cogroup(g, first), stream(b, "R").GroupByKey(), first)
		endWindows(streams.AggregateCogroupWindows(c, streams.Tumbling(ms(10)), start, streams.Window("st", plain, plain), streams.Name("n")))
	},
	"table":       func(b *streams.Builder) { toOut(table(b, "in"), "out") },
	"table-store": func(b *streams.Builder) { toOut(table(b, "in", kv("st")), "out") },
	"table-ops": func(b *streams.Builder) {
		toOut(streams.MapTable(table(b, "in").Filter(yes).FilterNot(yes), last), "out")
	},
	"table-ops-stored": func(b *streams.Builder) {
		toOut(streams.MapTable(table(b, "in").Filter(yes, kv("f")), last, streams.Name("mv"), kv("m")), "out")
	},
	"table-ops-unnamed-materialized": func(b *streams.Builder) {
		toOut(streams.MapTable(table(b, "in").Filter(yes, kv("")), last, kv("")), "out")
	},
	"toTable":         func(b *streams.Builder) { toOut(stream(b, "in").ToTable(), "out") },
	"toTable-rekeyed": func(b *streams.Builder) { toOut(streams.SelectKey(stream(b, "in"), value).ToTable(), "out") },
	"toTable-named": func(b *streams.Builder) {
		toOut(streams.SelectKey(stream(b, "in"), value).ToTable(streams.Name("tt"), kv("st")), "out")
	},
	"table-groupBy": func(b *streams.Builder) {
		toOut(streams.GroupTable(table(b, "in"), bothValues).Count(counts("")), "out")
	},
	"table-groupBy-named": func(b *streams.Builder) {
		toOut(streams.GroupTable(table(b, "in"), bothValues, streams.Name("g")).Reduce(last, last, kv("st"), streams.Name("r")), "out")
	},
	"table-groupBy-aggregate": func(b *streams.Builder) {
		toOut(streams.AggregateTable(streams.GroupTable(table(b, "in"), bothValues), start, first, first, kv("")), "out")
	},
	"table-groupBy-reduce": func(b *streams.Builder) {
		toOut(streams.GroupTable(table(b, "in"), bothValues).Reduce(last, last, kv("")), "out")
	},
	"suppress": func(b *streams.Builder) {
		t := streams.CountWindows(stream(b, "in").GroupByKey().Windows(streams.Tumbling(ms(10))), streams.Window("", plain, serde.Int64))
		endWindows(t.Suppress(streams.UntilWindowCloses(streams.Unbounded())))
	},
	"suppress-named": func(b *streams.Builder) {
		toOut(table(b, "in").Suppress(streams.UntilTimeLimit(ms(5), streams.Unbounded()), streams.Name("sup")), "out")
	},
	"ss-inner": func(b *streams.Builder) { end(streams.Join(stream(b, "L"), stream(b, "R"), within, first), "out") },
	"ss-left": func(b *streams.Builder) {
		end(streams.LeftJoin(stream(b, "L"), stream(b, "R"), within, firstOf), "out")
	},
	"ss-outer": func(b *streams.Builder) {
		end(streams.OuterJoin(stream(b, "L"), stream(b, "R"), within, firstOfTwo), "out")
	},
	"ss-outer-named": func(b *streams.Builder) {
		end(streams.OuterJoin(stream(b, "L"), stream(b, "R"), within, firstOfTwo, streams.Name("j"), streams.StoreName("st")), "out")
	},
	"ss-left-named": func(b *streams.Builder) {
		end(streams.LeftJoin(stream(b, "L"), stream(b, "R"), within, firstOf, streams.Name("j"), streams.StoreName("j")), "out")
	},
	"ss-inner-named": func(b *streams.Builder) {
		end(streams.Join(stream(b, "L"), stream(b, "R"), within, first, streams.Name("j"), streams.StoreName("j")), "out")
	},
	"ss-rekeyed": func(b *streams.Builder) {
		end(streams.Join(streams.SelectKey(stream(b, "L"), value), streams.SelectKey(stream(b, "R"), value), within, first), "out")
	},
	"ss-rekeyed-left": func(b *streams.Builder) {
		end(streams.LeftJoin(streams.SelectKey(stream(b, "L"), value), streams.SelectKey(stream(b, "R"), value), within, firstOf), "out")
	},
	"ss-rekeyed-outer": func(b *streams.Builder) {
		end(streams.OuterJoin(streams.SelectKey(stream(b, "L"), value), streams.SelectKey(stream(b, "R"), value), within, firstOfTwo), "out")
	},
	"ss-rekeyed-named": func(b *streams.Builder) {
		end(streams.Join(streams.SelectKey(stream(b, "L"), value), streams.SelectKey(stream(b, "R"), value), within, first,
			streams.Name("j"), streams.StoreName("j")), "out")
	},
	"ss-self": func(b *streams.Builder) {
		s := stream(b, "in")
		end(streams.Join(s, s, within, first), "out")
	},
	"st-inner": func(b *streams.Builder) {
		r := table(b, "R")
		end(streams.JoinTable(stream(b, "L"), r, first), "out")
	},
	"st-left": func(b *streams.Builder) {
		r := table(b, "R")
		end(streams.LeftJoinTable(stream(b, "L"), r, firstOf), "out")
	},
	"st-rekeyed": func(b *streams.Builder) {
		r := table(b, "R")
		end(streams.JoinTable(streams.SelectKey(stream(b, "L"), value), r, first), "out")
	},
	"st-rekeyed-left": func(b *streams.Builder) {
		r := table(b, "R")
		end(streams.LeftJoinTable(streams.SelectKey(stream(b, "L"), value), r, firstOf), "out")
	},
	"st-rekeyed-named": func(b *streams.Builder) {
		r := table(b, "R")
		end(streams.JoinTable(streams.SelectKey(stream(b, "L"), value), r, first, streams.Name("j")), "out")
	},
	"st-grace": func(b *streams.Builder) {
		r := table(b, "R", kv("rv").Versioned(time.Second))
		end(streams.JoinTable(stream(b, "L"), r, first, streams.Name("j"), streams.JoinGrace(ms(5))), "out")
	},
	"st-on-computed": func(b *streams.Builder) {
		r := streams.MapTable(table(b, "R").Filter(yes), last)
		end(streams.JoinTable(stream(b, "L"), r, first), "out")
	},
	"sg-inner": func(b *streams.Builder) {
		r := streams.GlobalTableFrom(b, topicOf("R"))
		end(streams.JoinGlobal(stream(b, "L"), r, own, first), "out")
	},
	"sg-left-store": func(b *streams.Builder) {
		r := streams.GlobalTableFrom(b, topicOf("R"), kv("gs"))
		end(streams.LeftJoinGlobal(stream(b, "L"), r, own, firstOf), "out")
	},
	"tt-inner": func(b *streams.Builder) { toOut(streams.JoinTables(table(b, "L"), table(b, "R"), first), "out") },
	"tt-left-store": func(b *streams.Builder) {
		toOut(streams.LeftJoinTables(table(b, "L"), table(b, "R"), firstOf, kv("st")), "out")
	},
	"tt-outer-named": func(b *streams.Builder) {
		toOut(streams.OuterJoinTables(table(b, "L"), table(b, "R"), firstOfTwo, streams.Name("n")), "out")
	},
	"tt-inner-materialized": func(b *streams.Builder) {
		toOut(streams.JoinTables(table(b, "L"), table(b, "R"), first, kv("")), "out")
	},
	"tt-chained": func(b *streams.Builder) {
		l, r, q := table(b, "L"), table(b, "R"), table(b, "Q")
		toOut(streams.JoinTables(streams.JoinTables(l, r, first), q, first), "out")
	},
	"fk-inner": func(b *streams.Builder) { toOut(streams.JoinForeign(table(b, "L"), table(b, "R"), own, first), "out") },
	"fk-left-store": func(b *streams.Builder) {
		toOut(streams.LeftJoinForeign(table(b, "L"), table(b, "R"), own, firstOf, kv("st")), "out")
	},
	"fk-named": func(b *streams.Builder) {
		toOut(streams.JoinForeign(table(b, "L"), table(b, "R"), own, first, streams.Name("n"), kv("st")), "out")
	},
	"process": func(b *streams.Builder) {
		s := streams.Process(stream(b, "in"), pass, streams.Stores(kv("st"))).WithSerdes(plain, plain)
		toOut(s.GroupByKey().Count(counts("")), "out")
	},
	"processValues": func(b *streams.Builder) {
		toOut(streams.ProcessValues(stream(b, "in"), pass).GroupByKey().Count(counts("")), "out")
	},
	"two-groups": func(b *streams.Builder) {
		stream(b, "a").To(topicOf("x"))
		toOut(stream(b, "b").GroupByKey().Count(counts("")), "y")
		toOut(streams.GroupBy(stream(b, "c"), value).Count(counts("")), "z")
	},
	"transformValues-table": func(b *streams.Builder) {
		toOut(streams.TransformTable(table(b, "in"), func() streams.RowTransformer[string, string, string] { return unchanged{} }), "out")
	},
	"toStream-mapper": func(b *streams.Builder) { end(streams.ToStreamByKey(table(b, "in"), same), "out") },
	"dynamic-sink": func(b *streams.Builder) {
		stream(b, "in").ToEach(topicOf(""), func(streams.Record[string, string]) string { return "x" })
	},
	"shared-store": func(b *streams.Builder) {
		st := kv("st")
		streams.Process(stream(b, "a"), pass, streams.Stores(st)).To(topicOf("x"))
		streams.Process(stream(b, "b"), pass, streams.Stores(st)).To(topicOf("y"))
	},
}
