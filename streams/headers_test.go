package streams_test

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/streamstest"
)

// keeper keeps records with their headers in a store of each kind, and answers with what it finds there.
type keeper struct {
	c        *streams.Context[string, string]
	rows     *streams.KVRows[string, string]
	windows  *streams.WindowRows[string, string]
	sessions *streams.SessionRows[string, string]
}

var (
	keptRows     = streams.KV("rows", plain, plain).WithHeaders()
	keptWindows  = streams.Window("windows", plain, plain).Retention(time.Hour).WithHeaders()
	keptSessions = streams.Session("sessions", plain, plain).Retention(time.Hour).WithHeaders()
)

func (k *keeper) Init(c *streams.Context[string, string]) error {
	k.c, k.rows, k.windows, k.sessions = c, keptRows.Open(c), keptWindows.Open(c), keptSessions.Open(c)
	return nil
}

func (k *keeper) Process(r streams.Record[string, string]) error {
	start := time.UnixMilli(0)
	session := streams.Windowed[string]{Key: r.Key, Start: start, End: start}
	if r.Value == "put" {
		k.rows.PutWithHeaders(r.Key, "row", r.Time, r.Headers...)
		k.windows.PutWithHeaders(r.Key, start, "window", r.Headers...)
		k.sessions.PutWithHeaders(session, "session", r.Headers...)
		return nil
	}
	v, at, rowHeaders, _ := k.rows.GetWithHeaders(r.Key)
	w, windowHeaders, _ := k.windows.GetWithHeaders(r.Key, start)
	s, sessionHeaders, _ := k.sessions.GetWithHeaders(session)
	if !reflect.DeepEqual(rowHeaders, windowHeaders) || !reflect.DeepEqual(rowHeaders, sessionHeaders) {
		return fmt.Errorf("headers %v, %v, %v", rowHeaders, windowHeaders, sessionHeaders)
	}
	r.Value, r.Headers = fmt.Sprintf("%s %d %s %s", v, at.UnixMilli(), w, s), rowHeaders
	return k.c.Forward(r)
}

func keeping(b *streams.Builder) {
	streams.Process(stream(b, "in"), func() streams.Processor[string, string, string, string] { return &keeper{} },
		streams.Stores(keptRows, keptWindows, keptSessions)).To(topicOf("out"))
}

// all is what a task sends and logs.
type all struct{ sent, logged []streams.Message }

func (a *all) Send(m streams.Message) { a.sent = append(a.sent, m) }
func (a *all) Log(m streams.Message)  { a.logged = append(a.logged, m) }

// Headers are kept with rows, in the changelog as those of its records, and come back from there.
func TestStoresKeepHeaders(t *testing.T) {
	for name, opts := range map[string][]streams.BuilderOption{"memory": nil, "disk": {streams.KeepOnDisk()}} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder(opts...)
			keeping(b)
			topology, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			start := func() (*streams.Task, *all) {
				out := &all{}
				task, err := topology.NewTask(streams.TaskConfig{AppID: "app"}, out)
				if err != nil {
					t.Fatal(err)
				}
				return task, out
			}
			feed := func(task *streams.Task, key, value string, at int64, headers ...streams.Header) {
				t.Helper()
				if err := task.Process(streams.Message{Topic: "in", Key: []byte(key), Value: []byte(value), Timestamp: at, Headers: headers}); err != nil {
					t.Fatal(err)
				}
			}
			headers := []streams.Header{{Key: "trace", Value: []byte("7")}, {Key: "none", Value: nil}, {Key: "trace", Value: []byte{}}}
			first, kept := start()
			feed(first, "k", "put", 5, headers...)
			feed(first, "bare", "put", 6)
			if len(kept.logged) != 6 {
				t.Fatalf("the changelogs have %v", kept.logged)
			}
			second, got := start()
			for i, m := range kept.logged {
				if i < 3 && !reflect.DeepEqual(m.Headers, headers) || i >= 3 && len(m.Headers) > 0 || !strings.Contains("row window session", string(m.Value)) {
					t.Errorf("the changelog has %q %v", m.Value, m.Headers)
				}
				if err := second.Restore(m); err != nil {
					t.Fatal(err)
				}
			}
			feed(second, "k", "get", 9)
			feed(second, "bare", "get", 9)
			if len(got.sent) != 2 || string(got.sent[0].Value) != "row 5 window session" || !reflect.DeepEqual(got.sent[0].Headers, headers) ||
				string(got.sent[1].Value) != "row 6 window session" || len(got.sent[1].Headers) > 0 {
				t.Errorf("the stores gave back %v", got.sent)
			}
		})
	}
}

// A store says at once that it keeps no headers, and one that keeps versions that it cannot.
func TestStoresWithoutHeadersRefuseThem(t *testing.T) {
	bare := streams.KV("rows", plain, plain)
	d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
		do := func(c *streams.Context[string, string], r streams.Record[string, string]) error {
			bare.Open(c).PutWithHeaders(r.Key, r.Value, r.Time, r.Headers...)
			return nil
		}
		streams.Process(stream(b, "in"), func() streams.Processor[string, string, string, string] { return &calling{do: do} }, streams.Stores(bare))
	})
	err := d.Feed(streams.Message{Topic: "in", Key: []byte("k"), Value: []byte("v")})
	if err == nil || !strings.Contains(err.Error(), "the store rows does not keep headers: its handle needs WithHeaders") {
		t.Error(err)
	}
	b := streams.NewBuilder()
	streams.TableFrom(b, topicOf("t"), streams.KV("both", plain, plain).Versioned(time.Hour).WithHeaders())
	if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), "the store both cannot keep both headers and versions") {
		t.Error(err)
	}
}

