package streams_test

import (
	"strconv"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// Further topologies: operators one after another, whose old values and tombstones have to fit together.

func init() { recorded["x"] = func(b *streams.Builder, name string) { chained[name](b) } }

func evenHash(_, v str) bool                 { return javaHash(*v)%2 == 0 }
func grouped(_, v str) (str, str)            { return plus("g", (*v)[1:2]), v }
func exclaimed(_, v str) str                 { return plus(v, "!") }
func leftJoined(k, a str, b *str) str        { return joined(k, a, missing(b)) }
func outerJoined(k str, a, b *str) str       { return joined(k, missing(a), missing(b)) }
func added(a, v str) str                     { return plus(a, "+", v) }
func reduced(a, v str) str                   { return plus(a, "|", v) }
func unreduced(a, v str) str                 { return plus(a, "-", v) }
func keptHistory(name string) streams.Option { return keyed(name).Versioned(time.Second) }

func foreignOf(_, v str) (str, bool) {
	last := (*v)[len(*v)-1]
	if last == '7' {
		return nil, false
	}
	return s("abc"[last%3 : last%3+1]), true
}

// finishCounts prints counts of windows.
func finishCounts(t *streams.Table[streams.Windowed[str], int64]) {
	streams.MapValues(streams.ToStreamByKey(t, windowName), func(n int64) str { return s(strconv.FormatInt(n, 10)) }).To(out)
}

func windowName(w streams.Windowed[str]) str {
	return plus(w.Key, "@", w.Start.UnixMilli(), "/", w.End.UnixMilli())
}

func grouping(b *streams.Builder) *streams.Grouped[str, str] { return streams.From(b, in).GroupByKey() }

func regrouped(t *streams.Table[str, str]) {
	finish(streams.AggregateTable(streams.GroupTable(t, grouped), emptyAgg, agg, subtract, keyed("")))
}

var (
	sliding15  = streams.Sliding(ms(15)).Grace(ms(10))
	session10  = streams.Sessions(ms(10)).Grace(ms(10))
	tumbling20 = streams.Tumbling(ms(20)).Grace(ms(10))
)

func bothTables(b *streams.Builder) (l, r *streams.Table[str, str]) {
	return streams.TableFrom(b, left), streams.TableFrom(b, rght)
}

func windowedRows(b *streams.Builder) *streams.Table[streams.Windowed[str], str] {
	return streams.AggregateWindows(grouping(b).Windows(tumbling20), emptyAgg, agg, streams.Window("", strs, strs))
}

var chained = map[string]func(b *streams.Builder){
	"x/sliding-reduce": func(b *streams.Builder) {
		finishWindows(streams.ReduceWindows(grouping(b).Sliding(sliding15), added, streams.Window("", strs, strs)))
	},
	"x/session-reduce": func(b *streams.Builder) {
		g := streams.From(b, in).Filter(func(_, v str) bool { return v != nil }).GroupByKey()
		finishWindows(streams.ReduceSessions(g.Sessions(session10), added, streams.Session("", strs, strs)))
	},
	"x/session-count": func(b *streams.Builder) {
		finishCounts(streams.CountSessions(grouping(b).Sessions(session10), streams.SessionStore[str, int64]{}))
	},
	"x/hopping-count": func(b *streams.Builder) {
		finishCounts(streams.CountWindows(grouping(b).Windows(streams.Hopping(ms(20), ms(5)).Grace(ms(7))), streams.WindowStore[str, int64]{}))
	},
	"x/sliding-count": func(b *streams.Builder) {
		finishCounts(streams.CountWindows(grouping(b).Sliding(sliding15), streams.WindowStore[str, int64]{}))
	},
	"x/cogroup-session": func(b *streams.Builder) {
		finishWindows(streams.AggregateCogroupSessions(cogroups(b), session10, emptyAgg, mergeSessions, streams.Session("", strs, strs)))
	},
	"x/cogroup-sliding": func(b *streams.Builder) {
		finishWindows(streams.AggregateCogroupSliding(cogroups(b), sliding15, emptyAgg, streams.Window("", strs, strs)))
	},
	"x/table-filter-groupBy": func(b *streams.Builder) { regrouped(streams.TableFrom(b, in).Filter(evenHash)) },
	"x/table-mapValues-groupBy-reduce": func(b *streams.Builder) {
		g := streams.GroupTable(streams.MapTable(streams.TableFrom(b, in), exclaimed), grouped)
		finish(g.Reduce(reduced, unreduced, keyed("")))
	},
	"x/filter-stored":         func(b *streams.Builder) { finish(streams.TableFrom(b, in).Filter(evenHash, keyed("f"))) },
	"x/filter-stored-groupBy": func(b *streams.Builder) { regrouped(streams.TableFrom(b, in).Filter(evenHash, keyed("f"))) },
	"x/filter-of-kept-source": func(b *streams.Builder) { finish(streams.TableFrom(b, in, keyed("src")).Filter(evenHash)) },
	"x/tt-left-filter": func(b *streams.Builder) {
		l, r := bothTables(b)
		finish(streams.LeftJoinTables(l, r, leftJoined).Filter(evenHash))
	},
	"x/tt-chain": func(b *streams.Builder) {
		l, r := bothTables(b)
		finish(streams.OuterJoinTables(streams.LeftJoinTables(l, r, leftJoined), r.Filter(evenHash), outerJoined))
	},
	"x/tt-inner-of-computed": func(b *streams.Builder) {
		l, r := bothTables(b)
		finish(streams.JoinTables(streams.MapTable(l.Filter(evenHash), exclaimed), r, joined))
	},
	"x/tt-outer-groupBy": func(b *streams.Builder) {
		l, r := bothTables(b)
		regrouped(streams.OuterJoinTables(l, r, outerJoined, keyed("st")))
	},
	"x/suppress-then-join": func(b *streams.Builder) {
		l, r := bothTables(b)
		finish(streams.JoinTables(l.Suppress(streams.UntilTimeLimit(ms(15), streams.Unbounded())), r, joined))
	},
	"x/suppress-bytes": func(b *streams.Builder) {
		finish(streams.TableFrom(b, in).Suppress(streams.UntilTimeLimit(ms(1000), streams.MaxBytes(130).EmitEarlyWhenFull())))
	},
	"x/suppress-groupBy": func(b *streams.Builder) {
		regrouped(streams.TableFrom(b, in).Suppress(streams.UntilTimeLimit(ms(15), streams.Unbounded())))
	},
	"x/toTable-rekeyed": func(b *streams.Builder) {
		finish(streams.SelectKey(streams.From(b, in), func(k, v str) str {
			if v == nil {
				return k
			}
			return plus((*v)[:1], len(*v))
		}).ToTable())
	},
	"x/st-rekeyed-left": func(b *streams.Builder) {
		r := streams.TableFrom(b, rght)
		l := streams.SelectKey(streams.From(b, left), func(k, v str) str {
			if v == nil {
				return nil
			}
			return k
		})
		streams.LeftJoinTable(l, r, leftJoined).To(out)
	},
	"x/ss-rekeyed-outer": func(b *streams.Builder) {
		key := func(k, _ str) str { return k }
		w := streams.Within(ms(10))
		w.Grace = ms(5)
		streams.OuterJoin(streams.SelectKey(streams.From(b, left), key), streams.SelectKey(streams.From(b, rght), key), w, outerJoined).To(out)
	},
	"x/versioned-filter-join": func(b *streams.Builder) {
		l := streams.TableFrom(b, left, keptHistory("lv")).Filter(evenHash)
		r := streams.MapTable(streams.TableFrom(b, rght, keptHistory("rv")), exclaimed)
		finish(streams.LeftJoinTables(l, r, leftJoined))
	},
	"x/versioned-groupBy": func(b *streams.Builder) { regrouped(streams.TableFrom(b, in, keptHistory("lv"))) },
	"x/versioned-aggregate": func(b *streams.Builder) {
		finish(streams.Aggregate(grouping(b), emptyAgg, agg, keyed("agg").Versioned(ms(30))))
	},
	"x/fk-left-groupBy": func(b *streams.Builder) {
		l, r := bothTables(b)
		regrouped(streams.LeftJoinForeign(l, r, foreignOf, leftJoined, keyed("")))
	},
	"x/fk-versioned": func(b *streams.Builder) {
		l, r := streams.TableFrom(b, left, keptHistory("lv")), streams.TableFrom(b, rght, keptHistory("rv"))
		finish(streams.JoinForeign(l, r, foreignOf, joined, keyed("")))
	},
	"x/window-filter-map": func(b *streams.Builder) {
		even := func(_ streams.Windowed[str], v str) bool { return javaHash(*v)%2 == 0 }
		finishWindows(streams.MapTable(windowedRows(b).Filter(even), func(_ streams.Windowed[str], v str) str { return plus(v, "!") }))
	},
	"x/window-groupBy": func(b *streams.Builder) {
		g := streams.GroupTable(windowedRows(b), func(w streams.Windowed[str], v str) (str, str) { return plus("w", w.Start.UnixMilli()), v })
		finish(streams.AggregateTable(g, emptyAgg, agg, subtract, keyed("")))
	},
	"x/session-groupBy": func(b *streams.Builder) {
		t := streams.AggregateSessions(grouping(b).Sessions(session10), emptyAgg, agg, mergeSessions, streams.Session("", strs, strs))
		g := streams.GroupTable(t, func(w streams.Windowed[str], v str) (str, str) { return plus("w", w.Key), v })
		finish(streams.AggregateTable(g, emptyAgg, agg, subtract, keyed("")))
	},
	"x/groupBy-twice": func(b *streams.Builder) {
		once := streams.GroupTable(streams.TableFrom(b, in), grouped).Reduce(reduced, unreduced, keyed("r1"))
		twice := streams.GroupTable(once, func(_, v str) (str, str) { return plus("n", len(*v)%2), v })
		counted(twice.Count(streams.KV("r2", strs, serde.Int64))).To(out)
	},
}
