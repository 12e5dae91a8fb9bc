package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

func TestAppendedBatchesAreReadBackInOrder(t *testing.T) {
	_, _, _, l := fresh(t, smallSegments())
	var want []line
	for i := range 50 {
		a := mustAppend(t, l, 3, batch(int64(i), keyed{"a", fmt.Sprint(i)}, keyed{"b", fmt.Sprint(i)}))
		want = append(want, line{a.BaseOffset, int64(i), "a", fmt.Sprint(i), 3}, line{a.LastOffset, int64(i) + 1, "b", fmt.Sprint(i), 3})
	}
	if len(l.list()) < 3 {
		t.Fatalf("only %d segments", len(l.list()))
	}
	for _, bite := range []int{1, 200, 100_000} {
		if got := readAll(t, l, bite); !slices.Equal(got, want) {
			t.Fatalf("bite %d: got %v, want %v", bite, got, want)
		}
	}
}

func TestCleanRestartKeepsEverything(t *testing.T) {
	rt, fs, d, l := fresh(t, smallSegments())
	for i := range 20 {
		mustAppend(t, l, 3, produced(7, 0, int32(i*3), 3))
	}
	want := readAll(t, l, 1000)
	rt.run()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openDirectory(t, rt, fs.Crash(rt.rand))
	if !d.CleanStart() || d.Meta().BootSeq != 2 {
		t.Fatalf("clean %v, boot %d", d.CleanStart(), d.Meta().BootSeq)
	}
	l, report := openLog(t, d, smallSegments())
	if report.Unclean || report.TruncatedBytes > 0 || l.Durable() != 60 || l.Offline() {
		t.Fatalf("%+v durable %d", report, l.Durable())
	}
	if got := readAll(t, l, 1000); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	// The whole window of five is still there.
	for i := 15; i < 20; i++ {
		if a := appendOne(t, l, 3, produced(7, 0, int32(i*3), 3)); !a.Duplicate || a.BaseOffset != int64(i*3) {
			t.Fatalf("batch %d: %+v", i, a)
		}
	}
}

func TestFlushMakesDurableAndSaysSo(t *testing.T) {
	rt, fs, d, l := fresh(t, DefaultOptions())
	var told []int64
	l.OnDurable(func(end int64) { told = append(told, end) })
	mustAppend(t, l, 0, batch(1, keyed{"a", "1"}))
	mustAppend(t, l, 0, batch(1, keyed{"a", "2"}))
	if l.Durable() != 0 {
		t.Fatal("durable before any sync")
	}
	rt.run()
	if !slices.Equal(told, []int64{2}) || l.Durable() != 2 {
		t.Fatalf("told %v", told)
	}
	_ = d
	crashed := openDirectory(t, rt, fs.Crash(rt.rand))
	l, _ = openLog(t, crashed, DefaultOptions())
	if l.End() != 2 {
		t.Fatalf("end %d after a power cut", l.End())
	}
}

func TestReadRefusesOffsetsOutsideTheLog(t *testing.T) {
	_, _, _, l := fresh(t, smallSegments())
	for range 30 {
		mustAppend(t, l, 0, batch(1, keyed{"a", "some value or other"}))
	}
	if err := l.DeleteRecordsBefore(10); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, limit int64
		err         error
		empty       bool
	}{
		{9, 30, kafka.OffsetOutOfRange, true}, {31, 30, kafka.OffsetOutOfRange, true},
		{30, 30, nil, true}, {20, 20, nil, true}, {25, 20, nil, true}, {10, 30, nil, false}, {29, 30, nil, false},
	} {
		r, err := l.Read(c.from, 1<<20, c.limit, true)
		if err != c.err || (r.File == nil) != c.empty {
			t.Errorf("read %d below %d: %+v, %v", c.from, c.limit, r, err)
		}
		r.Release()
	}
	if r, err := l.Read(15, 10, 30, false); err != nil || r.File != nil {
		t.Errorf("a batch larger than asked for came: %+v, %v", r, err)
	}
	if r, err := l.Read(15, 1<<20, 17, false); err != nil || r.NextOffset != 17 {
		t.Errorf("limit in the middle: %+v, %v", r, err)
	}
}

