package raft

import (
	"fmt"
	"slices"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/gregorhq/gregor/internal/must"
)

// pump takes everything that raft has ready and queues it where it belongs: entries and votes for the disk loop, committed
// entries and messages for the raft loop. The mutex is held, so the queues are in the order that raft gave.
func (n *Node) pump() {
	for n.raw.HasReady() {
		ready := n.raw.Ready()
		// Raft asks its storage only for entries that it was told are stable, so the store may have them before the disk has.
		must.NoError(n.store.Append(ready.Entries), "keep entries in memory")
		if ready.SoftState != nil {
			n.leader, n.leads = ready.SoftState.Lead, ready.SoftState.RaftState == etcd.StateLeader
			n.applying = n.applying || n.turn()
		}
		if !etcd.IsEmptyHardState(ready.HardState) {
			n.term = ready.HardState.GetTerm()
		}
		if n.leader != 0 {
			n.ledTerm = n.term
		}
		n.confirmed(ready.ReadStates)
		for _, m := range ready.Messages {
			switch m.GetTo() {
			case etcd.LocalAppendThread:
				if !etcd.IsEmptySnap(m.GetSnapshot()) {
					must.NoError(n.store.install(m.GetSnapshot()), "keep a snapshot in memory")
				}
				n.writes = append(n.writes, m)
			case etcd.LocalApplyThread:
				n.applies = append(n.applies, m)
			default:
				n.outbox = append(n.outbox, m)
			}
		}
	}
	if len(n.writes) > 0 && !n.writing {
		n.writing = true
		n.disk.Do(n.write)
	}
	if len(n.applies)+len(n.outbox) > 0 {
		n.applying = n.applying || n.turn()
	}
}

// turn queues a turn of the raft loop.
func (n *Node) turn() bool {
	n.loop.Do(n.apply)
	return true
}

