package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// A versioned store knows what a plain list of all updates knows, as far back as its history goes.
func TestVersionsAreThoseOfAListOfUpdates(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		const history = 20
		s := NewVersioned(history)
		var all []Version
		now, observed := int64(0), int64(-1)
		for i := range 100 {
			now += random.Int64N(4)
			at := max(0, now-random.Int64N(30))
			var value []byte
			if random.IntN(4) > 0 {
				value = fmt.Append(nil, i)
			}
			kept, latest := s.Put([]byte("k"), value, at)
			if wantKept := observed < 0 || at >= observed-history; kept != wantKept {
				t.Fatalf("seed %d: kept %v at %d", seed, kept, at)
			}
			if kept {
				observed = max(observed, at)
				all = append(slices.DeleteFunc(all, func(v Version) bool { return v.Time == at }), Version{at, value})
				sort.Slice(all, func(a, b int) bool { return all[a].Time < all[b].Time })
				if latest != (all[len(all)-1].Time == at) {
					t.Fatalf("seed %d: latest %v at %d", seed, latest, at)
				}
			}
			for ask := max(0, observed-history); ask <= observed+2; ask++ {
				var want []byte
				for _, v := range all {
					if v.Time <= ask {
						want = v.Value
					}
				}
				if got, ok := s.GetAsOf([]byte("k"), ask); ok != (want != nil) || !bytes.Equal(got.Value, want) {
					t.Fatalf("seed %d: as of %d %q %v, want %q", seed, ask, got.Value, ok, want)
				}
			}
		}
	}
}

// Windows are found by key, start and sequence, in order, until they expire.
func TestWindowsAreThoseOfAListOfRows(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		retention := 1 + random.Int64N(200_000)
		w := NewWindow(Expiry{Retention: retention, Exactly: true}, seed%2 == 0)
		rows, now := map[string]WindowRow{}, int64(0)
		for i := range 200 {
			start := max(0, now-random.Int64N(3*retention))
			now += random.Int64N(retention/3 + 2)
			key := []byte{byte('a' + random.IntN(3))}
			w.Put(key, start, 0, fmt.Append(nil, i))
			rows[fmt.Sprintf("%s%020d", key, start)] = WindowRow{key, start, fmt.Append(nil, i)}
			observed := int64(0)
			for _, r := range rows {
				observed = max(observed, r.Start)
			}
			from, to := random.Int64N(now+1), now+random.Int64N(100)
			var want []WindowRow
			for _, r := range rows {
				if r.Start >= from && r.Start <= to && r.Start > observed-retention {
					want = append(want, r)
				}
			}
			compare(t, w.FetchAll(from, to), want, func(a, b WindowRow) bool {
				return a.Start < b.Start || a.Start == b.Start && bytes.Compare(a.Key, b.Key) < 0
			})
			mine := slices.DeleteFunc(slices.Clone(want), func(r WindowRow) bool { return !bytes.Equal(r.Key, key) })
			compare(t, w.Fetch(key, from, to), mine, func(a, b WindowRow) bool { return a.Start < b.Start })
		}
	}
}

func compare(t *testing.T, got, want []WindowRow, less func(a, b WindowRow) bool) {
	t.Helper()
	sort.Slice(want, func(i, j int) bool { return less(want[i], want[j]) })
	if !slices.EqualFunc(got, want, func(a, b WindowRow) bool {
		return bytes.Equal(a.Key, b.Key) && a.Start == b.Start && bytes.Equal(a.Value, b.Value)
	}) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
}

// What a walk sees does not change while the store does.
func TestWalksSeeTheStoreAsItWas(t *testing.T) {
	for _, backwards := range []bool{false, true} {
		s := NewKeyValue()
		for _, k := range []string{"b", "a", "d", "c", "e"} {
			s.Put([]byte(k), []byte(k))
		}
		var seen []byte
		for k := range s.Range([]byte("b"), []byte("d"), backwards) {
			seen = append(seen, k...)
			s.Put([]byte("bb"), []byte("new"))
			s.Put([]byte("c"), nil)
		}
		if want := map[bool]string{false: "bcd", true: "dcb"}[backwards]; string(seen) != want {
			t.Errorf("saw %s, want %s", seen, want)
		}
		if s.Len() != 5 || s.Get([]byte("c")) != nil {
			t.Error("the store did not change")
		}
	}
}
