package storage

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

func filled(t *testing.T, o Options, batches int) (*stage, *vfs.Memory, *Directory, *Log) {
	t.Helper()
	rt, fs, d, l := fresh(t, o)
	for i := range batches {
		mustAppend(t, l, 0, batch(int64(i)*1000, keyed{"key", fmt.Sprintf("value %50d", i)}))
	}
	rt.run()
	return rt, fs, d, l
}

func TestRetentionByTime(t *testing.T) {
	o := smallSegments()
	o.RetentionMs = 30_000
	_, _, _, l := filled(t, o, 60)
	segments := len(l.list())
	n, err := l.DeleteExpired(60_000, 60)
	if err != nil || n == 0 || len(l.list()) != segments-n || l.LogStart() != l.list()[0].base {
		t.Fatal(n, err)
	}
	// A segment goes when its newest record is too old: all that is left is within 30 seconds, but for one segment.
	if l.LogStart() > 30 || l.LogStart() < 15 {
		t.Fatalf("log starts at %d", l.LogStart())
	}
	if n, err := l.DeleteExpired(1e9, 40); err != nil || l.LogStart() > 40 {
		t.Fatalf("%d segments %v, log start %d above the high watermark", n, err, l.LogStart())
	}
	if _, err := l.DeleteExpired(1e9, 60); err != nil || l.LogStart() != 60 || l.End() != 60 || l.Size() != 0 {
		t.Fatalf("start %d end %d size %d %v", l.LogStart(), l.End(), l.Size(), err)
	}
	if a := appendOne(t, l, 0, batch(1, keyed{"a", "b"})); a.BaseOffset != 60 {
		t.Fatalf("%+v", a)
	}
}

func TestRetentionBySize(t *testing.T) {
	o := smallSegments()
	o.RetentionBytes = 3000
	_, fs, d, l := filled(t, o, 60)
	before := l.Size()
	if _, err := l.DeleteExpired(1, 60); err != nil || l.Size() > 4000 || l.Size() < 3000 {
		t.Fatalf("size %d of %d, %v", l.Size(), before, err)
	}
	if err := d.RemoveDeleted(1e15); err != nil {
		t.Fatal(err)
	}
	names, _ := fs.List("/data/orders-0")
	logs := slices.DeleteFunc(names, func(n string) bool { _, ok := parseSegmentName(n); return !ok })
	if len(logs) != len(l.list()) {
		t.Fatalf("%v, %d segments", logs, len(l.list()))
	}
}

func TestReadersKeepWhatIsDeletedUnderThem(t *testing.T) {
	o := smallSegments()
	o.FileDeleteDelayMs = 0
	_, _, d, l := filled(t, o, 60)
	r, err := l.Read(0, 500, 60, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.DeleteRecordsBefore(60); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveDeleted(1e15); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, r.Size)
	if n, _ := r.ReadAt(data, 0); n != r.Size || record.Batch(data).CRC() != record.Batch(data[:record.Batch(data).Size()]).ComputeCRC() {
		t.Fatal("bytes of a range are gone")
	}
	r.Release()
}

func TestHousekeepingLeavesAClosedDirectoryAlone(t *testing.T) {
	o := smallSegments()
	o.RetentionMs = 30_000
	_, fs, d, l := filled(t, o, 60)
	if n, err := l.DeleteExpired(60_000, 60); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	_ = d.RemoveDeleted(0) // from now on the removal is covered
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Another process has the directory now. Passes that began before come to their ends.
	checkpoint := "/data/" + recoveryPointFile
	if err := fs.Remove(checkpoint); err != nil {
		t.Fatal(err)
	}
	before, _ := fs.List("/data/orders-0")
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveDeleted(1e15); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Size(checkpoint); err == nil {
		t.Error("a checkpoint was written")
	}
	if after, _ := fs.List("/data/orders-0"); !slices.Equal(before, after) {
		t.Errorf("files were removed: %q, then %q", before, after)
	}
}

func TestSegmentsRollByTime(t *testing.T) {
	o := DefaultOptions()
	o.SegmentMs = 10_000
	_, _, _, l := filled(t, o, 35)
	if n := len(l.list()); n != 4 {
		t.Fatalf("%d segments", n)
	}
}

