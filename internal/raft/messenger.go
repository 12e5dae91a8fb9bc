package raft

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// flying is how many requests with messages are on their way to a member at once. What comes meanwhile goes together.
	flying = 4
	// maxQueued is how many messages may wait for a member. Raft sends again what is lost.
	maxQueued = 4096
	// After the connection of a leader has ended, it has this long to be heard of again.
	leaderGrace = 50 * time.Millisecond
	// Those who have forgotten a leader campaign one after another, in the order of their ids: two at once would take each other's votes,
	// and half a second would go by before the next try. campaignStep is how long a campaign takes that is won, with two syncs.
	campaignStep   = 60 * time.Millisecond
	campaignSpread = 10 * time.Millisecond
)

// messenger is a Transport over a peer.Network.
type messenger struct {
	node *Node

	mu    sync.Mutex
	boxes map[uint64]*mailbox
}

// mailbox is what is on its way to a member.
type mailbox struct {
	flying int
	queue  [][]byte
}

func newMessenger(n *Node) *messenger {
	return &messenger{node: n, boxes: map[uint64]*mailbox{}}
}

// Send sends a message, or lets it wait for others on their way.
func (m *messenger) Send(to uint64, message []byte, snapshot bool) {
	if snapshot {
		// On a lane of its own, so that heartbeats do not wait behind it.
		m.call(to, peer.Metadata, [][]byte{message}, func(err error) { m.node.ReportSnapshot(to, err == nil) })
		return
	}
	m.mu.Lock()
	box := m.boxes[to]
	if box == nil {
		box = &mailbox{}
		m.boxes[to] = box
	}
	if len(box.queue) < maxQueued {
		box.queue = append(box.queue, message)
	}
	m.mu.Unlock()
	m.flush(to, box)
}

func (m *messenger) flush(to uint64, box *mailbox) {
	m.mu.Lock()
	messages := box.queue
	if box.flying == flying || len(messages) == 0 {
		m.mu.Unlock()
		return
	}
	box.queue = nil
	box.flying++
	m.mu.Unlock()
	m.call(to, peer.Quorum, messages, func(err error) {
		m.mu.Lock()
		box.flying--
		if err != nil {
			box.queue = nil
		}
		m.mu.Unlock()
		if err != nil {
			m.node.ReportUnreachable(to)
			return
		}
		m.flush(to, box)
	})
}

func (m *messenger) call(to uint64, lane peer.Lane, messages [][]byte, answered func(error)) {
	n := m.node
	address, ok := n.addressOf(to)
	if !ok {
		n.loop.Do(func() { answered(kafka.BrokerNotAvailable) })
		return
	}
	request := &wire.RaftRequest{Cluster: n.identity.cluster, From: n.identity.raft, To: to, Host: n.o.Self.Host, Port: n.o.Self.Port, Messages: messages}
	n.o.Peers.Call(address, lane, request, func(r kmsg.Response, err error) {
		if response, ok := r.(*wire.RaftResponse); err == nil && (!ok || response.ErrorCode != 0) {
			err = kafka.BrokerNotAvailable // somebody else is at the address
		}
		if err != nil {
			n.unlearn(to, address)
			n.silent(to)
		}
		answered(err)
	})
}

// silent passes on that a member cannot be reached.
func (n *Node) silent(id uint64) {
	if n.o.Silent == nil {
		return
	}
	n.mu.Lock()
	node, ok := n.nodes()[id]
	leads := n.leads
	n.mu.Unlock()
	if ok && leads {
		n.o.Silent(node)
	}
}

// addressOf is where a member is reached.
func (n *Node) addressOf(id uint64) (peer.Address, bool) {
	n.mu.Lock()
	learned, ok := n.learned[id]
	n.mu.Unlock()
	if ok {
		return learned, true
	}
	for _, r := range n.o.Roster.Registered() {
		if r.ID == id && r.Address != (peer.Address{}) {
			return r.Address, true
		}
	}
	return peer.Address{}, false
}

// unlearn forgets where a member said that it was.
func (n *Node) unlearn(id uint64, was peer.Address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.learned[id] == was {
		delete(n.learned, id)
	}
}

// Receive takes messages that came from another node, and says whether they were for this member.
func (n *Node) Receive(r *wire.RaftRequest) kafka.ErrorCode {
	if r.Cluster != n.identity.cluster {
		return kafka.InconsistentClusterID
	}
	if r.To != n.identity.raft {
		return kafka.UnknownTopicOrPartition // it has lived here, perhaps, before the disk was wiped
	}
	if r.Host != "" {
		n.mu.Lock()
		n.learned[r.From] = peer.Address{Host: r.Host, Port: r.Port}
		n.mu.Unlock()
	}
	for _, m := range r.Messages {
		if n.Step(m) != nil {
			return kafka.InvalidRequest
		}
	}
	return kafka.None
}

// Disconnected says that a connection has ended by which messages of a member came. If that member leads, and is not heard of
// at once by another connection, its process has ended, and there is no need to wait until its lease has: this member
// forgets it, and whoever has forgotten it votes for another.
func (n *Node) Disconnected(id uint64) {
	gone := n.o.Runtime.Now()
	n.loop.After(leaderGrace, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.failed || n.closed || n.leader != id || n.leads || n.heard[id].After(gone) {
			return
		}
		_ = n.raw.ForgetLeader()
		n.pump()
		term := n.term
		turn := time.Duration(n.turnToCampaign(id))*campaignStep + time.Duration(n.o.Runtime.Rand().Int64N(int64(campaignSpread)))
		n.loop.After(turn, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			// In a later term somebody has been given this member's vote already, and may be about to lead.
			if !n.failed && !n.closed && n.leader == 0 && n.term == term && slices.Contains(n.members.voters, n.identity.raft) {
				_ = n.raw.Campaign() // it fails where there is nothing to win
				n.pump()
			}
		})
	})
}

// turnToCampaign is how many voters campaign before this one when a leader is gone. The mutex is held.
func (n *Node) turnToCampaign(gone uint64) (before int) {
	for _, id := range n.members.voters {
		if id != gone && id < n.identity.raft {
			before++
		}
	}
	return before
}
