package storage

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// many are logs of one topic.
func many(t *testing.T, d *Directory, n int) (logs []*Log) {
	t.Helper()
	for i := range n {
		l, report, err := d.OpenLog(kafka.TopicPartition{Topic: "many", Partition: int32(i)}, ordersA, smallSegments())
		if err != nil || report.Damaged {
			t.Fatal(report, err)
		}
		logs = append(logs, l)
	}
	return logs
}

func TestManyLogsAreWholeAfterACleanEndAndALossOfPower(t *testing.T) {
	const n = together + 50
	rt, disk := newStage(1), vfs.NewMemory()
	d := openDirectory(t, rt, disk)
	for i, l := range many(t, d, n) {
		for range i % 12 { // some none, some more than a segment
			mustAppend(t, l, int32(i%3), batch(1, keyed{"a", "a value that fills segments of a thousand bytes soon enough"}, keyed{"b", "v"}))
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openDirectory(t, rt, disk.Crash(rt.rand))
	if !d.CleanStart() {
		t.Fatal("it was not shut down cleanly")
	}
	for i, l := range many(t, d, n) {
		epoch := int32(noEpoch)
		if i%12 > 0 {
			epoch = int32(i % 3)
		}
		if l.End() != int64(i%12*2) || l.Durable() != l.End() || l.LatestEpoch() != epoch {
			t.Errorf("log %d ends at %d, is durable up to %d, and its latest epoch is %d", i, l.End(), l.Durable(), l.LatestEpoch())
		}
	}
}

func TestALogThatNothingHappenedToIsNotWrittenAtACleanEnd(t *testing.T) {
	rt, memory := newStage(1), vfs.NewMemory()
	d := openDirectory(t, rt, memory)
	for _, l := range many(t, d, 2) {
		mustAppend(t, l, 0, batch(1, keyed{"a", "1"}))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	disk := vfs.NewFaulty(memory)
	d = openDirectory(t, rt, disk)
	logs := many(t, d, 3)
	mustAppend(t, logs[1], 0, batch(1, keyed{"a", "2"}))
	touched := errors.New("a log was written that nothing happened to")
	for _, op := range []string{"write", "create", "sync", "rename", "truncate"} {
		disk.Add(vfs.Rule{Op: op, Name: "/data/many-0/*", Err: touched})
		disk.Add(vfs.Rule{Op: op, Name: "/data/many-2/*", Err: touched})
	}
	disk.Add(vfs.Rule{Op: "syncdir", Name: "/data/many-0", Err: touched})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openDirectory(t, rt, memory.Crash(rt.rand))
	if !d.CleanStart() {
		t.Fatal("it was not shut down cleanly")
	}
	for i, l := range many(t, d, 3) {
		if want := []int64{1, 2, 0}[i]; l.End() != want || l.Durable() != want {
			t.Errorf("log %d ends at %d, and is durable up to %d", i, l.End(), l.Durable())
		}
	}
}

func TestAFullDiskKeepsTheEpochsThatAreToBeWritten(t *testing.T) {
	rt, memory := newStage(1), vfs.NewMemory()
	disk := vfs.NewFaulty(memory)
	d := openDirectory(t, rt, disk)
	for i, l := range many(t, d, 3) {
		mustAppend(t, l, int32(4+i), batch(1, keyed{"a", "1"}))
	}
	rt.run()
	disk.Add(vfs.Rule{Op: "write", Name: "/data/many-2/" + leaderEpochFile + "*", Times: 1, Err: vfs.ErrNoSpace})
	if err := d.Checkpoint(); err == nil {
		t.Fatal("epochs were written to a full disk")
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	d = openDirectory(t, rt, memory.Crash(rt.rand))
	for i, l := range many(t, d, 3) {
		if l.LatestEpoch() != int32(4+i) {
			t.Errorf("log %d has epoch %d for its latest", i, l.LatestEpoch())
		}
	}
}
