package streams_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/streamstest"
)

// What live comparisons with Kafka Streams found; see compat/streams.

func feedOne(t *testing.T, d *streamstest.Driver, topic, key, value string, at int64, headers ...streams.Header) {
	t.Helper()
	m := streams.Message{Topic: topic, Value: []byte(value), Timestamp: at, Headers: headers}
	if key != "null" {
		m.Key = []byte(key)
	}
	if err := d.Feed(m); err != nil {
		t.Fatal(err)
	}
}

func sentTo(d *streamstest.Driver, topic string) (all []string) {
	for _, m := range d.Sent(topic) {
		all = append(all, fmt.Sprintf("%s=%s", printed(text(m.Key)), printed(text(m.Value))))
	}
	return all
}

// Records without a key go through a repartition topic where a left or outer join of a stream comes after it, however much later,
// and are dropped before one where none does (KIP-962).
func TestRepartitionTopicsTakeRecordsWithoutAKeyForLeftJoins(t *testing.T) {
	moved := func(b *streams.Builder) *streams.Stream[str, str] {
		return streams.From(b, in).Repartition(streams.Name("moved"))
	}
	for name, c := range map[string]struct {
		build func(b *streams.Builder)
		want  []string
	}{
		"nothing":    {func(b *streams.Builder) { moved(b).To(out) }, nil},
		"inner join": {func(b *streams.Builder) { streams.JoinTable(moved(b), streams.TableFrom(b, rght), joined).To(out) }, nil},
		"left join": {func(b *streams.Builder) {
			streams.LeftJoinTable(moved(b), streams.TableFrom(b, rght), leftJoined).To(out)
		}, []string{"null=v+null"}},
		"left join further on": {func(b *streams.Builder) {
			again := streams.SelectKey(moved(b), func(k, _ str) str { return k })
			streams.LeftJoinTable(streams.MapValues(again, func(v str) str { return plus(v, "!") }), streams.TableFrom(b, rght), leftJoined).To(out)
		}, []string{"null=v!+null"}},
		"left join with a global table": {func(b *streams.Builder) {
			key := func(k, _ str) (str, bool) { return k, k != nil }
			streams.LeftJoinGlobal(moved(b), streams.GlobalTableFrom(b, rght), key, leftJoined).To(out)
		}, []string{"null=v+null"}},
		"right side of a left join": {func(b *streams.Builder) {
			streams.LeftJoin(streams.From(b, left), moved(b), streams.Within(ms(10)), leftJoined).To(out)
		}, nil},
		"outer join": {func(b *streams.Builder) {
			streams.OuterJoin(streams.From(b, left), moved(b), streams.Within(ms(10)), outerJoined).To(out)
		}, []string{"null=null+v"}},
	} {
		d := run(t, streams.TaskConfig{}, c.build)
		feedOne(t, d, "in", "null", "v", 1)
		if got := sentTo(d, "out"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		passes := c.want != nil || name == "right side of a left join"
		if got := d.Sent("test-moved-repartition"); (len(got) == 1) != passes {
			t.Errorf("%s: the repartition topic got %d records", name, len(got))
		}
	}
}

// Java keeps the headers of a record that waits for its partner, and has none for sessions, which are of several records.
func TestHeadersGoWhereJavaHasThem(t *testing.T) {
	header := streams.Header{Key: "h", Value: []byte("1")}
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		streams.LeftJoin(streams.From(b, left), streams.From(b, rght), streams.Within(ms(10)), leftJoined, streams.StoreName("j")).To(out)
	})
	feedOne(t, d, "L", "k", "v", 1, header)
	for _, m := range d.Logged() {
		want := 0
		if m.Topic == "test-j-this-join-store-changelog" {
			want = 1
		}
		if len(m.Headers) != want {
			t.Errorf("%s has the headers %v", m.Topic, m.Headers)
		}
	}
	for name, windows := range map[string]func(g *streams.Grouped[str, str]) *streams.Table[streams.Windowed[str], int64]{
		"session": func(g *streams.Grouped[str, str]) *streams.Table[streams.Windowed[str], int64] {
			return streams.CountSessions(g.Sessions(streams.Sessions(ms(10))), streams.SessionStore[str, int64]{})
		},
		"window": func(g *streams.Grouped[str, str]) *streams.Table[streams.Windowed[str], int64] {
			return streams.CountWindows(g.Windows(streams.Tumbling(ms(10))), streams.WindowStore[str, int64]{})
		},
	} {
		d := run(t, streams.TaskConfig{}, func(b *streams.Builder) { finishCounts(windows(streams.From(b, in).GroupByKey())) })
		feedOne(t, d, "in", "k", "v", 1, header)
		for _, m := range d.Sent("out") {
			if (len(m.Headers) == 0) != (name == "session") {
				t.Errorf("the result of a %s has the headers %v", name, m.Headers)
			}
		}
	}
}

