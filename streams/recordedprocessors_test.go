package streams_test

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// Processors, with every kind of store.

func init() { recorded["proc"] = func(b *streams.Builder, name string) { processing[name](b) } }

type (
	strRecord  = streams.Record[str, str]
	strContext = streams.Context[str, str]
)

// doing is a processor made of functions.
type doing struct {
	init func(c *strContext) error
	take func(c *strContext, r strRecord) error
	c    *strContext
}

func (d *doing) Init(c *strContext) error {
	d.c = c
	if d.init == nil {
		return nil
	}
	return d.init(c)
}

func (d *doing) Process(r strRecord) error { return d.take(d.c, r) }

func do(s *streams.Stream[str, str], take func(c *strContext, r strRecord) error, opts ...streams.Option) *streams.Stream[str, str] {
	return streams.Process(s, func() streams.Processor[str, str, str, str] { return &doing{take: take} }, opts...)
}

func withValue(r strRecord, v str) strRecord {
	r.Value, r.NullValue = v, v == nil
	return r
}

// storing forwards what use says of each record with a key.
func storing[R any](b *streams.Builder, open func(streams.StoreContext) R, use func(rows R, r strRecord) str, store streams.Option) {
	streams.Process(source(b), func() streams.Processor[str, str, str, str] {
		var rows R
		return &doing{
			init: func(c *strContext) error {
				rows = open(c)
				return nil
			},
			take: func(c *strContext, r strRecord) error {
				if r.Key == nil {
					return nil
				}
				return c.Forward(withValue(r, use(rows, r)))
			},
		}
	}, store).To(out)
}

// pieces are texts with commas between.
type pieces []string

func (l *pieces) add(parts ...any) { *l = append(*l, *plus(parts...)) }
func (l pieces) text() str         { return s(strings.Join(l, ",")) }

var (
	st       = keyed("st")
	windowSt = streams.Window("st", strs, strs).Retention(100 * time.Second)
	sessions = streams.Session("st", strs, strs).Retention(100 * time.Second)
	seen     = streams.KV("seen", strs, serde.Int64)
)

func next(rows *streams.KVRows[str, int64], key str) int64 {
	n, _ := rows.Get(key)
	rows.Put(key, n+1)
	return n + 1
}

func timed(v str, at time.Time, ok bool, none string) str {
	if !ok {
		return s(none)
	}
	return plus(v, "@", at.UnixMilli())
}

// lookup joins records with the rows of a store.
func lookup() streams.Processor[str, str, str, str] {
	var rows *streams.KVRows[str, str]
	return &doing{
		init: func(c *strContext) error {
			rows = st.Open(c)
			return nil
		},
		take: func(c *strContext, r strRecord) error {
			if r.Key == nil {
				return nil
			}
			row, _ := rows.Get(r.Key)
			return c.Forward(withValue(r, plus(r.Value, "+", row)))
		},
	}
}

// mirror keeps a global store.
type mirror struct{ rows *streams.KVRows[str, str] }

func (f *mirror) Init(c *streams.Context[struct{}, struct{}]) error {
	f.rows = st.Open(c)
	return nil
}

func (f *mirror) Process(r strRecord) error {
	switch {
	case r.Key == nil:
	case r.Value == nil:
		f.rows.Delete(r.Key)
	default:
		f.rows.Put(r.Key, plus("g:", r.Value))
	}
	return nil
}

// numbering appends how often a key was seen to values.
type numbering struct {
	rows *streams.KVRows[str, int64]
	c    *strContext
}

func (n *numbering) Init(c *strContext) error {
	n.rows, n.c = seen.Open(c), c
	return nil
}

func (n *numbering) Process(r strRecord) error {
	return n.c.Forward(withValue(r, plus(r.Value, "#", next(n.rows, r.Key))))
}

func (n *numbering) Transform(k str, row *str) (*str, error) {
	if row == nil || *row == nil {
		return nil, nil
	}
	v := plus(*row, "#", next(n.rows, k))
	return &v, nil
}

