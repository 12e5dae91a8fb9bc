package streams_test

import (
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

func wordCountOnDisk(b *streams.Builder) {
	counted := streams.GroupBy(stream(b, "lines"), value).Count(counts("words").OnDisk().Cached())
	streams.MapValues(counted.ToStream(), func(n int64) string { return fmt.Sprint(n) }).To(topicOf("counts"))
}

// An instance that starts again with its folder reads only what its changelogs have beyond that. Without the folder, and with
// one whose changelog is another, it reads all.
func TestStateOnDiskIsRestoredFromWhereItIs(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 1, "counts": 1})
	folder, want := t.TempDir(), 0
	life := func(folder string, beforehand int) {
		t.Helper()
		var restored atomic.Int64
		started := make(chan struct{}, 8)
		r := c.run(streams.Config{StateDir: folder, OnRestored: func(id streams.TaskID, n int, _ time.Duration) {
			restored.Add(int64(n))
			started <- struct{}{}
		}}, wordCountOnDisk)
		<-started
		<-started // both sub-topologies
		if n := int(restored.Load()); n != beforehand {
			t.Errorf("%d records were restored, want %d", n, beforehand)
		}
		for i := range 100 {
			c.send("lines", fmt.Sprint(i), "a", int64(i))
		}
		c.flush()
		want += 100
		c.table("counts", map[string]string{"a": fmt.Sprint(want)})
		r.end()
	}
	logged := func() int {
		t.Helper()
		ends, err := c.admin.ListEndOffsets(t.Context(), "app-words-changelog")
		end, _ := ends.Lookup("app-words-changelog", 0)
		if err != nil || end.Err != nil {
			t.Fatal(err, end.Err)
		}
		return int(end.Offset)
	}
	life(folder, 0)
	life(folder, 0)
	life(t.TempDir(), logged())                // nothing on disk
	life(folder, logged()-endOfTwoLives(t, c)) // a life behind
}

// endOfTwoLives is where the folder of the first two lives stands. Every life writes the count that it ends with last, so the
// place of the count 200 says where.
func endOfTwoLives(t *testing.T, c *cluster) int {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addr), kgo.ConsumeTopics("app-words-changelog"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for t.Context().Err() == nil {
		found := -1
		client.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			if n, err := serde.Int64.Decode(r.Value); err == nil && n == 200 {
				found = int(r.Offset) + 1
			}
		})
		if found >= 0 {
			return found
		}
	}
	return -1
}

// A folder whose changelog was deleted and made anew is of no use: the task begins with the new changelog.
func TestAFolderOfAnotherChangelogIsLeft(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 1, "counts": 1})
	folder := t.TempDir()
	first := c.run(streams.Config{StateDir: folder}, wordCountOnDisk)
	for i := range 100 {
		c.send("lines", fmt.Sprint(i), "a", int64(i))
	}
	c.flush()
	c.table("counts", map[string]string{"a": "100"})
	first.end()
	if r, err := c.admin.DeleteTopic(t.Context(), "app-words-changelog"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	c.run(streams.Config{StateDir: folder}, wordCountOnDisk)
	c.send("lines", "k", "b", 101)
	c.send("lines", "k", "a", 102)
	c.flush()
	c.table("counts", map[string]string{"a": "1", "b": "1"})
}

