package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
)

// DescribeLogDirs tells how large the logs in the data folder are (KIP-113, KIP-827, KIP-1066).
func handleDescribeLogDirs(a *API, r *request) {
	req := r.body.(*kmsg.DescribeLogDirsRequest)
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	directory := a.Replicas.Directory()
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = directory.Path(), -1, -1
	if directory.Failed() != nil {
		dir.ErrorCode = kafka.KafkaStorageError.Code()
		resp.Dirs = append(resp.Dirs, dir)
		r.reply(resp)
		return
	}
	if total, free, err := directory.Usage(); err == nil {
		dir.TotalBytes, dir.UsableBytes = total, free
	}
	a.Replicas.Partitions(func(p *replica.Partition) {
		log := p.Log()
		if log == nil || !asksForLog(req, p.TopicPartition) {
			return
		}
		if n := len(dir.Topics); n == 0 || dir.Topics[n-1].Topic != p.Topic {
			topic := kmsg.NewDescribeLogDirsResponseDirTopic()
			topic.Topic = p.Topic
			dir.Topics = append(dir.Topics, topic)
		}
		topic := &dir.Topics[len(dir.Topics)-1]
		part := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		part.Partition, part.Size, part.OffsetLag = p.TopicPartition.Partition, log.Size(), 0
		topic.Partitions = append(topic.Partitions, part)
	})
	resp.Dirs = append(resp.Dirs, dir)
	r.reply(resp)
}

func asksForLog(req *kmsg.DescribeLogDirsRequest, tp kafka.TopicPartition) bool {
	if req.Topics == nil {
		return true
	}
	for i := range req.Topics {
		if req.Topics[i].Topic == tp.Topic {
			return slices.Contains(req.Topics[i].Partitions, tp.Partition)
		}
	}
	return false
}

// DescribeProducers tells which idempotent producers a partition remembers (KIP-664).
func handleDescribeProducers(a *API, r *request) {
	req := r.body.(*kmsg.DescribeProducersRequest)
	resp := kmsg.NewPtrDescribeProducersResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewDescribeProducersResponseTopic()
		topic.Topic = t.Topic
		for _, number := range t.Partitions {
			topic.Partitions = append(topic.Partitions, a.describeProducers(t.Topic, number))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	r.reply(resp)
}

func (a *API) describeProducers(topic string, number int32) kmsg.DescribeProducersResponseTopicPartition {
	part := kmsg.NewDescribeProducersResponseTopicPartition()
	part.Partition = number
	p, code := a.partition(topic, number)
	if code == kafka.None {
		active, failed := p.Producers()
		code = failed
		for _, producer := range active {
			one := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
			one.ProducerID, one.ProducerEpoch, one.LastSequence = producer.ID, int32(producer.Epoch), producer.LastSequence
			one.LastTimestamp, one.CoordinatorEpoch, one.CurrentTxnStartOffset = producer.LastTimestamp, producer.CoordinatorEpoch, producer.TxnStartOffset
			part.ActiveProducers = append(part.ActiveProducers, one)
		}
	}
	part.ErrorCode = code.Code()
	return part
}
