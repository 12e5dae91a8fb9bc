package streams_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
	"github.com/gregorhq/gregor/streams/streamstest"
)

// The oracle is a dumb twin: it keeps the whole history and computes each result from its definition, again and again. What
// the engine does incrementally, out of order and with expiry has to come to the same.

// event is a record of either input. A value is a power of two, so that a sum says which values are in it.
type event struct {
	right bool
	key   string
	value int64
	null  bool
	time  int64
}

func (e event) String() string {
	return fmt.Sprintf("{%v %s=%d/%v@%d}", e.right, e.key, e.value, e.null, e.time)
}

// eventsOf reads a history out of fuzzed bytes: two for each event.
func eventsOf(data []byte) (all []event) {
	now := int64(0)
	for i := 0; i+1 < len(data) && len(all) < 60; i += 2 {
		a, b := data[i], data[i+1]
		now += int64(b % 8)
		if b%32 == 31 {
			now += 90
		}
		e := event{right: a&1 == 1, key: "abc"[a>>1%3 : a>>1%3+1], value: 1 << len(all), null: a>>5 == 7, time: now}
		if a>>3&3 == 3 {
			e.time = max(0, now-int64(b>>2))
		}
		all = append(all, e)
	}
	return all
}

// fuzz checks random histories, and is a fuzz target too.
func fuzz(f *testing.F, check func(t *testing.T, all []event)) {
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 20+random.IntN(100))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, eventsOf(data)) })
}

var (
	leftInts  = streams.NewTopic("left", serde.String, serde.Int64)
	rightInts = streams.NewTopic("right", serde.String, serde.Int64)
	intsOut   = streams.NewTopic("ints", serde.String, serde.Int64)
	textOut   = streams.NewTopic("text", serde.String, serde.String)
)

func drive(t *testing.T, build func(b *streams.Builder)) *streamstest.Driver {
	t.Helper()
	b := streams.NewBuilder()
	build(b)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return streamstest.New(t, topology, streams.TaskConfig{})
}

func send(t *testing.T, d *streamstest.Driver, e event) {
	t.Helper()
	topic := leftInts
	if e.right {
		topic = rightInts
	}
	in := streamstest.In(d, topic)
	in.SendRecord(streams.Record[string, int64]{Key: e.key, Value: e.value, Time: time.UnixMilli(e.time), NullValue: e.null})
}

func sum(_ string, v, sofar int64) int64   { return sofar + v }
func minus(_ string, v, sofar int64) int64 { return sofar - v }
func zero() int64                          { return 0 }

// windowOut prints "key@start/end", so that a table of windows is a table of strings.
func windowOut(t *streams.Table[streams.Windowed[string], int64]) {
	streams.ToStreamByKey(t, func(w streams.Windowed[string]) string {
		return fmt.Sprintf("%s@%d/%d", w.Key, w.Start.UnixMilli(), w.End.UnixMilli())
	}).To(intsOut)
}

// rowsOf applies updates to a table.
func rowsOf(table map[string]int64, updates []streams.Record[string, int64]) {
	for _, r := range updates {
		if r.NullValue {
			delete(table, r.Key)
		} else {
			table[r.Key] = r.Value
		}
	}
}

func sameRows(t *testing.T, all []event, got, want map[string]int64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("after %v\n got %v\nwant %v", all, got, want)
	}
}

// leftOnly is the history of one input without nulls.
func leftOnly(all []event) (lefts []event) {
	for _, e := range all {
		if !e.null {
			e.right = false
			lefts = append(lefts, e)
		}
	}
	return lefts
}