func TestStoresOnDiskNeedAFolder(t *testing.T) {
	b := streams.NewBuilder()
	wordCountOnDisk(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.New(topology, streams.Config{AppID: "a", Brokers: []string{"nowhere:1"}}); err == nil {
		t.Error("it would run without a folder")
	}
}

// sent collects what a task sends.
type sent struct{ out, log []string }

func (s *sent) Send(m streams.Message) { s.out = append(s.out, shown(m)) }
func (s *sent) Log(m streams.Message)  { s.log = append(s.log, shown(m)) }

func shown(m streams.Message) string {
	return fmt.Sprintf("%s=%s@%d", m.Key, m.Value, m.Timestamp)
}

func (s *sent) want(t *testing.T, out, log string) {
	t.Helper()
	if got := fmt.Sprint(s.out); got != out {
		t.Errorf("sent %s, want %s", got, out)
	}
	if got := fmt.Sprint(s.log); got != log {
		t.Errorf("logged %s, want %s", got, log)
	}
	s.out, s.log = nil, nil
}

// A cached store sends the last of several changes of a row, at a commit or when there are too many.
func TestCachedStoresHoldChangesBack(t *testing.T) {
	b := streams.NewBuilder()
	joined := stream(b, "in").GroupByKey().Reduce(func(a, v string) string { return a + v }, kv("st").Cached())
	joined.ToStream().To(topicOf("out"))
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	var out sent
	task, err := topology.NewTask(streams.TaskConfig{AppID: "g", CacheBytes: 1000}, &out)
	if err != nil {
		t.Fatal(err)
	}
	feed := func(key, value string, at int64) {
		t.Helper()
		if err := task.Process(streams.Message{Topic: "in", Key: []byte(key), Value: []byte(value), Timestamp: at}); err != nil {
			t.Fatal(err)
		}
	}
	feed("a", "1", 1)
	feed("b", "2", 2)
	feed("a", "3", 3)
	out.want(t, "[]", "[]")
	if v, ok := kv("st").Open(task).Get("a"); !ok || v != "13" {
		t.Errorf("a is %q", v)
	}
	if err := task.Flush(); err != nil {
		t.Fatal(err)
	}
	out.want(t, "[a=13@3 b=2@2]", "[a=13@3 b=2@2]")
	if err := task.Flush(); err != nil {
		t.Fatal(err)
	}
	out.want(t, "[]", "[]")
	for i := range 6 { // no room for the seventh
		feed(fmt.Sprint(i), "x", 10)
	}
	out.want(t, "[]", "[]")
	feed("6", "x", 10)
	if len(out.out) != 7 || len(out.log) != 7 {
		t.Errorf("the cache is full, and %d changes were sent", len(out.out))
	}
}

// latest is a table, from what a task logs or sends.
type latest struct{ sent, logged map[string]string }

func (l latest) Send(m streams.Message) { l.sent[string(m.Key)] = string(m.Value) }
func (l latest) Log(m streams.Message)  { l.logged[m.Topic+string(m.Key)] = string(m.Value) }

// Tables at the end are the same with caches and without, in changelogs and downstream.
func TestCachesChangeNoTable(t *testing.T) {
	run := func(cached bool) latest {
		b := streams.NewBuilder()
		sums, kept, gaps := streams.Window("w", plain, plain), kv("t"), streams.Session("s", plain, plain)
		if cached {
			sums, kept, gaps = sums.Cached(), kept.Cached().OnDisk(), gaps.Cached()
		}
		byKey := stream(b, "in").GroupByKey()
		add := func(a, v string) string { return a + v }
		w := streams.ReduceWindows(byKey.Windows(streams.Tumbling(ms(20)).Grace(ms(10))), add, sums)
		s := streams.ReduceSessions(byKey.Sessions(streams.Sessions(ms(3)).Grace(ms(10))), add, gaps)
		name := func(w streams.Windowed[string]) string {
			return fmt.Sprint(w.Key, w.Start.UnixMilli(), w.End.UnixMilli())
		}
		streams.ToStreamByKey(w, name).To(topicOf("out"))
		streams.ToStreamByKey(s, name).To(topicOf("out"))
		even := byKey.Reduce(add, kept).Filter(func(_, v string) bool { return len(v)%2 == 0 }, kv("f"))
		even.ToStream().To(topicOf("out"))
		topology, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		out := latest{map[string]string{}, map[string]string{}}
		task, err := topology.NewTask(streams.TaskConfig{AppID: "g", CacheBytes: 2000}, out)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			if err := task.Process(streams.Message{Topic: "in", Key: fmt.Append(nil, i%3), Value: fmt.Append(nil, i), Timestamp: int64(2*i + i%7)}); err != nil {
				t.Fatal(err)
			}
			if i%50 == 49 {
				if err := errors.Join(task.Flush(), task.Save(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := task.Close(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	plainly, cached := run(false), run(true)
	present := func(all map[string]string) map[string]string { // a row that came and went while it was held back was never there
		rows := maps.Clone(all)
		maps.DeleteFunc(rows, func(_, v string) bool { return v == "" })
		return rows
	}
	if !maps.Equal(present(plainly.logged), present(cached.logged)) || !maps.Equal(present(plainly.sent), present(cached.sent)) {
		t.Errorf("with caches\n got %v\nwant %v", present(cached.sent), present(plainly.sent))
	}
	if len(present(cached.sent)) < 20 {
		t.Errorf("only %d rows", len(cached.sent))
	}
}
