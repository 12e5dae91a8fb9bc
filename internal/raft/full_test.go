package raft

import (
	"fmt"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestASnapshotWaitsForSpace goes on without a snapshot for which the disk has no space, and makes the next one.
func TestASnapshotWaitsForSpace(t *testing.T) {
	world, memory := sim.New(1), vfs.NewMemory()
	fs := vfs.NewFaulty(memory)
	m := open(t, world, fs, small)
	before, _ := listSnapshots(memory, "metadata")
	fs.Add(vfs.Rule{Op: "create", Name: "snapshot-*.tmp", Err: vfs.ErrNoSpace})
	for i := range 200 {
		m.commit(t, fmt.Sprintf("entry-%d", i))
	}
	world.Run(time.Second)
	if now, _ := listSnapshots(memory, "metadata"); len(m.failed) > 0 || len(now) != len(before) {
		t.Fatalf("failed with %v, snapshots %v", m.failed, now)
	}
	fs.Clear()
	for i := range 200 {
		m.commit(t, fmt.Sprintf("later-%d", i))
	}
	world.Run(time.Second)
	if now, _ := listSnapshots(memory, "metadata"); len(m.failed) > 0 || now[0] == before[0] {
		t.Fatalf("failed with %v, snapshots %v", m.failed, now)
	}
}
