package storage

import (
	"testing"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// FuzzRecovery opens a log whose files hold anything. It must never panic; what it then serves must be valid batches, in
// order; and the log must go on from there.
func FuzzRecovery(f *testing.F) {
	var log []byte
	for i := range 6 {
		b := produced(7, 0, int32(i*2), 2)
		b.SetBaseOffset(int64(i * 2))
		b.SetLeaderEpoch(1)
		log = append(log, b...)
	}
	x := &index{}
	x.add(indexEntry{last: 5, position: uint32(2 * len(log) / 6), maxLast: 5, maxTime: 1_700_000_000_001})
	offsets, times := x.encode(0, -1)
	p := newProducers()
	f.Add(log, offsets, times, p.encode(), []byte("0\n1\n1 0\n"), int64(0))
	f.Add(log[:len(log)-7], offsets, times, []byte{}, []byte{}, int64(4))
	f.Add(append(log[:200:200], log[220:]...), []byte{}, []byte{}, []byte{}, []byte{}, int64(12))
	f.Fuzz(func(t *testing.T, log, offsets, times, snapshot, epochs []byte, recoveryPoint int64) {
		fs := vfs.NewMemory()
		rt := newStage(1)
		d := openDirectory(t, rt, fs)
		d.points[orders] = recoveryPoint
		folder := "/data/orders-0"
		if err := fs.MkdirAll(folder); err != nil {
			t.Fatal(err)
		}
		segment := segmentPath(folder, 0)
		for name, data := range map[string][]byte{ // any order
			segment + ".log": log, segment + ".index": offsets, segment + ".timeindex": times,
			snapshotName(folder, 2): snapshot, folder + "/" + leaderEpochFile: epochs,
		} {
			if err := vfs.WriteFile(fs, name, data); err != nil {
				t.Fatal(err)
			}
		}
		l, report := openLog(t, d, smallSegments())
		if report.Damaged {
			return
		}
		if l.End() < recoveryPoint {
			t.Fatalf("end %d below the recovery point %d: %+v", l.End(), recoveryPoint, report)
		}
		before := int64(-1)
		for from := l.LogStart(); from < l.End(); {
			r, err := l.Read(from, 1000, l.End(), true)
			if err != nil || r.File == nil {
				return // rot below the recovery point, found late
			}
			data := make([]byte, r.Size)
			if _, err := r.ReadAt(data, 0); err != nil {
				t.Fatal(err)
			}
			r.Release()
			if err := record.Split(data, func(b record.Batch) error {
				if from >= recoveryPoint && b.BaseOffset() <= before { // what lies below is not read again
					t.Fatalf("offset %d after %d", b.BaseOffset(), before)
				}
				before = b.LastOffset()
				return nil
			}); err != nil && from >= recoveryPoint {
				t.Fatal(err)
			}
			from = r.NextOffset
		}
		if _, _, err := l.OffsetForTimestamp(5, l.End()); err != nil {
			return
		}
		epoch := max(l.LatestEpoch(), 0)
		if epoch == 1<<31-1 || l.End() > 1<<62 {
			return
		}
		a := appendOne(t, l, epoch, batch(1, keyed{"a", "b"}))
		if a.Err != 0 || a.BaseOffset < recoveryPoint {
			t.Fatalf("%+v", a)
		}
	})
}

// FuzzFiles decodes anything as each of the small files.
func FuzzFiles(f *testing.F) {
	f.Add(newProducers().encode())
	f.Add(encodeCheckpoint([]string{"orders 0 12"}))
	f.Add(Meta{ClusterID: "c", NodeID: 1}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := decodeProducers(data); err == nil {
			if _, err := decodeProducers(p.encode()); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = decodeCheckpoint(data)
		_, _ = parseMeta(data)
		decodeIndex(data, data, 1<<30)
	})
}
