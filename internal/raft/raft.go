// Package raft is the metadata quorum: the log that the cluster agrees on, replicated by go.etcd.io/raft among the nodes
// that are controllers, kept on disk in files of our own.
//
// It promises that nothing is acknowledged, voted or committed before it is synced; that committed batches reach this
// node's machine in order, each exactly once in a run; that what is wrong on disk, other than an unfinished end, is refused
// and not repaired; and that a disk error is final: it is reported once and nothing is acknowledged afterwards.
// A Node is a statemachine.Log for the active controller. Package node opens it and is told when this node leads.
// It does not know what a batch says, except that an empty entry says nothing. It does not carry messages between nodes: a
// Transport does. It is the only package that imports go.etcd.io/raft, and no other sees its types.
package raft

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sync"
	"time"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/vfs"
)

const (
	tick = 100 * time.Millisecond
	// An election begins when a leader was not heard for 1 to 2 seconds (KIP-595's default is 1 to 2 as well).
	electionTicks = 10
	// maxUncommitted is how many bytes of entries may be proposed and not committed.
	maxUncommitted = 16 << 20
	// maxBatch is the largest batch that Append takes. With what package statemachine lets wait, it stays below maxUncommitted.
	maxBatch = 8 << 20
	// tailKept is how many entries behind a snapshot stay in memory for followers that are a little behind.
	tailKept             = 10_000
	defaultSnapshotBytes = 16 << 20
)

// Machine is what the node does with what is committed. Its methods are called one at a time.
type Machine interface {
	// Reset forgets everything: the batches of a snapshot follow.
	Reset()
	// Apply takes a committed batch. An error stops the node.
	Apply(offset int64, batch []byte) error
	// Publish says that everything that is committed for now was applied.
	Publish()
	// Snapshot freezes what was published, and returns what dumps it as batches; that runs elsewhere, and later.
	Snapshot(now time.Time) func(visit func(batch []byte) error) error
}

// Transport carries messages to other members. It may lose, repeat and reorder them, but not change them.
type Transport interface {
	// Send takes a message for a member, by its raft id, and does not wait. Whoever receives it calls Step.
	Send(to uint64, message []byte)
}

// Options are what a node is made of.
type Options struct {
	Runtime loop.Runtime
	FS      vfs.FS
	Dir     string // of the metadata log; nothing else is in it
	Node    kafka.NodeID
	// ClusterID names the cluster if the directory is new; empty for a random one.
	ClusterID string
	// Bootstrap makes the first state of a new cluster, as Machine.Snapshot would dump it.
	Bootstrap func(clusterID string) [][]byte
	Machine   Machine
	// OnLeader is told when this node begins to lead in an epoch, with everything of earlier epochs committed and applied, and
	// when it stops to. It is called on the raft loop.
	OnLeader func(epoch int32, leads bool)
	// Transport may be nil where this is the only member.
	Transport Transport
	// Failed is told once why the node cannot go on; its process has to end.
	Failed func(error)
	// SnapshotBytes is how much log makes a new snapshot due; 0 for the default.
	SnapshotBytes int64
	Log           *slog.Logger // nil for the default one

	tail uint64 // entries behind a snapshot that stay in memory; 0 for tailKept
}

// Node is this node's member of the quorum.
type Node struct {
	o        Options
	identity identity
	loop     loop.Loop // applies what is committed, and sends
	disk     loop.Loop // writes and syncs; wal belongs to it
	writer   loop.Loop // dumps snapshots
	wal      *wal
	lock     io.Closer

	mu        sync.Mutex
	raw       *etcd.RawNode
	store     *store
	writes    []*raftpb.Message // for the disk loop, in order
	applies   []*raftpb.Message // for the raft loop, in order
	outbox    []*raftpb.Message
	writing   bool // a turn of the disk loop that takes writes is queued
	applying  bool // a turn of the raft loop that takes applies and outbox is queued
	leads     bool
	leader    uint64
	term      uint64
	failed    bool
	closed    bool
	listener  func(int64)
	committed int64 // the end of what was applied
	dumped    dumped

	// Only functions on the raft loop touch what follows.

	active      int32 // the epoch that OnLeader was last told this node leads in, 0 for none
	applied     uint64
	appliedTerm uint64
	members     members
	sinceDump   int64 // bytes of entries applied since the newest snapshot
	dumping     bool
	stopTicks   func()
}

