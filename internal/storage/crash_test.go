package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// cut is what a power cut left behind, and what must and may be in it.
type cut struct {
	at      string
	fs      *vfs.Memory
	durable int64
	start   int64
	may     []line
}

// TestPowerCutAfterEveryWriteAndSync runs a workload, takes what a power cut would leave before each call that changes
// the disk, opens each of those, and finds all that was durable and nothing that was not written.
func TestPowerCutAfterEveryWriteAndSync(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for _, c := range livePowerCuts(t, seed) {
				checkCut(t, c, seed)
			}
		})
	}
}

func livePowerCuts(t *testing.T, seed uint64) []cut {
	chance := rand.New(rand.NewPCG(seed, 9))
	rt, fs := newStage(seed), vfs.NewMemory()
	o := smallSegments()
	o.RetentionMs = -1
	o.FileDeleteDelayMs = 0
	var l *Log
	var may []line
	var cuts []cut
	fs.BeforeChange(func(c vfs.Change) {
		at := cut{at: fmt.Sprintf("%d: %s %s", len(cuts), c.Op, c.Name), fs: fs.Crash(chance), may: may}
		if l != nil {
			at.durable, at.start = l.Durable(), l.LogStart()
		}
		cuts = append(cuts, at)
	})
	d := openDirectory(t, rt, fs)
	l, _ = openLog(t, d, o)
	epoch := int32(1)
	for step := range 60 {
		switch n := chance.IntN(20); {
		case n < 11:
			var appends []*Append
			for range 1 + chance.IntN(4) {
				offset := int64(len(may)) + l.base(may)
				records := []keyed{{"a", fmt.Sprint(step, string(make([]byte, chance.IntN(150))))}, {"b", "x"}}
				may = append(slices.Clip(may), line{offset, int64(step), "a", records[0].value, epoch}, line{offset + 1, int64(step) + 1, "b", "x", epoch})
				appends = append(appends, &Append{Batch: batch(int64(step), records...)})
			}
			if err := l.AppendAsLeader(epoch, int64(step), appends); err != nil {
				t.Fatal(err)
			}
			d.Flush(l)
		case n < 16:
			rt.run()
		case n < 17:
			if err := d.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		case n < 18 && l.End() > l.LogStart()+4:
			end, err := l.Truncate(l.End() - chance.Int64N(min(l.End()-l.LogStart(), 12)))
			if err != nil {
				t.Fatal(err)
			}
			may = slices.Clone(slices.DeleteFunc(slices.Clone(may), func(r line) bool { return r.offset >= end }))
			epoch++
		case n < 19 && l.Durable() > l.LogStart():
			if err := l.DeleteRecordsBefore(l.LogStart() + chance.Int64N(l.Durable()-l.LogStart())); err != nil {
				t.Fatal(err)
			}
			if err := d.RemoveDeleted(1e15); err != nil {
				t.Fatal(err)
			}
		default:
			rt.run()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			rt.run()
			d = openDirectory(t, rt, fs)
			l, _ = openLog(t, d, o)
		}
	}
	return cuts
}

// base is the offset of the first line, given that lines are dense.
func (l *Log) base(lines []line) int64 {
	if len(lines) == 0 {
		return l.End()
	}
	return lines[0].offset
}

func checkCut(t *testing.T, c cut, seed uint64) {
	t.Helper()
	rt := newStage(seed)
	d := openDirectory(t, rt, c.fs)
	l, report := openLog(t, d, smallSegments())
	if report.Damaged || l.Offline() {
		t.Fatalf("cut at %s: %+v", c.at, report)
	}
	if l.End() < c.durable {
		t.Fatalf("cut at %s: end %d, but %d was durable: %+v", c.at, l.End(), c.durable, report)
	}
	if l.LogStart() > c.start {
		t.Fatalf("cut at %s: log start %d was %d", c.at, l.LogStart(), c.start)
	}
	got, err := tryReadAll(l, 500)
	if err != nil {
		t.Fatalf("cut at %s: %v", c.at, err)
	}
	want := slices.DeleteFunc(slices.Clone(c.may), func(r line) bool { return r.offset < l.LogStart() || r.offset >= l.End() })
	if !slices.Equal(got, want) {
		t.Fatalf("cut at %s: start %d end %d durable %d\ngot  %v\nwant %v", c.at, l.LogStart(), l.End(), c.durable, got, want)
	}
	before := l.End()
	a := mustAppend(t, l, 100, batch(1, keyed{"z", "z"}))
	rt.run()
	if a.BaseOffset != before || l.Durable() != before+1 {
		t.Fatalf("cut at %s: appended at %d, durable %d", c.at, a.BaseOffset, l.Durable())
	}
}

