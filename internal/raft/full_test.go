package raft

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
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

// TestANewMemberWaitsForASnapshotThatThereIsNoSpaceFor has the leader's disk full while one voter is to take the place of another. The
// new one cannot begin with the log: until there is space it does not vote, but knows what is committed all the same.
func TestANewMemberWaitsForASnapshotThatThereIsNoSpaceFor(t *testing.T) {
	c := newCluster(t, 8)
	for id := kafka.NodeID(2); id <= 3; id++ {
		c.start(id)
	}
	c.votersAre(1, 2, 3)
	leader := c.leader()
	leader.faulty.Add(vfs.Rule{Op: "create", Name: "snapshot-*.tmp", Err: vfs.ErrNoSpace})
	c.start(4)
	gone := kafka.NodeID(3)
	if leader.id == gone {
		gone = 2
	}
	c.nodes[gone].unregistered = true
	for range 20 {
		c.write()
		c.world.Run(time.Second)
		for _, m := range leader.Status().Members {
			if m.Node == 4 && m.Voter {
				t.Fatalf("it votes, and has nothing: %s", c)
			}
		}
	}
	if len(c.acked) < 15 || leader.epoch == 0 {
		t.Fatalf("%d of 20 batches are acknowledged: %s", len(c.acked), c)
	}
	c.agree()
	leader.faulty.Clear()
	// Nothing is written any more: space alone is enough.
	c.votersAre(slices.DeleteFunc([]kafka.NodeID{1, 2, 3, 4}, func(id kafka.NodeID) bool { return id == gone })...)
}
