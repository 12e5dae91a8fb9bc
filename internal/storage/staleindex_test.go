package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// regrown is a log whose first segment was sealed, cut in its middle, and sealed again with batches of other sizes. stale
// is what the segment's index files were before.
func regrown(t *testing.T) (fs *vfs.Memory, stale map[string][]byte, want []line) {
	t.Helper()
	rt, fs, d, l := fresh(t, smallSegments())
	grow := func(value string) {
		for segments := len(l.list()); len(l.list()) < segments+2; {
			mustAppend(t, l, 1, batch(1_700_000_000_000+l.End(), keyed{"k", fmt.Sprint(value, l.End())}))
			rt.run()
		}
	}
	grow("one")
	stale = map[string][]byte{}
	for _, name := range []string{indexName(l.list()[0].path), timeIndexName(l.list()[0].path)} {
		data, err := vfs.ReadFile(fs, name, 1<<20)
		if err != nil || len(data) == 0 {
			t.Fatal(name, err)
		}
		stale[name] = data
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil { // as any system may do at any time
			t.Fatal(err)
		}
		f.Release()
	}
	if _, err := l.Truncate(3); err != nil {
		t.Fatal(err)
	}
	grow("another of another size ")
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	return fs, stale, readAll(t, l, 300)
}

// What was cut off an index must not come back with a crash beside a log that has gone on in another way.
func TestEntriesForBatchesThatWereCutOffDoNotComeBack(t *testing.T) {
	fs, _, want := regrown(t)
	for seed := range uint64(100) {
		left := fs.Crash(rand.New(rand.NewPCG(seed, 0)))
		d := openDirectory(t, newStage(2), left)
		l, report := openLog(t, d, smallSegments())
		if report.Damaged || !slices.Equal(readAll(t, l, 300), want) {
			t.Fatalf("seed %d: %+v", seed, report)
		}
		for _, s := range l.list() {
			file, err := s.acquire()
			if err != nil {
				t.Fatal(err)
			}
			x, err := readIndexFiles(left, s.path, s.size.Load())
			if err != nil {
				t.Fatal(err)
			}
			for i := range x.len() {
				e := x.at(i)
				if last, err := lastOffsetAt(file, int64(e.position), s.size.Load()); err != nil || last != s.base+int64(e.last) {
					t.Fatalf("seed %d: %s has an entry for offset %d at %d: %d, %v", seed, s.path, s.base+int64(e.last), e.position, last, err)
				}
			}
			file.Release()
		}
	}
}

// Whatever an index file says, it is a hint: times of a segment come from the log where the index lies.
func TestAnIndexOfOtherBatchesIsNotBelieved(t *testing.T) {
	fs, stale, want := regrown(t)
	fs = fs.Clone()
	for name, data := range stale {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(len(data))); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	d := openDirectory(t, newStage(2), fs)
	l, report := openLog(t, d, smallSegments())
	if report.Damaged {
		t.Fatalf("%+v", report)
	}
	newest := want[len(want)-1]
	if found, ok, err := l.MaxTimestamp(l.End()); err != nil || !ok || found.Offset != newest.offset {
		t.Errorf("the newest record: %+v, %v, %v", found, ok, err)
	}
	for _, w := range want {
		if found, ok, err := l.OffsetForTimestamp(w.ms, l.End()); err != nil || !ok || found.Offset != w.offset {
			t.Errorf("%+v is found as %+v, %v, %v", w, found, ok, err)
		}
	}
	if _, err := l.DeleteExpired(newest.ms, l.End()); err != nil || l.Offline() || !strings.HasPrefix(want[0].value, "one") {
		t.Errorf("retention: %v, offline %v", err, l.Offline())
	}
	if got := readAll(t, l, 300); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
