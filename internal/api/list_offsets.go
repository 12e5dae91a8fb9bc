package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
)

// ListOffsets finds offsets by time, and the ends of a log (KIP-79, KIP-734, KIP-405, KIP-1005).
func handleListOffsets(a *API, r *request) {
	req := r.body.(*kmsg.ListOffsetsRequest)
	resp := kmsg.NewPtrListOffsetsResponse()
	seen := map[kafka.TopicPartition]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			seen[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}]++
		}
	}
	for _, t := range req.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		for i := range t.Partitions {
			twice := seen[kafka.TopicPartition{Topic: t.Topic, Partition: t.Partitions[i].Partition}] > 1
			topic.Partitions = append(topic.Partitions, a.listOffset(req, t.Topic, &t.Partitions[i], twice))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	r.reply(resp)
}

func (a *API) listOffset(req *kmsg.ListOffsetsRequest, topic string, want *kmsg.ListOffsetsRequestTopicPartition, twice bool) kmsg.ListOffsetsResponseTopicPartition {
	part := kmsg.NewListOffsetsResponseTopicPartition()
	part.Partition, part.Offset, part.Timestamp, part.LeaderEpoch = want.Partition, -1, -1, -1
	code := kafka.None
	var found replica.FoundOffset
	p, missing := a.partition(topic, want.Partition)
	switch {
	case twice:
		code = kafka.InvalidRequest
	case !knownTimestamp(req.Version, want.Timestamp):
		code = kafka.UnsupportedVersion
	case p == nil:
		code = missing
	default:
		found, code = p.OffsetFor(want.Timestamp, want.CurrentLeaderEpoch, req.IsolationLevel == 1)
	}
	if code == kafka.OffsetNotAvailable && req.Version < 5 {
		code = kafka.LeaderNotAvailable
	}
	if code != kafka.None {
		part.ErrorCode = code.Code()
		return part
	}
	part.Offset, part.Timestamp, part.LeaderEpoch = found.Offset, found.Timestamp, found.LeaderEpoch
	return part
}

// knownTimestamp reports whether a version has a special timestamp; those that are not negative are times.
func knownTimestamp(version int16, timestamp int64) bool {
	switch timestamp {
	case replica.LatestTimestamp, replica.EarliestTimestamp:
		return true
	case replica.MaxTimestamp:
		return version >= 7
	case replica.EarliestLocalTimestamp:
		return version >= 8
	case replica.LatestTieredTimestamp:
		return version >= 9
	case replica.EarliestPendingTimestamp:
		return version >= 11
	}
	return timestamp >= 0
}

// partition finds a partition of this node, or says which error its absence is.
func (a *API) partition(topic string, number int32) (*replica.Partition, kafka.ErrorCode) {
	t := a.Replicas.TopicNamed(topic)
	if t == nil || number < 0 || int(number) >= t.Count() {
		return nil, kafka.UnknownTopicOrPartition
	}
	if p := t.Partition(number); p != nil {
		return p, kafka.None
	}
	return nil, kafka.NotLeaderOrFollower
}
