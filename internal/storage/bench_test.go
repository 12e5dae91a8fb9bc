package storage

import (
	"fmt"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

func sized(bytes int) record.Batch {
	b := record.NewBuilder(record.Plain())
	b.Add(1, []byte("key"), make([]byte, bytes))
	return b.Build()
}

// BenchmarkAppend appends drains of 16 batches, without syncs.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d, err := OpenDirectory(loop.Real(), vfs.OS(false), b.TempDir(), DirectoryConfig{NodeID: 1})
			if err != nil {
				b.Fatal(err)
			}
			o := DefaultOptions()
			o.SegmentBytes, o.RetentionBytes, o.FileDeleteDelayMs = 64<<20, 128<<20, 0
			l, _, err := d.OpenLog(orders, ordersA, o)
			if err != nil {
				b.Fatal(err)
			}
			var appends []*Append
			for range 16 {
				appends = append(appends, &Append{Batch: sized(size)})
			}
			b.SetBytes(int64(16 * size))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if err := l.AppendAsLeader(0, 1, appends); err != nil {
					b.Fatal(err)
				}
				if n%1000 == 0 {
					l.DeleteExpired(1, l.End())
					d.RemoveDeleted(1 << 50)
				}
			}
		})
	}
}

// BenchmarkDurableAppend waits for the flusher after every append.
func BenchmarkDurableAppend(b *testing.B) {
	d, err := OpenDirectory(loop.Real(), vfs.OS(false), b.TempDir(), DirectoryConfig{NodeID: 1})
	if err != nil {
		b.Fatal(err)
	}
	l, _, err := d.OpenLog(orders, ordersA, DefaultOptions())
	if err != nil {
		b.Fatal(err)
	}
	durable := make(chan int64, 1)
	l.OnDurable(func(end int64) { durable <- end })
	appends := []*Append{{Batch: sized(4 << 10)}}
	b.ReportAllocs()
	for b.Loop() {
		if err := l.AppendAsLeader(0, 1, appends); err != nil {
			b.Fatal(err)
		}
		d.Flush(l)
		<-durable
	}
}

// BenchmarkTailRead reads the last batch again and again.
func BenchmarkTailRead(b *testing.B) {
	d, err := OpenDirectory(loop.Real(), vfs.OS(false), b.TempDir(), DirectoryConfig{NodeID: 1})
	if err != nil {
		b.Fatal(err)
	}
	l, _, err := d.OpenLog(orders, ordersA, DefaultOptions())
	if err != nil {
		b.Fatal(err)
	}
	for range 1000 {
		if err := l.AppendAsLeader(0, 1, []*Append{{Batch: sized(100)}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := l.Read(990, 1<<20, 1000, true)
		if err != nil {
			b.Fatal(err)
		}
		r.Release()
	}
}

// BenchmarkStart opens logs that nobody closed: with what was appended since the last checkpoint, and without.
func BenchmarkStart(b *testing.B) {
	for _, checkpointed := range []bool{true, false} {
		b.Run(fmt.Sprint("checkpointed ", checkpointed), func(b *testing.B) {
			const partitions, perPartition = 200, 4 << 20
			dir := b.TempDir()
			d, err := OpenDirectory(loop.Real(), vfs.OS(false), dir, DirectoryConfig{NodeID: 1})
			if err != nil {
				b.Fatal(err)
			}
			var appends []*Append
			for range 16 {
				appends = append(appends, &Append{Batch: sized(16 << 10)})
			}
			for i := range partitions {
				l, _, err := d.OpenLog(kafka.TopicPartition{Topic: "t", Partition: int32(i)}, ordersA, DefaultOptions())
				if err != nil {
					b.Fatal(err)
				}
				for l.Size() < perPartition {
					if err := l.AppendAsLeader(0, 1, appends); err != nil {
						b.Fatal(err)
					}
				}
				d.Flush(l)
			}
			for _, l := range d.Logs() {
				for l.Durable() < l.End() {
					time.Sleep(time.Millisecond)
				}
			}
			if checkpointed {
				if err := d.Checkpoint(); err != nil {
					b.Fatal(err)
				}
			}
			d.lock.Close()
			for b.Loop() {
				d, err := OpenDirectory(loop.Real(), vfs.OS(false), dir, DirectoryConfig{NodeID: 1})
				if err != nil {
					b.Fatal(err)
				}
				found, err := d.Find()
				if err != nil || len(found) != partitions {
					b.Fatal(err, len(found))
				}
				for _, f := range found {
					if _, report, err := d.OpenLog(f.TopicPartition, f.TopicID, DefaultOptions()); err != nil || report.TruncatedBytes > 0 {
						b.Fatal(err, report)
					}
				}
				b.StopTimer()
				for _, l := range d.Logs() {
					for l.Durable() < l.End() {
						time.Sleep(time.Millisecond)
					}
					l.close()
				}
				d.lock.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/partitions, "µs/log")
		})
	}
}
