package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// DescribeTopicPartitions describes topics page by page, with their eligible leader replicas (KIP-966).
func handleDescribeTopicPartitions(a *API, r *request) {
	req := r.body.(*kmsg.DescribeTopicPartitionsRequest)
	image := a.Image()
	if slices.ContainsFunc(req.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return image.Topic(t.Topic) == nil }) {
		a.whenCurrent(r.session.peer, func(bool) { a.answerDescribeTopicPartitions(r, req) })
		return
	}
	a.answerDescribeTopicPartitions(r, req)
}

func (a *API) answerDescribeTopicPartitions(r *request, req *kmsg.DescribeTopicPartitionsRequest) {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	image := a.Image()
	left := int(min(req.ResponsePartitionLimit, int32(a.Layers(image, "").Int("max.request.partition.size.limit"))))
	if left <= 0 {
		left = 1
	}
	for _, name := range topicsToDescribe(image, req) {
		first := int32(0)
		if req.Cursor != nil && req.Cursor.Topic == name {
			first = req.Cursor.Partition
		}
		if left == 0 {
			resp.NextCursor = cursorAt(name, first)
			break
		}
		topic, next := a.describeTopic(image, name, first, left)
		left -= len(topic.Partitions)
		resp.Topics = append(resp.Topics, topic)
		if next >= 0 {
			resp.NextCursor = cursorAt(name, next)
			break
		}
	}
	r.reply(resp)
}

// topicsToDescribe are the names asked for, or all, in order, from the cursor on.
func topicsToDescribe(image *metadata.Image, req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	if len(req.Topics) == 0 {
		from := ""
		if req.Cursor != nil {
			from = req.Cursor.Topic
		}
		image.TopicsFrom(from, func(t *metadata.Topic) bool { names = append(names, t.Name); return true })
		return names
	}
	for _, t := range req.Topics {
		if req.Cursor == nil || t.Topic >= req.Cursor.Topic {
			names = append(names, t.Topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func cursorAt(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	cursor := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	cursor.Topic, cursor.Partition = topic, partition
	return &cursor
}

// describeTopic describes up to most partitions from first on; next is the one after them, or -1 at the end.
func (a *API) describeTopic(image *metadata.Image, name string, first int32, most int) (topic kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	topic = kmsg.NewDescribeTopicPartitionsResponseTopic()
	topic.Topic = kmsg.StringPtr(name)
	t := image.Topic(name)
	if t == nil {
		topic.ErrorCode = kafka.UnknownTopicOrPartition.Code()
		if !validTopicName(name) {
			topic.ErrorCode = kafka.InvalidTopicException.Code()
		}
		return topic, -1
	}
	topic.TopicID, topic.IsInternal, topic.AuthorizedOperations = t.ID, kafka.IsInternal(name), topicOperations
	end := min(int(max(first, 0))+most, len(t.Partitions))
	for _, p := range t.Partitions[min(int(max(first, 0)), len(t.Partitions)):end] {
		part := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		part.Partition, part.LeaderID, part.LeaderEpoch = p.Number, int32(p.Leader), p.LeaderEpoch
		part.Replicas, part.ISR, part.OfflineReplicas = nodeIDs(p.Replicas), nodeIDs(p.ISR), offlineReplicas(image, p)
		part.EligibleLeaderReplicas, part.LastKnownELR = nodeIDs(p.ELR), nodeIDs(p.LastKnownELR)
		if p.Leader == kafka.NoNode {
			part.ErrorCode = kafka.LeaderNotAvailable.Code()
		}
		topic.Partitions = append(topic.Partitions, part)
	}
	if end < len(t.Partitions) {
		return topic, int32(end)
	}
	return topic, -1
}