// calling is a processor that is a function.
type calling struct {
	c  *streams.Context[string, string]
	do func(*streams.Context[string, string], streams.Record[string, string]) error
}

func (p *calling) Init(c *streams.Context[string, string]) error  { p.c = c; return nil }
func (p *calling) Process(r streams.Record[string, string]) error { return p.do(p.c, r) }

// Where a store begins to keep headers its rows on disk are of no use, and come from the changelog.
func TestAStoreThatBeginsToKeepHeadersIsRestored(t *testing.T) {
	c := startCluster(t, map[string]int32{"in": 1, "out": 1})
	folder := t.TempDir()
	life := func(rows streams.KVStore[string, string], want string) {
		t.Helper()
		r := c.run(streams.Config{StateDir: folder}, func(b *streams.Builder) {
			do := func(c *streams.Context[string, string], r streams.Record[string, string]) error {
				open := rows.Open(c)
				was, _ := open.Get(r.Key)
				open.Put(r.Key, was+r.Value)
				r.Value = was + r.Value
				return c.Forward(r)
			}
			streams.Process(stream(b, "in"), func() streams.Processor[string, string, string, string] { return &calling{do: do} }, streams.Stores(rows)).To(topicOf("out"))
		})
		c.send("in", "k", "x", 1)
		c.flush()
		c.table("out", map[string]string{"k": want})
		r.end()
	}
	rows := streams.KV("rows", plain, plain).OnDisk()
	life(rows, "x")
	life(rows.WithHeaders(), "xx")
	life(rows.WithHeaders(), "xxx")
	life(rows, "xxxx")
}

// mapped is a store of a user's own.
type mapped struct {
	rows   map[string][]byte
	closed *bool
}

func (m mapped) Get(key []byte) []byte { return m.rows[string(key)] }
func (m mapped) Len() int              { return len(m.rows) }
func (m mapped) Close() error          { *m.closed = true; return nil }
func (m mapped) Put(key, value []byte) {
	if m.rows[string(key)] = value; value == nil {
		delete(m.rows, string(key))
	}
}
func (m mapped) Range(from, to []byte, backwards bool) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(m.rows)) {
			if k < string(from) || to != nil && k > string(to) {
				continue
			}
			if !yield([]byte(k), m.rows[k]) {
				return
			}
		}
	}
}

// A store of a user's own is filled by operators and by the changelog, and closed with its task.
func TestRowsCanBeKeptInAStoreOfOnesOwn(t *testing.T) {
	closed, names := false, ""
	rows := map[string][]byte{}
	kept := counts("words").KeptIn(func(task streams.TaskID, name string) (streams.RowStore, error) {
		names += task.String() + " " + name
		return mapped{rows, &closed}, nil
	})
	b := streams.NewBuilder(streams.KeepOnDisk())
	stream(b, "in").GroupByKey().Count(kept)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	out := &all{}
	task, err := topology.NewTask(streams.TaskConfig{AppID: "app"}, out)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := task.Process(streams.Message{Topic: "in", Key: []byte("k"), Value: []byte("v"), Timestamp: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := kept.Open(task).Get("k"); n != 3 || !ok || len(rows) != 1 || len(out.logged) != 3 {
		t.Errorf("%d counted, rows %v, logged %v", n, rows, out.logged)
	}
	if err := task.Restore(streams.Message{Topic: "app-words-changelog", Key: []byte("k")}); err != nil || len(rows) != 0 {
		t.Errorf("a deletion in the changelog left %v: %v", rows, err)
	}
	if err := task.Close(); err != nil || !closed || names != "0_0 words" {
		t.Errorf("closed %v, opened for %q: %v", closed, names, err)
	}
}

// Rows whose keys begin alike are walked together.
func TestRowsAreWalkedByPrefix(t *testing.T) {
	rows := streams.KV("rows", plain, plain)
	for name, opts := range map[string][]streams.BuilderOption{"memory": nil, "disk": {streams.KeepOnDisk()}} {
		t.Run(name, func(t *testing.T) {
			d := run(t, streams.TaskConfig{}, func(b *streams.Builder) {
				do := func(c *streams.Context[string, string], r streams.Record[string, string]) error {
					open := rows.Open(c)
					if r.Value == "put" {
						open.Put(r.Key, "v")
						return nil
					}
					found := ""
					for k := range open.Prefix([]byte(r.Key)) {
						found += k + " "
					}
					r.Value = found
					return c.Forward(r)
				}
				streams.Process(stream(b, "in"), func() streams.Processor[string, string, string, string] { return &calling{do: do} }, streams.Stores(rows)).To(topicOf("out"))
			}, opts...)
			in := streamstest.In(d, topicOf("in"))
			for _, key := range []string{"b", "ab", "a", "abc", "ac", "ÿ"} {
				in.Send(key, "put", time.UnixMilli(1))
			}
			for _, prefix := range []string{"ab", "", "ÿ", "z"} {
				in.Send(prefix, "find", time.UnixMilli(2))
			}
			streamstest.Out(d, topicOf("out")).Want("ab=ab abc ", "=a ab abc ac b ÿ ", "ÿ=ÿ ", "z=")
		})
	}
}
