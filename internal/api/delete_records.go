package api

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
)

// DeleteRecords moves the start of logs (KIP-107). It is answered when no live replica has the records any more.
func handleDeleteRecords(a *API, r *request) {
	req := r.body.(*kmsg.DeleteRecordsRequest)
	resp := kmsg.NewPtrDeleteRecordsResponse()
	// One more than there are partitions, so that the answer is not sent before all were looked at.
	var left atomic.Int64
	left.Store(1)
	settle := func() {
		if left.Add(-1) == 0 {
			r.reply(resp)
		}
	}
	var deletions []*replica.Deletion
	for _, t := range req.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		topic.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for i, want := range t.Partitions {
			part := &topic.Partitions[i]
			*part = kmsg.NewDeleteRecordsResponseTopicPartition()
			part.Partition, part.LowWatermark = want.Partition, -1
			p, code := a.partition(t.Topic, want.Partition)
			if kafka.IsInternal(t.Topic) {
				code = kafka.InvalidTopicException
			}
			if code != kafka.None {
				part.ErrorCode = code.Code()
				continue
			}
			left.Add(1)
			deletions = append(deletions, &replica.Deletion{Partition: p, Offset: want.Offset, Done: func(low int64, code kafka.ErrorCode) {
				part.LowWatermark, part.ErrorCode = low, code.Code()
				settle()
			}})
		}
		resp.Topics = append(resp.Topics, topic)
	}
	a.Replicas.DeleteRecords(deletions, time.Duration(max(req.TimeoutMillis, 0))*time.Millisecond)
	settle()
}
