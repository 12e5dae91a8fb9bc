package main

import (
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

func windowStore(arg string) streams.WindowStore[str, str] {
	return streams.Window(named(arg), strs, strs)
}

// timeWindows is the windows of arguments kind, size, advance and grace.
func timeWindows(args []string) streams.Windows {
	if args[0] == "hopping" {
		return streams.Hopping(ms(args[1]), ms(args[2])).Grace(ms(args[3]))
	}
	return streams.Tumbling(ms(args[1])).Grace(ms(args[3]))
}

func slidingWindows(args []string) streams.SlidingWindows {
	return streams.Sliding(ms(args[1])).Grace(ms(args[3]))
}

func sessionWindows(args []string) streams.SessionWindows {
	return streams.Sessions(ms(args[1])).Grace(ms(args[3]))
}

// window aggregates by windows: arguments are by kind size advance grace emit how store.
func (x *building) window(n Node) made {
	g, args := x.grouped(n), n.Args[1:]
	onClose, how, store := n.Args[5] == "close", n.Args[6], n.Args[7]
	if args[0] == "session" {
		return made{w: sessions(g, args, onClose, how, store)}
	}
	var group *streams.WindowedGroup[str, str]
	if args[0] == "sliding" {
		group = g.Sliding(slidingWindows(args))
	} else {
		group = g.Windows(timeWindows(args))
	}
	if onClose {
		group = group.EmitOnClose()
	}
	switch how {
	case "count":
		counts := streams.WindowStore[str, int64]{}
		if store != "-" {
			counts = streams.Window(store, strs, serde.Int64)
		}
		return made{w: streams.MapTable(streams.CountWindows(group, counts), countText[streams.Windowed[str]])}
	case "reduce":
		return made{w: streams.ReduceWindows(group, reduce, windowStore(store))}
	default:
		a := aggregations[how]
		return made{w: streams.AggregateWindows(group, a.init, a.add, windowStore(store))}
	}
}

func sessions(g *grouped, args []string, onClose bool, how, store string) *wtable {
	group := g.Sessions(sessionWindows(args))
	if onClose {
		group = group.EmitOnClose()
	}
	if how == "count" {
		counts := streams.SessionStore[str, int64]{}
		if store != "-" {
			counts = streams.Session(store, strs, serde.Int64)
		}
		return streams.MapTable(streams.CountSessions(group, counts), countText[streams.Windowed[str]])
	}
	a := aggregations[how]
	return streams.AggregateSessions(group, a.init, a.add, mergeSessions, streams.Session(named(store), strs, strs))
}

// cowindow is a windowed cogroup: arguments are kind size advance grace.
func (x *building) cowindow(n Node) made {
	c, init := x.cogrouped(n), aggregations["list"].init
	switch n.Args[0] {
	case "session":
		return made{w: streams.AggregateCogroupSessions(c, sessionWindows(n.Args), init, mergeSessions, streams.Session("", strs, strs))}
	case "sliding":
		return made{w: streams.AggregateCogroupSliding(c, slidingWindows(n.Args), init, windowStore("-"))}
	default:
		return made{w: streams.AggregateCogroupWindows(c, timeWindows(n.Args), init, windowStore("-"))}
	}
}

func (x *building) wfilter(n Node) made {
	f := predicates[n.Args[0]]
	return made{w: x.in(n, 0).w.Filter(func(_ streams.Windowed[str], v str) bool { return f(nil, v) })}
}

func (x *building) wsuppress(n Node) made {
	return made{w: x.in(n, 0).w.Suppress(streams.UntilWindowCloses(streams.Unbounded()))}
}

// wgroup brings together what began at the same time.
func (x *building) wgroup(n Node) made {
	g := streams.GroupTable(x.in(n, 0).w, func(w streams.Windowed[str], v str) (str, str) {
		return plus("w", w.Start.UnixMilli()-x.base), v
	}).WithSerdes(strs, strs)
	a := aggregations[n.Args[0]]
	return ofTable(streams.AggregateTable(g, a.init, a.add, a.subtract, kept("-")))
}

func (x *building) wstream(n Node) made {
	return ofStream(streams.Map(x.in(n, 0).w.ToStream(), func(w streams.Windowed[str], v str) (str, str) {
		return plus(w.Key, "@", w.Start.UnixMilli()-x.base, "/", w.End.UnixMilli()-x.base), v
	}))
}

func (x *building) sjoin(n Node) made {
	l, r := x.in(n, 0).s, x.in(n, 1).s
	w := streams.JoinWindow{Before: ms(n.Args[1]), After: ms(n.Args[2]), Grace: ms(n.Args[3])}
	switch n.Args[0] {
	case "inner":
		return ofStream(streams.Join(l, r, w, joined))
	case "left":
		return ofStream(streams.LeftJoin(l, r, w, leftJoined))
	default:
		return ofStream(streams.OuterJoin(l, r, w, outerJoined))
	}
}

func (x *building) stjoin(n Node) made {
	l, r := x.in(n, 0).s, x.in(n, 1).t
	var opts []streams.Option
	if n.Args[1] != "-" {
		opts = append(opts, streams.Name(n.Args[2]), streams.JoinGrace(ms(n.Args[1])))
	}
	if n.Args[0] == "inner" {
		return ofStream(streams.JoinTable(l, r, joined, opts...))
	}
	return ofStream(streams.LeftJoinTable(l, r, leftJoined, opts...))
}

func (x *building) sgjoin(n Node) made {
	key := func(k, v str) (str, bool) {
		if v == nil {
			return k, true
		}
		return foreign(k, v)
	}
	l, r := x.in(n, 0).s, x.in(n, 1).g
	if n.Args[0] == "inner" {
		return ofStream(streams.JoinGlobal(l, r, key, joined))
	}
	return ofStream(streams.LeftJoinGlobal(l, r, key, leftJoined))
}

func (x *building) tjoin(n Node) made {
	l, r, opts := x.in(n, 0).t, x.in(n, 1).t, keptIf(n.Args[1])
	switch n.Args[0] {
	case "inner":
		return ofTable(streams.JoinTables(l, r, joined, opts...))
	case "left":
		return ofTable(streams.LeftJoinTables(l, r, leftJoined, opts...))
	default:
		return ofTable(streams.OuterJoinTables(l, r, outerJoined, opts...))
	}
}

func (x *building) fkjoin(n Node) made {
	l, r := x.in(n, 0).t, x.in(n, 1).t
	if n.Args[0] == "inner" {
		return ofTable(streams.JoinForeign(l, r, foreign, joined, kept("-")))
	}
	return ofTable(streams.LeftJoinForeign(l, r, foreign, leftJoined, kept("-")))
}
