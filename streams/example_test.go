package streams_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
	"github.com/gregorhq/gregor/streams/streamstest"
)

// try builds a topology and starts it without a broker.
func try(build func(b *streams.Builder)) *streamstest.Driver {
	b := streams.NewBuilder()
	build(b)
	topology, err := b.Build()
	if err != nil {
		panic(err)
	}
	return streamstest.New(streamstest.Panicking, topology, streams.TaskConfig{})
}

// show prints what came out of a topic.
func show[K, V any](d *streamstest.Driver, topic streams.Topic[K, V]) {
	for _, r := range streamstest.Out(d, topic).Read() {
		if r.NullValue {
			fmt.Printf("%v is deleted\n", r.Key)
		} else {
			fmt.Printf("%v = %v\n", r.Key, r.Value)
		}
	}
}

func second(n int) time.Time { return time.Unix(int64(n), 0) }

// Word count: each line is cut into words, and each word is counted.
func Example() {
	lines := streams.NewTopic("lines", serde.String, serde.String)
	results := streams.NewTopic("results", serde.String, serde.Int64)
	counts := streams.KV("counts", serde.String, serde.Int64)

	d := try(func(b *streams.Builder) {
		words := streams.FlatMapValues(streams.From(b, lines), func(line string, emit func(string)) {
			for w := range strings.FieldsSeq(line) {
				emit(w)
			}
		})
		streams.GroupBy(words, func(_, word string) string { return word }).Count(counts).ToStream().To(results)
	})
	streamstest.In(d, lines).Send("", "to be or not to be", second(0))
	show(d, results)
	// Output:
	// to = 1
	// be = 1
	// or = 1
	// not = 1
	// to = 2
	// be = 2
}

// Orders of an amount that needs a look go one way, all others another.
func ExampleStream_Split() {
	orders := streams.NewTopic("orders", serde.String, serde.Int64)
	review, ship := streams.NewTopic("review", serde.String, serde.Int64), streams.NewTopic("ship", serde.String, serde.Int64)

	d := try(func(b *streams.Builder) {
		split := streams.From(b, orders).Split()
		split.Branch(func(_ string, amount int64) bool { return amount > 1000 }).To(review)
		split.Default().To(ship)
	})
	in := streamstest.In(d, orders)
	in.Send("A1", 20, second(0))
	in.Send("A2", 5000, second(1))
	show(d, review)
	show(d, ship)
	// Output:
	// A2 = 5000
	// A1 = 20
}

// The highest temperature of each minute, sent once the minute and ten seconds of grace are over.
func ExampleAggregateWindows() {
	readings := streams.NewTopic("readings", serde.String, serde.Int64)
	highest := streams.NewTopic("highest", streams.TimeWindowedKeys(serde.String, time.Minute), serde.Int64)
	perMinute := streams.Window("per-minute", serde.String, serde.Int64)

	d := try(func(b *streams.Builder) {
		g := streams.From(b, readings).GroupByKey().Windows(streams.Tumbling(time.Minute).Grace(10 * time.Second)).EmitOnClose()
		streams.AggregateWindows(g,
			func() int64 { return 0 },
			func(_ string, reading, sofar int64) int64 { return max(reading, sofar) },
			perMinute).ToStream().To(highest)
	})
	in := streamstest.In(d, readings)
	in.Send("roof", 21, second(5))
	in.Send("roof", 24, second(62))
	in.Send("roof", 23, second(58)) // late, but within the grace
	in.Send("roof", 22, second(70)) // now the first minute is over
	for _, r := range streamstest.Out(d, highest).Read() {
		fmt.Println(r.Key.Key, r.Key.Start.Unix(), r.Key.End.Unix(), r.Value)
	}
	// Output:
	// roof 0 60 23
}

// Clicks without a pause of half an hour belong to one visit.
func ExampleCountSessions() {
	clicks := streams.NewTopic("clicks", serde.String, serde.String)

	d := try(func(b *streams.Builder) {
		visits := streams.CountSessions(
			streams.From(b, clicks).GroupByKey().Sessions(streams.Sessions(30*time.Minute)),
			streams.Session("visits", serde.String, serde.Int64))
		visits.ToStream().ForEach(func(w streams.Windowed[string], n int64) {
			fmt.Println(w.Key, w.End.Sub(w.Start), n)
		})
	})
	in := streamstest.In(d, clicks)
	in.Send("ann", "/", second(0))
	in.Send("ann", "/buy", second(600))
	in.Send("ann", "/", second(7200))
	// Output:
	// ann 0s 1
	// ann 10m0s 2
	// ann 0s 1
}

