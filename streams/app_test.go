package streams_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/streams"
)

// cluster is a broker with topics, and a client for them.
type cluster struct {
	t      *testing.T
	addr   string
	client *kgo.Client
	admin  *kadm.Client
}

func startCluster(t *testing.T, topics map[string]int32, options ...gregortest.Option) *cluster {
	broker := gregortest.Start(t, options...)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.MetadataMaxAge(time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c := &cluster{t, broker.Addr(), client, kadm.NewClient(client)}
	for topic, partitions := range topics {
		if r, err := c.admin.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	return c
}

func (c *cluster) send(topic, key, value string, at int64) {
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(at)}
	if value == "null" {
		r.Value = nil
	}
	c.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
		if err != nil {
			c.t.Error(err)
		}
	})
}

// sendNow sends a record, waits until it is written and returns its partition.
func (c *cluster) sendNow(topic, key, value string) int32 {
	c.t.Helper()
	r, err := c.client.ProduceSync(c.t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}).First()
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Partition
}

func (c *cluster) flush() {
	if err := c.client.Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// running is an instance of an app.
type running struct {
	t    *testing.T
	app  *streams.App
	stop func()
	done chan error
	once sync.Once
}

func (c *cluster) run(config streams.Config, build func(b *streams.Builder)) *running {
	c.t.Helper()
	b := streams.NewBuilder()
	build(b)
	topology, err := b.Build()
	if err != nil {
		c.t.Fatal(err)
	}
	config.AppID, config.Brokers = "app", []string{c.addr}
	if config.CommitInterval == 0 {
		config.CommitInterval = 100 * time.Millisecond
	}
	app, err := streams.New(topology, config)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: c.t, app: app, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- app.Run(ctx) }()
	c.t.Cleanup(r.end)
	return r
}

// end stops an instance in good order.
func (r *running) end() {
	r.once.Do(func() {
		r.stop()
		select {
		case err := <-r.done:
			if err != nil {
				r.t.Error(err)
			}
		case <-time.After(20 * time.Second):
			r.t.Error("the app did not stop")
		}
	})
}

// table reads a topic until its latest values are the wanted ones.
func (c *cluster) table(topic string, want map[string]string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addr), kgo.ConsumeTopics(topic))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	got := map[string]string{}
	for !maps.Equal(got, want) {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			c.t.Fatalf("topic %s\n got %v\nwant %v", topic, got, want)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Value == nil {
				delete(got, string(r.Key))
			} else {
				got[string(r.Key)] = string(r.Value)
			}
		})
	}
}

func wordCount(b *streams.Builder) {
	ws := streams.FlatMapValues(stream(b, "lines"), func(line string, emit func(string)) {
		for w := range strings.FieldsSeq(line) {
			emit(w)
		}
	})
	counted := streams.GroupBy(ws, value).Count(counts("words"))
	streams.MapValues(counted.ToStream(), func(n int64) string { return fmt.Sprint(n) }).To(topicOf("counts"))
}

func TestAnAppCountsWordsAndGoesOnAfterARestart(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 3, "counts": 2})
	first := c.run(streams.Config{}, wordCount)
	for i := range 300 {
		c.send("lines", fmt.Sprint(i), "to be or not to be", int64(i))
	}
	c.flush()
	c.table("counts", map[string]string{"to": "600", "be": "600", "or": "300", "not": "300"})
	first.end()

	restored := 0
	var mu sync.Mutex
	c.run(streams.Config{OnRestored: func(_ streams.TaskID, n int, _ time.Duration) {
		mu.Lock()
		restored += n
		mu.Unlock()
	}}, wordCount)
	c.send("lines", "k", "be", 301)
	c.flush()
	c.table("counts", map[string]string{"to": "600", "be": "601", "or": "300", "not": "300"})
	mu.Lock()
	defer mu.Unlock()
	if restored == 0 {
		t.Error("nothing was restored")
	}
}

func TestStoresOfAnInstanceCanBeAsked(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 3, "counts": 1})
	r := c.run(streams.Config{}, wordCount)
	if _, _, err := counts("nothing").Query(r.app, "a"); !errors.Is(err, streams.ErrNotHere) {
		t.Errorf("asked for a store that is not there: %v", err)
	}
	for i := range 50 {
		c.send("lines", fmt.Sprint(i), "a b a", int64(i))
	}
	c.flush()
	c.table("counts", map[string]string{"a": "100", "b": "50"})
	if n, ok, err := counts("words").Query(r.app, "a"); n != 100 || !ok || err != nil {
		t.Errorf("a: %d %v %v", n, ok, err)
	}
	if _, ok, err := counts("words").Query(r.app, "z"); ok || err != nil {
		t.Errorf("z: %v %v", ok, err)
	}
	sum := int64(0)
	if err := counts("words").QueryAll(r.app, func(_ string, n int64) bool { sum += n; return true }); err != nil || sum != 150 {
		t.Errorf("all: %d %v", sum, err)
	}
}

// While paused an app keeps its tasks and does nothing.
func TestAPausedAppWaits(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 1, "counts": 1})
	r := c.run(streams.Config{}, wordCount)
	c.send("lines", "k", "a", 1)
	c.flush()
	c.table("counts", map[string]string{"a": "1"})
	r.app.Pause()
	c.send("lines", "k", "a", 2)
	c.flush()
	time.Sleep(500 * time.Millisecond)
	if n, _, err := counts("words").Query(r.app, "a"); n != 1 || err != nil {
		t.Errorf("it went on: %d %v", n, err)
	}
	if len(r.app.Tasks()) != 2 {
		t.Errorf("its tasks are %v", r.app.Tasks())
	}
	r.app.Resume()
	c.table("counts", map[string]string{"a": "2"})
}

