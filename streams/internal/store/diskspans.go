package store

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/tidwall/btree"
)

// Window returns a window store. timeIndex makes FetchAll fast.
func (d *Disk) Window(name string, e Expiry, timeIndex bool) Window {
	return &window{newDiskSpans(d, name, e, timeIndex)}
}

// Session returns a session store. timeIndex makes FindAll fast.
func (d *Disk) Session(name string, e Expiry, timeIndex bool) Session {
	return &session{newDiskSpans(d, name, e, timeIndex)}
}

// diskSpans are spans on a disk: by segment, key, time and rest, so that a segment that expires is one range; and where they
// are asked for by time, once more by time, rest and key.
type diskSpans struct {
	expiry   Expiry
	observed *int64
	rows     *shelf
	times    *shelf // nil without an index
	segments btree.Set[int64]
}

func newDiskSpans(d *Disk, name string, e Expiry, timeIndex bool) *diskSpans {
	s := &diskSpans{expiry: e, observed: d.Number(name, "observed", -1), rows: d.shelf(name)}
	if timeIndex {
		s.times = d.shelf(name + "/times")
	}
	for at := int64(math.MinInt64); ; {
		found := false
		s.rows.scan(ordered(nil, at), nil, false, func(key, _ []byte) bool {
			at, found = parseOrdered(key), true
			return false
		})
		if !found {
			return s
		}
		s.segments.Insert(at)
		at++
	}
}

// ordered appends a number so that bytes are in the order of numbers.
func ordered(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)^1<<63) }

func parseOrdered(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func (s *diskSpans) oldest() int64 { return s.expiry.oldest(*s.observed) }
func (s *diskSpans) alive() int64  { return s.expiry.alive(*s.observed) }

func (s *diskSpans) segment(time int64) int64 { return segmentOf(time, s.expiry.segment()) }

func (s *diskSpans) rowKey(segment int64, key []byte, time, rest int64) []byte {
	b := make([]byte, 0, 24+len(key))
	return ordered(ordered(append(ordered(b, segment), key...), time), rest)
}

func timeKey(time, rest int64, key string) []byte {
	b := make([]byte, 0, 16+len(key))
	return append(ordered(ordered(b, time), rest), key...)
}

func (s *diskSpans) put(row span) (kept bool) {
	if row.time > *s.observed {
		*s.observed = row.time
		s.expire()
	}
	if row.time < s.alive() {
		return false
	}
	id := s.segment(row.time)
	if row.value != nil {
		s.segments.Insert(id)
	} else if !s.segments.Contains(id) {
		return true
	}
	s.rows.Put(s.rowKey(id, []byte(row.key), row.time, row.rest), row.value)
	if s.times != nil {
		s.times.Put(timeKey(row.time, row.rest, row.key), row.value)
	}
	return true
}

func (s *diskSpans) expire() {
	limit := s.segment(s.alive())
	if first, ok := s.segments.Min(); !ok || first >= limit {
		return
	}
	for id, ok := s.segments.Min(); ok && id < limit; id, ok = s.segments.Min() {
		s.segments.Delete(id)
	}
	s.rows.drop(ordered(nil, math.MinInt64), ordered(nil, limit))
	if s.times != nil {
		s.times.drop(ordered(nil, math.MinInt64), ordered(nil, limit*s.expiry.segment()))
	}
}

func (s *diskSpans) get(key []byte, time, rest int64) []byte {
	if time < s.oldest() || !s.segments.Contains(s.segment(time)) {
		return nil
	}
	return s.rows.Get(s.rowKey(s.segment(time), key, time, rest))
}

func (s *diskSpans) fetch(key []byte, from, to int64) (rows []span) {
	from = max(from, s.oldest())
	last := s.segment(to)
	s.segments.Ascend(s.segment(from), func(id int64) bool {
		if id > last {
			return false
		}
		low, high := s.rowKey(id, key, from, math.MinInt64), s.rowKey(id, key, to, math.MaxInt64)
		s.rows.scan(low, high, false, func(k, v []byte) bool {
			// Keys that begin like this one and are longer may lie between.
			if len(k) == len(low) && bytes.Equal(k[8:8+len(key)], key) {
				rows = append(rows, spanOf(k, v))
			}
			return true
		})
		return true
	})
	return rows
}

// spanOf reads a row: a key of rowKey and its value, which are the walk's.
func spanOf(k, v []byte) span {
	n := len(k) - 16
	return span{key: string(k[8:n]), time: parseOrdered(k[n:]), rest: parseOrdered(k[n+8:]), value: append([]byte{}, v...)}
}

func (s *diskSpans) fetchAll(from, to int64) (rows []span) {
	if s.times != nil {
		s.times.scan(ordered(nil, from), nil, false, func(k, v []byte) bool {
			time := parseOrdered(k)
			if time > to {
				return false
			}
			rows = append(rows, span{key: string(k[16:]), time: time, rest: parseOrdered(k[8:]), value: append([]byte{}, v...)})
			return true
		})
		return rows
	}
	last := s.segment(to)
	s.segments.Ascend(s.segment(from), func(id int64) bool {
		if id > last {
			return false
		}
		s.rows.scan(ordered(nil, id), after(ordered(nil, id)), false, func(k, v []byte) bool {
			if row := spanOf(k, v); row.time >= from && row.time <= to && parseOrdered(k) == id {
				rows = append(rows, row)
			}
			return true
		})
		return true
	})
	slices.SortFunc(rows, byTime)
	return rows
}
