package streams_test

import (
	"errors"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// Operators that the other topologies do not have: sources, sinks, keys, names, kinds of windows and stores, bad records.

func init() {
	recorded["op"] = func(b *streams.Builder, name string) { further[name](b) }
	recorded["errors"] = func(b *streams.Builder, name string) { failing[name](b) }
}

// skipping is how topologies that are recorded with Java's LogAndContinue handlers take bad records.
func skipping(name string) streams.ErrorPolicy {
	if family(name) == "errors" {
		return streams.ErrorPolicy{OnDecode: streams.SkipAlways, OnProcess: streams.SkipAlways}
	}
	return streams.ErrorPolicy{}
}

func notNull(_, v str) bool { return v != nil }

func source(b *streams.Builder) *streams.Stream[str, str] { return streams.From(b, in) }

// eventTime skips values that end in 3, takes the partition's time for those that end in 4, and else twice the record's.
func eventTime(r streams.Record[str, str], partitionTime time.Time) (time.Time, error) {
	switch {
	case r.Value == nil:
		return r.Time, nil
	case strings.HasSuffix(*r.Value, "3"):
		return time.UnixMilli(-1), nil
	case strings.HasSuffix(*r.Value, "4"):
		return partitionTime, nil
	}
	return time.UnixMilli(2 * r.Time.UnixMilli()), nil
}

// uneven are windows of 10 and 30 ms in turn.
type uneven struct{}

func (uneven) Size() time.Duration        { return ms(30) }
func (uneven) GracePeriod() time.Duration { return ms(10) }
func (uneven) WindowsFor(t time.Time) iter.Seq2[time.Time, time.Time] {
	return func(yield func(_, _ time.Time) bool) {
		start, size := t.UnixMilli()/40*40, int64(10)
		if t.UnixMilli() >= start+10 {
			start, size = start+10, 30
		}
		yield(time.UnixMilli(start), time.UnixMilli(start+size))
	}
}

func throughWindowKeys(s *streams.Stream[streams.Windowed[str], str], keys serde.Serde[streams.Windowed[str]]) {
	moved := s.WithSerdes(keys, strs).Repartition(streams.Name("w"))
	streams.Map(moved, func(w streams.Windowed[str], v str) (str, str) { return windowName(w), v }).To(out)
}

var further = map[string]func(b *streams.Builder){
	"op/filterNot-map": func(b *streams.Builder) {
		kept := source(b).FilterNot(func(_, v str) bool { return v == nil })
		streams.Map(kept, func(k, v str) (str, str) { return plus(k, "x"), plus(v, k) }).To(out)
	},
	"op/mapValues-with-key": func(b *streams.Builder) {
		streams.MapValuesWithKey(source(b), func(k, v str) str { return plus(k, ":", v) }).To(out)
	},
	"op/flatMapValues-with-key": func(b *streams.Builder) {
		streams.FlatMap(source(b), func(k, v str, emit func(str, str)) {
			emit(k, plus(k, ":", v))
			emit(k, plus(v, ":", k))
		}).To(out)
	},
	"op/flatMap": func(b *streams.Builder) {
		streams.FlatMap(source(b), func(k, v str, emit func(str, str)) {
			if v != nil {
				emit(k, v)
				emit(v, k)
			}
		}).To(out)
	},
	"op/selectKey-peek": func(b *streams.Builder) {
		streams.SelectKey(source(b).Peek(func(_, _ str) {}), func(_, v str) str { return v }).To(out)
	},
	"op/split-without-default": func(b *streams.Builder) {
		split := source(b).Split()
		isB := split.Branch(func(k, _ str) bool { return k != nil && *k == "b" })
		full := split.Branch(notNull)
		isB.To(out)
		streams.MapValues(full, func(v str) str { return plus(v, "?") }).To(out)
	},
	"op/flatMap-groupByKey": func(b *streams.Builder) {
		both := streams.FlatMap(source(b), func(k, v str, emit func(str, str)) {
			emit(k, v)
			emit(v, k)
		})
		finish(both.GroupByKey().Reduce(added, keyed("")))
	},
	"op/repartition": func(b *streams.Builder) {
		streams.MapValues(source(b).Repartition(streams.Name("rep")), func(v str) str { return plus(v, "!") }).To(out)
	},
	"op/repartition-twice": func(b *streams.Builder) {
		byValue := func(_, v str) str { return v }
		streams.SelectKey(streams.SelectKey(source(b), byValue).Repartition(), byValue).Repartition().To(out)
	},
	"op/to-each": func(b *streams.Builder) {
		source(b).ToEach(out, func(r streams.Record[str, str]) string {
			if r.Value == nil {
				return "other"
			}
			return "out"
		})
	},
	"op/to-nowhere": func(b *streams.Builder) {
		source(b).To(out.Partitioned(func(r streams.Record[str, str], _ int) []int {
			if r.Value == nil {
				return []int{}
			}
			return nil
		}))
	},
	"op/two-topics": func(b *streams.Builder) {
		streams.FromTopics(b, []streams.Topic[str, str]{left, rght}).To(out)
	},
	"op/pattern": func(b *streams.Builder) {
		streams.FromPattern(b, regexp.MustCompile("^[LR]$"), left).To(out)
	},
	"op/event-time": func(b *streams.Builder) { streams.From(b, in.EventTime(eventTime)).To(out) },
	"op/event-time-windows": func(b *streams.Builder) {
		g := streams.From(b, in.EventTime(eventTime)).GroupByKey()
		finishCounts(streams.CountWindows(g.Windows(streams.Tumbling(ms(20))), streams.WindowStore[str, int64]{}))
	},
	"op/toTable-named": func(b *streams.Builder) { finish(source(b).ToTable(keyed("tt"))) },
	"op/groupBy-named": func(b *streams.Builder) {
		g := streams.GroupBy(source(b).Filter(notNull), func(_, v str) str { return s((*v)[1:]) }, streams.Name("byv"))
		finish(g.Reduce(added, keyed("sums")))
	},
	"op/toStream-keyed": func(b *streams.Builder) {
		t := streams.TableFrom(b, in)
		streams.Map(t.ToStream(), func(k, v str) (str, str) {
			if v == nil {
				return k, v
			}
			return v, v
		}).To(out)
	},
	"op/unlogged": func(b *streams.Builder) { finish(streams.Aggregate(grouping(b), emptyAgg, agg, keyed("").Unlogged())) },
	"op/fk-of-key": func(b *streams.Builder) {
		l, r := bothTables(b)
		finish(streams.LeftJoinForeign(l, r, func(k, v str) (str, bool) {
			switch {
			case strings.HasSuffix(*v, "7"):
				return nil, false
			case *k == "a":
				return s("b"), true
			}
			return k, true
		}, leftJoined))
	},
	"op/sg-mapped": func(b *streams.Builder) {
		rows := streams.GlobalTableFrom(b, rght)
		streams.LeftJoinGlobal(streams.From(b, left).Filter(notNull), rows, foreignOf, leftJoined).To(out)
	},
	"op/ss-named": func(b *streams.Builder) {
		w := streams.Within(ms(10))
		w.Grace = ms(5)
		streams.LeftJoin(streams.From(b, left), streams.From(b, rght), w, leftJoined, streams.Name("ours"), streams.StoreName("theirs")).To(out)
	},
	"op/windows-of-ones-own": func(b *streams.Builder) {
		finishWindows(streams.AggregateWindows(grouping(b).Windows(uneven{}), emptyAgg, agg, streams.Window("", strs, strs)))
	},
	"op/windows-kept-longer": func(b *streams.Builder) {
		finishWindows(streams.AggregateWindows(grouping(b).Windows(tumbling20), emptyAgg, agg, streams.Window("ws", strs, strs).Retention(ms(500))))
	},
	"op/window-keys": func(b *streams.Builder) {
		throughWindowKeys(windowedRows(b).ToStream(), streams.TimeWindowedKeys(strs, ms(20)))
	},
	"op/session-keys": func(b *streams.Builder) {
		t := streams.AggregateSessions(grouping(b).Sessions(session10), emptyAgg, agg, mergeSessions, streams.Session("", strs, strs))
		throughWindowKeys(t.ToStream(), streams.SessionKeys(strs))
	},
}

var errFive = errors.New("5")

func picky(v str) error {
	if v != nil && strings.HasSuffix(*v, "5") {
		return errFive
	}
	return nil
}

// pickyValues cannot decode what ends in 5.
type pickyValues struct{ serde.Serde[str] }

func (p pickyValues) Decode(b []byte) (str, error) {
	v, err := p.Serde.Decode(b)
	return v, errors.Join(err, picky(v))
}

var failing = map[string]func(b *streams.Builder){
	"errors/skip-processing": func(b *streams.Builder) {
		from := source(b)
		streams.TryMapValues(from, func(_, v str) (str, error) { return v, picky(v) }).To(out)
		streams.MapValues(from, func(v str) str { return plus("too:", v) }).To(out)
	},
	"errors/skip-decoding": func(b *streams.Builder) {
		streams.From(b, streams.NewTopic("in", strs, serde.Serde[str](pickyValues{strs}))).To(out)
	},
}