// Each window holds what came before its grace was over, whichever order it came in; on close, each result comes once.
func FuzzOracleTimeWindows(f *testing.F) {
	fuzz(f, func(t *testing.T, all []event) {
		all = leftOnly(all)
		for _, w := range []streams.TimeWindows{streams.Tumbling(ms(10)), streams.Tumbling(ms(16)).Grace(ms(7)), streams.Hopping(ms(20), ms(5)).Grace(ms(9))} {
			want, closed, now := map[string]int64{}, map[string]int64{}, int64(0)
			for _, e := range all {
				now = max(now, e.time)
				for s, end := range w.WindowsFor(time.UnixMilli(e.time)) {
					if end.UnixMilli() > now-w.GracePeriod().Milliseconds() {
						want[fmt.Sprintf("%s@%d/%d", e.key, s.UnixMilli(), end.UnixMilli())] += e.value
					}
				}
			}
			for k, v := range want {
				var end int64
				fmt.Sscanf(k[strings.Index(k, "/"):], "/%d", &end)
				if end <= now-w.GracePeriod().Milliseconds() {
					closed[k] = v
				}
			}
			d := drive(t, func(b *streams.Builder) {
				windowOut(streams.AggregateWindows(streams.From(b, leftInts).GroupByKey().Windows(w), zero, sum, streams.Window("", serde.String, serde.Int64)))
			})
			final := drive(t, func(b *streams.Builder) {
				g := streams.From(b, leftInts).GroupByKey().Windows(w).EmitOnClose()
				windowOut(streams.AggregateWindows(g, zero, sum, streams.Window("", serde.String, serde.Int64)))
			})
			held := drive(t, func(b *streams.Builder) {
				table := streams.AggregateWindows(streams.From(b, leftInts).GroupByKey().Windows(w), zero, sum, streams.Window("", serde.String, serde.Int64))
				windowOut(table.Suppress(streams.UntilWindowCloses(streams.Unbounded())))
			})
			for _, e := range all {
				send(t, d, e)
				send(t, final, e)
				send(t, held, e)
			}
			got := map[string]int64{}
			rowsOf(got, streamstest.Out(d, intsOut).Read())
			sameRows(t, all, got, want)
			for _, d := range []*streamstest.Driver{final, held} {
				got, results := map[string]int64{}, streamstest.Out(d, intsOut).Read()
				rowsOf(got, results)
				sameRows(t, all, got, closed)
				if len(results) != len(closed) {
					t.Fatalf("after %v: %d results for %d windows", all, len(results), len(closed))
				}
			}
		}
	})
}

// A session is records of a key without a longer gap between them than the inactivity gap.
func FuzzOracleSessions(f *testing.F) {
	fuzz(f, func(t *testing.T, all []event) {
		all = leftOnly(all)
		const gap = 6
		d := drive(t, func(b *streams.Builder) {
			g := streams.From(b, leftInts).GroupByKey().Sessions(streams.Sessions(ms(gap)).Grace(time.Hour))
			windowOut(streams.AggregateSessions(g, zero, sum, func(_ string, a, b int64) int64 { return a + b }, streams.Session("", serde.String, serde.Int64)))
		})
		got := map[string]int64{}
		for i, e := range all {
			send(t, d, e)
			rowsOf(got, streamstest.Out(d, intsOut).Read())
			sameRows(t, all[:i+1], got, sessionsOf(all[:i+1], gap))
		}
	})
}

func sessionsOf(all []event, gap int64) map[string]int64 {
	sorted := slices.Clone(all)
	sort.SliceStable(sorted, func(i, j int) bool {
		return sorted[i].key < sorted[j].key || sorted[i].key == sorted[j].key && sorted[i].time < sorted[j].time
	})
	want := map[string]int64{}
	for i := 0; i < len(sorted); {
		first, sum, j := sorted[i], int64(0), i
		for ; j < len(sorted) && sorted[j].key == first.key && (j == i || sorted[j].time-sorted[j-1].time <= gap); j++ {
			sum += sorted[j].value
		}
		want[fmt.Sprintf("%s@%d/%d", first.key, first.time, sorted[j-1].time)] = sum
		i = j
	}
	return want
}

// There is a sliding window that ends at each record, and one that starts after it if anything is in it; early records share
// the first. Each holds all records in it.
func FuzzOracleSlidingWindows(f *testing.F) {
	fuzz(f, func(t *testing.T, all []event) {
		all = leftOnly(all)
		const size = 12
		d := drive(t, func(b *streams.Builder) {
			g := streams.From(b, leftInts).GroupByKey().Sliding(streams.Sliding(ms(size)).Grace(time.Hour))
			windowOut(streams.AggregateWindows(g, zero, sum, streams.Window("", serde.String, serde.Int64)))
		})
		got := map[string]int64{}
		for i, e := range all {
			send(t, d, e)
			rowsOf(got, streamstest.Out(d, intsOut).Read())
			sameRows(t, all[:i+1], got, slidingOf(all[:i+1], size))
		}
	})
}

func slidingOf(all []event, size int64) map[string]int64 {
	want := map[string]int64{}
	for _, e := range all {
		for _, start := range []int64{max(0, e.time-size), e.time + 1} {
			sum := int64(0)
			for _, o := range all {
				if o.key == e.key && start <= o.time && o.time <= start+size {
					sum += o.value
				}
			}
			if sum > 0 {
				want[fmt.Sprintf("%s@%d/%d", e.key, start, start+size)] = sum
			}
		}
	}
	return want
}

