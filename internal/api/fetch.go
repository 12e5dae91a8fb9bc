package api

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/wire"
)

// Fetch reads record batches, now or when there are enough (KIP-74, KIP-227, KIP-516).
func handleFetch(a *API, r *request) {
	req := r.body.(*kmsg.FetchRequest)
	follower, code := a.follower(req)
	var plan replica.Plan
	if code == kafka.None {
		plan, code = a.Replicas.Sessions.Plan(fetchUpdate(req, follower != nil))
	}
	if code != kafka.None {
		refuseFetch(r, req, code)
		return
	}
	for i := range plan.Partitions {
		a.Replicas.Resolve(&plan.Partitions[i], req.Version >= 13)
	}
	most := int32(a.Layers(a.Image(), "").Int("fetch.max.bytes"))
	f := &replica.Fetch{
		MaxWait:       time.Duration(req.MaxWaitMillis) * time.Millisecond,
		MinBytes:      req.MinBytes,
		MaxBytes:      min(req.MaxBytes, most),
		ReadCommitted: req.IsolationLevel == 1,
		Partitions:    plan.Partitions,
		Follower:      follower,
		Anywhere:      req.Version >= 11,
	}
	if a.RackAware {
		f.Rack = req.Rack
	}
	if a.Cluster != nil && follower == nil {
		f.Confirm = func(answer func(sure bool)) { a.whenCurrent(r.session.peer, answer) }
	}
	set := &r.session.fetches
	if follower != nil {
		r.session.follower = follower
		a.losses.BrokerHeard(follower.ID)
		f.MaxBytes = req.MaxBytes
		set.cancel() // a follower that sends another fetch does not want to wait for the one before
	}
	f.Done = func(f *replica.Fetch) {
		set.remove(f)
		answerFetch(a, r, req.Version, &plan, f)
	}
	set.add(f)
	a.Replicas.Fetch(f)
}

// follower is who replicates by a fetch; nil for a consumer. Only a broker, in the life in which it is registered, may read
// what is not committed.
func (a *API) follower(req *kmsg.FetchRequest) (*replica.Follower, kafka.ErrorCode) {
	id, epoch := kafka.NodeID(req.ReplicaID), int64(-1)
	if req.Version >= 15 {
		id, epoch = kafka.NodeID(req.ReplicaState.ID), req.ReplicaState.Epoch
	}
	if id < 0 {
		return nil, kafka.None
	}
	if b := a.Image().Broker(id); b == nil || b.Epoch != epoch || id == a.Node {
		return nil, kafka.ClusterAuthorizationFailed
	}
	return &replica.Follower{ID: id, Epoch: epoch}, kafka.None
}

func fetchUpdate(req *kmsg.FetchRequest, follows bool) replica.Update {
	u := replica.Update{SessionID: req.SessionID, Epoch: req.SessionEpoch, UsesIDs: req.Version >= 13}
	if req.Version < 7 {
		u.SessionID, u.Epoch = 0, -1
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			u.Set = append(u.Set, replica.FetchPartition{Topic: t.Topic, ID: t.TopicID, Number: p.Partition,
				Epoch: p.CurrentLeaderEpoch, Offset: p.FetchOffset, LastEpoch: p.LastFetchedEpoch, MaxBytes: p.PartitionMaxBytes,
				Follows: follows, Watermark: p.HighWatermark, LogStart: p.LogStartOffset, Durable: durableTag(&p.UnknownTags)})
		}
	}
	for _, t := range req.ForgottenTopics {
		for _, p := range t.Partitions {
			u.Forget = append(u.Forget, replica.FetchPartition{Topic: t.Topic, ID: t.TopicID, Number: p})
		}
	}
	return u
}

// durableTag is how far a follower says that its log is durable; -1 where it says nothing.
func durableTag(tags *kmsg.Tags) int64 {
	durable := int64(-1)
	tags.Each(func(key uint32, value []byte) {
		if key == wire.DurableTag && len(value) == 8 {
			durable = int64(binary.BigEndian.Uint64(value))
		}
	})
	return durable
}