// Final results of windows are sent once, also by who takes over: it goes on at the time of the one before.
func TestFinalResultsAreSentOnceAcrossARestart(t *testing.T) {
	c := startCluster(t, map[string]int32{"in": 1, "out": 1})
	build := func(b *streams.Builder) {
		g := stream(b, "in").GroupByKey().Windows(streams.Tumbling(ms(10))).EmitOnClose()
		table := streams.ReduceWindows(g, func(a, v string) string { return a + v }, streams.Window("w", plain, plain))
		streams.ToStreamByKey(table, func(w streams.Windowed[string]) string { return fmt.Sprint(w.Key, w.Start.UnixMilli()) }).To(topicOf("out"))
	}
	first := c.run(streams.Config{EmitEvery: -1}, build)
	for i, v := range []string{"a", "b", "c", "d"} {
		c.send("in", "k", v, int64(i*5))
	}
	c.send("in", "k", "e", 21)
	c.flush()
	c.table("out", map[string]string{"k0": "ab", "k10": "cd"})
	first.end()
	c.run(streams.Config{EmitEvery: -1}, build)
	c.send("in", "k", "late", 12) // its window was sent
	c.send("in", "k", "f", 22)
	c.send("in", "k", "g", 30)
	c.flush()
	c.table("out", map[string]string{"k0": "ab", "k10": "cd", "k20": "ef"})
	ends, err := c.admin.ListEndOffsets(t.Context(), "out")
	if end, _ := ends.Lookup("out", 0); err != nil || end.Offset != 3 {
		t.Errorf("%d results were sent for three windows: %v", end.Offset, err)
	}
}

func TestInternalTopicsAreMadeAsJavaMakesThem(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 3, "counts": 1})
	c.run(streams.Config{}, wordCount)
	c.send("lines", "k", "a", 1)
	c.flush()
	c.table("counts", map[string]string{"a": "1"})
	topics, err := c.admin.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"app-words-changelog", "app-words-repartition"} {
		if n := len(topics[topic].Partitions); n != 3 {
			t.Errorf("%s has %d partitions", topic, n)
		}
	}
	for topic, want := range map[string]string{
		"app-words-changelog":   "cleanup.policy=compact message.timestamp.type=CreateTime",
		"app-words-repartition": "cleanup.policy=delete message.timestamp.type=CreateTime retention.ms=-1 segment.bytes=52428800",
	} {
		if got := c.configured(topic); got != want {
			t.Errorf("%s has the configuration %s, want %s", topic, got, want)
		}
	}
}

// Tasks move to who comes and away from who goes, and every input is reflected in the results.
func TestInstancesShareTheWorkAndTakeOver(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 4, "counts": 4})
	want := map[string]string{}
	sent := 0
	send := func(n int) {
		for range n {
			c.send("lines", fmt.Sprint(sent), fmt.Sprintf("w%d w%d", sent%7, sent%11), int64(sent))
			sent++
		}
		c.flush()
		for w := range 11 {
			n := 0
			for i := range sent {
				if i%7 == w {
					n++
				}
				if i%11 == w {
					n++
				}
			}
			want[fmt.Sprintf("w%d", w)] = fmt.Sprint(n)
		}
	}
	first := c.run(streams.Config{}, wordCount)
	send(500)
	c.table("counts", want)
	second := c.run(streams.Config{}, wordCount)
	deadline := time.Now().Add(20 * time.Second)
	for len(first.app.Tasks()) != 4 || len(second.app.Tasks()) != 4 {
		if time.Now().After(deadline) {
			t.Fatalf("the tasks are %v and %v", first.app.Tasks(), second.app.Tasks())
		}
		time.Sleep(20 * time.Millisecond)
	}
	send(500)
	c.table("counts", want)
	first.end()
	send(500)
	c.table("counts", want)
}

// A stream joined with a table of another topic, and with a global one: three inputs, one task for each partition.
func TestAnAppJoins(t *testing.T) {
	c := startCluster(t, map[string]int32{"L": 2, "R": 2, "G": 3, "out": 1})
	for i := range 20 {
		c.send("R", fmt.Sprint("k", i), fmt.Sprint("r", i), 1)
		c.send("G", fmt.Sprint("k", i), fmt.Sprint("g", i), 1)
	}
	c.flush()
	c.run(streams.Config{}, func(b *streams.Builder) {
		r, g := table(b, "R"), streams.GlobalTableFrom(b, topicOf("G"))
		joined := streams.JoinTable(stream(b, "L"), r, func(_, l, r string) string { return l + "+" + r })
		streams.JoinGlobal(joined, g, func(k, _ string) (string, bool) { return k, true }, func(_, l, g string) string { return l + "+" + g }).To(topicOf("out"))
	})
	want := map[string]string{}
	for i := range 20 {
		c.send("L", fmt.Sprint("k", i), "l", 2)
		want[fmt.Sprint("k", i)] = fmt.Sprintf("l+r%d+g%d", i, i)
	}
	c.flush()
	c.table("out", want)
}

func TestTopicsThatAreJoinedMustBeEquallyWide(t *testing.T) {
	c := startCluster(t, map[string]int32{"L": 2, "R": 3, "out": 1})
	b := streams.NewBuilder()
	r := table(b, "R")
	streams.JoinTable(stream(b, "L"), r, first).To(topicOf("out"))
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.New(topology, streams.Config{AppID: "app", Brokers: []string{c.addr}})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "have 2 and 3 partitions") && !strings.Contains(err.Error(), "have 3 and 2 partitions") {
		t.Fatal(err)
	}
}