// Only the last word about a window is sent on.
func ExampleTable_Suppress() {
	readings := streams.NewTopic("readings", serde.String, serde.String)

	d := try(func(b *streams.Builder) {
		counts := streams.CountWindows(
			streams.From(b, readings).GroupByKey().Windows(streams.Tumbling(time.Minute)),
			streams.Window("counts", serde.String, serde.Int64))
		counts.Suppress(streams.UntilWindowCloses(streams.Unbounded())).ToStream().ForEach(func(w streams.Windowed[string], n int64) {
			fmt.Println(w.Key, w.Start.Unix(), n)
		})
	})
	in := streamstest.In(d, readings)
	for _, t := range []int{1, 2, 3, 60} {
		in.Send("roof", "", second(t))
	}
	// Output:
	// roof 0 3
}

// Several streams, one aggregate: a basket of what was put in and taken out.
func ExampleCogroup() {
	added := streams.NewTopic("added", serde.String, serde.Int64)
	removed := streams.NewTopic("removed", serde.String, serde.Int64)
	baskets := streams.NewTopic("baskets", serde.String, serde.Int64)

	d := try(func(b *streams.Builder) {
		c := streams.Cogroup(streams.From(b, added).GroupByKey(), func(_ string, n, basket int64) int64 { return basket + n })
		c = streams.CogroupWith(c, streams.From(b, removed).GroupByKey(), func(_ string, n, basket int64) int64 { return basket - n })
		c.Aggregate(func() int64 { return 0 }, streams.KV("baskets", serde.String, serde.Int64)).ToStream().To(baskets)
	})
	streamstest.In(d, added).Send("ann", 3, second(0))
	streamstest.In(d, removed).Send("ann", 1, second(1))
	show(d, baskets)
	// Output:
	// ann = 3
	// ann = 2
}

// Which impressions were clicked within ten minutes, and which were not: the latter are known when the time is over.
func ExampleLeftJoin() {
	impressions := streams.NewTopic("impressions", serde.String, serde.String)
	clicks := streams.NewTopic("clicks", serde.String, serde.String)
	shown := streams.NewTopic("shown", serde.String, serde.String)

	d := try(func(b *streams.Builder) {
		streams.LeftJoin(streams.From(b, impressions), streams.From(b, clicks), streams.JoinWindow{After: 10 * time.Minute},
			func(_ string, ad string, click *string) string {
				if click == nil {
					return ad + " was not clicked"
				}
				return ad + " was clicked"
			}).To(shown)
	})
	streamstest.In(d, impressions).Send("u1", "shoes", second(0))
	streamstest.In(d, impressions).Send("u2", "hats", second(1))
	streamstest.In(d, clicks).Send("u1", "!", second(30))
	streamstest.In(d, impressions).Send("u3", "bags", second(3600))
	show(d, shown)
	// Output:
	// u1 = shoes was clicked
	// u2 = hats was not clicked
}

// Each order gets the customer's tier as it is when the order comes.
func ExampleLeftJoinTable() {
	orders := streams.NewTopic("orders", serde.String, serde.Int64)
	tiers := streams.NewTopic("tiers", serde.String, serde.String)
	priced := streams.NewTopic("priced", serde.String, serde.String)

	d := try(func(b *streams.Builder) {
		streams.LeftJoinTable(streams.From(b, orders), streams.TableFrom(b, tiers),
			func(_ string, amount int64, tier *string) string {
				if tier == nil {
					return fmt.Sprint(amount, " for nobody")
				}
				return fmt.Sprint(amount, " for ", *tier)
			}).To(priced)
	})
	streamstest.In(d, orders).Send("ann", 10, second(0))
	streamstest.In(d, tiers).Send("ann", "gold", second(1))
	streamstest.In(d, orders).Send("ann", 20, second(2))
	show(d, priced)
	// Output:
	// ann = 10 for nobody
	// ann = 20 for gold
}

// A joined table has a row where both sides have one, and loses it when one of them goes.
func ExampleJoinTables() {
	names := streams.NewTopic("names", serde.String, serde.String)
	cities := streams.NewTopic("cities", serde.String, serde.String)
	people := streams.NewTopic("people", serde.String, serde.String)

	d := try(func(b *streams.Builder) {
		streams.JoinTables(streams.TableFrom(b, names), streams.TableFrom(b, cities),
			func(_ string, name, city string) string { return name + " in " + city }).ToStream().To(people)
	})
	streamstest.In(d, names).Send("7", "Ann", second(0))
	streamstest.In(d, cities).Send("7", "Oslo", second(1))
	streamstest.In(d, cities).SendNull("7", second(2))
	show(d, people)
	// Output:
	// 7 = Ann in Oslo
	// 7 is deleted
}

