package api

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// adminClient is the client id that may write to internal topics, as in Kafka.
const adminClient = "__admin_client"

// produceRequest is a produce request from its frame to its answer. Objects are reused, so that none is allocated.
type produceRequest struct {
	replica.Produce
	api         *API
	session     *session
	slot        server.Slot
	version     int16
	correlation int32
	topics      []producedTopic
	result      wire.ProduceResult
	endpoints   []wire.Endpoint
	held        bool // its answer was, see mustHold
	confirmed   bool // see mustConfirm
}

type producedTopic struct {
	name       []byte // own copy, reused
	id         kafka.TopicID
	partitions int
}

var produceRequests sync.Pool

func newProduceRequest() *produceRequest {
	if r, ok := produceRequests.Get().(*produceRequest); ok {
		return r
	}
	r := new(produceRequest)
	r.Done = r.answer
	return r
}

// handleProduce stages a produce request. It is appended when the connection's wakeup is drained.
func (s *session) handleProduce(h wire.Header, slot server.Slot) error {
	parsed, err := wire.ParseProduce(h.Version, h.Body)
	if err != nil {
		return err
	}
	s.api.Replicas.Stats.ProduceRequests.Add(1)
	r := newProduceRequest()
	r.api, r.session, r.slot, r.version, r.correlation = s.api, s, slot, h.Version, h.Correlation
	r.topics, r.endpoints, r.confirmed = r.topics[:0], r.endpoints[:0], false
	r.Begin(parsed.Acks, parsed.TimeoutMs, parsed.Partitions)
	refusal := kafka.None
	switch {
	case parsed.Acks < -1 || parsed.Acks > 1:
		refusal = kafka.InvalidRequiredAcks
	case parsed.TransactionalID != nil:
		refusal = kafka.TransactionalIDAuthorizationFailed
	}
	now := s.api.Runtime.Now().UnixMilli()
	for {
		topic, ok := parsed.NextTopic()
		if !ok {
			break
		}
		r.stageTopic(&parsed, topic, refusal, string(h.ClientID) == adminClient, now)
	}
	s.drain.Add(&r.Produce)
	return nil
}

func (r *produceRequest) stageTopic(parsed *wire.Produce, named wire.ProduceTopic, refusal kafka.ErrorCode, admin bool, now int64) {
	place := r.addTopic(named)
	topic, code := r.find(named)
	if refusal != kafka.None {
		code = refusal
	}
	if topic != nil && code == kafka.None && kafka.IsInternal(topic.Name) && !admin {
		code = kafka.InvalidTopicException
	}
	count := 0
	for {
		number, records, ok := parsed.NextPartition()
		if !ok {
			break
		}
		count++
		if topic == nil {
			r.session.overtaken.note(&r.topics[place], number, records)
		}
		if code != kafka.None {
			r.Refuse(place, number, code, "")
			continue
		}
		r.stagePartition(place, topic, number, records, now)
	}
	r.topics[place].partitions = count
}

// addTopic remembers how the request named a topic, for the answer. It returns the topic's place.
func (r *produceRequest) addTopic(named wire.ProduceTopic) int {
	if len(r.topics) < cap(r.topics) {
		r.topics = r.topics[:len(r.topics)+1]
	} else {
		r.topics = append(r.topics, producedTopic{})
	}
	t := &r.topics[len(r.topics)-1]
	t.name = append(t.name[:0], named.Name...)
	t.id = named.ID
	return len(r.topics) - 1
}

func (r *produceRequest) find(named wire.ProduceTopic) (*replica.Topic, kafka.ErrorCode) {
	if r.version >= 13 {
		if t := r.api.Replicas.TopicByID(named.ID); t != nil {
			return t, kafka.None
		}
		return nil, kafka.UnknownTopicID
	}
	if t := r.api.Replicas.Topic(named.Name); t != nil {
		return t, kafka.None
	}
	return nil, kafka.UnknownTopicOrPartition
}

func (r *produceRequest) stagePartition(place int, topic *replica.Topic, number int32, records []byte, now int64) {
	p := topic.Partition(number)
	switch {
	case p == nil && number >= 0 && int(number) < topic.Count():
		r.session.overtaken.note(&r.topics[place], number, records)
		r.Refuse(place, number, kafka.NotLeaderOrFollower, "")
	case p == nil:
		r.session.overtaken.note(&r.topics[place], number, records)
		r.Refuse(place, number, kafka.UnknownTopicOrPartition, "")
	case len(records) < record.HeaderSize:
		r.Refuse(place, number, kafka.InvalidRecord, "a produce request holds exactly one record batch for each partition")
	case record.Batch(records).Magic() != record.Magic:
		r.Refuse(place, number, kafka.InvalidRecord, "produce requests of this version may hold only record batches of format v2")
	case record.Batch(records).Size() < int64(len(records)):
		r.Refuse(place, number, kafka.InvalidRecord, "a produce request holds exactly one record batch for each partition")
	case record.Batch(records).Transactional():
		r.Refuse(place, number, kafka.TransactionalIDAuthorizationFailed, "transactions come with a later release")
	case record.Batch(records).Codec() == record.Zstd && r.version < 7:
		r.Refuse(place, number, kafka.UnsupportedCompressionType, "zstd needs version 7 of the produce request")
	case len(r.session.overtaken) > 0 && !r.session.overtaken.allows(&r.topics[place], p, records):
		// Not as out of order, which some clients take for the end: see replica's refusals. This one sends them for metadata.
		r.Refuse(place, number, kafka.NotLeaderOrFollower, "")
	default:
		r.Stage(place, p, record.Batch(records), now)
	}
}