// A record that had no partner before a restart has its result with the first record after it that moves time on past its window.
func TestUnmatchedRecordsAreSentAfterARestart(t *testing.T) {
	build := func(b *streams.Builder) {
		w := streams.Within(ms(10))
		streams.LeftJoin(streams.From(b, left), streams.From(b, rght), w, leftJoined, streams.StoreName("j")).To(out)
	}
	first := run(t, streams.TaskConfig{}, build)
	feedOne(t, first, "L", "a", "1", 1)
	feedOne(t, first, "L", "b", "2", 5)
	second := run(t, streams.TaskConfig{}, build)
	for _, m := range first.Logged() {
		if err := second.Restore(m); err != nil {
			t.Fatal(err)
		}
	}
	feedOne(t, second, "R", "z", "0", 13)
	if got := sentTo(second, "out"); !slices.Equal(got, []string{"a=1+null"}) {
		t.Errorf("at 13: %v", got)
	}
	feedOne(t, second, "R", "z", "0", 16)
	if got := sentTo(second, "out"); !slices.Equal(got, []string{"b=2+null"}) {
		t.Errorf("at 16: %v", got)
	}
}

// The changelogs of windows are kept for a day longer than what they need, by Java's reckoning: a store whose results are sent on
// close keeps rows for longer than that, and its changelog does not. The records of a join have keys of their own each, so that
// theirs are not compacted.
func TestChangelogsOfWindowsAreMadeAsJavaMakesThem(t *testing.T) {
	t.Parallel()
	c := startCluster(t, map[string]int32{"in": 1, "other": 1, "out": 1})
	c.run(streams.Config{}, func(b *streams.Builder) {
		from := stream(b, "in")
		byWindow := streams.Window("w", plain, plain)
		ended := streams.ReduceWindows(from.GroupByKey().Windows(streams.Tumbling(ms(20)).Grace(ms(10))).EmitOnClose(), reduceText, byWindow)
		ended.ToStream().ForEach(func(streams.Windowed[string], string) {})
		slid := streams.ReduceWindows(from.GroupByKey().Sliding(streams.Sliding(ms(20)).Grace(ms(10))).EmitOnClose(), reduceText, streams.Window("s", plain, plain))
		slid.ToStream().ForEach(func(streams.Windowed[string], string) {})
		gone := streams.ReduceSessions(from.GroupByKey().Sessions(streams.Sessions(ms(20)).Grace(ms(10))).EmitOnClose(), reduceText, streams.Session("g", plain, plain))
		gone.ToStream().ForEach(func(streams.Windowed[string], string) {})
		streams.Join(from, stream(b, "other"), streams.Within(ms(20)), first, streams.StoreName("j")).To(topicOf("out"))
	})
	c.send("in", "k", "v", time.Now().UnixMilli())
	c.send("other", "k", "v", time.Now().UnixMilli())
	c.flush()
	c.table("out", map[string]string{"k": "v"})
	for topic, want := range map[string]string{
		"app-w-changelog":                 "cleanup.policy=compact,delete message.timestamp.type=CreateTime retention.ms=86400030",
		"app-s-changelog":                 "cleanup.policy=compact,delete message.timestamp.type=CreateTime retention.ms=86400050",
		"app-g-changelog":                 "cleanup.policy=compact,delete message.timestamp.type=CreateTime retention.ms=86400030",
		"app-j-this-join-store-changelog": "cleanup.policy=delete message.timestamp.type=CreateTime retention.ms=86400040",
	} {
		if got := c.configured(topic); got != want {
			t.Errorf("%s has the configuration %s, want %s", topic, got, want)
		}
	}
}

func reduceText(sofar, v string) string { return sofar + v }

// Records of several topics are taken in the order of the times that their topics give them, not of those that they were sent with.
func TestInputsAreTakenByEventTime(t *testing.T) {
	t.Parallel()
	c := startCluster(t, map[string]int32{"L": 1, "R": 1, "out": 1})
	byValue := func(r streams.Record[string, string], _ time.Time) (time.Time, error) {
		n, err := strconv.Atoi(r.Value)
		return time.UnixMilli(int64(n)), err
	}
	for i := range 20 { // the row of each key is older than the key's record, and was sent later
		c.send("L", fmt.Sprint(i), fmt.Sprint(10*i+5), 1)
		c.send("R", fmt.Sprint(i), fmt.Sprint(10*i), int64(1000+i))
	}
	c.send("R", "0", "7", 2000)
	c.flush()
	c.run(streams.Config{}, func(b *streams.Builder) {
		rows := streams.TableFrom(b, topicOf("R").EventTime(byValue))
		streams.LeftJoinTable(streams.From(b, topicOf("L").EventTime(byValue)), rows, func(_, l string, row *string) string {
			if row == nil {
				return l + " early"
			}
			return l + " " + *row
		}).To(topicOf("out"))
	})
	want := map[string]string{}
	for i := range 20 {
		want[fmt.Sprint(i)] = fmt.Sprintf("%d %d", 10*i+5, 10*i)
	}
	c.table("out", want)
}