// An order names its product; when the product changes, so do all orders of it.
func ExampleJoinForeign() {
	orders := streams.NewTopic("orders", serde.String, serde.String) // order -> product
	products := streams.NewTopic("products", serde.String, serde.Int64)
	prices := streams.NewTopic("prices", serde.String, serde.Int64)

	d := try(func(b *streams.Builder) {
		streams.JoinForeign(streams.TableFrom(b, orders), streams.TableFrom(b, products),
			func(_ string, product string) (string, bool) { return product, true },
			func(_ string, _ string, price int64) int64 { return price }).ToStream().To(prices)
	})
	streamstest.In(d, products).Send("tea", 3, second(0))
	streamstest.In(d, orders).Send("o1", "tea", second(1))
	streamstest.In(d, orders).Send("o2", "tea", second(2))
	streamstest.In(d, products).Send("tea", 4, second(3))
	show(d, prices)
	// Output:
	// o1 = 3
	// o2 = 3
	// o1 = 4
	// o2 = 4
}

// The customers of a city are counted anew when one moves.
func ExampleGroupTable() {
	cities := streams.NewTopic("cities", serde.String, serde.String)
	sizes := streams.NewTopic("sizes", serde.String, serde.Int64)

	d := try(func(b *streams.Builder) {
		byCity := streams.GroupTable(streams.TableFrom(b, cities), func(customer, city string) (string, string) { return city, customer })
		byCity.Count(streams.KV("sizes", serde.String, serde.Int64)).ToStream().To(sizes)
	})
	in := streamstest.In(d, cities)
	in.Send("ann", "Oslo", second(0))
	in.Send("bob", "Oslo", second(1))
	in.Send("ann", "Rome", second(2))
	show(d, sizes)
	// Output:
	// Oslo = 1
	// Oslo = 2
	// Oslo = 1
	// Rome = 1
}

// debounce sends a key's last value when the key has been quiet for a while.
type debounce struct {
	c    *streams.Context[string, string]
	last *streams.KVRows[string, string]
}

var lastValues = streams.KV("last-values", serde.String, serde.String)

func (d *debounce) Init(c *streams.Context[string, string]) error {
	d.c, d.last = c, lastValues.Open(c)
	c.Schedule(time.Second, streams.WallTime, func(now time.Time) error {
		for key, value := range d.last.All() {
			if _, at, _ := d.last.GetTimed(key); now.Sub(at) >= 5*time.Second {
				d.last.Delete(key)
				if err := c.Forward(streams.Record[string, string]{Key: key, Value: value, Time: now}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return nil
}

func (d *debounce) Process(r streams.Record[string, string]) error {
	d.last.PutTimed(r.Key, r.Value, d.c.WallTime())
	return nil
}

// A processor of one's own, with a store and a clock.
func ExampleProcess() {
	typed := streams.NewTopic("typed", serde.String, serde.String)
	settled := streams.NewTopic("settled", serde.String, serde.String)

	d := try(func(b *streams.Builder) {
		streams.Process(streams.From(b, typed),
			func() streams.Processor[string, string, string, string] { return &debounce{} },
			streams.Stores(lastValues)).To(settled)
	})
	in := streamstest.In(d, typed)
	in.Send("search", "str", second(0))
	d.Advance(2 * time.Second)
	in.Send("search", "streams", second(2))
	d.Advance(4 * time.Second)
	show(d, settled)
	d.Advance(time.Second)
	show(d, settled)
	// Output:
	// search = streams
}

// Build reports every mistake, with the file and line of the call.
func ExampleBuilder_Build() {
	b := streams.NewBuilder()
	s := streams.From(b, streams.NewTopic("in", serde.String, serde.String))
	type point struct{ X, Y int }
	points := streams.MapValues(s, func(string) point { return point{} })
	points.GroupByKey().Reduce(func(a, _ point) point { return a }, streams.KVStore[string, point]{})
	_, err := b.Build()
	fmt.Println(strings.Contains(err.Error(), "needs a serde for streams_test.point"))
	// Output:
	// true
}

// Visualisers of Kafka Streams read the description.
func ExampleTopology_Describe() {
	b := streams.NewBuilder()
	s := streams.From(b, streams.NewTopic("in", serde.String, serde.String))
	streams.MapValues(s, strings.ToUpper).To(streams.NewTopic("out", serde.String, serde.String))
	topology, err := b.Build()
	if err != nil {
		panic(err)
	}
	fmt.Print(topology.Describe())
	// Output:
	// Topologies:
	//    Sub-topology: 0
	//     Source: KSTREAM-SOURCE-0000000000 (topics: [in])
	//       --> KSTREAM-MAPVALUES-0000000001
	//     Processor: KSTREAM-MAPVALUES-0000000001 (stores: [])
	//       --> KSTREAM-SINK-0000000002
	//       <-- KSTREAM-SOURCE-0000000000
	//     Sink: KSTREAM-SINK-0000000002 (topic: out)
	//       <-- KSTREAM-MAPVALUES-0000000001
}
