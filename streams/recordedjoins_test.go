package streams_test

import (
	"strings"
	"time"

	"github.com/gregorhq/gregor/streams"
)

func init() {
	recorded["suppress"] = suppressed
	recorded["ss"] = streamStream
	recorded["tt"] = tableTable
	recorded["st"] = streamTable
	recorded["sg"] = streamGlobal
	recorded["fk"] = foreignKey
	recorded["punctuate"] = punctuated
}

func suppressed(b *streams.Builder, name string) {
	switch name {
	case "suppress/timelimit15":
		finish(streams.TableFrom(b, in).Suppress(streams.UntilTimeLimit(ms(15), streams.Unbounded())))
	case "suppress/maxrecords2-early":
		finish(streams.TableFrom(b, in).Suppress(streams.UntilTimeLimit(ms(1000), streams.MaxRecords(2).EmitEarlyWhenFull())))
	default:
		finishWindows(windowTable(b, name, false).Suppress(streams.UntilWindowCloses(streams.Unbounded())))
	}
}

func streamStream(b *streams.Builder, name string) {
	if name == "ss-self/10" {
		source := streams.From(b, in)
		w := streams.Within(ms(10))
		w.Grace = ms(5)
		streams.Join(source, source, w, joined).To(out)
		return
	}
	_, window, _ := strings.Cut(name, "/")
	w := streams.JoinWindow{Before: ms(number(window, "b")), After: ms(number(window, "a")), Grace: ms(number(window, "g"))}
	l, r := streams.From(b, left), streams.From(b, rght)
	switch {
	case strings.HasPrefix(name, "ss-inner"):
		streams.Join(l, r, w, joined).To(out)
	case strings.HasPrefix(name, "ss-left"):
		streams.LeftJoin(l, r, w, func(k, a str, b *str) str { return joined(k, a, missing(b)) }).To(out)
	default:
		streams.OuterJoin(l, r, w, func(k str, a, b *str) str { return joined(k, missing(a), missing(b)) }).To(out)
	}
}

func tableTable(b *streams.Builder, name string) {
	var ls, rs []streams.Option
	if strings.HasSuffix(name, "-versioned1000") {
		ls = append(ls, keyed("lv").Versioned(time.Second))
		rs = append(rs, keyed("rv").Versioned(time.Second))
	}
	l, r := streams.TableFrom(b, left, ls...), streams.TableFrom(b, rght, rs...)
	var kept []streams.Option
	if strings.HasSuffix(name, "-materialized") {
		kept = append(kept, keyed(""))
	}
	var t *streams.Table[str, str]
	switch {
	case strings.HasPrefix(name, "tt-inner"):
		t = streams.JoinTables(l, r, joined, kept...)
	case strings.HasPrefix(name, "tt-left"):
		t = streams.LeftJoinTables(l, r, func(k, a str, b *str) str { return joined(k, a, missing(b)) }, kept...)
	default:
		t = streams.OuterJoinTables(l, r, func(k str, a, b *str) str { return joined(k, missing(a), missing(b)) }, kept...)
	}
	if strings.HasSuffix(name, "-then-groupBy-aggregate") {
		g := streams.GroupTable(t, func(_, v str) (str, str) { return plus("g", len(*v)%2), v })
		t = streams.AggregateTable(g, emptyAgg, agg, subtract, keyed(""))
	}
	finish(t)
}

func streamTable(b *streams.Builder, name string) {
	var rs, opts []streams.Option
	if strings.Contains(name, "-versioned") {
		rs = append(rs, keyed("rv").Versioned(ms(number(name, "-versioned"))))
	}
	if strings.Contains(name, "-grace") {
		opts = append(opts, streams.Name("j"), streams.JoinGrace(ms(number(name, "-grace"))))
	}
	t := streams.TableFrom(b, rght, rs...)
	l := streams.From(b, left)
	if strings.HasPrefix(name, "st-inner") {
		streams.JoinTable(l, t, joined, opts...).To(out)
	} else {
		streams.LeftJoinTable(l, t, func(k, a str, b *str) str { return joined(k, a, missing(b)) }, opts...).To(out)
	}
}

func streamGlobal(b *streams.Builder, name string) {
	g := streams.GlobalTableFrom(b, rght)
	l := streams.From(b, left)
	key := func(k, v str) (str, bool) {
		switch {
		case v == nil:
			return k, true
		case strings.HasSuffix(*v, "0"):
			return nil, false
		}
		return k, true
	}
	if name == "sg-inner" {
		streams.JoinGlobal(l, g, key, joined).To(out)
	} else {
		streams.LeftJoinGlobal(l, g, key, func(k, a str, b *str) str { return joined(k, a, missing(b)) }).To(out)
	}
}

func foreignKey(b *streams.Builder, name string) {
	l, r := streams.TableFrom(b, left), streams.TableFrom(b, rght)
	foreign := func(_, v str) (str, bool) {
		last := (*v)[len(*v)-1]
		if last == '7' {
			return nil, false
		}
		return s("abc"[last%3 : last%3+1]), true
	}
	if name == "fk-inner" {
		finish(streams.JoinForeign(l, r, foreign, joined))
	} else {
		finish(streams.LeftJoinForeign(l, r, foreign, func(k, a str, b *str) str { return joined(k, a, missing(b)) }))
	}
}

// rows forwards what it gets, keeps it, and forwards all that it keeps every 25 ms.
type rows struct {
	clock streams.Clock
	st    streams.KVStore[str, str]
	kept  *streams.KVRows[str, str]
	c     *streams.Context[str, str]
}

func (p *rows) Init(c *streams.Context[str, str]) error {
	p.c, p.kept = c, p.st.Open(c)
	c.Schedule(ms(25), p.clock, func(now time.Time) error {
		for k, v := range p.kept.All() {
			if err := c.Forward(streams.Record[str, str]{Key: k, Value: plus("punct:", v), Time: now}); err != nil {
				return err
			}
		}
		return nil
	})
	return nil
}

func (p *rows) Process(r streams.Record[str, str]) error {
	if r.Key == nil {
		return nil
	}
	p.kept.Put(r.Key, r.Value)
	r.Value, r.NullValue = plus("in:", r.Value), false
	return p.c.Forward(r)
}

func punctuated(b *streams.Builder, name string) {
	clock := streams.StreamTime
	if strings.Contains(name, "wall_clock") {
		clock = streams.WallTime
	}
	st := keyed("st")
	streams.Process(streams.From(b, in), func() streams.Processor[str, str, str, str] {
		return &rows{clock: clock, st: st}
	}, streams.Stores(st)).To(out)
}
