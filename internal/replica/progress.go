package replica

import (
	"cmp"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/wire"
)

// Progress takes a follower's word of how far its logs are durable. What is stale in it is ignored.
func (m *Manager) Progress(r *wire.ProgressRequest) {
	for i := range r.Partitions {
		said := &r.Partitions[i]
		if p := m.TopicByID(kafka.TopicID(said.Topic)).Partition(said.Partition); p != nil {
			p.progress(kafka.NodeID(r.Broker), r.BrokerEpoch, said)
		}
	}
}

func (p *Partition) progress(id kafka.NodeID, brokerEpoch int64, said *wire.Progress) {
	fire := firings.Get().(*firing)
	p.mu.Lock()
	log := p.log.Load()
	if p.leads(said.LeaderEpoch) == kafka.None && said.LeaderEpoch == p.leaderEpoch && p.lead.progress(id, brokerEpoch, said.Durable) {
		p.advance(log, fire)
		p.propose(fire)
	}
	p.mu.Unlock()
	fire.run()
	fire.reset()
	firings.Put(fire)
}

// reporter tells one leader how far this node's logs are durable: everything that a flush of the disk has moved in one
// message, and no more than one message at a time. What gets lost stands in the next fetch.
type reporter struct {
	manager *Manager
	leader  kafka.NodeID
	loop    loop.Loop

	mu     sync.Mutex
	dirty  map[*Partition]bool
	queued bool // a turn of the loop is queued, or a message under way
}

// report notes that a partition's log is durable further than its leader knows.
func (m *Manager) report(p *Partition) {
	p.mu.Lock()
	leader := p.leader
	p.mu.Unlock()
	if m.network == nil || leader == kafka.NoNode || leader == m.node {
		return
	}
	m.link(leader).reporter.add(p)
}

func (r *reporter) add(p *Partition) {
	r.mu.Lock()
	r.dirty[p] = true
	queue := !r.queued
	r.queued = true
	r.mu.Unlock()
	if queue {
		r.loop.Do(r.send)
	}
}

func (r *reporter) send() {
	r.mu.Lock()
	partitions := make([]*Partition, 0, len(r.dirty))
	for p := range r.dirty { // any order
		partitions = append(partitions, p)
	}
	clear(r.dirty)
	r.mu.Unlock()
	slices.SortFunc(partitions, (*Partition).compare)
	request := &wire.ProgressRequest{Broker: int32(r.manager.node), BrokerEpoch: r.manager.ownEpoch()}
	for _, p := range partitions {
		if at, ok := p.position(r.leader); ok {
			request.Partitions = append(request.Partitions, wire.Progress{Topic: p.TopicID, Partition: p.TopicPartition.Partition, LeaderEpoch: at.epoch, Durable: at.durable})
		}
	}
	address, ok := r.manager.address(r.leader)
	if !ok || len(request.Partitions) == 0 {
		r.sent()
		return
	}
	r.manager.network.Call(address, peer.Quorum, request, func(kmsg.Response, error) { r.loop.Do(r.sent) })
}

// sent goes on with what has come meanwhile.
func (r *reporter) sent() {
	r.mu.Lock()
	r.queued = len(r.dirty) > 0
	again := r.queued
	r.mu.Unlock()
	if again {
		r.send()
	}
}

// link is what this node has to do with one leader that it follows.
type link struct {
	fetcher  *fetcher
	reporter *reporter
}

// link finds or makes the link to a leader.
func (m *Manager) link(leader kafka.NodeID) *link {
	m.linking.Lock()
	defer m.linking.Unlock()
	l := m.links[leader]
	if l == nil {
		l = &link{
			fetcher:  newFetcher(m, leader),
			reporter: &reporter{manager: m, leader: leader, loop: m.rt.Loop("report"), dirty: map[*Partition]bool{}},
		}
		m.links[leader] = l
	}
	return l
}

// follow has the right fetcher fetch a partition, and all others leave it.
func (m *Manager) follow(p *Partition) {
	if m.network == nil {
		return
	}
	p.mu.Lock()
	leader := p.leader
	if !p.follows(leader) {
		leader = kafka.NoNode
	}
	before := p.fetchedFrom
	p.fetchedFrom = leader
	p.mu.Unlock()
	if before != kafka.NoNode && before != leader {
		m.link(before).fetcher.drop(p)
	}
	if leader != kafka.NoNode {
		m.link(leader).fetcher.add(p)
	}
}

// linked are the leaders that this node follows or has followed, in order.
func (m *Manager) linked() []*link {
	m.linking.Lock()
	defer m.linking.Unlock()
	var all []*link
	var ids []kafka.NodeID
	for id := range m.links { // any order
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare[kafka.NodeID])
	for _, id := range ids {
		all = append(all, m.links[id])
	}
	return all
}
