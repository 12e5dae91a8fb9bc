package storage

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestReadersSeeWholeBatchesWhileEverythingMoves runs a writer, tail readers, readers from the start, the flusher,
// retention and compaction side by side on a real disk.
func TestReadersSeeWholeBatchesWhileEverythingMoves(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact ", compact), func(t *testing.T) { moveEverything(t, compact) })
	}
}

func moveEverything(t *testing.T, compact bool) {
	d, err := OpenDirectory(loop.Real(), vfs.OS(false), t.TempDir(), DirectoryConfig{NodeID: 1, IndexCacheBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.SegmentBytes, o.IndexIntervalBytes, o.RetentionBytes, o.FileDeleteDelayMs = 20_000, 500, 100_000, 0
	o.Compact, o.Delete = compact, !compact
	l, _, err := d.OpenLog(orders, ordersA, o)
	if err != nil {
		t.Fatal(err)
	}
	var partition sync.Mutex // as replica has one
	var stop atomic.Bool
	var readers sync.WaitGroup
	for tail := range 3 {
		readers.Go(func() {
			from := l.LogStart()
			for n := 0; !stop.Load(); n++ {
				limit := l.End()
				r, err := l.Read(from, 3000, limit, true)
				if err == kafka.OffsetOutOfRange {
					from = l.LogStart()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if r.File == nil {
					if tail == 0 && n%50 == 0 {
						from = l.LogStart()
					}
					continue
				}
				data := make([]byte, r.Size)
				if _, err := r.ReadAt(data, 0); err != nil {
					t.Error(err)
				}
				next := int64(-1)
				if err := record.Split(data, func(b record.Batch) error {
					if b.CRC() != b.ComputeCRC() || b.LastOffset() >= limit {
						return fmt.Errorf("batch at %d is wrong, limit %d", b.BaseOffset(), limit)
					}
					next = b.LastOffset() + 1
					return nil
				}); err != nil || r.NextOffset < next || !compact && r.NextOffset != next {
					t.Errorf("%v: next %d, last batch ends at %d", err, r.NextOffset, next)
				}
				r.Release()
				from = r.NextOffset
				if _, _, err := l.OffsetForTimestamp(from*10, limit); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Go(func() {
		for !stop.Load() {
			if compact {
				if _, err := l.Clean(1, l.Durable()); err != nil {
					t.Error(err)
				}
			}
			partition.Lock()
			if _, err := l.DeleteExpired(1, l.Durable()); err != nil {
				t.Error(err)
			}
			partition.Unlock()
			if err := d.RemoveDeleted(1 << 50); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	durable := make(chan int64, 1)
	l.OnDurable(func(end int64) {
		if end == 3000 {
			durable <- end
		}
	})
	for i := range 1000 {
		partition.Lock()
		a := []*Append{{Batch: batch(int64(i)*10, keyed{fmt.Sprint(i % 50), "some value"}, keyed{fmt.Sprint(i % 7), "v"}, keyed{"x", "v"})}}
		if err := l.AppendAsLeader(int32(i/300), 1, a); err != nil {
			t.Error(err)
		}
		d.Flush(l)
		partition.Unlock()
	}
	select {
	case <-durable:
	case <-time.After(20 * time.Second):
		t.Error("never durable")
	}
	stop.Store(true)
	readers.Wait()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDeletionIsNoDiskFailure deletes and makes a partition again and again while everything else goes on.
func TestDeletionIsNoDiskFailure(t *testing.T) {
	d, err := OpenDirectory(loop.Real(), vfs.OS(false), t.TempDir(), DirectoryConfig{NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.SegmentBytes, o.FileDeleteDelayMs, o.Compact = 2000, 0, true
	var stop atomic.Bool
	var others sync.WaitGroup
	others.Go(func() {
		for !stop.Load() {
			if err := d.Checkpoint(); err != nil {
				t.Error(err)
			}
			if err := d.RemoveDeleted(1 << 50); err != nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		for !stop.Load() {
			for _, l := range d.Logs() {
				l.Clean(1, l.End())
			}
		}
	})
	for i := range 60 {
		l, _, err := d.OpenLog(orders, kafka.TopicID{byte(i + 1)}, o)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			mustAppend(t, l, int32(i), batch(1, keyed{"a", "some value or other"}))
		}
		if i%3 == 0 {
			if err := l.DeleteRecordsBefore(40); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(readAll(t, l, 1000)); got == 0 || l.Offline() {
			t.Fatal(got)
		}
		if err := d.DeleteLog(l); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	others.Wait()
	if d.Failed() != nil {
		t.Fatal(d.Failed())
	}
}
