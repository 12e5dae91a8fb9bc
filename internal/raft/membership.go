package raft

import (
	"cmp"
	"slices"
	"time"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
)

const (
	defaultVoters = 3
	// tendTicks is after how many ticks the leader looks after the members.
	tendTicks = 5
	// caughtUp is how many entries a learner may be behind when it becomes a voter.
	caughtUp = 1000
	// heardWithin is how lately a member must have been heard of to be relied on.
	heardWithin = time.Second
	// longDead is for how long a voter must not have been heard of to lose its place to another node.
	longDead = 5 * time.Minute
	// mostBehind is how long the disk of a leader may take for what another voter has on its own.
	mostBehind = time.Second
	// yieldLimit is how long handing over the lead may take.
	yieldLimit = time.Second
)

// candidate is a node as the leader sees it when it looks after the members.
type candidate struct {
	id    uint64
	node  kafka.NodeID
	alive bool // it is registered, serves, and may be a member
	ready bool // a member that is heard of and has nearly all of the log
}

// change is what becomes of the members, in one step.
type change struct {
	learn, promote, demote, remove []uint64
}

func (c change) empty() bool { return len(c.learn)+len(c.promote)+len(c.demote)+len(c.remove) == 0 }

// planMembers says what to do next so that an odd number of nodes votes, at most so many: 1, 3, 5. Who was unregistered
// goes; who is there and not needed as a voter stays or becomes a learner, as long as there would be room for it to vote.
// A node becomes a learner first, one at a time, and a voter when it is ready. It is a pure function; self leads.
func planMembers(m members, self uint64, all []candidate, most int) (c change) {
	of := map[uint64]candidate{}
	for _, one := range all {
		of[one.id] = one
	}
	current := slices.Concat(m.voters, m.learners)
	stays := slices.DeleteFunc(slices.Clone(current), func(id uint64) bool { _, ok := of[id]; return !ok && id != self })
	fresh := slices.DeleteFunc(slices.Clone(all), func(one candidate) bool { return !one.alive || slices.Contains(current, one.id) })
	if len(stays) < most && len(fresh) > 0 {
		first := slices.MinFunc(fresh, func(a, b candidate) int { return cmp.Compare(a.node, b.node) })
		return change{learn: []uint64{first.id}}
	}
	voters := chooseVoters(m, self, stays, of, (min(len(stays), most)+1)/2*2-1)
	if voters == nil {
		voters = m.voters
	}
	room := most
	for _, id := range voters {
		if slices.Contains(stays, id) {
			room--
		}
	}
	for _, id := range current {
		registered := slices.Contains(stays, id)
		is, was := slices.Contains(voters, id), slices.Contains(m.voters, id)
		switch {
		case is && !was:
			c.promote = append(c.promote, id)
		case !is && registered && room > 0:
			room--
			if was {
				c.demote = append(c.demote, id)
			}
		case !is:
			c.remove = append(c.remove, id)
		}
	}
	return c
}

// chooseVoters are so many voters of those who stay: the leader, those who vote already, learners that are ready. nil means
// that there are not enough yet, or too few of them can be relied on.
func chooseVoters(m members, self uint64, stays []uint64, of map[uint64]candidate, want int) []uint64 {
	rank := func(id uint64) int {
		switch is := slices.Contains(m.voters, id); {
		case id == self:
			return 0
		case is && of[id].ready:
			return 1
		case is:
			return 2
		case of[id].ready && of[id].alive:
			return 3
		}
		return 4
	}
	sorted := slices.Clone(stays)
	slices.SortStableFunc(sorted, func(a, b uint64) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(of[a].node, of[b].node))
	})
	if len(sorted) < want {
		return nil
	}
	voters, ready := sorted[:want], 0
	for _, id := range voters {
		if rank(id) == 4 {
			return nil
		}
		if id == self || of[id].ready {
			ready++
		}
	}
	if 2*ready <= want {
		return nil
	}
	return slices.Sorted(slices.Values(voters))
}

// tend looks after the members, if this node leads.
func (n *Node) tend() {
	if n.active == 0 || n.o.Roster == nil || n.yielding != nil {
		return
	}
	m := n.members
	if len(m.outgoing)+len(m.learnersNext) > 0 {
		return // a change is under way
	}
	if n.barred() {
		n.Yield(func() {})
		return
	}
	all := n.candidates()
	c := planMembers(m, n.identity.raft, all, n.o.Voters)
	if c.empty() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed || n.closed || !n.leads {
		return
	}
	// Raft refuses a second change while one is not applied, by making it an entry that says nothing.
	if err := n.raw.ProposeConfChange(c.proto()); err != nil {
		n.o.Log.Debug("the members of the quorum are not changed now", "because", err)
	}
	n.pump()
}

func (c change) proto() *raftpb.ConfChangeV2 {
	change := &raftpb.ConfChangeV2{}
	add := func(kind raftpb.ConfChangeType, ids []uint64) {
		for _, id := range ids {
			change.Changes = append(change.Changes, &raftpb.ConfChangeSingle{Type: &kind, NodeId: &id})
		}
	}
	add(raftpb.ConfChangeAddLearnerNode, c.learn)
	add(raftpb.ConfChangeAddNode, c.promote)
	add(raftpb.ConfChangeAddLearnerNode, c.demote)
	add(raftpb.ConfChangeRemoveNode, c.remove)
	return change
}

// barred reports whether this node must not be a member.
func (n *Node) barred() bool {
	return slices.ContainsFunc(n.o.Roster.Registered(), func(r Registered) bool { return r.ID == n.identity.raft && r.Barred })
}

