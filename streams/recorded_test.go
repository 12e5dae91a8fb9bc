package streams_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// The topologies of the recordings. Values are pointers, so that functions see nulls as Java's do.

type str = *string

var (
	strs = serde.Nullable(serde.String)
	in   = streams.NewTopic("in", strs, strs)
	left = streams.NewTopic("L", strs, strs)
	rght = streams.NewTopic("R", strs, strs)
	out  = streams.NewTopic("out", strs, strs)
)

func s(v string) str { return &v }

// plus is how Java adds strings: null is "null".
func plus(parts ...any) str {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b.WriteString(p)
		case str:
			b.WriteString(printed(p))
		default:
			fmt.Fprint(&b, p)
		}
	}
	return s(b.String())
}

// javaHash is String.hashCode.
func javaHash(v string) (h int32) {
	for _, c := range utf16.Encode([]rune(v)) {
		h = 31*h + int32(c)
	}
	return h
}

func emptyAgg() str                               { return s("") }
func agg(_ str, v, a str) str                     { return plus(a, "|", v) }
func subtract(_ str, v, a str) str                { return plus(a, "-", v) }
func mergeSessions(_ str, x, y str) str           { return plus("(", x, "&", y, ")") }
func joined(_ str, a, b str) str                  { return plus(a, "+", b) }
func keyed(name string) streams.KVStore[str, str] { return streams.KV(name, strs, strs) }

func missing(p *str) str {
	if p == nil {
		return nil
	}
	return *p
}

func counted[K any](t *streams.Table[K, int64]) *streams.Stream[K, str] {
	return streams.MapValuesWithKey(t.ToStream(), func(_ K, n int64) str { return s(strconv.FormatInt(n, 10)) })
}

func finish(t *streams.Table[str, str]) { t.ToStream().To(out) }

// finishWindows prints windowed keys as the recordings do.
func finishWindows(t *streams.Table[streams.Windowed[str], str]) {
	streams.Map(t.ToStream(), func(w streams.Windowed[str], v str) (str, str) {
		return plus(w.Key, "@", w.Start.UnixMilli(), "/", w.End.UnixMilli()), v
	}).To(out)
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func atoi(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil {
		panic(err)
	}
	return n
}

// part is what stands between two marks in a name, "g" in "tumbling20-g10" for instance.
func number(name, mark string) int {
	i := strings.LastIndex(name, mark)
	if i < 0 {
		return 0
	}
	digits := name[i+len(mark):]
	end := 0
	for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
		end++
	}
	return atoi(digits[:end])
}

var recorded = map[string]func(b *streams.Builder, name string){
	"stateless":    stateless,
	"repartition":  repartitioned,
	"agg":          aggregations,
	"table":        tables,
	"window":       func(b *streams.Builder, name string) { windows(b, name, false) },
	"window-final": func(b *streams.Builder, name string) { windows(b, name, true) },
}

func stateless(b *streams.Builder, name string) {
	switch name {
	case "stateless/filter-map":
		kept := streams.From(b, in).Filter(func(_, v str) bool { return v != nil && javaHash(*v)%3 != 0 })
		streams.MapValues(kept, func(v str) str { return s(strings.ToUpper(*v)) }).To(out)
	case "stateless/flatMapValues":
		streams.FlatMapValues(streams.From(b, in), func(v str, emit func(str)) {
			if v != nil {
				emit(plus(v, ".1"))
				emit(plus(v, ".2"))
			}
		}).To(out)
	case "stateless/split":
		split := streams.From(b, in).Split()
		isA := split.Branch(func(k, _ str) bool { return k != nil && *k == "a" })
		isNull := split.Branch(func(_, v str) bool { return v == nil })
		rest := split.Default()
		streams.MapValues(isA, func(v str) str { return plus("A:", v) }).To(out)
		streams.MapValues(isNull, func(v str) str { return s("N") }).To(out)
		streams.MapValues(rest, func(v str) str { return plus("D:", v) }).To(out)
	case "stateless/merge":
		streams.From(b, left).Merge(streams.From(b, rght)).To(out)
	}
}

func repartitioned(b *streams.Builder, name string) {
	kept := streams.From(b, in).Filter(func(_, v str) bool { return v != nil })
	byPrefix := streams.SelectKey(kept, func(_, v str) str { return s((*v)[:2]) })
	counted(byPrefix.GroupByKey().Count(streams.KV[str, int64]("", strs, serde.Int64))).To(out)
}

