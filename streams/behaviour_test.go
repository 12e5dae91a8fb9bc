package streams_test

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
	"github.com/gregorhq/gregor/streams/streamstest"
)

var (
	words   = streams.NewTopic("words", serde.String, serde.String)
	answers = streams.NewTopic("answers", serde.String, serde.String)
	at      = time.UnixMilli
)

// run starts a topology under test with a configuration.
func run(t *testing.T, config streams.TaskConfig, build func(b *streams.Builder), opts ...streams.BuilderOption) *streamstest.Driver {
	t.Helper()
	b := streams.NewBuilder(opts...)
	build(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return streamstest.New(t, topology, config)
}

func TestMistakesAreReportedTogetherWithFileAndLine(t *testing.T) {
	b := streams.NewBuilder()
	s := streams.From(b, words)
	streams.TableFrom(b, words)
	streams.From(b, streams.NewTopic("words", serde.String, serde.Int64))
	s.To(answers, streams.Name("twice"))
	s.To(answers, streams.Name("twice"))
	type secret struct{}
	streams.MapValues(s, func(string) secret { return secret{} }).GroupByKey().Reduce(func(a, _ secret) secret { return a }, streams.KVStore[string, secret]{})
	s.GroupByKey().Windows(streams.Hopping(ms(5), ms(10)))
	streams.TableFrom(b, topicOf("t")).Suppress(streams.UntilWindowCloses(streams.Unbounded().EmitEarlyWhenFull()))
	streams.TableFrom(b, topicOf("u"), streams.KV("n", serde.String, serde.Int64))
	_, err := b.Build()
	if err == nil {
		t.Fatal("the topology was built")
	}
	for _, want := range []string{
		"topic words is read already", "words is read with other types", "twice: the name is taken", "needs a serde for streams_test.secret", "cannot advance by 10ms",
		"cannot be emitted early", "only a table of windows", "the store is a streams.KVStore[string,int64]",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no mistake says %q in\n%v", want, err)
		}
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if !regexp.MustCompile(`behaviour_test\.go:\d+: `).MatchString(line) {
			t.Errorf("no file and line: %s", line)
		}
	}
}

// A type that cannot show a null is not asked about it: values pass, what needs a key or an aggregate drops.
func TestNullsPassByFunctionsThatCannotSeeThem(t *testing.T) {
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		s := streams.From(b, words)
		asked := streams.MapValues(s.Filter(func(_, v string) bool { return v != "" }), strings.ToUpper)
		asked.To(answers)
		streams.SelectKey(s, value).To(topicOf("keyed"))
		counted := s.GroupByKey().Count(streams.KV("counts", serde.String, serde.Int64))
		streams.MapValues(counted.ToStream(), func(n int64) string { return fmt.Sprint(n) }).To(topicOf("counted"))
	})
	in := streamstest.In(d, words)
	in.Send("k", "v", at(1))
	in.SendNull("k", at(2))
	in.SendRecord(streams.Record[string, string]{NullKey: true, Value: "x", Time: at(3)})
	streamstest.Out(d, answers).Want("k=V", "k=null", "null=X")
	streamstest.Out(d, topicOf("keyed")).Want("v=v", "x=x")
	streamstest.Out(d, topicOf("counted")).Want("k=1")
	if d.Dropped() != 3 {
		t.Errorf("%d records were dropped", d.Dropped())
	}
}

func TestBadRecordsGoWhereThePolicySays(t *testing.T) {
	numbers := streams.NewTopic("numbers", serde.String, serde.Int64)
	build := func(b *streams.Builder) {
		s := streams.From(b, numbers)
		checked := streams.TryMapValues(s, func(_ string, n int64) (string, error) {
			switch n {
			case 1:
				return "", errors.New("one is not wanted")
			case 2:
				panic("two is worse")
			}
			return fmt.Sprint(n), nil
		})
		checked.To(answers)
		s.To(numbers2)
	}
	bad := streams.Message{Topic: "numbers", Key: []byte("k"), Value: []byte("short"), Timestamp: 7}
	d := run(t, streams.TaskConfig{}, build)
	var failure *streams.Failure
	if err := d.Feed(bad); !errors.As(err, &failure) || failure.Node != "KSTREAM-SOURCE-0000000000" || failure.Topic != "numbers" {
		t.Fatalf("the task did not stop: %v", err)
	}
	policy := streams.ErrorPolicy{OnDecode: streams.DeadLetterAlways, OnProcess: streams.DeadLetterAlways, DeadLetters: "dlq"}
	d = run(t, streams.TaskConfig{Errors: policy}, build)
	if err := d.Feed(bad); err != nil {
		t.Fatal(err)
	}
	in := streamstest.In(d, numbers)
	for n := range int64(4) {
		in.Send("k", n, at(n))
	}
	streamstest.Out(d, answers).Want("k=0", "k=3")
	streamstest.Out(d, numbers2).Want("k=0", "k=1", "k=2", "k=3") // another way of the same record goes on
	letters := d.Sent("dlq")
	if len(letters) != 3 || string(letters[0].Value) != "short" || letters[0].Timestamp != 7 {
		t.Fatalf("dead letters: %v", letters)
	}
	headers := map[string]string{}
	for _, h := range letters[2].Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers["__streams.errors.topic"] != "numbers" || headers["__streams.errors.partition"] != "0" || headers["__streams.errors.offset"] != "3" ||
		headers["__streams.errors.message"] != "panic: two is worse" || !strings.Contains(headers["__streams.errors.stacktrace"], "behaviour_test.go") {
		t.Errorf("headers of a dead letter: %v", headers)
	}
}