// refuseFetch answers a fetch that is wrong as a whole. Old versions have no field for that, so every partition says it.
func refuseFetch(r *request, req *kmsg.FetchRequest, code kafka.ErrorCode) {
	resp := kmsg.NewPtrFetchResponse()
	resp.ErrorCode = code.Code()
	if req.Version < 7 || code == kafka.ClusterAuthorizationFailed {
		resp.ErrorCode = 0
		for _, t := range req.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewFetchResponseTopicPartition()
				part.Partition, part.ErrorCode, part.HighWatermark, part.RecordBatches = p.Partition, code.Code(), -1, []byte{}
				if code == kafka.ClusterAuthorizationFailed {
					part.ErrorCode = kafka.TopicAuthorizationFailed.Code()
				}
				topic.Partitions = append(topic.Partitions, part)
			}
			resp.Topics = append(resp.Topics, topic)
		}
	}
	r.reply(resp)
}

// answerFetch writes the response: the partitions in the order they were read, topic by topic where they adjoin.
func answerFetch(a *API, r *request, version int16, plan *replica.Plan, f *replica.Fetch) {
	session, keep := a.Replicas.Sessions.Close(plan, f.Results)
	runs := topicRuns(f, keep)
	w := wire.FetchResponse{Version: version}
	var endpoints []wire.Endpoint
	b := w.Begin(r.slot.Buffer(), r.header.Correlation, 0, kafka.None, session, len(runs))
	for _, run := range runs {
		first := &f.Partitions[run[0]]
		b = w.BeginTopic(b, first.Topic, first.ID, len(run))
		for _, i := range run {
			result := &f.Results[i]
			if result.Error == kafka.UnknownTopicOrPartition && version >= 13 && a.Replicas.TopicByID(f.Partitions[i].ID) == nil {
				result.Error = kafka.UnknownTopicID // deleted while the fetch waited
			}
			a.finishResult(r, version, result, &endpoints)
			b = w.Partition(b, result)
		}
		b = w.EndTopic(b)
	}
	b = w.End(b, endpoints)
	r.slot.Send(b, w.Splices)
}

// finishResult fits a result to what its version can say.
func (a *API) finishResult(r *request, version int16, result *wire.FetchResult, endpoints *[]wire.Endpoint) {
	if result.Error == kafka.KafkaStorageError && version <= 5 {
		result.Error = kafka.NotLeaderOrFollower // those clients do not know the other
	}
	if version < 16 {
		result.Leader, result.LeaderEpoch = -1, -1
		return
	}
	if result.LeaderEpoch >= 0 {
		if e, ok := a.endpoint(a.Image(), r.session.peer, result.Leader); ok {
			*endpoints = addEndpoint(*endpoints, e)
		}
	}
}

// topicRuns groups the partitions to answer into runs of one topic.
func topicRuns(f *replica.Fetch, keep func(i int) bool) [][]int {
	var runs [][]int
	for i := range f.Results {
		if !keep(i) {
			f.Results[i].Records.Release()
			continue
		}
		if n := len(runs); n > 0 {
			last := &f.Partitions[runs[n-1][0]]
			if last.Topic == f.Partitions[i].Topic && last.ID == f.Partitions[i].ID {
				runs[n-1] = append(runs[n-1], i)
				continue
			}
		}
		runs = append(runs, []int{i})
	}
	return runs
}

// fetchSet is the fetches of a connection that are parked. There is nearly always one at most.
type fetchSet struct {
	mu   sync.Mutex
	list []*replica.Fetch
}

func (s *fetchSet) add(f *replica.Fetch) {
	s.mu.Lock()
	s.list = append(s.list, f)
	s.mu.Unlock()
}

func (s *fetchSet) remove(f *replica.Fetch) {
	s.mu.Lock()
	for i := range s.list {
		if s.list[i] == f {
			s.list = append(s.list[:i], s.list[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
}

func (s *fetchSet) cancel() {
	s.mu.Lock()
	list := append([]*replica.Fetch(nil), s.list...)
	s.mu.Unlock()
	for _, f := range list {
		f.Cancel()
	}
}
