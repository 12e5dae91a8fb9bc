package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// AssignReplicasToDirs is how a broker says where its replicas are (KIP-858). A broker has one directory; what it has to say
// is that replicas are lost, because what it had on stable storage is damaged: their directory is then DirectoryLost. Such a
// replica leaves every set that it could be elected from, and a new leader epoch begins, in which nobody takes it for in sync
// because of what it had before. Where nobody else has what is committed the answer is EligibleLeadersNotAvailable, and nothing
// changes.
func (c *Controller) AssignReplicasToDirs(req *kmsg.AssignReplicasToDirsRequest, reply func(*kmsg.AssignReplicasToDirsResponse)) {
	resp := kmsg.NewPtrAssignReplicasToDirsResponse()
	resp.Version = req.Version
	c.decide(func(m *machine) (records []metadata.Record) {
		b := m.image().Broker(kafka.NodeID(req.BrokerID))
		if b == nil || b.Epoch != req.BrokerEpoch {
			resp.ErrorCode = kafka.StaleBrokerEpoch.Code()
			return nil
		}
		decided := map[metadata.PartitionID]bool{}
		for _, d := range req.Directories {
			directory := kmsg.NewAssignReplicasToDirsResponseDirectory()
			directory.ID = d.ID
			for _, t := range d.Topics {
				topic := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
				topic.TopicID = t.TopicID
				for _, p := range t.Partitions {
					id := metadata.PartitionID{Topic: t.TopicID, Partition: p.Partition}
					record, code := m.assignDirectory(b, d.ID, id)
					switch {
					case record == nil:
					case decided[id]:
						code = kafka.InvalidRequest
					case len(records) == maxRecords:
						code = kafka.OperationNotAttempted
					default:
						decided[id] = true
						records = append(records, record)
					}
					result := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
					result.Partition, result.ErrorCode = p.Partition, code.Code()
					topic.Partitions = append(topic.Partitions, result)
				}
				directory.Topics = append(directory.Topics, topic)
			}
			resp.Directories = append(resp.Directories, directory)
		}
		return records
	}, func(err error) {
		if err != nil {
			resp.Directories = nil
			resp.ErrorCode = refusalOf(err).code.Code()
		}
		reply(resp)
	})
}

// assignDirectory judges what a broker says of one replica. There is nothing to change where it is in a directory of its own.
func (m *machine) assignDirectory(b *metadata.Broker, directory metadata.DirectoryID, id metadata.PartitionID) (*metadata.PartitionChange, kafka.ErrorCode) {
	t := m.image().TopicByID(id.Topic)
	if t == nil {
		return nil, kafka.UnknownTopicID
	}
	p := t.Partition(id.Partition)
	switch {
	case p == nil:
		return nil, kafka.UnknownTopicOrPartition
	case !slices.Contains(p.Replicas, b.ID):
		return nil, kafka.NotLeaderOrFollower
	case slices.Contains(b.Directories, directory):
		return nil, kafka.None
	case directory != metadata.DirectoryLost:
		return nil, kafka.InvalidRequest
	}
	return m.lost(t, p, b.ID)
}

// lost takes a replica whose records are damaged out of everything, as forget does for a whole broker.
func (m *machine) lost(t *metadata.Topic, p *metadata.Partition, id kafka.NodeID) (*metadata.PartitionChange, kafka.ErrorCode) {
	live := func(other kafka.NodeID) bool { return other != id && m.active(other) }
	min := effectiveMin(p, m.options.Configs.MinISR(m.image(), t.Name))
	o := outcome{isr: without(p.ISR, id), elr: without(p.ELR, id), leader: p.Leader, recovery: p.Recovery}
	o = m.uncleanly(t, p, elect(p, o, min, live), live)
	if m.sole(p, id) && o.leader == kafka.NoNode {
		return nil, kafka.EligibleLeadersNotAvailable
	}
	m.options.Log.Warn("a replica is damaged, and is in sync no more", "topic", t.Name, "partition", p.Number, "broker", id,
		"leader", o.leader, "isr", o.isr)
	c := change(t.ID, p, o)
	if c == nil {
		c = &metadata.PartitionChange{Topic: t.ID, Partition: p.Number}
	}
	c.Leader = metadata.LeaderIs(o.leader) // in a new epoch in any case
	return c, kafka.None
}