func TestAppendsOfOneCallAreOneWrite(t *testing.T) {
	rt, fs := newStage(1), vfs.NewFaulty(vfs.NewMemory())
	d := openDirectory(t, rt, fs)
	l, _ := openLog(t, d, DefaultOptions())
	fs.Add(vfs.Rule{Op: "write", Name: "*.log", Skip: 1, Err: vfs.ErrNoSpace})
	var appends []*Append
	for i := range 100 {
		appends = append(appends, &Append{Batch: batch(1, keyed{"a", fmt.Sprint(i)})})
	}
	if err := l.AppendAsLeader(0, 1, appends); err != nil {
		t.Fatal(err)
	}
	if l.End() != 100 {
		t.Fatalf("end %d", l.End())
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	fs := vfs.OS(false)
	d, err := OpenDirectory(newStage(1), fs, t.TempDir(), DirectoryConfig{NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := openLog(t, d, DefaultOptions())
	appends := []*Append{{Batch: produced(7, 0, 0, 10)}, {Batch: batch(1, keyed{"a", "b"})}, {Batch: batch(1, keyed{"a", "b"})}}
	sequence := int32(0)
	allocations := testing.AllocsPerRun(2000, func() {
		b := appends[0].Batch
		setSequence(b, sequence)
		sequence += 10
		if err := l.AppendAsLeader(0, 1, appends); err != nil || appends[0].Err != kafka.None {
			t.Fatal(err, appends[0].Err)
		}
	})
	if allocations > 0 {
		t.Fatalf("%v allocations per append", allocations)
	}
}

func setSequence(b record.Batch, sequence int32) {
	b[53], b[54], b[55], b[56] = byte(sequence>>24), byte(sequence>>16), byte(sequence>>8), byte(sequence)
}

func TestTailReadAllocatesNothing(t *testing.T) {
	_, _, _, l := fresh(t, DefaultOptions())
	for range 100 {
		mustAppend(t, l, 0, batch(1, keyed{"a", "b"}))
	}
	if n := testing.AllocsPerRun(100, func() {
		r, err := l.Read(95, 1<<20, 99, true)
		if err != nil || r.NextOffset != 99 {
			t.Fatal(r, err)
		}
		r.Release()
	}); n > 0 {
		t.Fatalf("%v allocations per read", n)
	}
}

// twin is the log as anyone would first write it: a list.
type twin struct {
	start, end int64
	lines      []line
	batches    []int64 // ends
}

// TestLogEqualsItsTwin compares a log with a list under random operations and restarts.
func TestLogEqualsItsTwin(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compareWithTwin(t, seed) })
	}
}

func compareWithTwin(t *testing.T, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 7))
	rt, fs := newStage(seed), vfs.NewMemory()
	o := smallSegments()
	o.RetentionMs = -1
	d := openDirectory(t, rt, fs)
	l, _ := openLog(t, d, o)
	var w twin
	ms, epoch := int64(1_700_000_000_000), int32(1)
	for step := range 300 {
		switch n := chance.IntN(100); {
		case n < 60:
			var appends []*Append
			for range 1 + chance.IntN(8) {
				var records []keyed
				for range 1 + chance.IntN(5) {
					records = append(records, keyed{fmt.Sprint(chance.IntN(20)), fmt.Sprint(step, string(make([]byte, chance.IntN(80))))})
				}
				form := record.Plain()
				form.Codec = record.Codec(chance.IntN(5))
				ms += int64(chance.IntN(100)) - 20
				for i, r := range records {
					w.lines = append(w.lines, line{w.end + int64(i), ms + int64(i), r.key, r.value, epoch})
				}
				w.end += int64(len(records))
				w.batches = append(w.batches, w.end)
				appends = append(appends, &Append{Batch: batchOf(form, ms, records...)})
			}
			if err := l.AppendAsLeader(epoch, ms, appends); err != nil {
				t.Fatal(err)
			}
			d.Flush(l)
		case n < 65:
			rt.run()
		case n < 70:
			if err := d.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		case n < 75 && w.end > w.start:
			to := w.start + chance.Int64N(w.end-w.start)
			end := int64(0)
			for _, e := range w.batches {
				if e <= to {
					end = max(end, e)
				}
			}
			got, err := l.Truncate(to)
			if err != nil || got > to || got < min(end, to) {
				t.Fatalf("truncate %d: %d, %v; want %d", to, got, err, end)
			}
			w.cut(got)
			epoch++
		case n < 78 && w.end > w.start:
			w.start += chance.Int64N(w.end - w.start)
			if err := l.DeleteRecordsBefore(w.start); err != nil {
				t.Fatal(err)
			}
			if err := d.RemoveDeleted(ms + 1e9); err != nil {
				t.Fatal(err)
			}
		case n < 80:
			if err := l.Roll(ms); err != nil {
				t.Fatal(err)
			}
		case n < 83:
			rt.run()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			rt.run()
			d = openDirectory(t, rt, fs)
			var report Report
			if l, report = openLog(t, d, o); report.Unclean || report.TruncatedBytes > 0 {
				t.Fatalf("%+v", report)
			}
		case n < 86: // kill -9: nothing written is lost
			rt.run()
			fs = fs.Clone()
			d = openDirectory(t, rt, fs)
			before := l.LogStart()
			var report Report
			if l, report = openLog(t, d, o); report.TruncatedBytes > 0 || report.Damaged {
				t.Fatalf("%+v", report)
			}
			if l.LogStart() > before {
				t.Fatalf("log start %d was %d", l.LogStart(), before)
			}
			if err := l.DeleteRecordsBefore(w.start); err != nil {
				t.Fatal(err)
			}
		default:
			w.compare(t, l, chance, ms)
		}
	}
	w.compare(t, l, chance, ms)
}