// Open opens a metadata directory, or formats it if it is new, and brings the machine to the newest snapshot. The node takes
// no part in anything before Start.
func Open(o Options) (*Node, error) {
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = defaultSnapshotBytes
	}
	if o.tail == 0 {
		o.tail = tailKept
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("make %s: %w", o.Dir, err)
	}
	if err := o.FS.SyncDir(path.Dir(o.Dir)); err != nil {
		return nil, fmt.Errorf("sync %s: %w", path.Dir(o.Dir), err)
	}
	lock, err := o.FS.Lock(path.Join(o.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", o.Dir, err)
	}
	n := &Node{o: o, lock: lock}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return n, nil
}

func (n *Node) open() error {
	var err error
	n.identity, err = readIdentity(n.o.FS, n.o.Dir)
	if errors.Is(err, vfs.ErrNotExist) {
		n.identity, err = n.o.format()
	}
	if err != nil {
		return n.instruct(err)
	}
	if n.identity.node != n.o.Node {
		return fmt.Errorf("%s belongs to node %d and not to node %d: start it with node.id=%d, or with another directory",
			n.o.Dir, n.identity.node, n.o.Node, n.identity.node)
	}
	if n.o.ClusterID != "" && n.identity.cluster != n.o.ClusterID {
		return fmt.Errorf("%s belongs to cluster %s and not to cluster %s", n.o.Dir, n.identity.cluster, n.o.ClusterID)
	}
	if err := n.recover(); err != nil {
		return n.instruct(err)
	}
	n.loop = n.o.Runtime.Loop("raft")
	n.disk = n.o.Runtime.Loop("raft disk")
	n.writer = n.o.Runtime.Loop("raft snapshot")
	return nil
}

// instruct says what to do about a directory that must not be used.
func (n *Node) instruct(err error) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w. It is not repaired, because it may have voted and acknowledged what is now missing. "+
		"If the cluster has other controllers, remove %s and let this node join again; if it is the only one, put the directory back from a backup", err, n.o.Dir)
}

// recover reads the newest good snapshot and the log behind it.
func (n *Node) recover() error {
	w, found, err := openWAL(n.o.FS, n.o.Dir, n.identity.raft, n.o.Log)
	if err != nil {
		return err
	}
	s, err := n.newestSnapshot()
	if err != nil {
		return err
	}
	entries, err := found.behind(s.id)
	if err != nil {
		return err
	}
	hard := found.hard
	hard.commit = max(hard.commit, s.id.index)
	hard.term = max(hard.term, s.id.term)
	if last := s.id.index + uint64(len(entries)); hard.commit > last {
		return fmt.Errorf("%w: entry %d was committed, but the log ends at %d", ErrDamaged, hard.commit, last)
	}
	n.wal, n.members, n.applied, n.appliedTerm = w, s.members, s.id.index, s.id.term
	n.committed = int64(s.id.index) + 1
	n.store = newStore(n.o.FS, n.o.Dir, s.id, s.members, hard, entries)
	n.o.Machine.Reset()
	for _, batch := range s.batches {
		if err := n.o.Machine.Apply(int64(s.id.index), batch); err != nil {
			return fmt.Errorf("%s: %w", snapshotName(n.o.Dir, s.id.index), err)
		}
	}
	n.o.Machine.Publish()
	n.raw, err = etcd.NewRawNode(&etcd.Config{
		ID: n.identity.raft, ElectionTick: electionTicks, HeartbeatTick: 1, Storage: n.store, Applied: s.id.index,
		AsyncStorageWrites: true, MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: maxUncommitted,
		MaxUncommittedEntriesSize: maxUncommitted, MaxInflightMsgs: 256, CheckQuorum: true, PreVote: true,
		ReadOnlyOption: etcd.ReadOnlySafe, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: logger{n.o.Log},
	})
	return err
}

func (n *Node) newestSnapshot() (snapshot, error) {
	indices, err := listSnapshots(n.o.FS, n.o.Dir)
	if err != nil {
		return snapshot{}, err
	}
	err = fmt.Errorf("%w: there is no snapshot in %s", ErrDamaged, n.o.Dir)
	var damaged []uint64
	for _, index := range indices {
		s, bad := readSnapshot(n.o.FS, n.o.Dir, index)
		if bad == nil {
			return s, n.putAside(damaged)
		}
		if !errors.Is(bad, ErrDamaged) {
			return s, bad
		}
		// The log reaches back to the older one for this case.
		n.o.Log.Warn("a snapshot of the metadata is damaged; trying the one before it", "because", bad)
		damaged = append(damaged, index)
		err = bad
	}
	return snapshot{}, err
}