// movedPause is for how long a client is not told that another node leads.
const movedPause = 20 * time.Millisecond

// mustHold reports whether the answer has to wait a moment: it sends the client to another leader. That one hears that it leads at the time
// when this node does, and not before; a client that is faster is refused there, and waits for ten times as long.
func (r *produceRequest) mustHold() bool {
	hold := false
	for i := range r.Batches {
		hold = hold || r.Batches[i].Err == kafka.NotLeaderOrFollower
	}
	hold = hold && !r.held
	r.held = hold
	return hold
}

// mustConfirm reports whether the quorum has to confirm first that this node leads: its log says that the producer and it have parted. So
// says a leader that was cut off, and does not know yet that there is another, to a producer that has written to that one since, and it
// is final: librdkafka gives up for good.
func (r *produceRequest) mustConfirm() bool {
	if r.confirmed || r.api.Cluster == nil {
		return false
	}
	for i := range r.Batches {
		if parted(r.Batches[i].Err) {
			return true
		}
	}
	return false
}

func parted(code kafka.ErrorCode) bool {
	return code == kafka.OutOfOrderSequenceNumber || code == kafka.InvalidProducerEpoch
}

// confirm goes on when it is known whether this node leads.
func (r *produceRequest) confirm(sure bool) {
	r.confirmed = true
	for i := range r.Batches {
		if s := &r.Batches[i]; parted(s.Err) && (!sure || !s.Stands()) {
			s.Err = kafka.NotLeaderOrFollower
		}
	}
	r.answer()
}

// answer is called when every part of the request has its result.
func (r *produceRequest) answer() {
	if r.Acks == 0 {
		r.answerNothing()
		return
	}
	if r.mustConfirm() {
		r.api.whenCurrent(r.session.peer, r.confirm)
		return
	}
	if r.mustHold() {
		r.api.timers.After(movedPause, r.answer)
		return
	}
	w := wire.ProduceResponse{Version: r.version}
	b := w.Begin(r.slot.Buffer(), r.correlation, len(r.topics))
	next := 0
	for i := range r.topics {
		t := &r.topics[i]
		b = w.BeginTopic(b, bytesAsString(t.name), t.id, t.partitions)
		for range t.partitions {
			r.fill(&r.Batches[next])
			b = w.Partition(b, &r.result)
			next++
		}
		b = w.EndTopic(b)
	}
	b = w.End(b, 0, r.endpoints)
	slot := r.slot
	r.release()
	slot.Send(b, nil)
}

// answerNothing is acks=0: nobody listens, but after an error the connection is closed so that the client looks anew.
func (r *produceRequest) answerNothing() {
	failed := false
	for i := range r.Batches {
		failed = failed || r.Batches[i].Err != kafka.None
	}
	slot := r.slot
	r.release()
	if failed {
		slot.Abort()
	} else {
		slot.Silence()
	}
}

func (r *produceRequest) release() {
	r.session, r.slot = nil, nil
	produceRequests.Put(r)
}

// fill makes the wire's result of a part's.
func (r *produceRequest) fill(s *replica.Staged) {
	r.result = wire.ProduceResult{Partition: s.Number, Error: s.Err, BaseOffset: s.BaseOffset, AppendTime: s.AppendTime,
		LogStart: s.LogStart, Message: s.Message, Records: r.result.Records[:0], Leader: -1, LeaderEpoch: -1}
	if s.Err == kafka.None {
		return
	}
	r.api.Replicas.Stats.FailedProduce.Add(1)
	for _, e := range s.Records {
		r.result.Records = append(r.result.Records, wire.RecordError{Index: e.Index, Message: e.Message})
	}
	if s.Err == kafka.NotLeaderOrFollower && r.version >= 10 {
		r.pointToLeader(s)
	}
}

// pointToLeader says who leads instead (KIP-951). It says so by the metadata that replicas act on: they refuse what waits for others at the
// moment when they are told that they lead no more, which is before the node goes by that metadata, and a client that is pointed to
// who led before waits for a quarter of a second.
func (r *produceRequest) pointToLeader(s *replica.Staged) {
	image := r.api.Replicas.Image()
	t := &r.topics[s.Topic]
	var topic *metadata.Topic
	if r.version >= 13 {
		topic = image.TopicByID(t.id)
	} else {
		topic = image.Topic(string(t.name))
	}
	p := topic.Partition(s.Number)
	if p == nil {
		return
	}
	r.result.Leader, r.result.LeaderEpoch = p.Leader, p.LeaderEpoch
	if e, ok := r.api.endpoint(image, r.session.peer, p.Leader); ok {
		r.endpoints = addEndpoint(r.endpoints, e)
	}
}
