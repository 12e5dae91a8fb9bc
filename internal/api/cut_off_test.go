package api_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// A leader that nobody confirms cannot know whether an offset behind its end is out of range, nor what a producer has written: there may
// be another leader, who has committed it. A client that hears OFFSET_OUT_OF_RANGE begins anew or gives up, and so does one that hears
// OUT_OF_ORDER_SEQUENCE_NUMBER.
func TestOnlyAConfirmedLeaderSaysThatAnOffsetIsOutOfRange(t *testing.T) {
	cluster := gregortest.StartCluster(t, 3)
	produce := func(p *peer, topic string, epoch int16, sequence int32) int16 {
		form := record.Plain()
		form.Producer, form.Sequence = kafka.Producer{ID: 77, Epoch: epoch}, sequence
		return p.produce(topic, 0, batchOf(form, "z")).ErrorCode
	}
	until(t, "three voters", func() bool {
		request := kmsg.NewPtrDescribeQuorumRequest()
		topic := kmsg.NewDescribeQuorumRequestTopic()
		topic.Topic, topic.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
		request.Topics = append(request.Topics, topic)
		quorum := connect(t, cluster.Brokers[0]).call(request).(*kmsg.DescribeQuorumResponse)
		return len(quorum.Topics) == 1 && len(quorum.Topics[0].Partitions[0].CurrentVoters) == 3
	})
	for leader := range int32(3) { // one of them is the active controller, too
		create := kmsg.NewPtrCreateTopicsRequest()
		create.Version, create.TimeoutMillis = 7, 5000
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = string('a'+leader), -1, -1
		place := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		place.Replicas = []int32{leader}
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, place)
		create.Topics = append(create.Topics, topic)
		p := connect(t, cluster.Brokers[leader])
		created := p.call(create).(*kmsg.CreateTopicsResponse).Topics[0]
		want(t, "creating "+topic.Topic, created.ErrorCode, kafka.None)
		want(t, "the first batch", produce(p, topic.Topic, 1, 0), kafka.None)
		want(t, "the second batch", produce(p, topic.Topic, 1, 1), kafka.None)
		want(t, "a gap", produce(p, topic.Topic, 1, 5), kafka.OutOfOrderSequenceNumber)
		want(t, "an old epoch", produce(p, topic.Topic, 0, 0), kafka.InvalidProducerEpoch)
		want(t, "behind the end", p.fetch(fetchFrom(11, topic.Topic, kafka.TopicID{}, 0, 3)).ErrorCode, kafka.OffsetOutOfRange)
		want(t, "at the end", p.fetch(fetchFrom(11, topic.Topic, kafka.TopicID{}, 0, 2)).ErrorCode, kafka.None)
		newer := fetchFrom(12, topic.Topic, kafka.TopicID{}, 0, 2)
		newer.Topics[0].Partitions[0].LastFetchedEpoch = 7
		want(t, "with a record of an epoch that never was", p.fetch(newer).ErrorCode, kafka.OffsetOutOfRange)
	}
	cluster.Brokers[1].Stop()
	cluster.Brokers[2].Stop()
	p := connect(t, cluster.Brokers[0])
	want(t, "behind the end, confirmed by nobody", p.fetch(fetchFrom(11, "a", kafka.TopicID{}, 0, 3)).ErrorCode, kafka.NotLeaderOrFollower)
	newer := fetchFrom(12, "a", kafka.TopicID{}, 0, 2)
	newer.Topics[0].Partitions[0].LastFetchedEpoch = 7
	want(t, "with a record of a newer epoch, confirmed by nobody", p.fetch(newer).ErrorCode, kafka.NotLeaderOrFollower)
	want(t, "a gap, confirmed by nobody", produce(p, "a", 1, 5), kafka.NotLeaderOrFollower)
	want(t, "an old epoch, confirmed by nobody", produce(p, "a", 0, 0), kafka.NotLeaderOrFollower)
	want(t, "a batch that was written", produce(p, "a", 1, 1), kafka.None)
	want(t, "what is there", p.fetch(fetchFrom(11, "a", kafka.TopicID{}, 0, 1)).ErrorCode, kafka.None)
	cluster.Brokers[1].Restart()
	until(t, "a majority that confirms it", func() bool {
		return p.fetch(fetchFrom(11, "a", kafka.TopicID{}, 0, 3)).ErrorCode == kafka.OffsetOutOfRange.Code()
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come to be", what)
		}
	}
}
