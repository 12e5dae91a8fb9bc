package controller

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

const (
	// lostGrace is how long a broker has to be heard of after its connection has ended. Brokers say that they live more often
	// than that, unless the network is slow: then it is twice the time between their heartbeats, up to mostGrace.
	lostGrace = 200 * time.Millisecond
	mostGrace = time.Second
	// reservation is how long a node id is kept for whoever was told it. It is over before a node that asks for the id gives up: one that
	// was let in, lost its folder before that was durable and was started again is another to the controller.
	reservation = 10 * time.Second
)

// Applicant is a node that wants to join.
type Applicant struct {
	Cluster string       // that it means to join; empty for whatever cluster this is
	Node    kafka.NodeID // the id that it wants; NoNode for any that is free
	RaftID  uint64       // which tells one who asks again from another
	// Directory is a log directory that it brings along; zero for none.
	Directory metadata.DirectoryID
}

// Admit says which id a node may take that joins with an empty data folder. It changes nothing that is replicated: the node
// is in the cluster when it registers. The error has a kafka.ErrorCode in its chain, and words for an operator.
func (c *Controller) Admit(a Applicant, reply func(node kafka.NodeID, err error)) {
	var node kafka.NodeID
	var refused *refusal
	c.decide(func(m *machine) []metadata.Record {
		node, refused = m.admit(a)
		return nil
	}, func(err error) {
		if err == nil && refused != nil {
			err = refused
		}
		if err != nil {
			reply(kafka.NoNode, err)
			return
		}
		reply(node, nil)
	})
}

func (m *machine) admit(a Applicant) (kafka.NodeID, *refusal) {
	image := m.image()
	if a.Cluster != "" && a.Cluster != image.ClusterID() {
		return kafka.NoNode, refuse(kafka.InconsistentClusterID, "this is cluster %s, and the node means to join cluster %s", image.ClusterID(), a.Cluster)
	}
	if a.Node == kafka.NoNode {
		return m.freeNode(a.RaftID), nil
	}
	old := image.Broker(a.Node)
	switch {
	case old == nil:
		if by := m.reserved[a.Node]; by.raft != a.RaftID && m.options.Runtime.Now().Before(by.until) {
			return kafka.NoNode, refuse(kafka.DuplicateBrokerRegistration, "node id %d was just given to another node: leave --node-id out, to be given one that is free", a.Node)
		}
	case old.RaftID == a.RaftID && a.RaftID != 0:
	case m.alive(old):
		return kafka.NoNode, refuse(kafka.DuplicateBrokerRegistration, "node id %d is in use by a node that lives: leave --node-id out, to be given one that is free", a.Node)
	case slices.Contains(old.Directories, a.Directory):
		// Only its metadata is gone; what others rely on is there.
	default:
		if refused := m.checkLoss(a.Node); refused != nil {
			return kafka.NoNode, refused
		}
	}
	m.reserved[a.Node] = reserved{a.RaftID, m.options.Runtime.Now().Add(reservation)}
	return a.Node, nil
}

// reserved is a node id that was given to somebody who has not registered yet.
type reserved struct {
	raft  uint64
	until time.Time
}

// freeNode is the lowest id from 1 that no broker has, that no replica is assigned to, and that was not just given away.
func (m *machine) freeNode(raft uint64) kafka.NodeID {
	taken := map[kafka.NodeID]bool{}
	now := m.options.Runtime.Now()
	for id, by := range m.reserved { // any order
		switch {
		case by.raft == raft:
			return id // asked again
		case now.Before(by.until):
			taken[id] = true
		default:
			delete(m.reserved, id)
		}
	}
	m.image().Brokers(func(b *metadata.Broker) bool {
		taken[b.ID] = true
		return true
	})
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			for _, id := range p.Replicas {
				taken[id] = true
			}
		}
		return true
	})
	id := kafka.NodeID(1)
	for taken[id] {
		id++
	}
	m.reserved[id] = reserved{raft, now.Add(reservation)}
	return id
}

// checkLoss refuses an empty disk under the id of a broker that had the only copy of something.
func (m *machine) checkLoss(id kafka.NodeID) *refusal {
	topic, number, count := "", int32(0), 0
	m.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if m.sole(p, id) {
				if count++; count == 1 {
					topic, number = t.Name, p.Number
				}
			}
		}
		return true
	})
	if count == 0 {
		return nil
	}
	return refuse(kafka.InvalidRegistration, "node %d comes with an empty disk, and what it had was the only copy of %d partitions, %s-%d among them: "+
		"put its data folder back, or give them up with: gregor cluster remove %d", id, count, topic, number, id)
}

// sole reports whether nobody else may lead a partition without a loss.
func (m *machine) sole(p *metadata.Partition, id kafka.NodeID) bool {
	has := false
	for _, list := range [][]kafka.NodeID{p.ISR, p.ELR} {
		for _, other := range list {
			if other != id {
				return false
			}
			has = true
		}
	}
	return has
}