var processing = map[string]func(b *streams.Builder){
	"proc/rekeys": func(b *streams.Builder) {
		finish(do(source(b), func(c *strContext, r strRecord) error {
			if r.Value == nil {
				return nil
			}
			r.Key, r.NullKey = s((*r.Value)[1:]), false
			return c.Forward(r)
		}).WithSerdes(strs, strs).GroupByKey().Reduce(added, keyed("")))
	},
	"proc/forwards-to-one": func(b *streams.Builder) {
		from := do(source(b), func(c *strContext, r strRecord) error {
			if r.Value == nil {
				return c.ForwardTo("empty", r)
			}
			return c.ForwardTo("full", r)
		})
		streams.MapValues(from, func(str) str { return s("E") }, streams.Name("empty")).To(out)
		streams.MapValues(from, func(v str) str { return plus("F", v) }, streams.Name("full")).To(out)
	},
	"proc/headers": func(b *streams.Builder) {
		do(source(b), func(c *strContext, r strRecord) error {
			r.Headers = append(r.Headers, streams.Header{Key: "seen", Value: []byte{1, 2}})
			return c.Forward(r)
		}).WithSerdes(strs, strs).Repartition(streams.Name("rep")).To(out)
	},
	"proc/time": func(b *streams.Builder) {
		do(source(b), func(c *strContext, r strRecord) error {
			m, _ := c.Metadata()
			r = withValue(r, plus(c.StreamTime().UnixMilli(), " ", m.Offset))
			r.Time = r.Time.Add(ms(5))
			return c.Forward(r)
		}).To(out)
	},
	"proc/cancels": func(b *streams.Builder) {
		streams.Process(source(b), func() streams.Processor[str, str, str, str] {
			return &doing{
				take: func(*strContext, strRecord) error { return nil },
				init: func(c *strContext) error {
					calls, cancel := 0, func() {}
					cancel = c.Schedule(ms(20), streams.StreamTime, func(now time.Time) error {
						if calls++; calls == 3 {
							cancel()
						}
						return c.Forward(strRecord{Key: s("t"), Value: s("call " + strconv.Itoa(calls)), Time: now})
					})
					return nil
				},
			}
		}).To(out)
	},
	"proc/key-value-store": func(b *streams.Builder) {
		storing(b, st.Open, func(rows *streams.KVRows[str, str], r strRecord) str {
			var all pieces
			rows.Put(r.Key, r.Value)
			for k, v := range rows.Range(s("a"), s("b")) {
				all.add(k, v)
			}
			for k, v := range rows.Backward() {
				all.add(k, v)
			}
			return all.text()
		}, streams.Stores(st))
	},
	"proc/lru-store": func(b *streams.Builder) {
		newest := st.LRU(2)
		storing(b, newest.Open, func(rows *streams.KVRows[str, str], r strRecord) str {
			old, ok := rows.Get(r.Key)
			rows.Put(r.Key, r.Value)
			if !ok {
				old = s("none")
			}
			return old
		}, streams.Stores(newest))
	},
	"proc/timestamped-store": func(b *streams.Builder) {
		storing(b, st.Open, func(rows *streams.KVRows[str, str], r strRecord) str {
			old, at, ok := rows.GetTimed(r.Key)
			rows.PutTimed(r.Key, r.Value, time.UnixMilli(r.Time.UnixMilli()/2))
			return timed(old, at, ok, "none")
		}, streams.Stores(st))
	},
	"proc/versioned-store": func(b *streams.Builder) {
		versioned := st.Versioned(ms(30))
		storing(b, versioned.Open, func(rows *streams.KVRows[str, str], r strRecord) str {
			rows.PutTimed(r.Key, r.Value, r.Time)
			now, at, ok := rows.GetTimed(r.Key)
			before, since, was := rows.GetTimedAsOf(r.Key, r.Time.Add(-ms(10)))
			return plus(timed(now, at, ok, "-"), " ", timed(before, since, was, "-"))
		}, streams.Stores(versioned))
	},
	"proc/window-store": func(b *streams.Builder) {
		storing(b, windowSt.Open, func(rows *streams.WindowRows[str, str], r strRecord) str {
			var all pieces
			rows.Put(r.Key, r.Time, r.Value)
			for at, v := range rows.Fetch(r.Key, r.Time.Add(-ms(20)), r.Time.Add(ms(20))) {
				all.add(at.UnixMilli(), v)
			}
			for w, v := range rows.FetchAll(r.Time.Add(-ms(5)), r.Time.Add(ms(5))) {
				all.add(w.Key, w.Start.UnixMilli(), v)
			}
			slices.Sort(all) // Java's stores have different orders
			return all.text()
		}, streams.Stores(windowSt))
	},
	"proc/session-store": func(b *streams.Builder) {
		storing(b, sessions.Open, func(rows *streams.SessionRows[str, str], r strRecord) str {
			var all pieces
			rows.Put(streams.Windowed[str]{Key: r.Key, Start: r.Time, End: r.Time.Add(ms(5))}, r.Value)
			for w, v := range rows.Find(r.Key, r.Time.Add(-ms(20)), r.Time.Add(ms(10))) {
				all.add(windowName(w), v)
			}
			return all.text()
		}, streams.Stores(sessions))
	},
	"proc/values": func(b *streams.Builder) {
		keys := source(b).Filter(func(k, _ str) bool { return k != nil })
		numbered := streams.ProcessValues(keys, func() streams.Processor[str, str, str, str] { return &numbering{} }, streams.Stores(seen))
		finish(numbered.GroupByKey().Reduce(added, keyed("")))
	},
	"proc/transformValues": func(b *streams.Builder) {
		finish(streams.TransformTable(streams.TableFrom(b, in), func() streams.RowTransformer[str, str, str] { return &numbering{} },
			keyed("tv"), streams.Stores(seen)))
	},
	"proc/global-store": func(b *streams.Builder) {
		streams.GlobalStore(b, rght, st, func() streams.Processor[str, str, struct{}, struct{}] { return &mirror{} })
		streams.Process(streams.From(b, left), lookup).To(out)
	},
	"proc/read-only-store": func(b *streams.Builder) {
		streams.ReadOnlyStore(b, rght, st)
		streams.Process(streams.From(b, left), lookup, streams.Stores(st)).To(out)
	},
}
