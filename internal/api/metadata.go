package api

import (
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// The operations that each kind of resource has, as bits by their number (KIP-430). Without an authorizer all are allowed.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func validTopicName(name string) bool {
	return topicName.MatchString(name) && name != "." && name != ".."
}

// Metadata says where topics and brokers are, and has a topic created that somebody asks for and may have (KIP-4, KIP-516).
func handleMetadata(a *API, r *request) {
	req := r.body.(*kmsg.MetadataRequest)
	if code := checkMetadataRequest(req); code != kafka.None {
		answerInvalidMetadata(r, req, code)
		return
	}
	if a.misses(req) {
		a.whenCurrent(r.session.peer, func(bool) { a.answerMetadata(r, req) })
		return
	}
	a.whenSure(func() { a.answerMetadata(r, req) })
}

// misses reports whether a topic is asked for that this node does not know. It may have been created a moment ago, by way of
// another node.
func (a *API) misses(req *kmsg.MetadataRequest) bool {
	image := a.Image()
	return slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool {
		if t.TopicID != [16]byte{} {
			return image.TopicByID(t.TopicID) == nil
		}
		return t.Topic != nil && image.Topic(*t.Topic) == nil
	})
}

func (a *API) answerMetadata(r *request, req *kmsg.MetadataRequest) {
	missing := a.toCreate(req)
	// The answer to this request still is UNKNOWN_TOPIC_OR_PARTITION, as Kafka's is: clients ask again. A client that looks
	// whether a topic is gone, with leave to create it, finds that it is.
	r.reply(a.metadata(r, req))
	a.autoCreate(r.session.peer, missing)
}

// checkMetadataRequest refuses what only later versions can say.
func checkMetadataRequest(req *kmsg.MetadataRequest) kafka.ErrorCode {
	for i := range req.Topics {
		t := &req.Topics[i]
		if req.Version < 12 && (t.TopicID != [16]byte{} || t.Topic == nil) {
			return kafka.InvalidRequest
		}
	}
	return kafka.None
}

func answerInvalidMetadata(r *request, req *kmsg.MetadataRequest, code kafka.ErrorCode) {
	resp := kmsg.NewPtrMetadataResponse()
	for _, t := range req.Topics {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID, topic.ErrorCode = t.Topic, t.TopicID, code.Code()
		if topic.Topic == nil {
			topic.Topic = kmsg.StringPtr("")
		}
		resp.Topics = append(resp.Topics, topic)
	}
	r.reply(resp)
}

// toCreate are the names that were asked for, do not exist, and may be created.
func (a *API) toCreate(req *kmsg.MetadataRequest) []string {
	// Versions before 4 have no such field, and always meant yes; the decoder leaves it false.
	if req.Version >= 4 && !req.AllowAutoTopicCreation || !a.Layers(a.Image(), "").Bool("auto.create.topics.enable") {
		return nil
	}
	image := a.Image()
	var names []string
	for i := range req.Topics {
		if name := req.Topics[i].Topic; name != nil && image.Topic(*name) == nil && validTopicName(*name) {
			names = append(names, *name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// autoCreate begins to create topics; whoever wants them asks for them until they are there.
func (a *API) autoCreate(peer server.Peer, names []string) {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.TimeoutMillis = 7, int32(patience.Milliseconds())
	for _, name := range names {
		switch {
		case name == kafka.GroupMetadataTopic:
			a.ensureGroupTopic(peer, func() {})
		case !kafka.IsInternal(name):
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
			create.Topics = append(create.Topics, topic)
		}
	}
	if len(create.Topics) > 0 {
		done := func() {}
		a.ask(peer, create, func() { a.Controller.CreateTopics(create, func(*kmsg.CreateTopicsResponse) { done() }) }, done)
	}
}

func (a *API) metadata(r *request, req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	image := a.Image()
	resp := kmsg.NewPtrMetadataResponse()
	for _, e := range a.liveBrokers(image, r.session.peer) {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = int32(e.Node), e.Host, e.Port, message(e.Rack)
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ClusterID = kmsg.StringPtr(image.ClusterID())
	// Any live broker will do: each takes admin requests and sees them done.
	resp.ControllerID = int32(a.Node)
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	if all {
		resp.Topics = make([]kmsg.MetadataResponseTopic, 0, image.TopicCount())
		image.Topics(func(t *metadata.Topic) bool {
			resp.Topics = append(resp.Topics, a.topicMetadata(image, t, req))
			return true
		})
		return resp
	}
	for i := range req.Topics {
		resp.Topics = append(resp.Topics, a.namedTopic(image, &req.Topics[i], req))
	}
	return resp
}

// namedTopic answers for one topic that was asked for by name or id.
func (a *API) namedTopic(image *metadata.Image, want *kmsg.MetadataRequestTopic, req *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	var found *metadata.Topic
	missing := kafka.UnknownTopicOrPartition
	if want.TopicID != [16]byte{} {
		found, missing = image.TopicByID(want.TopicID), kafka.UnknownTopicID
	} else if want.Topic != nil {
		found = image.Topic(*want.Topic)
		if !validTopicName(*want.Topic) {
			missing = kafka.InvalidTopicException
		}
	}
	if found != nil {
		return a.topicMetadata(image, found, req)
	}
	topic := kmsg.NewMetadataResponseTopic()
	topic.ErrorCode, topic.Topic, topic.TopicID = missing.Code(), want.Topic, want.TopicID
	if topic.Topic == nil && req.Version < 12 {
		topic.Topic = kmsg.StringPtr("")
	}
	return topic
}

func (a *API) topicMetadata(image *metadata.Image, t *metadata.Topic, req *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic, topic.TopicID, topic.IsInternal = kmsg.StringPtr(t.Name), t.ID, kafka.IsInternal(t.Name)
	if req.IncludeTopicAuthorizedOperations {
		topic.AuthorizedOperations = topicOperations
	}
	topic.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, len(t.Partitions))
	for _, p := range t.Partitions {
		part := kmsg.NewMetadataResponseTopicPartition()
		part.Partition, part.Leader, part.LeaderEpoch = p.Number, int32(p.Leader), p.LeaderEpoch
		part.Replicas, part.ISR = nodeIDs(p.Replicas), nodeIDs(p.ISR)
		part.OfflineReplicas = offlineReplicas(image, p)
		if p.Leader == kafka.NoNode {
			part.ErrorCode = kafka.LeaderNotAvailable.Code()
		}
		topic.Partitions = append(topic.Partitions, part)
	}
	return topic
}

func offlineReplicas(image *metadata.Image, p *metadata.Partition) []int32 {
	offline := []int32{}
	for _, id := range p.Replicas {
		if b := image.Broker(id); b == nil || b.Fenced {
			offline = append(offline, int32(id))
		}
	}
	return offline
}
