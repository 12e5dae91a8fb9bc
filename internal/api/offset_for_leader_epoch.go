package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// OffsetForLeaderEpoch says where a leader epoch ends, so that a client can find out that its log was cut (KIP-320).
func handleOffsetForLeaderEpoch(a *API, r *request) {
	req := r.body.(*kmsg.OffsetForLeaderEpochRequest)
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for _, want := range t.Partitions {
			part := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			part.Partition, part.LeaderEpoch, part.EndOffset = want.Partition, -1, -1
			p, code := a.partition(t.Topic, want.Partition)
			if code == kafka.None {
				part.LeaderEpoch, part.EndOffset, code = p.EpochEnd(want.LeaderEpoch, want.CurrentLeaderEpoch)
			}
			part.ErrorCode = code.Code()
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	r.reply(resp)
}
