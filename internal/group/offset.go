package group

import (
	"maps"
	"slices"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// offsetCommit decides an OffsetCommit. All partitions that may be committed are one batch: all of them or none.
func (m *Machine) offsetCommit(d *decision, req *kmsg.OffsetCommitRequest, reply func(*kmsg.OffsetCommitResponse)) {
	verdict := m.checkCommit(req)
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = req.Version
	for _, rt := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
		name, unknown := m.nameTopic(req.Version >= 10, rt.Topic, rt.TopicID)
		for _, rp := range rt.Partitions {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition = rp.Partition
			code := cmpCode(unknown, m.checkPartition(name, rp), verdict)
			if code == kafka.None {
				d.append(m.committed(req, kafka.TopicPartition{Topic: name, Partition: rp.Partition}, rt.TopicID, rp))
			}
			partition.ErrorCode = code.Code()
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	d.answer(func(err error) {
		if err != nil {
			resp = refusedCommit(req, commitFailure(err))
		}
		reply(resp)
	})
}

// cmpCode is the first of codes that is an error.
func cmpCode(codes ...kafka.ErrorCode) kafka.ErrorCode {
	for _, code := range codes {
		if code != kafka.None {
			return code
		}
	}
	return kafka.None
}

// nameTopic finds what a request calls a topic, by id where its version has ids.
func (m *Machine) nameTopic(byID bool, name string, id kafka.TopicID) (string, kafka.ErrorCode) {
	if !byID {
		return name, kafka.None
	}
	if name, ok := m.topics.NameOf(id); ok {
		return name, kafka.None
	}
	return "", kafka.UnknownTopicID
}

func (m *Machine) checkCommit(req *kmsg.OffsetCommitRequest) kafka.ErrorCode {
	g := m.groups[req.Group]
	switch {
	case g != nil:
		return g.checkCommit(committer{memberID: req.MemberID, instanceID: req.InstanceID, generation: req.Generation})
	case req.Generation < 0:
		return kafka.None // the offsets make a simple group
	case req.Version >= 9:
		return kafka.GroupIDNotFound
	}
	return kafka.IllegalGeneration
}

func (m *Machine) checkPartition(topic string, p kmsg.OffsetCommitRequestTopicPartition) kafka.ErrorCode {
	switch {
	case p.Partition < 0 || p.Partition >= m.topics.PartitionCount(topic):
		return kafka.UnknownTopicOrPartition
	case p.Metadata != nil && utf16Length(*p.Metadata) > m.config.OffsetMetadataMaxBytes:
		return kafka.OffsetMetadataTooLarge
	}
	return kafka.None
}

// utf16Length is the length of a string as Java counts it.
func utf16Length(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

func (m *Machine) committed(
	req *kmsg.OffsetCommitRequest, tp kafka.TopicPartition, id kafka.TopicID, p kmsg.OffsetCommitRequestTopicPartition,
) Record {
	o := offset{offset: p.Offset, leaderEpoch: p.LeaderEpoch, committed: m.nowMs(), expires: -1}
	if p.Metadata != nil {
		o.metadata = *p.Metadata
	}
	if req.Version < 6 {
		o.leaderEpoch = -1
	}
	if req.Version >= 10 {
		o.topicID = id
	}
	if req.Version >= 2 && req.Version <= 4 && req.RetentionTimeMillis >= 0 {
		o.expires = o.committed + req.RetentionTimeMillis
	}
	return offsetRecord(req.Group, tp, o)
}

// fetchOffsets answers for one group of an OffsetFetch. There are no offsets of open transactions yet, so every offset
// is stable.
func (m *Machine) fetchOffsets(version int16, req *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = req.Group
	byID := version >= 10
	if req.Topics == nil {
		m.fetchAll(&resp, byID)
		return resp
	}
	for _, rt := range req.Topics {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
		name, unknown := m.nameTopic(byID, rt.Topic, rt.TopicID)
		for _, number := range rt.Partitions {
			partition := m.fetchOffset(req.Group, name, number, rt.TopicID)
			partition.ErrorCode = unknown.Code()
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// fetchAll answers for every offset of the group; by id only those of topics that still exist.
func (m *Machine) fetchAll(resp *kmsg.OffsetFetchResponseGroup, byID bool) {
	topics := m.offsets[resp.Group]
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = name
		if byID {
			if topic.TopicID = m.topics.IDOf(name); kafka.TopicID(topic.TopicID).IsZero() {
				continue
			}
		}
		for _, number := range slices.Sorted(maps.Keys(topics[name])) {
			topic.Partitions = append(topic.Partitions, m.fetchOffset(resp.Group, name, number, topic.TopicID))
		}
		resp.Topics = append(resp.Topics, topic)
	}
}

// fetchOffset finds one offset; none is -1 and no error. An offset that was committed for another incarnation of the
// topic (KIP-516) is none.
func (m *Machine) fetchOffset(
	group, topic string, number int32, id kafka.TopicID,
) kmsg.OffsetFetchResponseGroupTopicPartition {
	partition := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	partition.Partition, partition.Offset, partition.LeaderEpoch, partition.Metadata = number, -1, -1, kmsg.StringPtr("")
	o, ok := m.offsets[group][topic][number]
	if !ok || !id.IsZero() && !o.topicID.IsZero() && id != o.topicID {
		return partition
	}
	partition.Offset, partition.LeaderEpoch, partition.Metadata = o.offset, o.leaderEpoch, kmsg.StringPtr(o.metadata)
	return partition
}

// offsetDelete decides an OffsetDelete (KIP-496).
func (m *Machine) offsetDelete(d *decision, req *kmsg.OffsetDeleteRequest, reply func(*kmsg.OffsetDeleteResponse)) {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.Version = req.Version
	g := m.groups[req.Group]
	verdict := kafka.GroupIDNotFound
	if g != nil {
		verdict = g.checkOffsetDelete()
	}
	resp.ErrorCode = verdict.Code()
	for i := 0; verdict == kafka.None && i < len(req.Topics); i++ {
		resp.Topics = append(resp.Topics, m.deleteOffsets(d, g, req.Group, req.Topics[i]))
	}
	d.answer(func(err error) {
		if err != nil {
			resp.ErrorCode, resp.Topics = codeOf(err).Code(), nil
		}
		reply(resp)
	})
}

func (m *Machine) deleteOffsets(
	d *decision, g group, id string, rt kmsg.OffsetDeleteRequestTopic,
) kmsg.OffsetDeleteResponseTopic {
	topic := kmsg.NewOffsetDeleteResponseTopic()
	topic.Topic = rt.Topic
	subscribed := g.subscribes(rt.Topic)
	for _, rp := range rt.Partitions {
		partition := kmsg.NewOffsetDeleteResponseTopicPartition()
		partition.Partition = rp.Partition
		_, found := m.offsets[id][rt.Topic][rp.Partition]
		switch {
		case rp.Partition < 0 || rp.Partition >= m.topics.PartitionCount(rt.Topic):
			partition.ErrorCode = kafka.UnknownTopicOrPartition.Code()
		case subscribed:
			partition.ErrorCode = kafka.GroupSubscribedToTopic.Code()
		case found:
			d.append(offsetTombstone(id, kafka.TopicPartition{Topic: rt.Topic, Partition: rp.Partition}))
		}
		topic.Partitions = append(topic.Partitions, partition)
	}
	return topic
}

// listOffsets copies every committed offset. Unlike everything else it may be called from anywhere.
func (m *Machine) listOffsets() []committedOffset {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var all []committedOffset
	for group, topics := range m.offsets { // any order
		for topic, partitions := range topics { // any order
			for number, o := range partitions { // any order
				tp := kafka.TopicPartition{Topic: topic, Partition: number}
				all = append(all, committedOffset{group: group, tp: tp, offset: o.offset})
			}
		}
	}
	return all
}

type committedOffset struct {
	group  string
	tp     kafka.TopicPartition
	offset int64
}
