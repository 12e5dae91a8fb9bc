package store

import (
	"cmp"
	"math"
	"slices"

	"github.com/tidwall/btree"
)

// minSegment is the least span of a segment. Java's RocksDB stores have the same.
const minSegment = 60_000

// Expiry says how long rows with a time live: they expire when the store has seen a time that is Retention or more later.
//
// Exactly expires each row at its time, as Java's in-memory stores do. Otherwise rows expire a segment at a time, as
// Java's RocksDB stores do: a range may still find rows that a segment, at least a minute long, keeps.
type Expiry struct {
	Retention int64
	Exactly   bool
}

func (e Expiry) segment() int64 { return max(e.Retention/2, minSegment) }

// span is the shape of what both windows and sessions are kept by: a key, a time that decides about expiry, and what tells
// rows of one key and time apart.
type span struct {
	key   string
	time  int64
	rest  int64
	value []byte
}

func byKey(a, b span) bool {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.time, b.time), cmp.Compare(a.rest, b.rest)) < 0
}

func byTime(a, b span) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.rest, b.rest), cmp.Compare(a.key, b.key))
}

// spanRows are rows with a time, in memory or on disk.
type spanRows interface {
	put(row span) (kept bool)
	get(key []byte, time, rest int64) []byte
	// fetch returns the rows of a key with from <= time <= to, by time.
	fetch(key []byte, from, to int64) []span
	// fetchAll returns the rows of all keys with from <= time <= to, by time, then by rest, then by key.
	fetchAll(from, to int64) []span
	oldest() int64
	alive() int64
}

// spans are rows with a time, in segments that are dropped whole. Within a segment rows are sorted by key; an index by
// time is kept where ranges over all keys are asked for often (emit on close).
type spans struct {
	expiry   Expiry
	observed int64
	segments btree.Map[int64, *btree.BTreeG[span]]
	times    *btree.BTreeG[span]
}

func newSpans(e Expiry, timeIndex bool) *spans {
	s := &spans{expiry: e, observed: -1}
	if timeIndex {
		s.times = btree.NewBTreeG(func(a, b span) bool { return byTime(a, b) < 0 })
	}
	return s
}

func (s *spans) oldest() int64 { return s.expiry.oldest(s.observed) }
func (s *spans) alive() int64  { return s.expiry.alive(s.observed) }

// oldest is the least time that a row may have to be found, when the highest time seen is observed, -1 before the first.
func (e Expiry) oldest(observed int64) int64 {
	if observed < 0 {
		return math.MinInt64
	}
	return observed - e.Retention + 1
}

// alive is the least time of a row whose segment is still there.
func (e Expiry) alive(observed int64) int64 {
	if observed < 0 || e.Exactly {
		return e.oldest(observed)
	}
	return segmentOf(observed-e.Retention, e.segment()) * e.segment()
}

// segmentOf rounds down for negative times, too.
func segmentOf(time, size int64) int64 {
	if time < 0 {
		return -1 - (-1-time)/size
	}
	return time / size
}

func (s *spans) put(row span) (kept bool) {
	s.observed = max(s.observed, row.time)
	s.expire()
	if row.time < s.alive() {
		return false
	}
	id := segmentOf(row.time, s.expiry.segment())
	segment, ok := s.segments.Get(id)
	if !ok {
		if row.value == nil {
			return true
		}
		segment = btree.NewBTreeG(byKey)
		s.segments.Set(id, segment)
	}
	if row.value == nil {
		segment.Delete(row)
		if s.times != nil {
			s.times.Delete(row)
		}
		return true
	}
	segment.Set(row)
	if s.times != nil {
		s.times.Set(row)
	}
	return true
}

func (s *spans) expire() {
	limit := segmentOf(s.alive(), s.expiry.segment())
	for {
		id, segment, ok := s.segments.Min()
		if !ok || id >= limit {
			return
		}
		s.segments.Delete(id)
		if s.times != nil {
			segment.Scan(func(row span) bool {
				s.times.Delete(row)
				return true
			})
		}
	}
}

func (s *spans) get(key []byte, time, rest int64) []byte {
	if time < s.oldest() {
		return nil
	}
	segment, ok := s.segments.Get(segmentOf(time, s.expiry.segment()))
	if !ok {
		return nil
	}
	row, _ := segment.Get(span{key: string(key), time: time, rest: rest})
	return row.value
}

