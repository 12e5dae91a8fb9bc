package storage

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// stage is a runtime whose loops run when the test says so, in one goroutine, so that a seed decides everything.
type stage struct {
	mu    sync.Mutex
	queue []func()
	now   time.Time
	rand  *rand.Rand
}

func newStage(seed uint64) *stage {
	return &stage{now: time.UnixMilli(1_700_000_000_000), rand: rand.New(rand.NewPCG(seed, 1))}
}

func (s *stage) Now() time.Time        { return s.now }
func (s *stage) Rand() *rand.Rand      { return s.rand }
func (s *stage) Loop(string) loop.Loop { return stageLoop{s} }

type stageLoop struct{ s *stage }

func (l stageLoop) Do(f func()) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.queue = append(l.s.queue, f)
}

// After is Do: time stands still here, so whoever waits has waited long enough.
func (l stageLoop) After(_ time.Duration, f func()) func() {
	stopped := false
	l.Do(func() {
		if !stopped {
			f()
		}
	})
	return func() { stopped = true }
}

// run runs what is queued until nothing is.
func (s *stage) run() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		f := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		f()
	}
}

var (
	orders  = kafka.TopicPartition{Topic: "orders", Partition: 0}
	ordersA = kafka.TopicID{1, 2, 3}
)

func openDirectory(t testing.TB, rt loop.Runtime, fs vfs.FS) *Directory {
	t.Helper()
	d, err := OpenDirectory(rt, fs, "/data", DirectoryConfig{ClusterID: "c", NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openLog(t testing.TB, d *Directory, o Options) (*Log, Report) {
	t.Helper()
	l, report, err := d.OpenLog(orders, ordersA, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, report
}

func fresh(t testing.TB, o Options) (*stage, *vfs.Memory, *Directory, *Log) {
	t.Helper()
	rt, fs := newStage(1), vfs.NewMemory()
	d := openDirectory(t, rt, fs)
	l, _ := openLog(t, d, o)
	return rt, fs, d, l
}

func smallSegments() Options {
	o := DefaultOptions()
	o.SegmentBytes = 1000
	o.IndexIntervalBytes = 100
	return o
}

type keyed struct{ key, value string }

// batch makes a batch of records; value "-" is a tombstone.
func batch(ms int64, records ...keyed) record.Batch {
	return batchOf(record.Plain(), ms, records...)
}

func batchOf(form record.Form, ms int64, records ...keyed) record.Batch {
	b := record.NewBuilder(form)
	for i, r := range records {
		value := []byte(r.value)
		if r.value == "-" {
			value = nil
		}
		b.Add(ms+int64(i), []byte(r.key), value)
	}
	return b.Build()
}

func produced(id int64, epoch int16, sequence int32, count int) record.Batch {
	form := record.Plain()
	form.Producer, form.Sequence = kafka.Producer{ID: id, Epoch: epoch}, sequence
	records := make([]keyed, count)
	for i := range records {
		records[i] = keyed{fmt.Sprint("k", i), fmt.Sprint("v", sequence)}
	}
	return batchOf(form, 1_700_000_000_000, records...)
}

func appendOne(t testing.TB, l *Log, epoch int32, b record.Batch) *Append {
	t.Helper()
	a := &Append{Batch: b}
	if err := l.AppendAsLeader(epoch, 1_700_000_000_000, []*Append{a}); err != nil {
		t.Fatal(err)
	}
	return a
}

func mustAppend(t testing.TB, l *Log, epoch int32, b record.Batch) *Append {
	t.Helper()
	a := appendOne(t, l, epoch, b)
	if a.Err != kafka.None {
		t.Fatalf("append: %v", a.Err)
	}
	l.Directory().Flush(l)
	return a
}

// line is a record as tests compare it.
type line struct {
	offset, ms int64
	key, value string
	epoch      int32
}

// readAll reads a log through Read, in bites of some size, and checks that ranges join.
func readAll(t testing.TB, l *Log, bite int) []line {
	t.Helper()
	lines, err := tryReadAll(l, bite)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func tryReadAll(l *Log, bite int) ([]line, error) {
	var lines []line
	for from := l.LogStart(); from < l.End(); {
		r, err := l.Read(from, bite, l.End(), true)
		if err != nil {
			return nil, fmt.Errorf("read at %d: %w", from, err)
		}
		if r.File == nil {
			return lines, nil // the rest is bare
		}
		data := make([]byte, r.Size)
		if _, err := r.ReadAt(data, 0); err != nil && err != io.EOF {
			return nil, err
		}
		r.Release()
		next := int64(-1)
		err = record.Split(data, func(b record.Batch) error {
			if b.CRC() != b.ComputeCRC() {
				return fmt.Errorf("checksum at %d", b.BaseOffset())
			}
			if next < 0 && b.BaseOffset() != r.FirstOffset {
				return fmt.Errorf("range says it starts at %d, but at %d", r.FirstOffset, b.BaseOffset())
			}
			next = b.LastOffset() + 1
			return b.Records(1<<20, func(rec record.Record) error {
				if rec.Offset >= l.LogStart() {
					value := string(rec.Value)
					if rec.Value == nil {
						value = "-"
					}
					lines = append(lines, line{rec.Offset, rec.Timestamp, string(rec.Key), value, b.LeaderEpoch()})
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
		if r.NextOffset < next || r.NextOffset <= from {
			return nil, fmt.Errorf("read at %d: next is %d, the last batch ends at %d", from, r.NextOffset, next)
		}
		from = r.NextOffset
	}
	return lines, nil
}
