package streams_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
	"github.com/gregorhq/gregor/streams/streamstest"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into testdata/scripts")

// A script is a story: the first line names a topology; then each line is a record "topic key=value @time", or "wait time";
// below each line, indented, stands what comes out. Lines that begin with # are comments.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("it went\n%s\nand not\n%s", got, text)
			}
		})
	}
}

// play tells a script again, with what happens now.
func play(t *testing.T, text string) string {
	var out strings.Builder
	var d *streamstest.Driver
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "\t") {
			continue // what came out when it was written
		}
		out.WriteString(line + "\n")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case fields[0] == "topology":
			d = run(t, streams.TaskConfig{Errors: streams.ErrorPolicy{OnProcess: streams.DeadLetterAlways, DeadLetters: "dead"}}, scripted[fields[1]])
		case fields[0] == "wait":
			by, err := time.ParseDuration(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			d.Advance(by)
			happened(&out, d)
		default:
			if err := d.Feed(spoken(t, fields)); err != nil {
				fmt.Fprintf(&out, "\tstopped: %v\n", err)
			}
			happened(&out, d)
		}
	}
	return out.String()
}

// spoken is the record of a line.
func spoken(t *testing.T, fields []string) streams.Message {
	m := streams.Message{Topic: fields[0]}
	key, value, _ := strings.Cut(strings.Join(fields[1:len(fields)-1], " "), "=")
	at, err := strconv.ParseInt(fields[len(fields)-1][1:], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	m.Timestamp = at
	if key != "null" {
		m.Key = []byte(key)
	}
	if value != "null" {
		m.Value = []byte(value)
	}
	return m
}

func happened(out *strings.Builder, d *streamstest.Driver) {
	for _, topic := range []string{"out", "dead"} {
		for _, m := range d.Sent(topic) {
			fmt.Fprintf(out, "\t%s %s=%s @%d\n", topic, printed(text(m.Key)), printed(text(m.Value)), m.Timestamp)
		}
	}
}

// printWindows writes windows as "key start-end".
func printWindows(t *streams.Table[streams.Windowed[string], string]) {
	streams.ToStreamByKey(t, func(w streams.Windowed[string]) string {
		return fmt.Sprintf("%s %d-%d", w.Key, w.Start.UnixMilli(), w.End.UnixMilli())
	}).To(topicOf("out"))
}

func list(_, v, sofar string) string { return strings.TrimSpace(sofar + " " + v) }

var scripted = map[string]func(b *streams.Builder){
	"tumbling": func(b *streams.Builder) {
		g := stream(b, "in").GroupByKey().Windows(streams.Tumbling(ms(10)).Grace(ms(5)))
		printWindows(streams.AggregateWindows(g, start, list, streams.Window("", plain, plain)))
	},
	"tumbling-on-close": func(b *streams.Builder) {
		g := stream(b, "in").GroupByKey().Windows(streams.Tumbling(ms(10)).Grace(ms(5))).EmitOnClose()
		printWindows(streams.AggregateWindows(g, start, list, streams.Window("", plain, plain)))
	},
	"sessions": func(b *streams.Builder) {
		g := stream(b, "in").GroupByKey().Sessions(streams.Sessions(ms(10)).Grace(ms(5)))
		printWindows(streams.AggregateSessions(g, start, list, func(_, x, y string) string { return strings.TrimSpace(x + " " + y) }, streams.Session("", plain, plain)))
	},
	"left-join": func(b *streams.Builder) {
		streams.LeftJoin(stream(b, "L"), stream(b, "R"), streams.JoinWindow{Before: ms(5), After: ms(10), Grace: ms(3)}, func(_, l string, r *string) string {
			if r == nil {
				return l + " alone"
			}
			return l + " with " + *r
		}).To(topicOf("out"))
	},
	"suppress": func(b *streams.Builder) {
		table(b, "in").Suppress(streams.UntilTimeLimit(ms(10), streams.MaxRecords(2).EmitEarlyWhenFull())).ToStream().To(topicOf("out"))
	},
	"foreign": func(b *streams.Builder) {
		streams.LeftJoinForeign(table(b, "L"), table(b, "R"), func(_, v string) (string, bool) { return v, v != "-" }, func(_, l string, r *string) string {
			if r == nil {
				return l + "?"
			}
			return l + "=" + *r
		}).ToStream().To(topicOf("out"))
	},
	"numbers": func(b *streams.Builder) {
		n := streams.TryMapValues(stream(b, "in"), func(_, v string) (int64, error) { return strconv.ParseInt(v, 10, 64) })
		n.WithSerdes(plain, serde.Int64).GroupByKey().Reduce(func(a, v int64) int64 { return a + v }, streams.KV("", plain, serde.Int64)).ToStream().
			ForEach(func(string, int64) {})
		streams.MapValues(n, func(n int64) string { return fmt.Sprint(n * 2) }).To(topicOf("out"))
	},
}
