package store

import (
	"math"
	"slices"
	"sort"
)

// Version is a value of a key and the time from which it was valid; a nil value is a deletion.
type Version struct {
	Time  int64
	Value []byte
}

// Versioned is the history of each key (KIP-889).
type Versioned interface {
	// Put says what a key's value is from time on. kept is false where time is too old, latest is true where the key has no
	// later version.
	Put(key, value []byte, time int64) (kept, latest bool)
	// Get returns the latest version, ok is false where the key does not exist or was deleted.
	Get(key []byte) (Version, bool)
	// GetAsOf returns the version that was valid at a time. What is older than the history is not found, unless it is still
	// the latest.
	GetAsOf(key []byte, time int64) (Version, bool)
}

// NewVersioned returns a store in memory that keeps history milliseconds of versions.
func NewVersioned(history int64) Versioned {
	return &versioned{history: history, observed: -1, keys: map[string][]Version{}}
}

// Each key's versions are sorted by time. A version is dropped when the next one is older than the history: then no
// time that may be asked for can hit it.
type versioned struct {
	history  int64
	observed int64
	keys     map[string][]Version
}

func (v *versioned) oldest() int64 {
	if v.observed < 0 {
		return math.MinInt64
	}
	return v.observed - v.history
}

func (v *versioned) Put(key, value []byte, time int64) (kept, latest bool) {
	if time < v.oldest() {
		return false, false
	}
	v.observed = max(v.observed, time)
	versions := v.keys[string(key)]
	i := sort.Search(len(versions), func(i int) bool { return versions[i].Time >= time })
	if i < len(versions) && versions[i].Time == time {
		versions[i].Value = value
	} else {
		versions = slices.Insert(versions, i, Version{time, value})
	}
	latest = i == len(versions)-1
	for len(versions) > 1 && versions[1].Time <= v.oldest() {
		versions = versions[1:]
	}
	if len(versions) == 1 && versions[0].Value == nil && versions[0].Time < v.oldest() {
		delete(v.keys, string(key))
		return true, latest
	}
	v.keys[string(key)] = versions
	return true, latest
}

func (v *versioned) Get(key []byte) (Version, bool) {
	versions := v.keys[string(key)]
	if len(versions) == 0 {
		return Version{}, false
	}
	last := versions[len(versions)-1]
	return last, last.Value != nil
}

func (v *versioned) GetAsOf(key []byte, time int64) (Version, bool) {
	versions := v.keys[string(key)]
	i := sort.Search(len(versions), func(i int) bool { return versions[i].Time > time }) - 1
	if i < 0 || versions[i].Value == nil {
		return Version{}, false
	}
	if time < v.oldest() && i != len(versions)-1 {
		return Version{}, false
	}
	return versions[i], true
}