// putAside renames damaged snapshots, so that they do not count among those that are kept.
func (n *Node) putAside(damaged []uint64) error {
	for _, index := range damaged {
		name := snapshotName(n.o.Dir, index)
		if err := n.o.FS.Rename(name, name+".damaged"); err != nil {
			return fmt.Errorf("rename %s: %w", name, err)
		}
	}
	if len(damaged) == 0 {
		return nil
	}
	return n.o.FS.SyncDir(n.o.Dir)
}

// behind returns the entries that follow a snapshot.
func (r *recovered) behind(s snapshotID) ([]entry, error) {
	if len(r.entries) == 0 || r.entries[len(r.entries)-1].index <= s.index {
		return nil, nil
	}
	first := r.entries[0].index
	if first > s.index+1 {
		return nil, fmt.Errorf("%w: the log begins at entry %d, but the newest good snapshot ends at %d", ErrDamaged, first, s.index)
	}
	entries := r.entries[s.index+1-first:]
	if entries[0].term < s.term {
		// The snapshot came from a leader, and these are of a log that it replaced.
		return nil, nil
	}
	return entries, nil
}

// Start lets the node take part. The only voter of a quorum becomes its leader at once, without waiting for an election
// timeout: nobody else could be.
func (n *Node) Start() {
	n.loop.Do(func() {
		n.mu.Lock()
		if voters := n.members.voters; len(voters) == 1 && voters[0] == n.identity.raft {
			_ = n.raw.Campaign() // fails only where this is no voter
		}
		n.pump()
		n.mu.Unlock()
		n.stopTicks = n.loop.After(tick, n.tick)
	})
}

func (n *Node) tick() {
	n.mu.Lock()
	closed := n.closed || n.failed
	if !closed {
		n.raw.Tick()
		n.pump()
	}
	n.mu.Unlock()
	if !closed {
		n.stopTicks = n.loop.After(tick, n.tick)
	}
}

// Close ends the node's part, finishes what is being written, closes the files and calls done.
func (n *Node) Close(done func(error)) {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.loop.Do(func() {
		if n.stopTicks != nil {
			n.stopTicks()
		}
		n.step(0, false)
		n.writer.Do(func() {
			n.disk.Do(func() {
				n.mu.Lock()
				n.failed = true // nothing is written after this
				n.mu.Unlock()
				done(errors.Join(n.wal.close(), n.lock.Close()))
			})
		})
	})
}

// ClusterID names the cluster that the directory belongs to.
func (n *Node) ClusterID() string { return n.identity.cluster }

// ID is the raft id of this member.
func (n *Node) ID() uint64 { return n.identity.raft }

// Member is one member of the quorum, as its leader sees it.
type Member struct {
	ID    uint64
	Node  kafka.NodeID // kafka.NoNode where it is not known
	Voter bool
	End   int64 // of what it is known to have on disk; -1 where it is not known
}

// Status is the quorum as this node sees it.
type Status struct {
	Leader    uint64 // a raft id, 0 for nobody
	Leads     bool   // it is this node
	Epoch     int32
	Committed int64 // the end of what this node has applied
	End       int64 // of this node's log
	Members   []Member
}

// Status tells what DescribeQuorum asks. Members are in the order of their ids; only the leader knows how far others are.
func (n *Node) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Status{Leader: n.leader, Leads: n.leads, Epoch: int32(n.term), Committed: n.committed, End: n.store.end()}
	n.raw.WithProgress(func(id uint64, kind etcd.ProgressType, p progress) {
		m := Member{ID: id, Node: kafka.NoNode, Voter: kind == etcd.ProgressTypePeer, End: -1}
		if n.leads || id == n.identity.raft {
			m.End = int64(p.Match) + 1
		}
		if id == n.identity.raft {
			m.Node, m.End = n.identity.node, s.End
		}
		s.Members = append(s.Members, m)
	})
	sortMembers(s.Members)
	return s
}
