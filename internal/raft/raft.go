// Package raft is the metadata quorum: the log that the cluster agrees on, replicated by go.etcd.io/raft among the nodes
// that are controllers, kept on disk in files of our own.
//
// It promises that nothing is acknowledged, voted or committed before it is synced; that committed batches reach this
// node's machine in order, each exactly once in a run; that what is wrong on disk, other than an unfinished end, is refused
// and not repaired; and that a disk error is final: it is reported once and nothing is acknowledged afterwards.
// A Node that is no member is an observer: it pulls what is committed from others and gives it to the same machine. The leader
// makes members of observers, one or three or five of them voters, and replaces those that have left the cluster.
// A Node is a statemachine.Log for the active controller. Package node opens it and is told when this node leads.
// It does not know what a batch says, except that an empty entry says nothing; who is where a Roster tells it, which is made
// of what the batches say. It is the only package that imports go.etcd.io/raft, and no other sees its types.
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
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/vfs"
)

const (
	tick = 50 * time.Millisecond
	// aloneTick is the tick of a leader that has nobody to lead.
	aloneTick = 100 * time.Millisecond
	// An election begins when a leader was not heard for half a second to a second (KIP-595's default is 1 to 2). Most begin
	// sooner: see Disconnected.
	electionTicks = 10
	// mostPatience is how many times slower than that elections follow each other at most, if in none of them anybody comes to lead.
	mostPatience = 8
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
	// Send takes a message for a member, by its raft id, and does not wait. Whoever receives it calls Step. What has become
	// of a message that holds a snapshot has to be told to ReportSnapshot.
	Send(to uint64, message []byte, snapshot bool)
}

// Roster says who is in the cluster and where. It is made of the metadata, and of whatever else this node knows.
type Roster interface {
	// Registered are the brokers of the cluster, by node id.
	Registered() []Registered
	// Known are addresses of other nodes, any of which may tell what is committed. It may be empty.
	Known() []peer.Address
}

// Registered is a broker that could be a member of the quorum.
type Registered struct {
	ID      uint64 // its raft id; 0 where it has told none
	Node    kafka.NodeID
	Address peer.Address
	Alive   bool
	// Barred says that the broker must not be a member, because an operator has said so.
	Barred bool
}

// Options are what a node is made of.
type Options struct {
	Runtime loop.Runtime
	FS      vfs.FS
	Dir     string // of the metadata log; nothing else is in it
	Node    kafka.NodeID
	// ClusterID names the cluster if the directory is new; empty for a random one.
	ClusterID string
	// Joining is the raft id of a new directory whose node joins the cluster that ClusterID names, as NewID has drawn it; 0 for
	// a new directory that founds a cluster.
	Joining uint64
	// Bootstrap makes the first state of a new cluster, as Machine.Snapshot would dump it.
	Bootstrap func(clusterID string) [][]byte
	Machine   Machine
	// OnLeader is told when this node begins to lead in an epoch, with everything of earlier epochs committed and applied, and
	// when it stops to. It is called on the raft loop.
	OnLeader func(epoch int32, leads bool)
	// Peers carries what goes to other nodes, and Roster says who they are; both are nil where there are none.
	Peers  peer.Network
	Roster Roster
	// Self is where others reach this node.
	Self peer.Address
	// Voters is how many members vote, at most; 0 for 3.
	Voters int
	// Transport is how messages reach other members; nil for one over Peers.
	Transport Transport
	// Silent is told of a member that cannot be reached, often; it may be nil.
	Silent func(kafka.NodeID)
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
	ledTerm   uint64 // the last one of which a leader is known
	held      int    // ticks that raft was not told of, see patience
	milestone milestone
	failed    bool
	closed    bool
	listener  func(int64)
	committed int64 // the end of what was applied
	dumped    dumped
	heard     map[uint64]time.Time    // when a message came from a member
	learned   map[uint64]peer.Address // where members say that they are
	seen      leaderSeen
	watchers  map[kafka.NodeID]Observer
	// confirming are who wants to know whether this node leads, and asked how many have.
	confirming []confirmation
	asked      uint64

	// Only functions on the raft loop touch what follows.

	active      int32     // the epoch that OnLeader was last told this node leads in, 0 for none
	since       time.Time // when it began to lead in it
	applied     uint64
	appliedTerm uint64
	members     members
	sinceDump   int64   // bytes of entries applied since the newest snapshot
	dumpOf      members // the members in the newest snapshot; none where that could not be written
	dumping     bool
	stopTicks   func()

	known    uint64 // the entry up to which the machine was told everything: pulled from others, it may be beyond applied
	recent   recent
	brought  time.Time // when raft has brought something, or a pull was answered
	pulling  bool
	pulls    int  // how many have begun
	failing  bool // the last one has failed
	source   int
	waiting  []*fetch
	told     uint64 // the leader that those who wait were told of
	ticks    int
	yielding func()
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
	if o.Voters == 0 {
		o.Voters = defaultVoters
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
	n := &Node{o: o, lock: lock, heard: map[uint64]time.Time{}, learned: map[uint64]peer.Address{}, watchers: map[kafka.NodeID]Observer{}}
	n.seen.Node = kafka.NoNode
	if n.o.Transport == nil && o.Peers != nil {
		n.o.Transport = newMessenger(n)
	}
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
		"If the cluster has other nodes, remove %s and start this one with --join HOST:PORT of another; if it is the only one, put the directory back from a backup", err, n.o.Dir)
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
	n.known, n.recent.floor, n.dumpOf = s.id.index, s.id.index, s.members
	n.committed = int64(s.id.index) + 1
	n.ledTerm = hard.term
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
		MaxUncommittedEntriesSize: maxUncommitted, MaxInflightMsgs: 256, MaxInflightBytes: maxUncommitted, CheckQuorum: true, PreVote: true,
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
		n.pull()
	})
}

