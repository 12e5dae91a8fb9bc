package store

import (
	"bytes"
	"math"
)

// Versioned returns a store that keeps history milliseconds of versions.
func (d *Disk) Versioned(name string, history int64) Versioned {
	return &diskVersioned{history: history, observed: d.Number(name, "observed", -1), rows: d.shelf(name)}
}

// diskVersioned is versions on a disk, by key and time. A value has a byte before it: 0 for a deletion, 1 for a value.
type diskVersioned struct {
	history  int64
	observed *int64
	rows     *shelf
}

func (v *diskVersioned) oldest() int64 {
	if *v.observed < 0 {
		return math.MinInt64
	}
	return *v.observed - v.history
}

func versionKey(key []byte, time int64) []byte {
	return ordered(append(make([]byte, 0, len(key)+8), key...), time)
}

// walk visits the versions of a key with from <= time <= to.
func (v *diskVersioned) walk(key []byte, from, to int64, backwards bool, visit func(Version) bool) {
	v.rows.scan(versionKey(key, from), versionKey(key, to), backwards, func(k, value []byte) bool {
		if len(k) != len(key)+8 || !bytes.HasPrefix(k, key) {
			return true // a longer key that begins like this one
		}
		found := Version{Time: parseOrdered(k[len(key):])}
		if value[0] == 1 {
			found.Value = append([]byte{}, value[1:]...)
		}
		return visit(found)
	})
}

func (v *diskVersioned) Put(key, value []byte, time int64) (kept, latest bool) {
	if time < v.oldest() {
		return false, false
	}
	*v.observed = max(*v.observed, time)
	row := []byte{0}
	if value != nil {
		row = append([]byte{1}, value...)
	}
	v.rows.Put(versionKey(key, time), row)
	latest = true
	if time < math.MaxInt64 {
		v.walk(key, time+1, math.MaxInt64, false, func(Version) bool {
			latest = false
			return false
		})
	}
	v.trim(key)
	return true, latest
}

// trim deletes the versions of a key that no time in the history can hit, and a deletion that is all there is.
func (v *diskVersioned) trim(key []byte) {
	var before []Version // the last of them stays
	more := false
	v.walk(key, math.MinInt64, math.MaxInt64, false, func(version Version) bool {
		if more = len(before) > 0 && version.Time > v.oldest(); more {
			return false
		}
		before = append(before, version)
		return true
	})
	last := before[len(before)-1]
	for _, version := range before[:len(before)-1] {
		v.rows.Put(versionKey(key, version.Time), nil)
	}
	if !more && last.Value == nil && last.Time < v.oldest() {
		v.rows.Put(versionKey(key, last.Time), nil)
	}
}

func (v *diskVersioned) Get(key []byte) (latest Version, ok bool) {
	v.walk(key, math.MinInt64, math.MaxInt64, true, func(version Version) bool {
		latest = version
		return false
	})
	return latest, latest.Value != nil
}

func (v *diskVersioned) GetAsOf(key []byte, time int64) (Version, bool) {
	var found Version
	v.walk(key, math.MinInt64, time, true, func(version Version) bool {
		found = version
		return false
	})
	if found.Value == nil {
		return Version{}, false
	}
	if time < v.oldest() {
		if latest, _ := v.Get(key); latest.Time != found.Time {
			return Version{}, false
		}
	}
	return found, true
}