func (s *spans) fetch(key []byte, from, to int64) (rows []span) {
	from = max(from, s.oldest())
	s.segments.Ascend(segmentOf(from, s.expiry.segment()), func(id int64, segment *btree.BTreeG[span]) bool {
		segment.Ascend(span{key: string(key), time: from, rest: math.MinInt64}, func(row span) bool {
			if row.key != string(key) || row.time > to {
				return false
			}
			rows = append(rows, row)
			return true
		})
		return id < segmentOf(to, s.expiry.segment())
	})
	return rows
}

func (s *spans) fetchAll(from, to int64) (rows []span) {
	if s.times != nil {
		s.times.Ascend(span{time: from, rest: math.MinInt64}, func(row span) bool {
			if row.time > to {
				return false
			}
			rows = append(rows, row)
			return true
		})
		return rows
	}
	s.segments.Ascend(segmentOf(from, s.expiry.segment()), func(id int64, segment *btree.BTreeG[span]) bool {
		segment.Scan(func(row span) bool {
			if from <= row.time && row.time <= to {
				rows = append(rows, row)
			}
			return true
		})
		return id < segmentOf(to, s.expiry.segment())
	})
	slices.SortFunc(rows, byTime)
	return rows
}

// A WindowRow is a row of a window store.
type WindowRow struct {
	Key   []byte
	Start int64
	Value []byte
}

// Window is rows by key and start of a window; with a sequence other than 0 a key and start may have several.
type Window interface {
	// Put sets a row; nil deletes it. It reports false for a row that has expired already.
	Put(key []byte, start int64, seq int32, value []byte) bool
	// Get returns the value of one window, nil where there is none or it has expired.
	Get(key []byte, start int64) []byte
	// Fetch returns the windows of a key that start in [from, to], by start.
	Fetch(key []byte, from, to int64) []WindowRow
	// FetchAll returns the windows of all keys that start in [from, to], by start and then by key.
	FetchAll(from, to int64) []WindowRow
}

// NewWindow returns a store in memory. timeIndex makes FetchAll fast.
func NewWindow(e Expiry, timeIndex bool) Window { return &window{newSpans(e, timeIndex)} }

type window struct{ rows spanRows }

func (w *window) Put(key []byte, start int64, seq int32, value []byte) bool {
	return w.rows.put(span{key: string(key), time: start, rest: int64(seq), value: value})
}

func (w *window) Get(key []byte, start int64) []byte { return w.rows.get(key, start, 0) }

func (w *window) Fetch(key []byte, from, to int64) []WindowRow {
	return windowRows(w.rows.fetch(key, from, to))
}

func (w *window) FetchAll(from, to int64) []WindowRow {
	return windowRows(w.rows.fetchAll(max(from, w.rows.oldest()), to))
}

func windowRows(rows []span) []WindowRow {
	out := make([]WindowRow, len(rows))
	for i, row := range rows {
		out[i] = WindowRow{[]byte(row.key), row.time, row.value}
	}
	return out
}

// A SessionRow is a row of a session store.
type SessionRow struct {
	Key        []byte
	Start, End int64
	Value      []byte
}

// Session is rows by key, end and start of a session. They expire by their end.
type Session interface {
	// Put sets a session; nil deletes it.
	Put(key []byte, start, end int64, value []byte)
	// Get returns the value of one session, nil where there is none.
	Get(key []byte, start, end int64) []byte
	// Find returns the sessions of a key that end at earliestEnd or later and start at latestStart or earlier, by end.
	Find(key []byte, earliestEnd, latestStart int64) []SessionRow
	// FindAll returns the sessions of all keys that end in [from, to], by end, then by start, then by key.
	FindAll(from, to int64) []SessionRow
}

// NewSession returns a store in memory. timeIndex makes FindAll fast.
func NewSession(e Expiry, timeIndex bool) Session { return &session{newSpans(e, timeIndex)} }

type session struct{ rows spanRows }

func (s *session) Put(key []byte, start, end int64, value []byte) {
	s.rows.put(span{key: string(key), time: end, rest: start, value: value})
}

func (s *session) Get(key []byte, start, end int64) []byte { return s.rows.get(key, end, start) }

func (s *session) Find(key []byte, earliestEnd, latestStart int64) (rows []SessionRow) {
	for _, row := range s.rows.fetch(key, earliestEnd, math.MaxInt64) {
		if row.rest <= latestStart {
			rows = append(rows, SessionRow{[]byte(row.key), row.rest, row.time, row.value})
		}
	}
	return rows
}

func (s *session) FindAll(from, to int64) (rows []SessionRow) {
	for _, row := range s.rows.fetchAll(max(from, s.rows.alive()), to) {
		rows = append(rows, SessionRow{[]byte(row.key), row.rest, row.time, row.value})
	}
	return rows
}
