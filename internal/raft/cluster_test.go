package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// cluster is nodes that found, join and leave, in one world, over a network that is late, loses and is cut.
type cluster struct {
	t      *testing.T
	world  *sim.World
	chance *rand.Rand
	nodes  map[kafka.NodeID]*resident
	cuts   map[kafka.NodeID]bool // nodes that nobody reaches, and that reach nobody
	loss   int                   // of 100 calls
	slow   time.Duration         // what every disk takes for a write
	voters int
	name   string
	acked  []string
	tried  int
}

// resident is a node, running or not, and what its disk has.
type resident struct {
	*member
	id           kafka.NodeID
	disk         *vfs.Memory
	faulty       *vfs.Faulty   // the disk as this life has it
	slow         time.Duration // what it takes for a write, if that is more than every disk does
	registered   bool
	unregistered bool // an operator has removed it
}

func newCluster(t *testing.T, seed uint64) *cluster {
	cryptotest.SetGlobalRandom(t, seed)
	c := &cluster{t: t, world: sim.New(seed), chance: rand.New(rand.NewPCG(seed, 5)), nodes: map[kafka.NodeID]*resident{}, cuts: map[kafka.NodeID]bool{}}
	c.start(1)
	return c
}

func addressOf(id kafka.NodeID) peer.Address { return peer.Address{Host: "node", Port: uint16(id)} }

