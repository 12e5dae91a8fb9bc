package api_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// A client that is told NOT_LEADER_OR_FOLLOWER goes at once where the answer points (KIP-951), and waits where it points to the leader
// that the client knows. What waits for followers is refused at the very moment when its leader is told that it leads no more.
func TestAProduceThatLosesItsLeaderIsPointedToTheNext(t *testing.T) {
	cluster := gregortest.StartCluster(t, 2)
	peers := []*peer{connect(t, cluster.Brokers[0]), connect(t, cluster.Brokers[1])}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.TimeoutMillis = 7, 5000
	wide := kmsg.NewCreateTopicsRequestTopic()
	wide.Topic, wide.NumPartitions, wide.ReplicationFactor = "t", 1, 2
	create.Topics = append(create.Topics, wide)
	id := peers[0].call(create).(*kmsg.CreateTopicsResponse).Topics[0].TopicID
	leader := func() (int32, int32) {
		request := kmsg.NewPtrMetadataRequest()
		request.Version = 12
		topic := kmsg.NewMetadataRequestTopic()
		topic.TopicID = id
		request.Topics = append(request.Topics, topic)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			of, too := peers[0].call(request).(*kmsg.MetadataResponse).Topics[0], peers[1].call(request).(*kmsg.MetadataResponse).Topics[0]
			if of.ErrorCode == 0 && reflect.DeepEqual(of, too) && of.Partitions[0].Leader >= 0 && len(of.Partitions[0].ISR) == 2 {
				return of.Partitions[0].Leader, of.Partitions[0].LeaderEpoch
			}
			if time.Now().After(deadline) {
				t.Fatalf("to one the partition is %+v, to the other %+v", of, too)
			}
		}
	}
	refused := 0
	for range 15 {
		from, _ := leader()
		move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		move.TimeoutMillis = 10_000
		part := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		part.Replicas = []int32{1 - from, from}
		topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
		move.Topics = append(move.Topics, topic)
		peers[0].call(move)
		from, epoch := leader()
		p, other := peers[from], connect(t, cluster.Brokers[1-from])
		request := produceTo(13, "t", id, 0, batchOf(record.Plain(), "a"))
		elect := kmsg.NewPtrElectLeadersRequest()
		elect.Version, elect.TimeoutMillis = 2, 10_000
		of := kmsg.NewElectLeadersRequestTopic()
		of.Topic, of.Partitions = "t", []int32{0}
		elect.Topics = append(elect.Topics, of)
		var sent []int32
		stop, moved := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(moved)
			<-stop
			other.call(elect)
		}()
		for n := range 200 {
			sent = append(sent, p.send(request))
			if n == 20 {
				close(stop)
			}
			for len(sent) > 4 {
				refused += p.expectPointer(request, sent[0], from, epoch)
				sent = slices.Delete(sent, 0, 1)
			}
		}
		for _, correlation := range sent {
			refused += p.expectPointer(request, correlation, from, epoch)
		}
		<-moved
	}
	if refused == 0 {
		t.Error("nothing was refused: the leader never changed while somebody wrote")
	}
}

// expectPointer takes an answer, and if it is a refusal by who led before, looks where it points; 1 for such a refusal.
func (p *peer) expectPointer(request *kmsg.ProduceRequest, correlation, from, epoch int32) int {
	p.t.Helper()
	part := p.receive(request, correlation).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	switch kafka.ErrorCode(part.ErrorCode) {
	case kafka.None:
		return 0
	case kafka.NotLeaderOrFollower:
		if part.CurrentLeader.LeaderEpoch <= epoch {
			p.t.Fatalf("broker %d, which led in epoch %d, points to %+v", from, epoch, part.CurrentLeader)
		}
		return 1
	}
	p.t.Fatalf("answered %v", kafka.ErrorCode(part.ErrorCode))
	return 0
}