func (n *Node) tick() {
	n.mu.Lock()
	closed := n.closed || n.failed
	pause := tick
	if !closed {
		if n.held++; n.held >= n.patience() {
			n.held = 0
			n.raw.Tick()
		}
		n.pump()
		if n.leads && n.alone() {
			pause = aloneTick
		}
	}
	n.mu.Unlock()
	if closed {
		return
	}
	n.stopTicks = n.loop.After(pause, n.tick)
	n.pull()
	if n.ticks++; n.ticks%tendTicks == 0 {
		n.stepAside()
		n.tend()
	}
}

// patience is of how many ticks raft is told one. Without a leader its clock goes slower with each election in which nobody came to
// lead: votes count once they are on the disks of who gives and of who gets them, and where disks take longer than elections follow
// each other nobody would ever get enough. The mutex is held.
func (n *Node) patience() int {
	if n.leader != 0 || n.term <= n.ledTerm+1 {
		return 1
	}
	return min(1<<min(n.term-n.ledTerm-1, 10), mostPatience)
}

// alone reports whether this is the only member. The mutex is held, or it is the raft loop.
func (n *Node) alone() bool {
	m := n.members
	return len(m.voters) == 1 && m.voters[0] == n.identity.raft && len(m.learners)+len(m.outgoing) == 0
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
		n.answerConfirmed(false)
		n.release()
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

// Alone reports whether this is the only member, as far as it knows.
func (n *Node) Alone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alone()
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
	End   int64     // of what it is known to have on disk; -1 where it is not known
	Heard time.Time // when this node heard from it
}

// Observer is a node that is no member and pulls what is committed, as whoever it pulls from sees it.
type Observer struct {
	Node kafka.NodeID
	End  int64 // of what it has
	At   time.Time
}

// Status is the quorum as this node sees it.
type Status struct {
	Leader     uint64       // a raft id, 0 for nobody
	LeaderNode kafka.NodeID // NoNode where it is not known
	Leads      bool         // it is this node
	Epoch      int32
	Committed  int64 // the end of what this node has applied
	End        int64 // of this node's log
	Members    []Member
	Observers  []Observer // by node; those that pull from this node
}

// Committed is the end of what this node has applied.
func (n *Node) Committed() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.committed
}

// Status tells what DescribeQuorum asks. Members are in the order of their ids; only the leader knows how far others are.
func (n *Node) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Status{Leader: n.leader, LeaderNode: kafka.NoNode, Leads: n.leads, Epoch: int32(n.term), Committed: n.committed, End: n.store.end()}
	nodes := n.nodes()
	if node, ok := nodes[n.leader]; ok {
		s.LeaderNode = node
	}
	n.raw.WithProgress(func(id uint64, kind etcd.ProgressType, p progress) {
		m := Member{ID: id, Node: kafka.NoNode, Voter: kind == etcd.ProgressTypePeer, End: -1, Heard: n.heard[id]}
		if node, ok := nodes[id]; ok {
			m.Node = node
		}
		if n.leads && p.Match > 0 {
			m.End = int64(p.Match) + 1
		}
		if id == n.identity.raft {
			m.Node, m.End, m.Heard = n.identity.node, s.End, n.o.Runtime.Now()
		}
		s.Members = append(s.Members, m)
	})
	sortMembers(s.Members)
	s.Observers = n.observers()
	return s
}