// Every pair within the window joins once, at the later time; what has no partner in the end, or is too late to wait for
// one, comes alone.
func FuzzOracleStreamJoins(f *testing.F) {
	fuzz(f, func(t *testing.T, all []event) {
		const before, after = 9, 14
		w := streams.JoinWindow{Before: ms(before), After: ms(after), Grace: time.Hour}
		pair := func(l, r int64) string { return fmt.Sprintf("%d+%d", l, r) }
		for kind := range 3 {
			d := drive(t, func(b *streams.Builder) {
				l, r := streams.From(b, leftInts), streams.From(b, rightInts)
				switch kind {
				case 0:
					streams.Join(l, r, w, func(_ string, a, b int64) string { return pair(a, b) }).To(textOut)
				case 1:
					streams.LeftJoin(l, r, w, func(_ string, a int64, b *int64) string { return pair(a, orZero(b)) }).To(textOut)
				case 2:
					streams.OuterJoin(l, r, w, func(_ string, a, b *int64) string { return pair(orZero(a), orZero(b)) }).To(textOut)
				}
			})
			for _, e := range all {
				send(t, d, e)
			}
			for i := range int64(3) { // let time pass until everything is over
				send(t, d, event{key: "z", value: 0, time: 10_000_000 * (i + 1)})
			}
			var got []string
			for _, r := range streamstest.Out(d, textOut).Read() {
				if r.Key != "z" {
					got = append(got, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Time.UnixMilli()))
				}
			}
			want := pairsOf(all, before, after, kind)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("kind %d after %v\n got %v\nwant %v", kind, all, got, want)
			}
		}
	})
}

