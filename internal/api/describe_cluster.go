package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// endpointBrokers is the endpoint type that this listener has; 2 would be controllers (KIP-919).
const endpointBrokers = 1

// DescribeCluster names the cluster and its brokers (KIP-700, KIP-919, KIP-1073).
func handleDescribeCluster(a *API, r *request) {
	req := r.body.(*kmsg.DescribeClusterRequest)
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.EndpointType = req.EndpointType
	if req.Version >= 1 && req.EndpointType != endpointBrokers {
		code, why := kafka.MismatchedEndpointType, "this is a listener of brokers, not of controllers"
		if req.EndpointType != 2 {
			code, why = kafka.UnsupportedEndpointType, "there is no such endpoint type"
		}
		resp.ErrorCode, resp.ErrorMessage = code.Code(), message(why)
		r.reply(resp)
		return
	}
	image := a.Image()
	resp.ClusterID, resp.ControllerID = image.ClusterID(), int32(a.Node)
	for _, e := range a.liveBrokers(image, r.session.peer) {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = int32(e.Node), e.Host, e.Port, message(e.Rack)
		resp.Brokers = append(resp.Brokers, b)
	}
	if req.IncludeFencedBrokers {
		image.Brokers(func(b *metadata.Broker) bool {
			if b.Fenced && b.ID != a.Node && len(b.Endpoints) > 0 {
				fenced := kmsg.NewDescribeClusterResponseBroker()
				fenced.NodeID, fenced.Host, fenced.Port = int32(b.ID), b.Endpoints[0].Host, int32(b.Endpoints[0].Port)
				fenced.Rack, fenced.IsFenced = message(b.Rack), true
				resp.Brokers = append(resp.Brokers, fenced)
			}
			return true
		})
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	r.reply(resp)
}

// QuorumState is the metadata quorum as DescribeQuorum tells it.
type QuorumState struct {
	Leader            kafka.NodeID
	Epoch             int32
	HighWatermark     int64
	Voters, Observers []QuorumReplica
}

// QuorumReplica is a node that votes or watches, and how far its log goes.
type QuorumReplica struct {
	Node      kafka.NodeID
	Directory [16]byte
	LogEnd    int64     // -1 where only the leader knows
	Heard     time.Time // when it was heard of; zero where it was not
}

// quorumTopic is what Kafka calls the metadata log.
const quorumTopic = "__cluster_metadata"

// DescribeQuorum tells who keeps the metadata log (KIP-595, KIP-836, KIP-853).
func handleDescribeQuorum(a *API, r *request) {
	req := r.body.(*kmsg.DescribeQuorumRequest)
	resp := kmsg.NewPtrDescribeQuorumResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, a.quorumPartition(t.Topic, p.Partition))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	for _, v := range a.Quorum().Voters {
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = int32(v.Node)
		if e, ok := a.endpoint(a.Image(), r.session.peer, v.Node); ok {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = r.session.peer.Listener, e.Host, uint16(e.Port)
			node.Listeners = append(node.Listeners, l)
		}
		resp.Nodes = append(resp.Nodes, node)
	}
	r.reply(resp)
}

func (a *API) quorumPartition(topic string, number int32) kmsg.DescribeQuorumResponseTopicPartition {
	part := kmsg.NewDescribeQuorumResponseTopicPartition()
	part.Partition = number
	if topic != quorumTopic || number != 0 {
		part.ErrorCode = kafka.UnknownTopicOrPartition.Code()
		return part
	}
	state := a.Quorum()
	part.LeaderID, part.LeaderEpoch, part.HighWatermark = int32(state.Leader), state.Epoch, state.HighWatermark
	for _, v := range state.Voters {
		part.CurrentVoters = append(part.CurrentVoters, quorumReplica(v, state.HighWatermark))
	}
	for _, o := range state.Observers {
		part.Observers = append(part.Observers, quorumReplica(o, state.HighWatermark))
	}
	return part
}

func quorumReplica(q QuorumReplica, committed int64) kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	replica := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
	replica.ReplicaID, replica.ReplicaDirectoryID, replica.LogEndOffset = int32(q.Node), q.Directory, q.LogEnd
	if !q.Heard.IsZero() {
		replica.LastFetchTimestamp = q.Heard.UnixMilli()
		if q.LogEnd >= committed {
			replica.LastCaughtUpTimestamp = q.Heard.UnixMilli()
		}
	}
	return replica
}
