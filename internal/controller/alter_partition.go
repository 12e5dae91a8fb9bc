package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// AlterPartition decides on the ISRs that leaders propose (KIP-497, KIP-903). Every one that is accepted is a change of its
// partition, also where it asks for what there is: a leader that asks for that wants to be sure that no earlier proposal of its
// can be accepted any more.
func (c *Controller) AlterPartition(req *kmsg.AlterPartitionRequest, reply func(*kmsg.AlterPartitionResponse)) {
	resp := kmsg.NewPtrAlterPartitionResponse()
	resp.Version = req.Version
	broker := kafka.NodeID(req.BrokerID)
	c.decide(func(m *machine) (records []metadata.Record) {
		b := m.image().Broker(broker)
		if b == nil || b.Epoch != req.BrokerEpoch {
			resp.ErrorCode = kafka.StaleBrokerEpoch.Code()
			return nil
		}
		decided := map[metadata.PartitionID]bool{}
		for i := range req.Topics {
			t := &req.Topics[i]
			result := kmsg.NewAlterPartitionResponseTopic()
			result.TopidID = t.TopicID
			topic := m.image().TopicByID(kafka.TopicID(t.TopicID))
			for j := range t.Partitions {
				asked := &t.Partitions[j]
				r := kmsg.NewAlterPartitionResponseTopicPartition()
				r.Partition = asked.Partition
				id := metadata.PartitionID{Topic: t.TopicID, Partition: asked.Partition}
				record, code := m.alterPartition(b, topic, asked)
				switch {
				case code != kafka.None:
				case decided[id]:
					code = kafka.InvalidRequest
				case len(records) == maxRecords:
					code = kafka.OperationNotAttempted
				default:
					decided[id] = true
					records = append(records, record)
				}
				r.ErrorCode = code.Code()
				result.Partitions = append(result.Partitions, r)
			}
			resp.Topics = append(resp.Topics, result)
		}
		return records
	}, func(err error) {
		if err != nil {
			resp.Topics = nil
			resp.ErrorCode = refusalOf(err).code.Code()
		}
		reply(resp)
	})
}

// alterPartition judges one proposal of a leader.
func (m *machine) alterPartition(leader *metadata.Broker, t *metadata.Topic, asked *kmsg.AlterPartitionRequestTopicPartition) (*metadata.PartitionChange, kafka.ErrorCode) {
	if t == nil {
		return nil, kafka.UnknownTopicID
	}
	p := t.Partition(asked.Partition)
	switch {
	case p == nil:
		return nil, kafka.UnknownTopicOrPartition
	case asked.LeaderEpoch > p.LeaderEpoch || asked.PartitionEpoch > p.PartitionEpoch:
		return nil, kafka.NotController // whoever says that has heard of a later controller than this one
	case asked.LeaderEpoch < p.LeaderEpoch:
		return nil, kafka.FencedLeaderEpoch
	case p.Leader != leader.ID:
		return nil, kafka.InvalidRequest
	case asked.PartitionEpoch < p.PartitionEpoch:
		return nil, kafka.InvalidUpdateVersion
	}
	isr := make([]kafka.NodeID, len(asked.NewEpochISR))
	for n, member := range asked.NewEpochISR {
		isr[n] = kafka.NodeID(member.BrokerID)
	}
	if !soundISR(isr, p, leader.ID) {
		return nil, kafka.InvalidRequest
	}
	for n, id := range isr {
		if epoch := asked.NewEpochISR[n].BrokerEpoch; !slices.Contains(p.ISR, id) && !m.mayJoin(id, epoch) {
			return nil, kafka.IneligibleReplica
		}
	}
	return m.altered(t, p, isr), kafka.None
}

// soundISR reports whether an ISR makes sense for a partition: replicas of it, none twice, its leader among them.
func soundISR(isr []kafka.NodeID, p *metadata.Partition, leader kafka.NodeID) bool {
	for n, id := range isr {
		if !slices.Contains(p.Replicas, id) || slices.Contains(isr[:n], id) {
			return false
		}
	}
	return slices.Contains(isr, leader)
}

// mayJoin reports whether a broker may join an ISR: it is live, and in the life in which the leader saw it catch up.
func (m *machine) mayJoin(id kafka.NodeID, epoch int64) bool {
	b := m.image().Broker(id)
	return b.Active() && b.Epoch == epoch
}

// altered is the change to an ISR that was accepted. A reassignment is complete when everybody who was to come is in sync.
func (m *machine) altered(t *metadata.Topic, p *metadata.Partition, isr []kafka.NodeID) *metadata.PartitionChange {
	least := effectiveMin(p, m.options.Configs.MinISR(m.image(), t.Name))
	next := *p
	next.ISR, next.ELR = isr, among(p.ELR, withoutAll(p.Replicas, isr))
	if len(isr) >= least {
		next.ELR = nil
	} else {
		for _, id := range p.ISR {
			if !slices.Contains(isr, id) && !slices.Contains(next.ELR, id) {
				next.ELR = append(next.ELR, id) // nothing is committed without them from now on (KIP-966)
			}
		}
	}
	next.Recovery = metadata.Recovered
	o := outcomeOf(&next)
	if p.Reassigning() {
		target := targetReplicas(p)
		if done, ok := completed(&next, target, least, m.active); ok && containsAll(isr, p.Adding) {
			c := m.reassigned(t.ID, p, target, done)
			c.ISR = append([]kafka.NodeID{}, done.isr...)
			return c
		}
	}
	c := change(t.ID, p, o)
	if c == nil {
		c = &metadata.PartitionChange{Topic: t.ID, Partition: p.Number}
	}
	c.ISR = append([]kafka.NodeID{}, isr...) // said in any case: the change is what the leader waits for
	return c
}

// targetReplicas are those after the reassignment in progress.
func targetReplicas(p *metadata.Partition) []kafka.NodeID {
	return slices.DeleteFunc(slices.Clone(p.Replicas), func(id kafka.NodeID) bool { return slices.Contains(p.Removing, id) })
}

func containsAll(list, wanted []kafka.NodeID) bool {
	for _, id := range wanted {
		if !slices.Contains(list, id) {
			return false
		}
	}
	return true
}

// withoutAll is a list without the members of another.
func withoutAll(list, others []kafka.NodeID) []kafka.NodeID {
	return slices.DeleteFunc(slices.Clone(list), func(id kafka.NodeID) bool { return slices.Contains(others, id) })
}