// start starts a node; the first one founds the cluster, and others join it.
func (c *cluster) start(id kafka.NodeID) *resident {
	r := c.nodes[id]
	if r == nil {
		r = &resident{id: id, disk: vfs.NewMemory(), registered: true}
		c.nodes[id] = r
	}
	w := &wires{c: c, from: id}
	r.faulty = vfs.NewFaulty(r.disk)
	m, err := tryOpen(c.world, r.faulty, func(o *Options) {
		o.Node, o.Self, o.SnapshotBytes, o.tail, o.Voters = id, addressOf(id), 1500, 5, c.voters
		o.Peers, o.Roster, o.Runtime = w, roster{c, id}, slowDisks{c.world, c, r}
		if id != 1 {
			o.ClusterID, o.Joining = c.name, NewID(c.world.Rand())
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r.member, w.life, c.name = m, m, m.ClusterID()
	return r
}

// kill ends a node's process and the power of its disk.
func (c *cluster) kill(id kafka.NodeID) {
	r := c.nodes[id]
	gone := r.member
	r.member, r.disk = nil, r.disk.Crash(c.chance)
	for _, other := range c.sorted() {
		if other.member != nil {
			other.Disconnected(gone.ID())
		}
	}
}

func (c *cluster) sorted() []*resident {
	var all []*resident
	for id := kafka.NodeID(1); id < 20; id++ {
		if r := c.nodes[id]; r != nil {
			all = append(all, r)
		}
	}
	return all
}

func (c *cluster) leader() *resident {
	for _, r := range c.sorted() {
		if r.member != nil && r.epoch != 0 && !c.cuts[r.id] {
			return r
		}
	}
	return nil
}

// roster says who is registered: here everybody who has ever begun and was not removed.
type roster struct {
	c    *cluster
	self kafka.NodeID
}

func (r roster) Registered() (all []Registered) {
	for _, n := range r.c.sorted() {
		id, ok := uint64(0), false
		if i, err := readIdentity(n.disk, "metadata"); err == nil {
			id, ok = i.raft, true
		}
		if ok && n.registered && !n.unregistered {
			all = append(all, Registered{ID: id, Node: n.id, Address: addressOf(n.id), Alive: n.member != nil && !r.c.cuts[n.id]})
		}
	}
	return all
}

func (r roster) Known() (all []peer.Address) {
	for _, n := range r.c.sorted() {
		if n.id != r.self {
			all = append(all, addressOf(n.id))
		}
	}
	return all
}

// wires is the network of one life of a node.
type wires struct {
	c    *cluster
	from kafka.NodeID
	life *member
}

func (w *wires) alive() bool { return w.c.nodes[w.from].member == w.life }

func (w *wires) Call(to peer.Address, _ peer.Lane, request kmsg.Request, answered func(kmsg.Response, error)) {
	c, id := w.c, kafka.NodeID(to.Port)
	if !w.alive() {
		return
	}
	delay := func() time.Duration { return time.Duration(100+c.chance.IntN(4000)) * time.Microsecond }
	answer := func(r kmsg.Response, err error) {
		c.world.Schedule(delay(), func() {
			if !w.alive() {
				return
			}
			if err == nil && (c.cuts[w.from] || c.cuts[id]) {
				r, err = nil, peer.ErrUnreachable
			}
			answered(r, err)
		})
	}
	frame := request.AppendTo(nil)
	c.world.Schedule(delay(), func() {
		target := c.nodes[id]
		if target == nil || target.member == nil || c.cuts[w.from] || c.cuts[id] || c.chance.IntN(100) < c.loss {
			answer(nil, peer.ErrUnreachable)
			return
		}
		decoded, err := wire.Decode(request.Key(), 0, frame)
		if err != nil {
			c.t.Error(err)
		}
		switch r := decoded.(type) {
		case *wire.RaftRequest:
			answer(&wire.RaftResponse{ErrorCode: target.Receive(r).Code()}, nil)
		case *wire.FetchMetadataRequest:
			target.FetchMetadata(r, func(response *wire.FetchMetadataResponse) { answer(response, nil) })
		}
	})
}

// write appends a batch with the leader, if there is one, and remembers it if it was committed.
func (c *cluster) write() {
	r := c.leader()
	if r == nil {
		return
	}
	batch := fmt.Sprintf("batch-%d", c.tried)
	c.tried++
	m := r.member
	if next, err := m.Append(m.epoch, []byte(batch)); err == nil {
		c.world.RunUntil(50*time.Millisecond, func() bool { return m.committed >= next })
		if m.committed >= next && slices.Contains(m.machine.lines, batch) {
			c.acked = append(c.acked, batch)
		}
	}
}

func (c *cluster) until(what string, done func() bool) {
	c.t.Helper()
	if !c.world.RunUntil(time.Minute, done) {
		c.t.Fatalf("%s does not come to be: %s", what, c)
	}
}

func (c *cluster) String() (text string) {
	for _, r := range c.sorted() {
		if r.member != nil {
			s := r.Status()
			text += fmt.Sprintf("\nnode %d leads in %d, sees leader %d in %d, committed %d, members %+v", r.id, r.epoch, s.LeaderNode, s.Epoch, s.Committed, s.Members)
		}
	}
	return text
}

// votersAre waits until the voters are these nodes, and everybody who runs has everything.
func (c *cluster) votersAre(ids ...kafka.NodeID) {
	c.t.Helper()
	c.until(fmt.Sprintf("a quorum of %v", ids), func() bool {
		r := c.leader()
		if r == nil {
			return false
		}
		var voters []kafka.NodeID
		for _, m := range r.Status().Members {
			if m.Voter {
				voters = append(voters, m.Node)
			}
		}
		slices.Sort(voters)
		return slices.Equal(voters, ids)
	})
	c.agree()
}

// agree waits until everybody who runs has everything, each batch once and in the same order.
func (c *cluster) agree() {
	c.t.Helper()
	c.until("agreement", func() bool {
		leader := c.leader()
		if leader == nil {
			return false
		}
		for _, r := range c.sorted() {
			if r.member != nil && !slices.Equal(r.machine.lines, leader.machine.lines) {
				return false
			}
		}
		return true
	})
	has := map[string]int{}
	for _, line := range c.leader().machine.lines {
		if has[line]++; has[line] > 1 {
			c.t.Fatalf("%s was applied twice", line)
		}
	}
	for _, batch := range c.acked {
		if has[batch] == 0 {
			c.t.Fatalf("%s was acknowledged and is gone", batch)
		}
	}
	for _, r := range c.sorted() {
		if r.member != nil && len(r.failed) > 0 {
			c.t.Fatalf("node %d failed: %v", r.id, r.failed)
		}
	}
}

func TestAClusterGrowsFromOneToThreeVotersAndAnObserver(t *testing.T) {
	c := newCluster(t, 1)
	c.votersAre(1)
	for range 50 {
		c.write()
	}
	c.start(2)
	c.world.Run(3 * time.Second)
	c.votersAre(1) // two voters would be worse than one
	if members := c.nodes[1].Status().Members; len(members) != 2 {
		t.Fatalf("the second node is no learner: %+v", members)
	}
	c.start(3)
	c.votersAre(1, 2, 3)
	four := c.start(4)
	for range 20 {
		c.write()
	}
	c.votersAre(1, 2, 3)
	if s := c.leader().Status(); len(s.Observers) != 1 || s.Observers[0].Node != 4 {
		t.Fatalf("the leader sees the observers %+v", s.Observers)
	}
	if node, address := four.Leader(); node != c.leader().id || address != addressOf(node) {
		t.Fatalf("the observer takes %d at %v for the leader", node, address)
	}
	if len(c.acked) != 70 {
		t.Errorf("%d of 70 batches were acknowledged", len(c.acked))
	}
}

func TestTheLeadPassesOnWhenItsProcessIsKilled(t *testing.T) {
	c := newCluster(t, 2)
	c.start(2)
	c.start(3)
	four := c.start(4)
	c.votersAre(1, 2, 3)
	for range 6 {
		was := c.leader().id
		c.write()
		c.kill(was)
		began := c.world.Now()
		c.until("another leader", func() bool { return c.leader() != nil && c.leader().id != was })
		if took := c.world.Now().Sub(began); took > time.Second {
			t.Errorf("another leader takes %v", took)
		}
		c.write()
		c.until("the observer's knowledge of it", func() bool { node, _ := four.Leader(); return node == c.leader().id })
		c.agree()
		c.start(was)
		c.agree()
	}
}

// newTrio is three voters, in no joint configuration any more.
func newTrio(t *testing.T, seed uint64) *cluster {
	c := newCluster(t, seed)
	c.start(2)
	c.start(3)
	c.votersAre(1, 2, 3)
	c.until("the end of the change of members", func() bool {
		return !slices.ContainsFunc(c.sorted(), func(r *resident) bool { return len(r.members.outgoing) > 0 })
	})
	return c
}

// slowDisks is the world, with disks as slow as the cluster says.
type slowDisks struct {
	*sim.World
	c *cluster
	r *resident
}

func (s slowDisks) Loop(name string) loop.Loop {
	if name == "raft disk" {
		return slowDisk{s.World.Loop(name), s.c, s.r}
	}
	return s.World.Loop(name)
}

type slowDisk struct {
	loop.Loop
	c *cluster
	r *resident
}

// Do takes long where something has to be synced. Whoever calls it holds the node's mutex.
func (d slowDisk) Do(f func()) {
	if slow := max(d.c.slow, d.r.slow); slow > 0 && d.r.member != nil {
		for _, m := range d.r.writes {
			if m.Term != nil || len(m.GetEntries()) > 0 {
				d.After(slow, f)
				return
			}
		}
	}
	d.Loop.Do(f)
}

// A vote counts when it is on the disk of who gives it, and of the candidate. Where disks take longer than the time after which an
// election begins anew, candidates have to become more patient, or nobody would ever lead.
func TestSomebodyLeadsWhereAllDisksAreSlow(t *testing.T) {
	for seed := range uint64(10) {
		c := newTrio(t, seed)
		c.slow = 1500 * time.Millisecond
		was := c.leader().id
		c.kill(was)
		c.until("another leader", func() bool { return c.leader() != nil && c.leader().id != was })
		c.slow = 0
		c.write()
		c.start(was)
		c.agree()
	}
}

// A leader applies what is on its own disk, and says that it lives whether its disk does or not.
func TestALeaderWhoseDiskIsSlowStepsAside(t *testing.T) {
	for seed := range uint64(10) {
		c := newTrio(t, seed)
		was := c.leader()
		was.slow = time.Minute
		c.write()
		began := c.world.Now()
		c.until("another leader", func() bool { return c.leader() != nil && c.leader() != was })
		if took := c.world.Now().Sub(began); took > 5*time.Second {
			t.Errorf("seed %d: another leads after %v", seed, took)
		}
		c.write()
		c.world.Run(2 * time.Minute)
		was.slow = 0
		c.write()
		c.agree()
	}
}

func TestAVoterThatWasRemovedIsReplaced(t *testing.T) {
	c := newCluster(t, 3)
	for id := kafka.NodeID(2); id <= 4; id++ {
		c.start(id)
		c.world.Run(2 * time.Second)
	}
	c.votersAre(1, 2, 3)
	c.kill(2)
	c.world.Run(5 * time.Second)
	c.votersAre(1, 2, 3) // it may come back
	c.nodes[2].unregistered = true
	c.votersAre(1, 3, 4)
	c.kill(3)
	c.nodes[3].unregistered = true
	c.until("a leader that sees only itself as a voter", func() bool { return c.leader() != nil })
	c.until("one voter and one learner", func() bool {
		members := c.leader().Status().Members
		return len(members) == 2 && members[0].Voter != members[1].Voter
	})
	// The disk of node 3 is new: it is another member, and the third.
	c.nodes[3].disk, c.nodes[3].unregistered = vfs.NewMemory(), false
	c.start(3)
	c.votersAre(1, 3, 4)
}

func TestAVoterThatIsDeadForLongIsReplaced(t *testing.T) {
	c := newCluster(t, 7)
	for id := kafka.NodeID(2); id <= 3; id++ {
		c.start(id)
	}
	c.votersAre(1, 2, 3)
	c.kill(3)
	c.world.Run(longDead + longDead/10) // there is nobody to replace it
	c.votersAre(1, 2, 3)
	c.start(4)
	c.votersAre(1, 2, 4)
	c.start(3)
	c.world.Run(time.Minute)
	c.votersAre(1, 2, 4)
}

func TestFiveVote(t *testing.T) {
	c := newCluster(t, 4)
	c.kill(1)
	c.voters = 5
	c.start(1)
	for id := kafka.NodeID(2); id <= 6; id++ {
		c.start(id)
	}
	c.votersAre(1, 2, 3, 4, 5)
	c.kill(2)
	c.kill(4)
	c.write()
	c.agree()
}

func TestANodeThatCannotReachItsClusterFoundsNone(t *testing.T) {
	c := newCluster(t, 5)
	c.cuts[2] = true
	two := c.start(2)
	c.world.Run(10 * time.Minute)
	if s := two.Status(); s.Leads || s.LeaderNode != kafka.NoNode || len(two.machine.lines) > 0 {
		t.Fatalf("alone it has come to %+v", s)
	}
	c.cuts[2] = false
	c.agree()
}

func TestTheLeadIsHandedOver(t *testing.T) {
	c := newCluster(t, 6)
	c.start(2)
	c.start(3)
	c.votersAre(1, 2, 3)
	was, done := c.leader(), false
	was.Yield(func() { done = true })
	c.until("the end of handing over", func() bool { return done })
	if was.epoch != 0 {
		t.Error("it leads still")
	}
	c.until("another leader", func() bool { return c.leader() != nil && c.leader() != was })
	done = false
	was.Yield(func() { done = true })
	c.until("the end of handing over nothing", func() bool { return done })
}

// A leader that is cut off believes for a while that it leads, and is confirmed by nobody. One that leads has applied by then what any
// node had committed before.
func TestOnlyALeaderIsConfirmed(t *testing.T) {
	for seed := range uint64(20) {
		c := newTrio(t, 100+seed)
		leader := c.leader()
		for _, r := range c.sorted() {
			c.write()
			before, answered := len(leader.machine.lines), false
			r.Confirm(func(leads bool) {
				if leads != (r == leader) {
					t.Fatalf("seed %d: node %d is confirmed as the leader: %t", seed, r.id, leads)
				}
				if leads && len(leader.machine.lines) < before {
					t.Fatalf("seed %d: confirmed with less than was committed", seed)
				}
				answered = true
			})
			c.until("an answer", func() bool { return answered })
		}
		c.cuts[leader.id] = true
		believed, refused := 0, 0
		for refused == 0 || leader.epoch != 0 {
			if leader.epoch != 0 {
				believed++
			}
			leader.Confirm(func(leads bool) {
				if leads {
					t.Fatalf("seed %d: node %d is confirmed by nobody", seed, leader.id)
				}
				refused++
			})
			c.world.RunUntil(20*time.Millisecond, func() bool { return false })
		}
		if believed == 0 {
			t.Errorf("seed %d: it never believed that it leads", seed)
		}
		c.until("all answers", func() bool { return len(leader.confirming) == 0 })
		c.until("another leader", func() bool { return c.leader() != nil })
		confirmed := false
		c.leader().Confirm(func(leads bool) { confirmed = leads })
		c.until("the next one to be confirmed", func() bool { return confirmed })
	}
}

func TestAClusterThatGrowsAndSuffersAgrees(t *testing.T) {
	acked := 0
	for seed := range uint64(12) {
		c := newCluster(t, 100+seed)
		c.voters = []int{3, 5}[seed%2]
		for range 150 {
			id := kafka.NodeID(1 + c.chance.IntN(6))
			r := c.nodes[id]
			switch c.chance.IntN(14) {
			case 0:
				if r != nil && r.member != nil {
					c.kill(id)
				}
			case 1, 2, 3:
				if r == nil || r.member == nil {
					c.start(id)
				}
			case 4:
				c.loss = c.chance.IntN(3) * 10
			case 5:
				c.cuts[id] = !c.cuts[id]
			case 6:
				c.cuts = map[kafka.NodeID]bool{}
			default:
				for range c.chance.IntN(10) {
					c.write()
				}
			}
			c.world.Run(time.Duration(c.chance.IntN(1500)) * time.Millisecond)
		}
		c.loss, c.cuts = 0, map[kafka.NodeID]bool{}
		for _, r := range c.sorted() {
			if r.member == nil {
				c.start(r.id)
			}
		}
		c.agree()
		acked += len(c.acked)
	}
	if acked < 2000 {
		t.Errorf("only %d batches were acknowledged", acked)
	}
	t.Logf("%d batches acknowledged", acked)
}