// candidates are the registered nodes that may be members, with what the leader knows of their logs.
func (n *Node) candidates() []candidate {
	registered := n.o.Roster.Registered()
	n.mu.Lock()
	defer n.mu.Unlock()
	match := map[uint64]uint64{}
	n.raw.WithProgress(func(id uint64, _ etcd.ProgressType, p progress) { match[id] = p.Match })
	now, last := n.o.Runtime.Now(), uint64(n.store.end()-1)
	spares := 0
	for _, r := range registered {
		if r.ID != 0 && !r.Barred && r.Alive && !slices.Contains(n.members.voters, r.ID) {
			spares++
		}
	}
	var all []candidate
	for _, r := range registered {
		if r.ID == 0 || r.Barred {
			continue
		}
		lately := n.heard[r.ID]
		if lately.Before(n.since) {
			lately = n.since
		}
		if spares > 0 && !r.Alive && r.ID != n.identity.raft && slices.Contains(n.members.voters, r.ID) && now.Sub(lately) > longDead {
			spares-- // its place is for somebody else; it may come back as an observer
			continue
		}
		matched, member := match[r.ID]
		// One that has nothing is not ready, however short the log is: it may wait for a snapshot that there is no space for.
		ready := r.ID == n.identity.raft || member && now.Sub(n.heard[r.ID]) < heardWithin && matched > 0 && matched+caughtUp >= last
		all = append(all, candidate{r.ID, r.Node, r.Alive, ready})
	}
	return all
}

// nodes finds nodes by their raft ids. The mutex is held, or not: it needs none.
func (n *Node) nodes() map[uint64]kafka.NodeID {
	nodes := map[uint64]kafka.NodeID{n.identity.raft: n.identity.node}
	if n.o.Roster != nil {
		for _, r := range n.o.Roster.Registered() {
			if r.ID != 0 {
				nodes[r.ID] = r.Node
			}
		}
	}
	return nodes
}

// describe are members by their node ids, for people.
func (n *Node) describe(ids []uint64) []kafka.NodeID {
	nodes, list := n.nodes(), make([]kafka.NodeID, len(ids))
	for i, id := range ids {
		list[i] = kafka.NoNode
		if node, ok := nodes[id]; ok {
			list[i] = node
		}
	}
	slices.Sort(list)
	return list
}

// observers are the registered brokers that have pulled lately and are no members. The mutex is held.
func (n *Node) observers() []Observer {
	member, registered := map[kafka.NodeID]bool{}, map[kafka.NodeID]bool{}
	nodes := n.nodes()
	for _, node := range nodes { // any order
		registered[node] = true
	}
	n.raw.WithProgress(func(id uint64, _ etcd.ProgressType, _ progress) { member[nodes[id]] = true })
	var list []Observer
	now := n.o.Runtime.Now()
	for node, o := range n.watchers { // any order
		if now.Sub(o.At) > 5*time.Minute {
			delete(n.watchers, node)
		} else if !member[node] && registered[node] {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b Observer) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// milestone is an entry that was committed when the leader looked, and that it had not on its own disk.
type milestone struct {
	index uint64 // 0 for none
	seen  time.Time
}

// stepAside has another voter lead where this leader's own disk has not kept for a second what is committed by the others' disks. A leader
// applies only what is on its own disk: as long as that stands still nothing is decided, and since heartbeats need no disk nobody else would
// come to lead. Where the others are no quorum without this member, or all disks are slow alike, nothing would be better, and nothing changes.
func (n *Node) stepAside() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.leads || n.failed || n.closed || n.yielding != nil {
		n.milestone = milestone{}
		return
	}
	now := n.o.Runtime.Now()
	var own, most, heir uint64
	n.raw.WithProgress(func(id uint64, _ etcd.ProgressType, p progress) {
		switch {
		case id == n.identity.raft:
			own = p.Match
		case now.Sub(n.heard[id]) < heardWithin && p.Match > most && slices.Contains(n.members.voters, id):
			most, heir = p.Match, id
		}
	})
	committed := n.raw.BasicStatus().HardState.GetCommit()
	switch {
	case own >= committed || heir == 0:
		n.milestone = milestone{}
	case own >= n.milestone.index || n.milestone.index == 0:
		n.milestone = milestone{committed, now}
	case now.Sub(n.milestone.seen) >= mostBehind:
		n.o.Log.Warn("the disk of this node, which leads the metadata quorum, is slow; another node is to lead",
			"leader", n.describe([]uint64{heir})[0], "slow_for", now.Sub(n.milestone.seen).Round(time.Millisecond))
		n.milestone = milestone{}
		n.raw.TransferLeader(heir)
		n.pump()
	}
}

// Yield hands the lead over to another voter, if this node leads and there is one that can take it. done is called when it has,
// or when that has taken too long.
func (n *Node) Yield(done func()) {
	n.loop.Do(func() {
		heir := uint64(0)
		if n.active != 0 && n.o.Roster != nil {
			for _, one := range n.candidates() {
				if one.ready && one.alive && one.id != n.identity.raft && slices.Contains(n.members.voters, one.id) {
					heir = one.id
				}
			}
		}
		if heir == 0 {
			done()
			return
		}
		var stop func()
		n.yielding = func() {
			n.yielding = nil
			stop()
			done()
		}
		stop = n.loop.After(yieldLimit, func() {
			if n.yielding != nil {
				n.yielding()
			}
		})
		n.mu.Lock()
		n.raw.TransferLeader(heir)
		n.pump()
		n.mu.Unlock()
	})
}
