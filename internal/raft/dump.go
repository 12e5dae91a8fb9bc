package raft

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/must"
	"github.com/gregorhq/gregor/internal/vfs"
)

// spacePause is how long it is until a snapshot is tried again for which there was no space.
const spacePause = 2 * time.Second

// considerSnapshot begins a snapshot when enough log has come since the last one, or when the members have changed: one who is
// new needs a snapshot that it is in. The state is frozen here, in no time; it
// is written on a loop of its own, so that nothing waits for it; then the log is told, on the disk loop.
func (n *Node) considerSnapshot() {
	if n.dumping || n.sinceDump < n.o.SnapshotBytes && n.members.equal(n.dumpOf) || n.known > n.applied || n.applied == 0 {
		return
	}
	n.dumping, n.sinceDump, n.dumpOf = true, 0, n.members
	id, m := snapshotID{n.applied, n.appliedTerm}, n.members
	dump := n.o.Machine.Snapshot(n.o.Runtime.Now())
	n.writer.Do(func() {
		if n.over() {
			return
		}
		err := writeSnapshot(n.o.FS, n.o.Dir, id, m, dump)
		if errors.Is(err, vfs.ErrNoSpace) {
			// The log goes on being longer than it should, and a new member waits for what it could begin with, until there is space.
			n.o.Log.Warn("there is no space for a snapshot of the metadata; it is tried again", "error", err)
			n.loop.After(spacePause, func() {
				n.dumping, n.dumpOf = false, members{}
				n.considerSnapshot()
			})
			return
		}
		if err != nil {
			n.fail(fmt.Errorf("metadata snapshot: %w", err))
			return
		}
		n.disk.Do(func() { n.truncate(id) })
	})
}

func (n *Node) over() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed || n.closed
}

// truncate forgets what two snapshots stand for: the log reaches back to the older one, in case the newer one is damaged.
func (n *Node) truncate(id snapshotID) {
	if n.over() {
		return
	}
	n.mu.Lock()
	if id.index > n.store.now.index {
		n.store.advance(id, n.o.tail)
	}
	n.mu.Unlock()
	oldest, err := dropSnapshots(n.o.FS, n.o.Dir)
	if err == nil {
		err = n.wal.snapshotted(id, oldest)
	}
	if err != nil {
		n.fail(fmt.Errorf("metadata log: %w", err))
		return
	}
	n.loop.Do(func() {
		n.dumping = false
		n.considerSnapshot()
	})
}

// writeReceived makes a snapshot from the leader durable, in place of the log so far, and gives it to the machine.
func (n *Node) writeReceived(s *raftpb.Snapshot) error {
	parsed, err := parseSnapshot(s.GetData())
	if err != nil {
		return fmt.Errorf("a snapshot from the leader: %w", err)
	}
	err = writeSnapshot(n.o.FS, n.o.Dir, parsed.id, parsed.members, func(visit func(batch []byte) error) error {
		for _, batch := range parsed.batches {
			if err := visit(batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.store.now, n.store.members = parsed.id, parsed.members
	n.mu.Unlock()
	n.loop.Do(func() { n.applySnapshot(parsed) })
	return n.wal.replaced(parsed.id)
}

func (n *Node) applySnapshot(s snapshot) {
	must.Be(s.id.index > n.applied, "a snapshot of entry %d comes after %d was applied", s.id.index, n.applied)
	// What was pulled as an observer may be more than the snapshot has.
	if s.id.index > n.known {
		if err := n.load(s.id.index, s.batches); err != nil {
			n.fail(fmt.Errorf("a snapshot from the leader: %w", err))
			return
		}
	}
	n.mu.Lock()
	n.members = s.members
	n.mu.Unlock()
	n.applied, n.appliedTerm, n.sinceDump, n.dumpOf = s.id.index, s.id.term, 0, s.members
	n.brought = n.o.Runtime.Now()
	n.tellCommitted()
}

// load gives the machine a whole state.
func (n *Node) load(index uint64, batches [][]byte) error {
	n.o.Machine.Reset()
	for _, batch := range batches {
		if err := n.o.Machine.Apply(int64(index), batch); err != nil {
			return err
		}
	}
	n.o.Machine.Publish()
	n.known, n.recent = index, recent{floor: index}
	return nil
}

// tellCommitted tells the one who listens, and those who wait for more, what the machine knows by now.
func (n *Node) tellCommitted() {
	n.mu.Lock()
	n.committed = int64(max(n.applied, n.known)) + 1
	committed, listener := n.committed, n.listener
	n.mu.Unlock()
	if listener != nil {
		listener(committed)
	}
	n.serveWaiting()
}
