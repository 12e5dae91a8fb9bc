package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// DeleteRecords moves the start of logs (KIP-107).
func handleDeleteRecords(a *API, r *request) {
	req := r.body.(*kmsg.DeleteRecordsRequest)
	resp := kmsg.NewPtrDeleteRecordsResponse()
	moved := false
	for _, t := range req.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		for _, want := range t.Partitions {
			part := kmsg.NewDeleteRecordsResponseTopicPartition()
			part.Partition, part.LowWatermark = want.Partition, -1
			p, code := a.partition(t.Topic, want.Partition)
			if kafka.IsInternal(t.Topic) {
				code = kafka.InvalidTopicException
			}
			if code == kafka.None {
				part.LowWatermark, code = p.DeleteRecords(want.Offset)
			}
			moved = moved || code == kafka.None
			part.ErrorCode = code.Code()
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	if moved {
		if err := a.Replicas.SaveLogStarts(); err != nil {
			failDeletions(resp, kafka.AsErrorCode(err))
		}
	}
	r.reply(resp)
}

// failDeletions takes back what was to be said of deletions that a crash may undo.
func failDeletions(resp *kmsg.DeleteRecordsResponse, code kafka.ErrorCode) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if part := &resp.Topics[i].Partitions[j]; part.ErrorCode == 0 {
				part.LowWatermark, part.ErrorCode = -1, code.Code()
			}
		}
	}
}