var numbers2 = streams.NewTopic("numbers2", serde.String, serde.Int64)

// What a store logged makes the same store again, in a task that has not seen the records.
func TestStateIsRebuiltFromItsChangelog(t *testing.T) {
	for _, name := range []string{"agg/aggregate", "table/groupBy-aggregate", "window/hopping20a5-g10", "window/session10-g10", "suppress/timelimit15",
		"ss-outer/b10a10g15", "tt-outer-materialized", "st-left-versioned1000", "st-left-versioned1000-grace12", "fk-left"} {
		t.Run(name, func(t *testing.T) {
			build := func(b *streams.Builder) { recorded[family(name)](b, name) }
			first := run(t, streams.TaskConfig{}, build)
			var logs []streams.Message
			feed := func(d *streamstest.Driver, i int) {
				topic := "in"
				if !d.Reads("in") {
					topic = []string{"L", "R"}[i%2]
				}
				m := streams.Message{Topic: topic, Key: []byte{"abc"[i*7%3]}, Value: fmt.Append(nil, "v", i), Timestamp: int64(i * 2)}
				if err := d.Feed(m); err != nil {
					t.Fatal(err)
				}
			}
			const half = 40
			for i := range half {
				feed(first, i)
				logs = append(logs, first.Logged()...)
			}
			first.Sent("out")
			second := run(t, streams.TaskConfig{}, build)
			for _, m := range logs {
				if m.Timestamp == streams.NoTime {
					m.Timestamp = 0 // the producer sets one
				}
				if err := second.Restore(m); err != nil {
					t.Fatal(err)
				}
			}
			for i := half; i < 2*half; i++ {
				feed(first, i)
				feed(second, i)
				want, got := first.Sent("out"), second.Sent("out")
				if len(want) != len(got) {
					t.Fatalf("step %d: %d results, after a restart %d", i, len(want), len(got))
				}
				for j := range want {
					if string(want[j].Key) != string(got[j].Key) || string(want[j].Value) != string(got[j].Value) || want[j].Timestamp != got[j].Timestamp {
						t.Fatalf("step %d: answers %s=%s, after a restart %s=%s", i, want[j].Key, want[j].Value, got[j].Key, got[j].Value)
					}
				}
			}
		})
	}
}

// remembering keeps the last value of each key and tells others about it.
type remembering struct {
	store streams.KVStore[string, string]
	rows  *streams.KVRows[string, string]
	c     *streams.Context[string, string]
	stop  func()
	ticks int
}

func (p *remembering) Init(c *streams.Context[string, string]) error {
	p.c, p.rows = c, p.store.Open(c)
	p.stop = c.Schedule(ms(10), streams.WallTime, func(time.Time) error {
		if p.ticks++; p.ticks == 2 {
			p.stop()
		}
		return c.Forward(streams.Record[string, string]{Key: "tick", Value: fmt.Sprint(p.ticks), Time: c.WallTime()})
	})
	return nil
}

func (p *remembering) Process(r streams.Record[string, string]) error {
	before, ok := p.rows.Get(r.Key)
	p.rows.Put(r.Key, r.Value)
	m, _ := p.c.Metadata()
	r.Value = fmt.Sprintf("%s after %s %v from %s/%d", r.Value, before, ok, m.Topic, m.Offset)
	return p.c.Forward(r)
}