// forget takes a broker out of everything for good: unlike one that is fenced, it has nothing any more that others could be
// elected for. Where nobody else could lead it stays eligible, so that nothing is given up without being told.
func (m *machine) forget(id kafka.NodeID) []metadata.Record {
	var records []metadata.Record
	image := m.image()
	image.Topics(func(t *metadata.Topic) bool {
		min := m.options.Configs.MinISR(image, t.Name)
		for _, p := range t.Partitions {
			if p.Leader != id && !slices.Contains(p.ISR, id) && !slices.Contains(p.ELR, id) {
				continue
			}
			o := leave(p, id, min, m.active)
			if !m.sole(p, id) {
				o = outcome{isr: without(p.ISR, id), elr: without(p.ELR, id), leader: p.Leader, recovery: p.Recovery}
				o = elect(p, o, effectiveMin(p, min), func(other kafka.NodeID) bool { return other != id && m.active(other) })
			}
			if c := change(t.ID, p, o); c != nil {
				records = append(records, c)
			}
		}
		return true
	})
	return records
}

// Lost says that the connection of a broker to this node has ended, or that it cannot be reached. If it is not heard of
// within a moment it is fenced, long before its session is over.
func (c *Controller) Lost(id kafka.NodeID) {
	c.mu.Lock()
	s := c.shard
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.Decide(func(m *machine) []metadata.Record {
		b := m.image().Broker(id)
		if b == nil || b.Fenced || m.session(b).lost {
			return nil
		}
		known := m.session(b)
		known.lost = true
		at := m.options.Runtime.Now()
		s.After(min(max(lostGrace, 2*known.between), mostGrace), func(m *machine) []metadata.Record {
			known.lost = false
			b := m.image().Broker(id)
			if b == nil || b.Fenced || m.session(b) != known || known.heard.After(at) {
				return nil
			}
			if !b.ShuttingDown {
				m.options.Log.Warn("a broker cannot be reached, and is fenced", "broker", b.ID, "epoch", b.Epoch)
			}
			return m.fence(b)
		})
		return nil
	}, func(error) {})
}

// AddRaftVoter lets a node be a member of the quorum again that was taken out of it (KIP-853). The quorum sizes itself: who
// votes is up to it.
func (c *Controller) AddRaftVoter(req *kmsg.AddRaftVoterRequest, reply func(*kmsg.AddRaftVoterResponse)) {
	c.bar(kafka.NodeID(req.VoterID), req.ClusterID, req.VoterDirectoryID, false, func(refused *refusal) {
		resp := kmsg.NewPtrAddRaftVoterResponse()
		resp.Version = req.Version
		refused.on(&resp.ErrorCode, &resp.ErrorMessage)
		reply(resp)
	})
}

// RemoveRaftVoter takes a node out of the quorum, which replaces it by another if there is one.
func (c *Controller) RemoveRaftVoter(req *kmsg.RemoveRaftVoterRequest, reply func(*kmsg.RemoveRaftVoterResponse)) {
	c.bar(kafka.NodeID(req.VoterID), req.ClusterID, req.VoterDirectoryID, true, func(refused *refusal) {
		resp := kmsg.NewPtrRemoveRaftVoterResponse()
		resp.Version = req.Version
		refused.on(&resp.ErrorCode, &resp.ErrorMessage)
		reply(resp)
	})
}

func (c *Controller) bar(id kafka.NodeID, cluster *string, directory [16]byte, barred bool, reply func(*refusal)) {
	var refused *refusal
	c.decide(func(m *machine) (records []metadata.Record) {
		b := m.image().Broker(id)
		switch {
		case cluster != nil && *cluster != m.image().ClusterID():
			refused = refuse(kafka.InconsistentClusterID, "this is cluster %s, and not %s", m.image().ClusterID(), *cluster)
		case b == nil || b.RaftID == 0:
			refused = refuse(kafka.VoterNotFound, "there is no node %d", id)
		case directory != [16]byte{} && (len(b.Directories) == 0 || b.Directories[0] != directory):
			refused = refuse(kafka.VoterNotFound, "node %d has no directory with the id %s", id, kafka.TopicID(directory))
		case barred && m.others(id) == 0:
			refused = refuse(kafka.InvalidRequest, "node %d is the only one that could keep the metadata", id)
		case barred && !b.Barred:
			records = append(records, &metadata.BrokerChange{ID: id, Epoch: b.Epoch, Barred: metadata.Set})
		case !barred && b.Barred:
			records = append(records, &metadata.BrokerChange{ID: id, Epoch: b.Epoch, Barred: metadata.Cleared})
		}
		return records
	}, func(err error) {
		if err != nil {
			refused = refusalOf(err)
		}
		reply(refused)
	})
}

// others counts the live brokers besides one that may be members of the quorum.
func (m *machine) others(id kafka.NodeID) (count int) {
	m.image().Brokers(func(b *metadata.Broker) bool {
		if b.ID != id && b.Active() && !b.Barred && b.RaftID != 0 {
			count++
		}
		return true
	})
	return count
}