func TestDeletedLogsAreGoneAndTheirNameIsFree(t *testing.T) {
	rt, fs, d, l := filled(t, smallSegments(), 20)
	if err := d.DeleteLog(l); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(0, 1, 1, true); err != kafka.KafkaStorageError {
		t.Fatal(err)
	}
	l, report, err := d.OpenLog(orders, kafka.TopicID{7}, smallSegments())
	if err != nil || l.End() != 0 || report.Damaged {
		t.Fatal(err, report)
	}
	mustAppend(t, l, 0, batch(1, keyed{"a", "b"}))
	rt.run()
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveDeleted(rt.now.UnixMilli() + 60_000); err != nil {
		t.Fatal(err)
	}
	names, _ := fs.List("/data")
	if len(slices.DeleteFunc(names, func(n string) bool { return n[len(n)-1] != '/' })) != 1 {
		t.Fatal(names)
	}
	found, err := d.Find()
	if err != nil || !slices.Equal(found, []Found{{orders, kafka.TopicID{7}}}) || len(readAll(t, l, 10)) != 1 {
		t.Fatal(found, err)
	}
}

func TestEpochsAnswerAsKafkaDoes(t *testing.T) {
	_, _, _, l := fresh(t, smallSegments())
	for i := range 30 {
		mustAppend(t, l, []int32{2, 4, 4}[i/10], batch(1, keyed{"a", "b"}))
	}
	if err := l.AssignEpochStart(7); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		asked, found int32
		end          int64
	}{{-1, -1, -1}, {0, 0, 0}, {2, 2, 10}, {3, 2, 10}, {4, 4, 30}, {5, 4, 30}, {7, 7, 30}, {8, -1, -1}} {
		if found, end := l.EndOffsetForEpoch(c.asked); found != c.found || end != c.end {
			t.Errorf("epoch %d: %d, %d", c.asked, found, end)
		}
	}
	if err := l.AppendAsLeader(4, 1, []*Append{{Batch: batch(1, keyed{"a", "b"})}}); err != kafka.NotLeaderOrFollower {
		t.Errorf("an epoch that is over: %v", err)
	}
}

func TestFollowersWriteWhatTheLeaderNumbered(t *testing.T) {
	_, _, _, leader := filled(t, smallSegments(), 30)
	_, _, _, l := fresh(t, smallSegments())
	var batches []record.Batch
	for from := int64(0); from < 30; {
		r, err := leader.Read(from, 700, 30, true)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, r.Size)
		if _, err := r.ReadAt(data, 0); err != nil {
			t.Fatal(err)
		}
		r.Release()
		record.Split(data, func(b record.Batch) error { batches = append(batches, b); return nil })
		from = r.NextOffset
	}
	if err := l.AppendAsFollower(1, batches); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(readAll(t, l, 1000), readAll(t, leader, 1000)) {
		t.Fatal("the copies differ")
	}
	if err := l.AppendAsFollower(1, batches[:1]); err == nil || l.End() != 30 {
		t.Fatal("took a batch twice")
	}
	if err := l.Restart(100); err != nil || l.LogStart() != 100 || l.End() != 100 || l.Size() != 0 {
		t.Fatal(err, l.End())
	}
}