func TestProcessorsHaveStoresClocksAndMetadata(t *testing.T) {
	store := streams.KV("memory", serde.String, serde.String)
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		streams.Process(streams.From(b, words), func() streams.Processor[string, string, string, string] {
			return &remembering{store: store}
		}, streams.Stores(store)).To(answers)
	})
	in := streamstest.In(d, words)
	in.SendRecord(streams.Record[string, string]{Key: "k", Value: "one", Time: at(5), Headers: []streams.Header{{Key: "h", Value: []byte("x")}}})
	in.Send("k", "two", at(6))
	out := streamstest.Out(d, answers).Read()
	if len(out) != 2 || out[0].Value != "one after  false from words/0" || out[1].Value != "two after one true from words/1" || len(out[0].Headers) != 1 {
		t.Fatalf("%+v", out)
	}
	d.Advance(ms(35)) // missed calls are skipped, and the second call cancels itself
	d.Advance(ms(35))
	d.Advance(ms(35))
	streamstest.Out(d, answers).Want("tick=1", "tick=2")
	if v, ok := store.Open(d).Get("k"); v != "two" || !ok {
		t.Errorf("the store has %q", v)
	}
	if logs := d.Logged(); len(logs) != 2 || logs[1].Topic != "test-memory-changelog" || logs[1].Timestamp != 6 {
		t.Errorf("changelog: %v", logs)
	}
}

func TestAStoreThatIsNotConnectedCannotBeOpened(t *testing.T) {
	store := streams.KV("memory", serde.String, serde.String)
	b := streams.NewBuilder()
	streams.Process(streams.From(b, words), func() streams.Processor[string, string, string, string] { return &remembering{store: store} }).To(answers)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.NewTask(streams.TaskConfig{}, nil); err == nil || !strings.Contains(err.Error(), "pass it to Stores") {
		t.Fatal(err)
	}
}

func TestProcessorsWithFixedKeysCannotChangeThem(t *testing.T) {
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		streams.ProcessValues(streams.From(b, words), func() streams.Processor[string, string, string, string] { return &renaming{} }).To(answers)
	})
	streamstest.In(d, words).Send("k", "v", at(1))
	streamstest.Out(d, answers).Want("k=v!")
}

type renaming struct {
	c *streams.Context[string, string]
}

func (p *renaming) Init(c *streams.Context[string, string]) error { p.c = c; return nil }
func (p *renaming) Process(r streams.Record[string, string]) error {
	r.Key, r.Value = "another", r.Value+"!"
	return p.c.Forward(r)
}

func TestSourcesMatchPatternsAndTakeTimeWhereTheyAreTold(t *testing.T) {
	b := streams.NewBuilder()
	any := streams.NewTopic("", serde.String, serde.String).ArrivalTime()
	streams.FromPattern(b, regexp.MustCompile("^logs-.*$"), any).To(answers)
	event := words.EventTime(func(r streams.Record[string, string], _ time.Time) (time.Time, error) {
		return time.Parse(time.RFC3339, r.Value)
	})
	streams.From(b, event).To(topicOf("timed"))
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology, streams.TaskConfig{Now: at(5000)})
	streamstest.In(d, topicOf("logs-a")).Send("k", "v", at(1))
	if out := streamstest.Out(d, answers).Read(); len(out) != 1 || out[0].Time != at(5000) {
		t.Errorf("arrival time: %+v", out)
	}
	streamstest.In(d, words).Send("k", "2026-01-02T03:04:05Z", at(1))
	if out := streamstest.Out(d, topicOf("timed")).Read(); len(out) != 1 || out[0].Time.UTC().Hour() != 3 {
		t.Errorf("event time: %+v", out)
	}
	if err := streamstest.In(d, words).TrySend(streams.Record[string, string]{Key: "k", Value: "yesterday"}); err == nil {
		t.Error("a record without a time was taken")
	}
}

func TestStoresForgetTheLeastRecentlyUsed(t *testing.T) {
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		streams.From(b, words).GroupByKey().Count(streams.KV("few", serde.String, serde.Int64).LRU(2))
	})
	in := streamstest.In(d, words)
	for _, k := range []string{"a", "b", "a", "c"} {
		in.Send(k, "", at(1))
	}
	var left []string
	for k := range streams.KV("few", serde.String, serde.Int64).Open(d).All() {
		left = append(left, k)
	}
	if !slices.Equal(left, []string{"a", "c"}) {
		t.Errorf("the store has %v", left)
	}
	gone := slices.ContainsFunc(d.Logged(), func(m streams.Message) bool { return string(m.Key) == "b" && m.Value == nil })
	if !gone {
		t.Error("the changelog does not know that b is gone")
	}
}

// looking looks each word up in a store that another topic fills.
type looking struct {
	store streams.KVStore[string, string]
	rows  *streams.KVRows[string, string]
	c     *streams.Context[string, string]
}

func (p *looking) Init(c *streams.Context[string, string]) error {
	p.c, p.rows = c, p.store.Open(c)
	return nil
}