func orZero(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func pairsOf(all []event, before, after int64, kind int) (want []string) {
	now := int64(-1)
	for i, e := range all {
		now = max(now, e.time)
		if e.null {
			continue
		}
		early, late := before, after
		if e.right {
			early, late = after, before
		}
		partners, past := 0, 0
		for j, o := range all {
			if o.null || o.right == e.right || o.key != e.key || o.time < e.time-early || o.time > e.time+late {
				continue
			}
			partners++
			if j < i {
				past++
			}
			if !e.right {
				want = append(want, fmt.Sprintf("%s=%d+%d@%d", e.key, e.value, o.value, max(e.time, o.time)))
			}
		}
		wanted := kind == 2 || kind == 1 && !e.right
		if wanted && (partners == 0 || past == 0 && e.time+late < now) {
			alone := fmt.Sprintf("%s=%d+0@%d", e.key, e.value, e.time)
			if e.right {
				alone = fmt.Sprintf("%s=0+%d@%d", e.key, e.value, e.time)
			}
			want = append(want, alone)
		}
	}
	return want
}

// tables are the rows of both sides after a history.
func tablesOf(all []event) (l, r map[string]int64) {
	l, r = map[string]int64{}, map[string]int64{}
	for _, e := range all {
		side := l
		if e.right {
			side = r
		}
		if e.null {
			delete(side, e.key)
		} else {
			side[e.key] = e.value
		}
	}
	return l, r
}

// A joined table is, at any time, the join of the tables as they are.
func FuzzOracleTableJoins(f *testing.F) {
	add := func(_ string, a, b int64) int64 { return a + b }
	fuzz(f, func(t *testing.T, all []event) {
		for kind := range 6 {
			kept := []streams.Option{}
			if kind >= 3 {
				kept = append(kept, streams.KV("kept", serde.String, serde.Int64))
			}
			d := drive(t, func(b *streams.Builder) {
				l, r := streams.TableFrom(b, leftInts), streams.TableFrom(b, rightInts)
				var joined *streams.Table[string, int64]
				switch kind % 3 {
				case 0:
					joined = streams.JoinTables(l, r, add, kept...)
				case 1:
					joined = streams.LeftJoinTables(l, r, func(_ string, a int64, b *int64) int64 { return a + orZero(b) }, kept...)
				case 2:
					joined = streams.OuterJoinTables(l, r, func(_ string, a, b *int64) int64 { return orZero(a) + orZero(b) }, kept...)
				}
				joined.ToStream().To(intsOut)
			})
			got := map[string]int64{}
			for i, e := range all {
				send(t, d, e)
				rowsOf(got, streamstest.Out(d, intsOut).Read())
				want := map[string]int64{}
				l, r := tablesOf(all[:i+1])
				for _, k := range []string{"a", "b", "c"} {
					_, inL := l[k]
					_, inR := r[k]
					if inL && inR || inL && kind%3 > 0 || inR && kind%3 == 2 {
						want[k] = l[k] + r[k]
					}
				}
				sameRows(t, all[:i+1], got, want)
			}
		}
	})
}

// A foreign-key join is, at any time, each row on the left with the row on the right that it names.
func FuzzOracleForeignKeyJoins(f *testing.F) {
	named := func(v int64) (string, bool) {
		n := 0
		for ; v > 1; v >>= 1 {
			n++
		}
		return "abc"[n%3 : n%3+1], n%5 != 4
	}
	fuzz(f, func(t *testing.T, all []event) {
		for _, optional := range []bool{false, true} {
			d := drive(t, func(b *streams.Builder) {
				l, r := streams.TableFrom(b, leftInts), streams.TableFrom(b, rightInts)
				foreign := func(_ string, v int64) (string, bool) { return named(v) }
				if optional {
					streams.LeftJoinForeign(l, r, foreign, func(_ string, a int64, b *int64) int64 { return a + orZero(b) }).ToStream().To(intsOut)
				} else {
					streams.JoinForeign(l, r, foreign, func(_ string, a, b int64) int64 { return a + b }).ToStream().To(intsOut)
				}
			})
			got := map[string]int64{}
			for i, e := range all {
				send(t, d, e)
				rowsOf(got, streamstest.Out(d, intsOut).Read())
				want := map[string]int64{}
				l, r := tablesOf(all[:i+1])
				for k, v := range l {
					fk, ok := named(v)
					_, there := r[fk]
					switch {
					case ok && there:
						want[k] = v + r[fk]
					case optional:
						want[k] = v
					}
				}
				sameRows(t, all[:i+1], got, want)
			}
		}
	})
}

// A grouped table's aggregate is, at any time, the aggregate of the rows as they are, however it was reached: filters and
// computed tables between do not change that.
func FuzzOracleGroupedTables(f *testing.F) {
	fuzz(f, func(t *testing.T, all []event) {
		d := drive(t, func(b *streams.Builder) {
			odd := func(_ string, v int64) bool { return v%3 != 0 }
			rows := streams.MapTable(streams.TableFrom(b, leftInts).Filter(odd), func(_ string, v int64) int64 { return v * 2 })
			g := streams.GroupTable(rows, func(k string, v int64) (string, int64) { return fmt.Sprint(v % 5), v }).WithSerdes(serde.String, serde.Int64)
			streams.AggregateTable(g, zero, sum, minus, streams.KV("", serde.String, serde.Int64)).ToStream().To(intsOut)
		})
		got := map[string]int64{}
		for i, e := range all {
			e.right = false
			send(t, d, e)
			all[i] = e
			rowsOf(got, streamstest.Out(d, intsOut).Read())
			want := map[string]int64{}
			rows, _ := tablesOf(all[:i+1])
			for _, v := range rows {
				if v%3 != 0 {
					want[fmt.Sprint(v*2%5)] += v * 2
				}
			}
			maps.DeleteFunc(got, func(_ string, v int64) bool { return v == 0 }) // an empty group has a row of zero
			sameRows(t, all[:i+1], got, want)
		}
	})
}

// A record of a stream sees the table's row as it is, or with a versioned table as it was at the record's time.
func FuzzOracleStreamTableJoins(f *testing.F) {
	fuzz(f, func(t *testing.T, all []event) {
		for _, versioned := range []bool{false, true} {
			d := drive(t, func(b *streams.Builder) {
				rows := streams.KV("rows", serde.String, serde.Int64)
				if versioned {
					rows = rows.Versioned(time.Hour)
				}
				table := streams.TableFrom(b, rightInts, rows)
				streams.LeftJoinTable(streams.From(b, leftInts), table, func(_ string, v int64, row *int64) int64 { return v + orZero(row) }).To(intsOut)
			})
			for i, e := range all {
				send(t, d, e)
				got := streamstest.Out(d, intsOut).Read()
				if e.right || e.null {
					continue
				}
				row := int64(0)
				for _, o := range history(all[:i], e, versioned) {
					if row = o.value; o.null {
						row = 0
					}
				}
				if len(got) != 1 || got[0].Value != e.value+row {
					t.Fatalf("versioned %v after %v\n got %v\nwant %d", versioned, all[:i+1], got, e.value+row)
				}
			}
		}
	})
}

// history is the updates of e's row: in the order in which they came, or up to e's time in the order of time.
func history(all []event, e event, versioned bool) (rows []event) {
	for _, o := range all {
		if o.right && o.key == e.key && (!versioned || o.time <= e.time) {
			rows = append(rows, o)
		}
	}
	if versioned {
		sort.SliceStable(rows, func(i, j int) bool { return rows[i].time < rows[j].time })
	}
	return rows
}
