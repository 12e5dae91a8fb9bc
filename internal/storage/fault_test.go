package storage

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

func faulty(t *testing.T) (rt *stage, disk *vfs.Faulty, d *Directory, l *Log, deaths *[]error) {
	t.Helper()
	rt, disk, deaths = newStage(1), vfs.NewFaulty(vfs.NewMemory()), new([]error)
	d, err := OpenDirectory(rt, disk, "/data", DirectoryConfig{
		ClusterID: "c", NodeID: 1, OnFailed: func(err error) { *deaths = append(*deaths, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, _ = openLog(t, d, smallSegments())
	return rt, disk, d, l, deaths
}

func TestFailedSyncKillsTheDirectoryOnce(t *testing.T) {
	rt, disk, d, l, deaths := faulty(t)
	mustAppend(t, l, 0, batch(1, keyed{"a", "1"}))
	disk.Add(vfs.Rule{Op: "sync", Times: 1, Err: syscall.EIO})
	rt.run()
	d.Flush(l)
	rt.run()
	if l.Durable() != 0 || len(*deaths) != 1 || !errors.Is((*deaths)[0], syscall.EIO) || d.Failed() == nil {
		t.Fatalf("durable %d, deaths %v", l.Durable(), *deaths)
	}
	a := &Append{Batch: batch(1, keyed{"a", "2"})}
	if err := l.AppendAsLeader(0, 1, []*Append{a}); err != kafka.KafkaStorageError || a.Err != kafka.KafkaStorageError {
		t.Fatal(err, a.Err)
	}
	if _, err := l.Read(0, 100, 1, true); err != kafka.KafkaStorageError {
		t.Fatal(err)
	}
	if err := d.Close(); err == nil {
		t.Fatal("a dead directory was closed cleanly")
	}
	if _, err := disk.Size("/data/" + cleanShutdownFile); !errors.Is(err, vfs.ErrNotExist) {
		t.Fatal("there is a mark of a clean shutdown")
	}
}

func TestFailedWriteKillsTheDirectory(t *testing.T) {
	rt, disk, d, l, deaths := faulty(t)
	disk.Add(vfs.Rule{Op: "write", Name: "*.log", Err: syscall.EIO, Partial: true})
	a := appendRefused(t, l, batch(1, keyed{"a", "1"}))
	rt.run()
	if a.Err != kafka.KafkaStorageError || d.Failed() == nil || len(*deaths) != 1 {
		t.Fatal(a.Err, d.Failed(), *deaths)
	}
}

func appendRefused(t *testing.T, l *Log, b record.Batch) *Append {
	t.Helper()
	a := &Append{Batch: b}
	if err := l.AppendAsLeader(0, 1, []*Append{a}); err == nil {
		t.Fatal("appended")
	}
	return a
}

func TestFullDiskIsSurvived(t *testing.T) {
	rt, disk, d, l, deaths := faulty(t)
	mustAppend(t, l, 0, produced(7, 0, 0, 2))
	disk.Add(vfs.Rule{Op: "write", Name: "*.log", Err: vfs.ErrNoSpace, Partial: true})
	for range 3 {
		if a := appendRefused(t, l, produced(7, 0, 2, 2)); a.Err != kafka.KafkaStorageError || a.BaseOffset != -1 {
			t.Fatalf("%+v", a)
		}
	}
	if l.Offline() || len(*deaths) > 0 || l.End() != 2 || len(readAll(t, l, 100)) != 2 {
		t.Fatal("a full disk is more than full")
	}
	disk.Clear()
	if a := appendOne(t, l, 0, produced(7, 0, 2, 2)); a.Duplicate || a.BaseOffset != 2 {
		t.Fatalf("%+v: the sequence was used up by a batch that is not there", a)
	}
	d.Flush(l)
	rt.run()
	if l.Durable() != 4 || len(readAll(t, l, 100)) != 4 {
		t.Fatal("not healed")
	}
}

// What a deleted topic held is given back at once where the disk is full, though nothing can be written there.
func TestFullDiskIsFreedByWhatWasDeleted(t *testing.T) {
	rt, disk, d, l, deaths := faulty(t)
	mustAppend(t, l, 0, batch(1, keyed{"a", "b"}))
	disk.Add(vfs.Rule{Op: "write", Err: vfs.ErrNoSpace})
	disk.Add(vfs.Rule{Op: "create", Err: vfs.ErrNoSpace})
	appendRefused(t, l, batch(1, keyed{"a", "b"}))
	if err := d.DeleteLog(l); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveDeleted(rt.now.UnixMilli()); err != nil {
		t.Fatal(err)
	}
	isFolder := func(n string) bool { return n[len(n)-1] == '/' }
	names, err := disk.List("/data")
	if err != nil || len(*deaths) > 0 {
		t.Fatal(err, *deaths)
	}
	if files, err := disk.List("/data/" + names[slices.IndexFunc(names, isFolder)]); err != nil || len(files) > 0 {
		t.Fatal("what was deleted still takes space: ", files, err)
	}
	// The name goes when there is space to write that it is gone.
	disk.Clear()
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveDeleted(rt.now.UnixMilli() + 60_000); err != nil {
		t.Fatal(err)
	}
	if names, err := disk.List("/data"); err != nil || slices.ContainsFunc(names, isFolder) {
		t.Fatal(names, err)
	}
}

func TestFullDiskAtARollIsSurvived(t *testing.T) {
	_, disk, d, l, _ := faulty(t)
	disk.Add(vfs.Rule{Op: "create", Err: vfs.ErrNoSpace})
	var refused int
	for range 40 {
		a := &Append{Batch: batch(1, keyed{"a", "0123456789"})}
		if l.AppendAsLeader(0, 1, []*Append{a}) != nil {
			refused++
		}
	}
	disk.Clear()
	mustAppend(t, l, 0, batch(1, keyed{"a", "0123456789"}))
	if refused == 0 || d.Failed() != nil || len(l.list()) != 2 || int(l.End()) != len(readAll(t, l, 100)) {
		t.Fatalf("%d refused, failed %v, %d segments", refused, d.Failed(), len(l.list()))
	}
}

// restart closes nothing: it opens what a kill leaves, after a change to one file.
func restart(t *testing.T, fs *vfs.Memory, name string, change func(f vfs.File)) (*Log, Report) {
	t.Helper()
	fs = fs.Clone()
	if change != nil {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		change(f)
	}
	return openLog(t, openDirectory(t, newStage(2), fs), smallSegments())
}

const firstLog = "/data/orders-0/00000000000000000000.log"

func written(t *testing.T, checkpoint bool) (*vfs.Memory, int64) {
	t.Helper()
	rt, fs, d, l := fresh(t, smallSegments())
	for range 8 {
		mustAppend(t, l, 0, batch(1, keyed{"key", "value"}))
	}
	rt.run()
	if checkpoint {
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	return fs, l.Size()
}

func flip(t *testing.T, at int64) func(vfs.File) {
	return func(f vfs.File) {
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x40
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTornTailIsCutOff(t *testing.T) {
	fs, size := written(t, false)
	l, report := restart(t, fs, firstLog, func(f vfs.File) { f.Truncate(size - 10) })
	if report.Damaged || report.Suspect || report.TruncatedBytes == 0 || l.End() != 7 || l.Offline() {
		t.Fatalf("%+v end %d", report, l.End())
	}
	l, report = restart(t, fs, firstLog, func(f vfs.File) { f.WriteAt(make([]byte, 4096), size) })
	if report.TruncatedBytes != 4096 || l.End() != 8 {
		t.Fatalf("%+v end %d", report, l.End())
	}
}

func TestHoleInTheTailIsSuspect(t *testing.T) {
	fs, size := written(t, false)
	l, report := restart(t, fs, firstLog, flip(t, size/2))
	if !report.Suspect || report.Damaged || l.End() >= 8 || l.End() < 3 {
		t.Fatalf("%+v end %d", report, l.End())
	}
	if n, err := l.dir.fs.Size(firstLog + ".suspect"); err != nil || n != report.TruncatedBytes {
		t.Fatal(n, err)
	}
}

func TestDamageBelowTheRecoveryPointTakesTheLogOffline(t *testing.T) {
	fs, size := written(t, true)
	for name, change := range map[string]func(vfs.File){
		"cut":  func(f vfs.File) { f.Truncate(size - 10) },
		"flip": flip(t, size-5),
		"gone": func(f vfs.File) { f.Truncate(0) },
	} {
		l, report := restart(t, fs, firstLog, change)
		if !report.Damaged || !l.Offline() || report.TruncatedBytes != 0 {
			t.Errorf("%s: %+v", name, report)
		}
		if _, err := l.Read(0, 100, 8, true); err != kafka.KafkaStorageError {
			t.Errorf("%s: read: %v", name, err)
		}
		d := l.Directory()
		other, _, err := d.OpenLog(kafka.TopicPartition{Topic: "other"}, ordersA, smallSegments())
		if err != nil || other.Offline() {
			t.Errorf("%s: the damage is not the partition's own: %v", name, err)
		}
		// It is found again at the next start.
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		again, report := restart(t, d.fs.(*vfs.Memory), firstLog, nil)
		if !report.Damaged || !again.Offline() {
			t.Errorf("%s, next start: %+v", name, report)
		}
	}
}

func TestUselessHelpersAreMadeAnew(t *testing.T) {
	rt, fs, d, l := fresh(t, smallSegments())
	for i := range 60 {
		mustAppend(t, l, int32(i/20), produced(7, 0, int32(i), 1))
	}
	rt.run()
	want := readAll(t, l, 100)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := fs.List("/data/orders-0")
	for _, name := range names {
		if name == "partition.metadata" || name[len(name)-4:] == ".log" {
			continue
		}
		for _, how := range []string{"flip", "gone", "half"} {
			l, _ := restart(t, fs, "/data/orders-0/"+name, func(f vfs.File) {
				size, _ := f.Size()
				switch {
				case how == "gone":
					f.Truncate(0)
				case how == "half":
					f.Truncate(size / 2)
				case size > 4:
					flip(t, size/2)(f)
				}
			})
			if got := readAll(t, l, 100); l.Offline() || !slices.Equal(got, want) {
				t.Fatalf("%s %s: got %v", name, how, got)
			}
			if l.LatestEpoch() != 2 || l.EpochAt(25) != 1 {
				t.Fatalf("%s %s: epochs %v", name, how, l.epochList())
			}
			for _, from := range []int64{0, 13, 31, 59} {
				r, err := l.Read(from, 1, 60, true)
				if err != nil || r.FirstOffset != from {
					t.Fatalf("%s %s: read %d: %+v %v", name, how, from, r, err)
				}
				r.Release()
			}
			if a := appendOne(t, l, 2, produced(7, 0, 59, 1)); !a.Duplicate || a.BaseOffset != 59 {
				t.Fatalf("%s %s: %+v", name, how, a)
			}
		}
	}
}

func TestDirectoryRefusesWhatIsNotItsOwn(t *testing.T) {
	fs, _ := written(t, true)
	rt := newStage(1)
	for name, config := range map[string]DirectoryConfig{
		"cluster": {ClusterID: "another", NodeID: 1}, "node": {ClusterID: "c", NodeID: 2},
	} {
		if _, err := OpenDirectory(rt, fs.Clone(), "/data", config); err == nil {
			t.Errorf("opened with another %s", name)
		}
	}
	if _, err := OpenDirectory(rt, fs, "/data", DirectoryConfig{ClusterID: "c", NodeID: 1}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	bare := fs.Clone()
	if err := bare.Remove("/data/meta.properties"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirectory(rt, bare, "/data", DirectoryConfig{ClusterID: "c", NodeID: 1}); err == nil {
		t.Error("opened data without meta.properties")
	}
	d := openDirectory(t, rt, fs.Clone())
	if _, _, err := d.OpenLog(orders, kafka.TopicID{9}, smallSegments()); !errors.Is(err, ErrTopicID) || d.Failed() != nil {
		t.Errorf("opened another topic's folder: %v", err)
	}
}

func TestLostCheckpointsLoseNothing(t *testing.T) {
	o := smallSegments()
	o.Compact = true
	rt, fs, d, l := fresh(t, o)
	for range 60 {
		mustAppend(t, l, 0, batch(1, keyed{"key", "the same for all of them"}))
	}
	rt.run()
	if _, err := l.Clean(1, l.End()); err != nil {
		t.Fatal(err)
	}
	want := readAll(t, l, 100)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{recoveryPointFile, logStartFile, highWatermarkFile, cleanerFile} {
		l, report := restart(t, fs, "/data/"+name, func(f vfs.File) { f.Truncate(5) })
		if report.TruncatedBytes > 0 || report.Damaged || !slices.Equal(readAll(t, l, 100), want) {
			t.Fatalf("%s: %+v", name, report)
		}
	}
}

func TestBatchThatCannotBeDecodedHarmsNobodyElse(t *testing.T) {
	o := smallSegments()
	o.Compact = true
	rt, _, _, l := fresh(t, o)
	form := record.Plain()
	form.Codec = record.Gzip
	bad := batchOf(form, 5, keyed{"a", "b"})
	copy(bad[record.HeaderSize:], "this is not gzip")
	bad.Seal()
	mustAppend(t, l, 0, batch(1, keyed{"a", "1"}))
	mustAppend(t, l, 0, bad)
	mustAppend(t, l, 0, batch(9, keyed{"a", "2"}))
	if err := l.Roll(1); err != nil {
		t.Fatal(err)
	}
	rt.run()
	for ms, want := range []int64{0, 0, 1, 1, 1, 1, 2} {
		if found, ok, err := l.OffsetForTimestamp(int64(ms), 3); err != nil || !ok || found.Offset != want {
			t.Errorf("time %d: %+v %v %v", ms, found, ok, err)
		}
	}
	if cleaned, err := l.Clean(1, 3); err != nil || l.Offline() {
		t.Fatalf("%+v %v", cleaned, err)
	}
	r, err := l.Read(0, 1000, 3, true)
	if err != nil || r.FirstOffset != 1 || r.NextOffset != 3 {
		t.Fatalf("%+v %v", r, err)
	}
	r.Release()
}

// TestALogMadeUnderTheNameOfADeletedOneIsNotTakenForIt cuts the power at each point after a log was deleted and another made under
// its name: the new one has less than the checkpoints said of the old one, and is whole all the same.
func TestALogMadeUnderTheNameOfADeletedOneIsNotTakenForIt(t *testing.T) {
	for _, again := range []bool{false, true} {
		rt, disk, d, l := fresh(t, DefaultOptions())
		for range 60 {
			mustAppend(t, l, 0, batch(1, keyed{"a", "v"}))
		}
		if err := d.syncNow([]*Log{l}); err != nil {
			t.Fatal(err)
		}
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if err := d.DeleteLog(l); err != nil {
			t.Fatal(err)
		}
		if again {
			fresh, _, err := d.OpenLog(orders, ordersA, DefaultOptions())
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, fresh, 0, batch(1, keyed{"a", "v"}))
		}
		after := disk.Crash(rt.Rand())
		l, report, err := openDirectory(t, rt, after).OpenLog(orders, ordersA, DefaultOptions())
		if err != nil || report.Damaged || l.Offline() {
			t.Errorf("made again %v: %+v, %v", again, report, err)
		}
	}
}

// TestARestartThatAFullDiskPutOffLeavesNoDamage begins a log anew while the disk is full, so that the checkpoints that have to come
// before it cannot be written, again when there is space, and has the power go at once.
func TestARestartThatAFullDiskPutOffLeavesNoDamage(t *testing.T) {
	rt, memory := newStage(1), vfs.NewMemory()
	disk := vfs.NewFaulty(memory)
	d := openDirectory(t, rt, disk)
	l, _ := openLog(t, d, DefaultOptions())
	for range 60 {
		mustAppend(t, l, 0, batch(1, keyed{"a", "v"}))
	}
	if err := d.syncNow([]*Log{l}); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	disk.Add(vfs.Rule{Op: "write", Name: recoveryPointFile + "*", Err: vfs.ErrNoSpace})
	disk.Add(vfs.Rule{Op: "create", Name: recoveryPointFile + "*", Err: vfs.ErrNoSpace})
	if err := l.Restart(2); err == nil {
		t.Fatal("a log was begun anew although the checkpoints could not be written")
	}
	disk.Clear()
	if err := l.Restart(2); err != nil {
		t.Fatal(err)
	}
	again, report, err := openDirectory(t, rt, memory.Crash(rt.Rand())).OpenLog(orders, ordersA, DefaultOptions())
	if err != nil || report.Damaged || again.Offline() {
		t.Errorf("%+v, %v", report, err)
	}
}