func (p *looking) Process(r streams.Record[string, string]) error {
	r.Value, _ = p.rows.Get(r.Value)
	return p.c.Forward(r)
}

// filling puts records into a global store, in capitals.
type filling struct {
	store streams.KVStore[string, string]
	rows  *streams.KVRows[string, string]
}

func (p *filling) Init(c *streams.Context[struct{}, struct{}]) error {
	p.rows = p.store.Open(c)
	return nil
}

func (p *filling) Process(r streams.Record[string, string]) error {
	p.rows.Put(r.Key, strings.ToUpper(r.Value))
	return nil
}

func TestStoresMirrorTopics(t *testing.T) {
	names, codes := streams.KV("names", serde.String, serde.String), streams.KV("codes", serde.String, serde.String)
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		streams.ReadOnlyStore(b, topicOf("names"), names)
		streams.GlobalStore(b, topicOf("codes"), codes, func() streams.Processor[string, string, struct{}, struct{}] { return &filling{store: codes} })
		look := func(s streams.KVStore[string, string]) func() streams.Processor[string, string, string, string] {
			return func() streams.Processor[string, string, string, string] { return &looking{store: s} }
		}
		s := streams.From(b, words)
		streams.Process(s, look(names), streams.Stores(names)).To(answers)
		streams.Process(s, look(codes)).To(answers)
	})
	streamstest.In(d, topicOf("names")).Send("x", "a name", at(1))
	streamstest.In(d, topicOf("codes")).Send("x", "a code", at(1))
	streamstest.In(d, words).Send("k", "x", at(2))
	streamstest.Out(d, answers).Want("k=a name", "k=A CODE")
	if logs := d.Logged(); len(logs) > 0 {
		t.Errorf("a topic was written that has everything already: %v", logs)
	}
}

func TestHooksStandAroundEveryNode(t *testing.T) {
	var seen []string
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		streams.From(b, words).Filter(yes, streams.Name("keep")).To(answers, streams.Name("end"))
	}, streams.Around(func(node string, process func()) {
		seen = append(seen, "before "+node)
		process()
		seen = append(seen, "after "+node)
	}))
	streamstest.In(d, words).Send("k", "v", at(1))
	if got := strings.Join(seen, ", "); got != "before keep, before end, after end, after keep" {
		t.Error(got)
	}
}

func TestSinksChoosePartitions(t *testing.T) {
	where := map[string][]int{"all": {0, 1, 2}, "none": {}, "key": nil}
	d := run(t, streams.TaskConfig{Partitions: func(string) int { return 3 }}, func(b *streams.Builder) {
		streams.From(b, words).To(answers.Partitioned(func(r streams.Record[string, string], n int) []int {
			if n != 3 {
				t.Errorf("%d partitions", n)
			}
			return where[r.Value]
		}))
	})
	for _, v := range []string{"all", "none", "key"} {
		streamstest.In(d, words).Send("k", v, at(1))
	}
	var got []int32
	for _, m := range d.Sent("answers") {
		got = append(got, m.Partition)
	}
	if !slices.Equal(got, []int32{0, 1, 2, -1}) {
		t.Errorf("partitions %v", got)
	}
}

// A calendar day in a time zone is 23 to 25 hours long.
type days struct{ zone *time.Location }

func (d days) Size() time.Duration        { return 25 * time.Hour }
func (d days) GracePeriod() time.Duration { return 0 }
func (d days) WindowsFor(t time.Time) iter.Seq2[time.Time, time.Time] {
	y, m, day := t.In(d.zone).Date()
	return func(yield func(_, _ time.Time) bool) {
		yield(time.Date(y, m, day, 0, 0, 0, 0, d.zone), time.Date(y, m, day+1, 0, 0, 0, 0, d.zone))
	}
}

func TestWindowsMayBeOfOnesOwn(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		g := streams.From(b, words).GroupByKey().Windows(days{zone}).EmitOnClose()
		table := streams.CountWindows(g, streams.Window("days", serde.String, serde.Int64))
		streams.ToStreamByKey(table, func(w streams.Windowed[string]) string {
			return fmt.Sprintf("%s %s %v", w.Key, w.Start.In(zone).Format("Jan 2"), w.End.Sub(w.Start))
		}).To(numbers2)
	})
	in := streamstest.In(d, words)
	for hour := range 80 { // the clocks change on 29 March 2026
		in.Send("k", "v", time.Date(2026, 3, 28, 0, 0, 0, 0, zone).Add(time.Duration(hour)*time.Hour))
	}
	streamstest.Out(d, numbers2).Want("k Mar 28 24h0m0s=24", "k Mar 29 23h0m0s=23", "k Mar 30 24h0m0s=24")
}