// write makes durable, with one sync, whatever has queued up since the last one, and then says so to raft.
func (n *Node) write() {
	n.mu.Lock()
	messages := n.writes
	n.writes, n.writing = nil, false
	failed := n.failed
	n.mu.Unlock()
	if failed || len(messages) == 0 {
		return
	}
	if err := n.writeDown(messages); err != nil {
		n.fail(fmt.Errorf("metadata log: %w", err))
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range messages {
		n.deliver(m.GetResponses())
	}
	n.pump()
}

// deliver hands on messages that waited for something local to be done.
func (n *Node) deliver(messages []*raftpb.Message) {
	for _, m := range messages {
		if m.GetTo() == n.identity.raft {
			_ = n.raw.Step(m) // raft drops what has come too late
		} else {
			n.outbox = append(n.outbox, m)
		}
	}
}

func (n *Node) writeDown(messages []*raftpb.Message) error {
	hard, needed := n.wal.hard, false
	var entries []entry
	for _, m := range messages {
		if m.Term != nil {
			h := hardState{m.GetTerm(), m.GetVote(), m.GetCommit()}
			needed = needed || h.term != hard.term || h.vote != hard.vote
			hard = h
		}
		if s := m.GetSnapshot(); !etcd.IsEmptySnap(s) {
			if err := n.writeReceived(s); err != nil {
				return err
			}
		}
		for _, e := range m.GetEntries() {
			entries = append(entries, entry{uint8(e.GetType()), e.GetIndex(), e.GetTerm(), e.GetData()})
		}
	}
	if !needed && len(entries) == 0 {
		// Only the commit index has moved. It goes with the next frame; a member that has forgotten it learns it again.
		n.wal.hard = hard
		return nil
	}
	return n.wal.append(entries, hard)
}

// apply gives the machine what is committed, tells who leads, and sends what is to be sent.
func (n *Node) apply() {
	n.mu.Lock()
	messages, outbox := n.applies, n.outbox
	n.applies, n.outbox, n.applying = nil, nil, false
	failed := n.failed
	n.mu.Unlock()
	if failed {
		return
	}
	n.send(outbox)
	before, knew := n.applied, n.known
	for _, m := range messages {
		for _, e := range m.GetEntries() {
			if err := n.applyEntry(e); err != nil {
				n.fail(err)
				return
			}
		}
	}
	if n.known > knew {
		n.o.Machine.Publish()
	}
	n.mu.Lock()
	for _, m := range messages {
		n.deliver(m.GetResponses())
	}
	n.pump()
	leads, term, leader := n.leads, n.term, n.leader
	n.mu.Unlock()
	if n.applied > before {
		n.brought = n.o.Runtime.Now()
		n.tellCommitted()
	}
	if leader != n.told {
		n.told = leader
		n.sayLeader(leader, term)
		n.release()
	}
	// Until an entry of its own term is applied, a leader does not know what was committed before it.
	n.step(int32(term), leads && n.appliedTerm == term)
	n.answerConfirmed(leads)
	n.considerSnapshot()
}

// sayLeader says in the log who leads: what takes long where nobody does begins here.
func (n *Node) sayLeader(leader, term uint64) {
	switch {
	case n.alone():
	case leader == 0:
		n.o.Log.Info("the metadata quorum has no leader", "term", term)
	default:
		n.o.Log.Info("the metadata quorum has a leader", "leader", n.describe([]uint64{leader})[0], "term", term)
	}
}

func (n *Node) applyEntry(e *raftpb.Entry) error {
	n.sinceDump += int64(len(e.GetData())) + entryHeader
	switch e.GetType() {
	case raftpb.EntryNormal:
		if isBatch(e) && e.GetIndex() > n.known {
			if err := n.o.Machine.Apply(int64(e.GetIndex()), e.GetData()); err != nil {
				return fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
			}
			n.recent.add(e.GetIndex(), e.GetData())
		}
	default:
		if err := n.applyMembers(e); err != nil {
			return fmt.Errorf("change members by entry %d: %w", e.GetIndex(), err)
		}
	}
	n.applied, n.appliedTerm = e.GetIndex(), e.GetTerm()
	n.known = max(n.known, n.applied)
	return nil
}

func (n *Node) applyMembers(e *raftpb.Entry) error {
	var change raftpb.ConfChangeI
	if e.GetType() == raftpb.EntryConfChange {
		old := &raftpb.ConfChange{}
		if err := proto.Unmarshal(e.GetData(), old); err != nil {
			return err
		}
		change = old
	} else {
		v2 := &raftpb.ConfChangeV2{}
		if err := proto.Unmarshal(e.GetData(), v2); err != nil {
			return err
		}
		change = v2
	}
	n.mu.Lock()
	n.members = membersOf(n.raw.ApplyConfChange(change))
	n.store.members = n.members
	n.mu.Unlock()
	n.o.Log.Info("the members of the metadata quorum are others", "voters", n.describe(n.members.voters),
		"learners", n.describe(n.members.learners), "from", n.describe(n.members.outgoing))
	return nil
}

// step tells who has to know that this node begins or stops to lead.
func (n *Node) step(epoch int32, leads bool) {
	if n.active != 0 && (!leads || epoch != n.active) {
		was := n.active
		n.active = 0
		n.o.OnLeader(was, false)
	}
	if leads && n.active == 0 {
		n.active, n.since = epoch, n.o.Runtime.Now()
		n.o.OnLeader(epoch, true)
	}
	if n.active == 0 && n.yielding != nil {
		n.yielding()
	}
}

func (n *Node) send(messages []*raftpb.Message) {
	for _, m := range messages {
		if n.o.Transport == nil {
			continue
		}
		data, err := proto.Marshal(m)
		must.NoError(err, "encode a message of raft")
		n.o.Transport.Send(m.GetTo(), data, m.GetType() == raftpb.MsgSnap)
	}
}

// Step takes a message from another member. Bytes that are none are an error for whoever sent them.
func (n *Node) Step(message []byte) error {
	m := &raftpb.Message{}
	if err := proto.Unmarshal(message, m); err != nil {
		return fmt.Errorf("a message of raft: %w", err)
	}
	if etcd.IsLocalMsg(m.GetType()) || etcd.IsLocalMsgTarget(m.GetFrom()) {
		return fmt.Errorf("a message of raft: %s is not for others to send", m.GetType())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed || n.closed {
		return nil
	}
	n.heard[m.GetFrom()] = n.o.Runtime.Now()
	_ = n.raw.Step(m) // raft drops what makes no sense to it
	n.pump()
	return nil
}

// ReportUnreachable says that a message to a member was not sent.
func (n *Node) ReportUnreachable(id uint64) { n.report(func() { n.raw.ReportUnreachable(id) }) }

// ReportSnapshot says whether a snapshot has reached a member. It has to be called for every message that held one, or the
// member gets nothing more.
func (n *Node) ReportSnapshot(id uint64, arrived bool) {
	status := etcd.SnapshotFinish
	if !arrived {
		status = etcd.SnapshotFailure
	}
	n.report(func() { n.raw.ReportSnapshot(id, status) })
}

func (n *Node) report(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.failed && !n.closed {
		f()
		n.pump()
	}
}

// fail ends the node's part for good. What was not acknowledged never will be.
func (n *Node) fail(err error) {
	n.mu.Lock()
	first := !n.failed
	n.failed, n.leads = true, false
	n.mu.Unlock()
	if !first {
		return
	}
	n.loop.Do(func() {
		n.step(0, false)
		n.answerConfirmed(false)
		n.release()
		n.o.Failed(err)
	})
}

func sortMembers(m []Member) {
	slices.SortFunc(m, func(a, b Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}
