package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// onDisk is a disk in a folder that is closed and opened again, or dies.
type onDisk struct {
	t      *testing.T
	folder string
	disk   *Disk
}

func (o *onDisk) open() {
	o.t.Helper()
	d, err := OpenDisk(o.folder)
	if err != nil {
		o.t.Fatal(err)
	}
	o.disk = d
}

func (o *onDisk) commit(offset int64) {
	o.t.Helper()
	if err := o.disk.Commit(map[string]int64{"log": offset}); err != nil {
		o.t.Fatal(err)
	}
}

// reopen closes the folder: what was not committed is lost.
func (o *onDisk) reopen() {
	o.t.Helper()
	if err := o.disk.Close(); err != nil {
		o.t.Fatal(err)
	}
	o.open()
}

func startDisk(t *testing.T) *onDisk {
	o := &onDisk{t: t, folder: t.TempDir()}
	o.open()
	t.Cleanup(func() {
		if err := o.disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func walked(s KeyValue, from, to []byte, backwards bool) (all []string) {
	for k, v := range s.Range(from, to, backwards) {
		all = append(all, fmt.Sprintf("%s=%s", k, v))
	}
	return all
}

// Rows on disk are those in memory, whether they are committed or not, and after the folder was opened again.
func TestRowsOnDiskAreThoseInMemory(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 4))
		o, twin := startDisk(t), NewKeyValue()
		s, other := o.disk.KeyValue("s"), o.disk.KeyValue("other")
		key := func() []byte { return fmt.Append(nil, random.IntN(30)) }
		for i := range 400 {
			k, v := key(), fmt.Append(nil, i)
			switch random.IntN(12) {
			case 0, 1, 2:
				v = nil
			case 3:
				o.commit(int64(i))
			case 4:
				o.commit(int64(i))
				o.reopen()
				s, other = o.disk.KeyValue("s"), o.disk.KeyValue("other")
				if at, ok := o.disk.Offset("log"); !ok || at != int64(i) {
					t.Fatalf("seed %d: offset %d %v, want %d", seed, at, ok, i)
				}
			}
			s.Put(k, v)
			twin.Put(k, v)
			other.Put(k, []byte("x"))
			from, to := key(), key()
			for _, backwards := range []bool{false, true} {
				if got, want := walked(s, from, to, backwards), walked(twin, from, to, backwards); !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d step %d: from %s to %s\n got %v\nwant %v", seed, i, from, to, got, want)
				}
				if got, want := walked(s, nil, nil, backwards), walked(twin, nil, nil, backwards); !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d step %d\n got %v\nwant %v", seed, i, got, want)
				}
			}
			if got, want := s.Get(from), twin.Get(from); !bytes.Equal(got, want) || s.Len() != twin.Len() {
				t.Fatalf("seed %d step %d: %s is %q, want %q; %d rows, want %d", seed, i, from, got, want, s.Len(), twin.Len())
			}
		}
	}
}

// What was not committed is lost with the process, and the offset says so.
func TestADiskIsWhatTheLastCommitLeft(t *testing.T) {
	o := startDisk(t)
	s := o.disk.KeyValue("s")
	s.Put([]byte("a"), []byte("1"))
	*o.disk.Number("s", "seq", 0) = 7
	o.commit(5)
	s.Put([]byte("a"), []byte("2"))
	*o.disk.Number("s", "seq", 0) = 8
	o.reopen()
	at, ok := o.disk.Offset("log")
	if v := o.disk.KeyValue("s").Get([]byte("a")); string(v) != "1" || at != 5 || !ok || *o.disk.Number("s", "seq", 0) != 7 {
		t.Errorf("a is %q, the offset %d %v, the number %d", v, at, ok, *o.disk.Number("s", "seq", 0))
	}
}

// Rows that come from a changelog go to the database in batches, and are there at once; a crash in the middle leaves the offset as
// it was.
func TestRestoringGoesOnWhereItBegan(t *testing.T) {
	o := startDisk(t)
	s := o.disk.KeyValue("s")
	if err := o.disk.Restoring(); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 100_000)
	for i := range 100 {
		s.Put(fmt.Append(nil, i), big)
	}
	if o.disk.restoring.Len() > restoreStep || o.disk.dirty > 0 {
		t.Errorf("%d bytes in the batch, %d in memory", o.disk.restoring.Len(), o.disk.dirty)
	}
	if !bytes.Equal(s.Get([]byte("99")), big) {
		t.Error("what was restored last is not there")
	}
	o.reopen()
	if _, ok := o.disk.Offset("log"); ok {
		t.Error("there is an offset, but nothing was committed")
	}
	s = o.disk.KeyValue("s")
	if err := o.disk.Restoring(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		s.Put(fmt.Append(nil, i), []byte("small"))
	}
	o.commit(100)
	o.reopen()
	if s = o.disk.KeyValue("s"); s.Len() != 100 || string(s.Get([]byte("0"))) != "small" {
		t.Errorf("%d rows", s.Len())
	}
}