// TestPowerCutDuringCompaction cuts the power at every step of a compaction: each key has its last value, and nothing
// that is gone comes back after that.
func TestPowerCutDuringCompaction(t *testing.T) {
	for seed := range uint64(6) {
		chance := rand.New(rand.NewPCG(seed, 11))
		rt, fs := newStage(seed), vfs.NewMemory()
		o := smallSegments()
		o.Compact, o.Delete = true, false
		d := openDirectory(t, rt, fs)
		l, _ := openLog(t, d, o)
		last := map[string]string{}
		for i := range 80 {
			key, value := fmt.Sprint(chance.IntN(10)), fmt.Sprint(i)
			last[key] = value
			mustAppend(t, l, 1, batch(int64(i), keyed{key, value}))
		}
		rt.run()
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		var crashes []cut
		fs.BeforeChange(func(c vfs.Change) { crashes = append(crashes, cut{at: c.Op + " " + c.Name, fs: fs.Crash(chance)}) })
		cleaned, err := l.Clean(100, l.End())
		if err != nil || cleaned.BytesAfter >= cleaned.BytesBefore || len(crashes) < 5 {
			t.Fatalf("%+v %v, %d crashes", cleaned, err, len(crashes))
		}
		crashes = append(crashes, cut{at: "the end", fs: fs.Crash(chance)})
		for _, c := range crashes {
			d := openDirectory(t, rt, c.fs)
			again, report := openLog(t, d, o)
			if report.Damaged || again.End() != 80 {
				t.Fatalf("cut at %s: %+v end %d", c.at, report, again.End())
			}
			lines, err := tryReadAll(again, 300)
			if err != nil {
				t.Fatalf("cut at %s: %v", c.at, err)
			}
			found, before := map[string]string{}, int64(-1)
			for _, r := range lines {
				if r.offset <= before {
					t.Fatalf("cut at %s: offset %d after %d", c.at, r.offset, before)
				}
				found[r.key], before = r.value, r.offset
			}
			if fmt.Sprint(found) != fmt.Sprint(last) {
				t.Fatalf("cut at %s: %v, want %v", c.at, found, last)
			}
		}
	}
}

// TestNothingIsLostAfterACompactionWithoutACheckpoint looks at a process that is killed between a compaction and the next
// checkpoint: the gaps that compaction left are no end of the log.
func TestNothingIsLostAfterACompactionWithoutACheckpoint(t *testing.T) {
	o := smallSegments()
	o.Compact = true
	_, fs, d, l := filled(t, o, 60)
	if cleaned, err := l.Clean(100, l.End()); err != nil || cleaned.Segments == 0 {
		t.Fatal(cleaned, err)
	}
	before := readAll(t, l, 500)
	if err := d.lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, report := openLog(t, openDirectory(t, newStage(2), fs), o)
	if after := readAll(t, again, 500); again.End() != 60 || !slices.Equal(before, after) || report.TruncatedBytes > 0 {
		t.Fatalf("ends at %d, %+v\n%v\n%v", again.End(), report, before, after)
	}
}

// TestCompactionWaitsForARecoveryPointOnDisk looks at a checkpoint that found the disk full: what it would have written
// does not count.
func TestCompactionWaitsForARecoveryPointOnDisk(t *testing.T) {
	o := smallSegments()
	o.Compact = true
	rt, memory := newStage(1), vfs.NewMemory()
	fs := vfs.NewFaulty(memory)
	d := openDirectory(t, rt, fs)
	l, _ := openLog(t, d, o)
	for i := range 60 {
		mustAppend(t, l, 0, batch(int64(i)*1000, keyed{"key", fmt.Sprintf("value %50d", i)}))
	}
	rt.run()
	fs.Add(vfs.Rule{Op: "create", Name: "recovery-point-offset-checkpoint.tmp", Err: vfs.ErrNoSpace})
	if err := d.Checkpoint(); err == nil {
		t.Fatal("the disk is full")
	}
	if cleaned, err := l.Clean(100, l.End()); err == nil || cleaned.Segments > 0 {
		t.Fatal(cleaned, err)
	}
	fs.Clear()
	if cleaned, err := l.Clean(100, l.End()); err != nil || cleaned.Segments == 0 {
		t.Fatal(cleaned, err)
	}
}