func TestCompactionKeepsTheLastOfEachKey(t *testing.T) {
	o := smallSegments()
	o.Compact, o.Delete, o.DeleteRetentionMs = true, false, 1000
	rt, fs, d, l := fresh(t, o)
	mustAppend(t, l, 0, batch(1, keyed{"gone", "1"}, keyed{"stays", "1"}))
	mustAppend(t, l, 0, batch(1, keyed{"gone", "-"}))
	for i := range 40 {
		form := record.Plain()
		form.Codec = record.Codec(i % 5)
		mustAppend(t, l, 0, batchOf(form, 10, keyed{fmt.Sprint(i % 3), fmt.Sprint(i)}, keyed{"x", fmt.Sprint(i)}))
	}
	mustAppend(t, l, 0, produced(7, 0, 0, 2)) // its keys come again
	mustAppend(t, l, 0, batch(1, keyed{"k0", "later"}, keyed{"k1", "later"}))
	if err := l.Roll(1); err != nil {
		t.Fatal(err)
	}
	rt.run()
	if ratio, due := l.CleanableRatio(100, l.End()); ratio != 1 || !due {
		t.Fatal(ratio, due)
	}
	end := l.End()
	cleaned, err := l.Clean(100, end)
	if err != nil || cleaned.UpTo != end {
		t.Fatalf("%+v %v", cleaned, err)
	}
	values := func(lines []line) map[string]string {
		m := map[string]string{}
		for _, r := range lines {
			if _, twice := m[r.key]; twice {
				t.Fatalf("key %s is there twice", r.key)
			}
			m[r.key] = r.value
		}
		return m
	}
	want := map[string]string{"gone": "-", "stays": "1", "0": "39", "1": "37", "2": "38", "x": "39", "k0": "later", "k1": "later"}
	if got := values(readAll(t, l, 100)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
	if ratio, due := l.CleanableRatio(100, l.End()); ratio != 0 || due {
		t.Fatal(ratio, due)
	}
	// The tombstone goes when its time has come, and not before.
	for _, now := range []int64{1099, 1100} {
		mustAppend(t, l, 0, batch(1, keyed{"y", "1"}))
		if err := l.Roll(1); err != nil {
			t.Fatal(err)
		}
		rt.run()
		if _, err := l.Clean(now, l.End()); err != nil {
			t.Fatal(err)
		}
		if _, there := values(readAll(t, l, 100))["gone"]; there != (now < 1100) {
			t.Fatalf("at %d the tombstone is there: %v", now, there)
		}
	}
	// Offsets did not move, and the producer is known even after the log alone has been asked.
	if l.End() != end+2 {
		t.Fatal(l.End())
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	lost := fs.Clone()
	names, _ := lost.List("/data/orders-0")
	for _, name := range names {
		if _, ok := parseSnapshotName(name); ok {
			lost.Remove("/data/orders-0/" + name)
		}
	}
	again, report := openLog(t, openDirectory(t, rt, lost), o)
	if report.Damaged || again.End() != l.End() {
		t.Fatalf("%+v end %d", report, again.End())
	}
	if a := appendOne(t, again, 0, produced(7, 0, 0, 2)); !a.Duplicate {
		t.Fatalf("the producer's last batch is forgotten: %+v", a)
	}
}

func TestIndexAnswersEqualAScan(t *testing.T) {
	_, _, _, l := filled(t, smallSegments(), 200)
	for _, s := range l.list() {
		file, err := s.acquire()
		if err != nil {
			t.Fatal(err)
		}
		size := s.size.Load()
		for offset := s.base; offset < s.base+30; offset++ {
			var want spot
			w := newWalker(file, 0, size)
			for {
				b, err := w.peek()
				if err != nil {
					want = spot{size, offset}
					break
				}
				if b.LastOffset() >= offset {
					want = spot{w.position, b.BaseOffset()}
					break
				}
				w.skip(b)
			}
			w.close()
			tail := s.tail.Load()
			for _, with := range []*ring{tail, nil} {
				s.tail.Store(with)
				if got, err := s.holding(file, offset, size); err != nil || got != want {
					t.Fatalf("offset %d: %+v %v, want %+v", offset, got, err, want)
				}
			}
			s.tail.Store(tail)
		}
		file.Release()
	}
}

func TestInspectShowsWhatIsOnDisk(t *testing.T) {
	rt, fs, d, l := fresh(t, smallSegments())
	for i := range 20 {
		mustAppend(t, l, 0, produced(7, 0, int32(i), 1))
	}
	rt.run()
	first := l.list()[0]
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	positions := map[int64]int64{}
	if err := InspectLog(fs, first.path+".log", func(at int64, b record.Batch) error {
		positions[b.LastOffset()] = at
		return nil
	}); err != nil || len(positions) == 0 {
		t.Fatal(err)
	}
	entries := 0
	if err := InspectIndex(fs, first.path+".index", func(offset, position int64) error {
		entries++
		if positions[offset] != position {
			return fmt.Errorf("%d is at %d, not %d", offset, positions[offset], position)
		}
		return nil
	}); err != nil || entries == 0 {
		t.Fatal(err, entries)
	}
	times := 0
	if err := InspectTimeIndex(fs, first.path+".timeindex", func(ms, offset int64) error { times++; return nil }); err != nil || times == 0 {
		t.Fatal(err)
	}
	list, err := InspectSnapshot(fs, snapshotName("/data/orders-0", 20))
	if err != nil || len(list) != 1 || list[0].LastOffset != 19 || list[0].FirstSequence != 19 {
		t.Fatalf("%+v %v", list, err)
	}
}