// Too many uncommitted rows go to the database before their commit.
func TestUncommittedRowsTakeBoundedMemory(t *testing.T) {
	o := startDisk(t)
	s := o.disk.KeyValue("s")
	big := bytes.Repeat([]byte("x"), 100_000)
	for i := range 2 * mostDirty / len(big) {
		s.Put(fmt.Append(nil, i), big)
		if o.disk.dirty > mostDirty {
			t.Fatalf("%d bytes in memory", o.disk.dirty)
		}
	}
	if o.disk.empty {
		t.Error("nothing was written")
	}
}

// Windows and sessions on disk are those in memory, with the same expiry.
func TestWindowsOnDiskAreThoseInMemory(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 5))
		retention := 1 + random.Int64N(200_000)
		e := Expiry{Retention: retention, Exactly: seed%2 == 0}
		o, index := startDisk(t), seed%4 < 2
		w, twin := o.disk.Window("w", e, index), NewWindow(e, index)
		ss, twins := o.disk.Session("ss", e, index), NewSession(e, index)
		now := int64(0)
		for i := range 300 {
			if random.IntN(20) == 0 {
				o.commit(int64(i))
			}
			if random.IntN(40) == 0 {
				o.commit(int64(i))
				o.reopen()
				w, ss = o.disk.Window("w", e, index), o.disk.Session("ss", e, index)
			}
			now += random.Int64N(retention/3 + 2)
			start, seq := max(0, now-random.Int64N(3*retention)), int32(random.IntN(2))
			key, value := bytes.Repeat([]byte("a"), 1+random.IntN(3)), fmt.Append(nil, i)
			if random.IntN(5) == 0 {
				value = nil
			}
			if got, want := w.Put(key, start, seq, value), twin.Put(key, start, seq, value); got != want {
				t.Fatalf("seed %d step %d: kept %v", seed, i, got)
			}
			ss.Put(key, start, start+5, value)
			twins.Put(key, start, start+5, value)
			from := random.Int64N(now + 1)
			to := from + random.Int64N(2*retention)
			same(t, seed, i, w.Fetch(key, from, to), twin.Fetch(key, from, to))
			same(t, seed, i, w.FetchAll(from, to), twin.FetchAll(from, to))
			same(t, seed, i, ss.Find(key, from, to), twins.Find(key, from, to))
			same(t, seed, i, ss.FindAll(from, to), twins.FindAll(from, to))
			same(t, seed, i, string(w.Get(key, start)), string(twin.Get(key, start)))
			same(t, seed, i, string(ss.Get(key, start, start+5)), string(twins.Get(key, start, start+5)))
		}
	}
}

func same[T any](t *testing.T, seed uint64, step int, got, want T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("seed %d step %d\n got %v\nwant %v", seed, step, got, want)
	}
}

// Versions on disk are those in memory.
func TestVersionsOnDiskAreThoseInMemory(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 6))
		o := startDisk(t)
		v, twin := o.disk.Versioned("v", 20), NewVersioned(20)
		now := int64(0)
		for i := range 300 {
			if random.IntN(40) == 0 {
				o.commit(int64(i))
				o.reopen()
				v = o.disk.Versioned("v", 20)
			}
			now += random.Int64N(4)
			at := max(0, now-random.Int64N(30))
			key, value := bytes.Repeat([]byte("a"), 1+random.IntN(3)), fmt.Append(nil, i)
			if random.IntN(4) == 0 {
				value = nil
			}
			kept, latest := v.Put(key, value, at)
			twinKept, twinLatest := twin.Put(key, value, at)
			same(t, seed, i, fmt.Sprint(kept, latest), fmt.Sprint(twinKept, twinLatest))
			got, ok := v.Get(key)
			want, there := twin.Get(key)
			same(t, seed, i, fmt.Sprint(ok, ok && got.Time == want.Time && bytes.Equal(got.Value, want.Value)), fmt.Sprint(there, there))
			for ask := max(0, now-30); ask <= now+2; ask++ {
				got, ok := v.GetAsOf(key, ask)
				want, there := twin.GetAsOf(key, ask)
				same(t, seed, i, fmt.Sprint(ok, got), fmt.Sprint(there, want))
			}
		}
	}
}