func (w *twin) cut(end int64) {
	w.end, w.start = end, min(w.start, end)
	w.lines = slices.DeleteFunc(w.lines, func(r line) bool { return r.offset >= end })
	w.batches = slices.DeleteFunc(w.batches, func(e int64) bool { return e > end })
}

func (w *twin) compare(t *testing.T, l *Log, chance *rand.Rand, ms int64) {
	t.Helper()
	if l.End() != w.end || l.LogStart() != w.start {
		t.Fatalf("log %d-%d, twin %d-%d", l.LogStart(), l.End(), w.start, w.end)
	}
	w.lines = slices.DeleteFunc(w.lines, func(r line) bool { return r.offset < w.start })
	if got := readAll(t, l, 1+chance.IntN(3000)); !slices.Equal(got, w.lines) {
		t.Fatalf("got %v\nwant %v", got, w.lines)
	}
	for range 5 {
		at := ms - chance.Int64N(2000)
		limit := w.start + chance.Int64N(w.end-w.start+1)
		i := slices.IndexFunc(w.lines, func(r line) bool { return r.ms >= at && r.offset < limit })
		found, ok, err := l.OffsetForTimestamp(at, limit)
		if err != nil || ok != (i >= 0) || ok && (found.Offset != w.lines[i].offset || found.Timestamp != w.lines[i].ms || found.LeaderEpoch != w.lines[i].epoch) {
			t.Fatalf("time %d below %d: %+v %v %v, want %d", at, limit, found, ok, err, i)
		}
		largest := -1
		for i, r := range w.lines {
			if r.offset < limit && (largest < 0 || r.ms > w.lines[largest].ms) {
				largest = i
			}
		}
		found, ok, err = l.MaxTimestamp(limit)
		if err != nil || ok != (largest >= 0) || ok && found.Offset != w.lines[largest].offset {
			t.Fatalf("max timestamp below %d: %+v %v %v, want %d", limit, found, ok, err, largest)
		}
	}
	for _, r := range w.lines {
		if l.EpochAt(r.offset) != r.epoch {
			t.Fatalf("epoch at %d is %d, want %d", r.offset, l.EpochAt(r.offset), r.epoch)
		}
	}
}

// TestAnEpochWithoutRecordsIsForgottenByATruncationToTheEnd: a follower that led for a moment would else be told again and
// again to cut its log where it ends already.
func TestAnEpochWithoutRecordsIsForgottenByATruncationToTheEnd(t *testing.T) {
	_, _, _, l := fresh(t, DefaultOptions())
	mustAppend(t, l, 4, batch(1, keyed{"a", "v"}))
	if err := l.AssignEpochStart(5); err != nil {
		t.Fatal(err)
	}
	if l.LatestEpoch() != 5 {
		t.Fatal(l.LatestEpoch())
	}
	if end, err := l.Truncate(l.End()); err != nil || end != 1 {
		t.Fatal(end, err)
	}
	if l.LatestEpoch() != 4 {
		t.Errorf("epoch %d is still there", l.LatestEpoch())
	}
}
