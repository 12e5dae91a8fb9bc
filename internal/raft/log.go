package raft

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Append proposes a batch as the leader of an epoch. The offset of a batch is the index of its entry, and is known at once;
// OnCommitted tells when it is safe.
func (n *Node) Append(epoch int32, batch []byte) (next int64, err error) {
	if len(batch) > maxBatch {
		return 0, kafka.RecordListTooLarge
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed || n.closed || !n.leads || n.term != uint64(epoch) {
		return 0, kafka.NotLeaderOrFollower
	}
	if err := n.raw.Propose(batch); err != nil {
		// It leads, but hands over, or has too much on its way. Whoever asked may load the log again and go on.
		return 0, fmt.Errorf("%w: it hands over, or has too much on its way: %v", kafka.NotController, err)
	}
	n.pump()
	if !n.leads || n.term != uint64(epoch) {
		return 0, kafka.NotLeaderOrFollower
	}
	return n.store.end(), nil
}

// dumped is a snapshot that is being read in steps.
type dumped struct {
	index   uint64
	batches [][]byte
}

// Read visits the newest snapshot's batches, and then those of the entries behind it. The batches of a snapshot have no
// offsets of their own: they are numbered by negative ones, the last by -1. Reading from 0 is reading from the beginning.
func (n *Node) Read(from int64, visit func(offset int64, batch []byte) error) error {
	n.mu.Lock()
	base, kept := n.store.snapshotID(), n.dumped
	entries := n.store.entriesBehind(base.index)
	n.mu.Unlock()
	if from <= int64(base.index) {
		if kept.index != base.index || kept.batches == nil {
			s, err := readSnapshot(n.o.FS, n.o.Dir, base.index)
			if err != nil {
				return err
			}
			kept = dumped{base.index, s.batches}
			n.keepDump(kept)
		}
		for i, batch := range kept.batches {
			if offset := int64(i - len(kept.batches)); offset >= from || from >= 0 {
				if err := visit(offset, batch); err != nil {
					return err
				}
			}
		}
	}
	n.keepDump(dumped{})
	for _, e := range entries {
		if int64(e.GetIndex()) >= from && isBatch(e) {
			if err := visit(int64(e.GetIndex()), e.GetData()); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepDump keeps a snapshot in memory while somebody reads it in steps.
func (n *Node) keepDump(d dumped) {
	n.mu.Lock()
	n.dumped = d
	n.mu.Unlock()
}

// isBatch reports whether an entry is for the machine. An election leaves an empty entry; changes of members are raft's own.
func isBatch(e *raftpb.Entry) bool { return e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 }

// OnCommitted sets the one who is told the end of what is committed and applied on this node.
func (n *Node) OnCommitted(f func(offset int64)) {
	n.mu.Lock()
	n.listener = f
	committed := n.committed
	n.mu.Unlock()
	if f != nil {
		f(committed)
	}
}
