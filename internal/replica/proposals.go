package replica

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
)

// alterPartitionVersion is the version of AlterPartition that leaders speak: with topic ids, and the broker epoch of each
// member (KIP-903).
const alterPartitionVersion = 3

// proposalPause is how long the controller is left alone when it did not answer.
const proposalPause = 50 * time.Millisecond

// proposed is one partition's proposal.
type proposed struct {
	partition *Partition
	proposal  *proposal
}

// proposals carries what leaders propose to the controller, everything that there is in one request, and one request at a
// time. What is not answered is sent again exactly as it was, for as long as the partition still stands by it: to make it anew
// from what is known by then could put a replica into an ISR that nobody has judged.
type proposals struct {
	manager *Manager
	loop    loop.Loop
	queue   []proposed
	flying  bool
	closed  bool
}

// add takes a proposal.
func (s *proposals) add(p proposed) {
	s.loop.Do(func() {
		s.queue = append(s.queue, p)
		s.send()
	})
}

func (s *proposals) send() {
	if s.flying || s.closed || s.manager.alterPartition == nil {
		return
	}
	var batch []proposed
	for _, p := range s.queue {
		if p.partition.proposes(p.proposal) {
			batch = append(batch, p)
		}
	}
	s.queue = nil
	if len(batch) == 0 {
		return
	}
	s.flying = true
	s.manager.alterPartition(s.manager.alterRequest(batch), func(r *kmsg.AlterPartitionResponse, err error) {
		s.loop.Do(func() { s.answered(batch, r, err) })
	})
}

// alterRequest asks for the ISRs of a batch.
func (m *Manager) alterRequest(batch []proposed) *kmsg.AlterPartitionRequest {
	r := kmsg.NewPtrAlterPartitionRequest()
	r.Version = alterPartitionVersion
	r.BrokerID, r.BrokerEpoch = int32(m.node), m.ownEpoch()
	topics := map[kafka.TopicID]int{}
	for _, p := range batch {
		at, ok := topics[p.partition.TopicID]
		if !ok {
			at = len(r.Topics)
			topics[p.partition.TopicID] = at
			t := kmsg.NewAlterPartitionRequestTopic()
			t.TopicID = p.partition.TopicID
			r.Topics = append(r.Topics, t)
		}
		q := kmsg.NewAlterPartitionRequestTopicPartition()
		q.Partition, q.LeaderEpoch, q.PartitionEpoch = p.partition.TopicPartition.Partition, p.proposal.leaderEpoch, p.proposal.partitionEpoch
		for i, id := range p.proposal.isr {
			member := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
			member.BrokerID, member.BrokerEpoch = int32(id), p.proposal.brokerEpochs[i]
			q.NewEpochISR = append(q.NewEpochISR, member)
		}
		r.Topics[at].Partitions = append(r.Topics[at].Partitions, q)
	}
	return r
}

// answered settles what was refused, and keeps what has no answer for another try. What was accepted settles itself when the
// metadata says so.
func (s *proposals) answered(batch []proposed, r *kmsg.AlterPartitionResponse, err error) {
	s.flying = false
	code := kafka.None
	if err == nil {
		code = kafka.ErrorCode(r.ErrorCode)
	}
	if err != nil || code != kafka.None {
		s.again(batch)
		return
	}
	codes := map[kafka.TopicID]map[int32]kafka.ErrorCode{}
	for _, t := range r.Topics {
		of := map[int32]kafka.ErrorCode{}
		codes[t.TopidID] = of
		for _, p := range t.Partitions {
			of[p.Partition] = kafka.ErrorCode(p.ErrorCode)
		}
	}
	var left []proposed
	for _, p := range batch {
		code, ok := codes[p.partition.TopicID][p.partition.TopicPartition.Partition]
		switch {
		case !ok, code == kafka.NotController, code == kafka.RequestTimedOut, code == kafka.UnknownServerError, code == kafka.OperationNotAttempted:
			left = append(left, p)
		case code == kafka.IneligibleReplica:
			p.partition.refuseProposal(p.proposal)
		}
		// Everything else says that the controller knows something newer, which this node will hear of.
	}
	if len(left) > 0 {
		s.again(left)
		return
	}
	s.send()
}

// again tries a batch once more, after a while.
func (s *proposals) again(batch []proposed) {
	s.flying = true
	s.loop.After(proposalPause, func() {
		s.flying = false
		s.queue = append(batch, s.queue...)
		s.send()
	})
}

func (s *proposals) close() { s.loop.Do(func() { s.closed = true }) }

// proposes reports whether the partition still stands by a proposal.
func (p *Partition) proposes(asked *proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lead != nil && p.lead.proposal == asked
}

func (p *Partition) refuseProposal(asked *proposal) {
	var fire firing
	p.mu.Lock()
	if p.lead != nil {
		p.lead.refused(asked)
		p.propose(&fire)
	}
	p.mu.Unlock()
	fire.run()
}

// WatchFollowers looks for followers that have not kept up, and for some that have; and for replicas of this node that are
// damaged.
func (m *Manager) WatchFollowers() {
	m.watchDamage()
	m.Partitions(func(p *Partition) {
		var fire firing
		p.mu.Lock()
		p.propose(&fire)
		p.mu.Unlock()
		fire.run()
	})
}