func aggregations(b *streams.Builder, name string) {
	switch name {
	case "agg/count":
		counted(streams.From(b, in).GroupByKey().Count(streams.KV[str, int64]("", strs, serde.Int64))).To(out)
	case "agg/reduce":
		finish(streams.From(b, in).GroupByKey().Reduce(func(a, v str) str { return plus(a, "+", v) }, keyed("")))
	case "agg/aggregate":
		finish(streams.Aggregate(streams.From(b, in).GroupByKey(), emptyAgg, agg, keyed("")))
	case "agg/aggregate-delete-on-x":
		finish(streams.Aggregate(streams.From(b, in).GroupByKey(), emptyAgg, func(k, v, a str) str {
			if strings.HasSuffix(*v, "3") {
				return nil
			}
			return agg(k, v, a)
		}, keyed("")))
	case "agg/cogroup":
		finish(cogroups(b).Aggregate(emptyAgg, keyed("")))
	case "agg/cogroup-tumbling20-g10":
		finishWindows(streams.AggregateCogroupWindows(cogroups(b), streams.Tumbling(ms(20)).Grace(ms(10)), emptyAgg, streams.Window("", strs, strs)))
	}
}

func cogroups(b *streams.Builder) *streams.Cogrouped[str, str] {
	c := streams.Cogroup(streams.From(b, left).GroupByKey(), func(_, v, a str) str { return plus(a, "|l", v) })
	return streams.CogroupWith(c, streams.From(b, rght).GroupByKey(), func(_, v, a str) str { return plus(a, "|r", v) })
}

func tables(b *streams.Builder, name string) {
	if name == "table/toTable" {
		finish(streams.From(b, in).ToTable())
		return
	}
	t := streams.TableFrom(b, in)
	even := func(_, v str) bool { return javaHash(*v)%2 == 0 }
	group := func(_, v str) (str, str) { return plus("g", (*v)[1:2]), v }
	switch name {
	case "table/source":
		finish(t)
	case "table/filter":
		finish(t.Filter(even))
	case "table/filter-materialized":
		finish(t.Filter(even, keyed("")))
	case "table/filterNot-mapValues":
		finish(streams.MapTable(t.FilterNot(even), func(_, v str) str { return plus(v, "!") }))
	case "table/groupBy-count":
		counted(streams.GroupTable(t, group).Count(streams.KV[str, int64]("", strs, serde.Int64))).To(out)
	case "table/groupBy-aggregate":
		finish(streams.AggregateTable(streams.GroupTable(t, group), emptyAgg, agg, subtract, keyed("")))
	case "table/groupBy-reduce":
		finish(streams.GroupTable(t, group).Reduce(
			func(a, v str) str { return plus(a, "|", v) },
			func(a, v str) str { return plus(a, "-", v) }, keyed("")))
	}
}

// windowTable is the windowed aggregation that window, window-final and suppress have in common.
func windowTable(b *streams.Builder, name string, onClose bool) *streams.Table[streams.Windowed[str], str] {
	g := streams.From(b, in).GroupByKey()
	_, kind, _ := strings.Cut(name, "/")
	grace := ms(number(name, "-g"))
	store := streams.Window("", strs, strs)
	if strings.HasPrefix(kind, "session") {
		sessions := g.Sessions(streams.Sessions(ms(number(kind, "session"))).Grace(grace))
		if onClose {
			sessions = sessions.EmitOnClose()
		}
		return streams.AggregateSessions(sessions, emptyAgg, agg, mergeSessions, streams.Session("", strs, strs))
	}
	var w *streams.WindowedGroup[str, str]
	switch {
	case strings.HasPrefix(kind, "tumbling"):
		w = g.Windows(streams.Tumbling(ms(number(kind, "tumbling"))).Grace(grace))
	case strings.HasPrefix(kind, "hopping"):
		w = g.Windows(streams.Hopping(ms(20), ms(5)).Grace(grace))
	case strings.HasPrefix(kind, "sliding"):
		w = g.Sliding(streams.Sliding(ms(number(kind, "sliding"))).Grace(grace))
	case strings.HasPrefix(kind, "unlimited"):
		w = g.Windows(streams.Unlimited(time.UnixMilli(int64(number(kind, "from")))))
	}
	if onClose {
		w = w.EmitOnClose()
	}
	return streams.AggregateWindows(w, emptyAgg, agg, store)
}

func windows(b *streams.Builder, name string, onClose bool) {
	finishWindows(windowTable(b, name, onClose))
}
