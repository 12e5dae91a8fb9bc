package group

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// OffsetCommit stores offsets. The empty group id is allowed: very old consumers commit under it.
func (s *Service) OffsetCommit(req *kmsg.OffsetCommitRequest, reply func(*kmsg.OffsetCommitResponse)) {
	s.decide(req.Group, func(m *Machine, d *decision) { m.offsetCommit(d, req, reply) }, func(code kafka.ErrorCode) {
		reply(refusedCommit(req, code))
	})
}

func refusedCommit(req *kmsg.OffsetCommitRequest, code kafka.ErrorCode) *kmsg.OffsetCommitResponse {
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = req.Version
	for _, rt := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition, partition.ErrorCode = rp.Partition, code.Code()
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// OffsetFetch reads offsets, since v8 of several groups at once, which may belong to different partitions.
func (s *Service) OffsetFetch(req *kmsg.OffsetFetchRequest, reply func(*kmsg.OffsetFetchResponse)) {
	groups := req.Groups
	if req.Version < 8 {
		groups = []kmsg.OffsetFetchRequestGroup{singleGroup(req)}
	}
	gather(len(groups), func(i int, done func(kmsg.OffsetFetchResponseGroup)) {
		s.fetchGroup(req.Version, &groups[i], done)
	}, func(all []kmsg.OffsetFetchResponseGroup) {
		resp := kmsg.NewPtrOffsetFetchResponse()
		resp.Version, resp.Groups = req.Version, all
		if req.Version < 8 {
			flattenGroup(resp, &groups[0])
		}
		reply(resp)
	})
}

func (s *Service) fetchGroup(version int16, rg *kmsg.OffsetFetchRequestGroup, done func(kmsg.OffsetFetchResponseGroup)) {
	refuse := func(code kafka.ErrorCode) {
		resp := kmsg.NewOffsetFetchResponseGroup()
		resp.Group, resp.ErrorCode = rg.Group, code.Code()
		done(resp)
	}
	s.decide(rg.Group, func(m *Machine, d *decision) {
		resp := m.fetchOffsets(version, rg)
		d.answer(func(err error) {
			if err != nil {
				refuse(codeOf(err))
				return
			}
			done(resp)
		})
	}, refuse)
}

// singleGroup is a request before v8 as the one group that it is about.
func singleGroup(req *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = req.Group
	if req.Topics != nil || req.Version < 2 {
		group.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, rt := range req.Topics {
		topic := kmsg.NewOffsetFetchRequestGroupTopic()
		topic.Topic, topic.Partitions = rt.Topic, rt.Partitions
		group.Topics = append(group.Topics, topic)
	}
	return group
}

// flattenGroup makes the answer of a version before v8 out of the one group. v1 has no room for the group's error but
// in each partition.
func flattenGroup(resp *kmsg.OffsetFetchResponse, asked *kmsg.OffsetFetchRequestGroup) {
	group := resp.Groups[0]
	resp.Groups, resp.ErrorCode = nil, group.ErrorCode
	if group.ErrorCode != kafka.None.Code() && resp.Version < 2 {
		group.Topics = failedTopics(asked, group.ErrorCode)
	}
	for _, gt := range group.Topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = gt.Topic
		for _, gp := range gt.Partitions {
			partition := kmsg.NewOffsetFetchResponseTopicPartition()
			partition.Partition, partition.Offset, partition.LeaderEpoch = gp.Partition, gp.Offset, gp.LeaderEpoch
			partition.Metadata, partition.ErrorCode = gp.Metadata, gp.ErrorCode
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
}

func failedTopics(asked *kmsg.OffsetFetchRequestGroup, code int16) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	for _, rt := range asked.Topics {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = rt.Topic
		for _, number := range rt.Partitions {
			partition := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			partition.Partition, partition.Offset, partition.LeaderEpoch = number, -1, -1
			partition.Metadata, partition.ErrorCode = kmsg.StringPtr(""), code
			topic.Partitions = append(topic.Partitions, partition)
		}
		topics = append(topics, topic)
	}
	return topics
}

// OffsetDelete deletes offsets of topics that the group is not subscribed to.
func (s *Service) OffsetDelete(req *kmsg.OffsetDeleteRequest, reply func(*kmsg.OffsetDeleteResponse)) {
	refuse := func(code kafka.ErrorCode) {
		resp := kmsg.NewPtrOffsetDeleteResponse()
		resp.Version, resp.ErrorCode = req.Version, code.Code()
		reply(resp)
	}
	if req.Group == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	s.decide(req.Group, func(m *Machine, d *decision) { m.offsetDelete(d, req, reply) }, refuse)
}

// gather asks n questions, which are answered on whatever loops, and calls finish with all answers in order.
func gather[T any](n int, ask func(i int, done func(T)), finish func([]T)) {
	answers := make([]T, n)
	if n == 0 {
		finish(answers)
		return
	}
	var mu sync.Mutex
	missing := n
	for i := range n {
		ask(i, func(answer T) {
			mu.Lock()
			answers[i] = answer
			missing--
			last := missing == 0
			mu.Unlock()
			if last {
				finish(answers)
			}
		})
	}
}
