package api_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

func TestAnIncrementalFetchAnswersWhatChanged(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 3)
	req := fetchFrom(12, "t", kafka.TopicID{}, 0, 0)
	req.SessionEpoch = 0
	for i := range int32(2) {
		part := req.Topics[0].Partitions[0]
		part.Partition = i + 1
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	}
	full := p.call(req).(*kmsg.FetchResponse)
	if full.SessionID == 0 || len(full.Topics[0].Partitions) != 3 {
		t.Fatalf("%+v", full)
	}
	next := kmsg.NewPtrFetchRequest()
	next.Version, next.SessionID, next.SessionEpoch, next.MaxBytes, next.MinBytes, next.ReplicaID = 12, full.SessionID, 1, 1<<20, 1, -1
	if got := p.call(next).(*kmsg.FetchResponse); got.ErrorCode != 0 || len(got.Topics) != 0 || got.SessionID != full.SessionID {
		t.Fatalf("nothing has changed: %+v", got)
	}
	p.produce("t", 1, batchOf(record.Plain(), "a"))
	next.SessionEpoch = 2
	got := p.call(next).(*kmsg.FetchResponse)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 || got.Topics[0].Partitions[0].Partition != 1 {
		t.Fatalf("one partition has changed: %+v", got)
	}

	// An empty incremental request is not an empty fetch: it waits for the session's partitions.
	set := kmsg.NewFetchRequestTopic()
	set.Topic = "t"
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = 1, 1, 1<<20, -1
	set.Partitions = append(set.Partitions, part)
	next.SessionEpoch, next.MaxWaitMillis, next.Topics = 3, 15000, []kmsg.FetchRequestTopic{set}
	correlation := p.send(next)
	connect(t, p.broker).produce("t", 2, batchOf(record.Plain(), "b"))
	if got := p.receive(next, correlation).(*kmsg.FetchResponse); len(got.Topics) != 1 || got.Topics[0].Partitions[0].Partition != 2 {
		t.Fatalf("%+v", got)
	}

	next.Topics, next.MaxWaitMillis, next.SessionEpoch = nil, 0, 9
	want(t, "a wrong epoch", p.call(next).(*kmsg.FetchResponse).ErrorCode, kafka.InvalidFetchSessionEpoch)
	next.SessionID++
	want(t, "an unknown session", p.call(next).(*kmsg.FetchResponse).ErrorCode, kafka.FetchSessionIDNotFound)
	ids := fetchFrom(13, "", kafka.TopicID{}, 0, 0)
	ids.SessionID, ids.SessionEpoch, ids.Topics = full.SessionID, 4, nil
	want(t, "ids in a session of names", p.call(ids).(*kmsg.FetchResponse).ErrorCode, kafka.FetchSessionTopicIDError)
}

func TestAPartitionThatIsForgottenIsNotFetched(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	req := fetchFrom(12, "t", kafka.TopicID{}, 0, 0)
	req.SessionEpoch = 0
	session := p.call(req).(*kmsg.FetchResponse).SessionID
	p.produce("t", 0, batchOf(record.Plain(), "a"))
	next := kmsg.NewPtrFetchRequest()
	next.Version, next.SessionID, next.SessionEpoch, next.MaxBytes, next.MinBytes, next.ReplicaID = 12, session, 1, 1<<20, 1, -1
	forgotten := kmsg.NewFetchRequestForgottenTopic()
	forgotten.Topic, forgotten.Partitions = "t", []int32{0}
	next.ForgottenTopics = append(next.ForgottenTopics, forgotten)
	if got := p.call(next).(*kmsg.FetchResponse); got.ErrorCode != 0 || len(got.Topics) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestATopicThatWasMadeAnewIsAnother(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 1)
	p.produce("t", 0, batchOf(record.Plain(), "a"))
	waiting := fetchFrom(13, "", id, 0, 1)
	waiting.MaxWaitMillis = 15000
	q := connect(t, p.broker)
	correlation := q.send(waiting)
	time.Sleep(20 * time.Millisecond) // let it be parked; if it is not, the answer is the same
	p.deleteTopic("t")
	parked := q.receive(waiting, correlation).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	want(t, "a fetch that waited", parked.ErrorCode, kafka.UnknownTopicID)
	again := p.createTopic("t", 1)
	if again == id {
		t.Fatal("the same id again")
	}
	want(t, "fetch by the old id", p.fetch(fetchFrom(13, "", id, 0, 0)).ErrorCode, kafka.UnknownTopicID)
	want(t, "produce by the old id", p.call(produceTo(13, "", id, 0, batchOf(record.Plain(), "b"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, kafka.UnknownTopicID)
	if part := p.fetch(fetchFrom(13, "", again, 0, 0)); part.ErrorCode != 0 || part.HighWatermark != 0 {
		t.Fatalf("the old records are there: %+v", part)
	}
}

func (p *peer) deleteTopic(name string) {
	p.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TopicNames, req.TimeoutMillis = 5, []string{name}, 5000
	want(p.t, "delete", p.call(req).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, kafka.None)
}

func (p *peer) listOffset(version int16, topic string, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	p.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp, part.CurrentLeaderEpoch = timestamp, -1
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	return p.call(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
}

func TestOffsetsAreFoundExactToTheRecord(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	base := time.Now().UnixMilli() - 100_000
	for _, codec := range []record.Codec{record.Uncompressed, record.Zstd, record.Snappy} {
		form := record.Plain()
		form.Codec = codec
		b := record.NewBuilder(form)
		for i := range int64(10) {
			b.Add(base+i*10, nil, []byte("v"))
		}
		if got := p.produce("t", 0, b.Build()); got.ErrorCode != 0 {
			t.Fatalf("%+v", got)
		}
		base += 100
	}
	base -= 300
	for _, c := range []struct{ timestamp, offset, at int64 }{
		{base - 5, 0, base}, {base, 0, base}, {base + 1, 1, base + 10}, {base + 155, 16, base + 160}, {base + 290, 29, base + 290}, {base + 291, -1, -1},
	} {
		got := p.listOffset(9, "t", c.timestamp)
		if got.ErrorCode != 0 || got.Offset != c.offset || got.Timestamp != c.at {
			t.Fatalf("at %d: %+v, want offset %d at %d", c.timestamp-base, got, c.offset, c.at-base)
		}
	}
	for _, c := range []struct {
		version   int16
		timestamp int64
		code      kafka.ErrorCode
		offset    int64
	}{
		{1, -1, kafka.None, 30}, {1, -2, kafka.None, 0}, {7, -3, kafka.None, 29}, {6, -3, kafka.UnsupportedVersion, -1},
		{8, -4, kafka.None, 0}, {7, -4, kafka.UnsupportedVersion, -1}, {9, -5, kafka.None, -1}, {11, -6, kafka.None, -1}, {10, -6, kafka.UnsupportedVersion, -1}, {11, -7, kafka.UnsupportedVersion, -1},
	} {
		got := p.listOffset(c.version, "t", c.timestamp)
		if got.ErrorCode != c.code.Code() || got.Offset != c.offset {
			t.Fatalf("version %d timestamp %d: %+v", c.version, c.timestamp, got)
		}
	}
	if got := p.listOffset(9, "t", -3); got.Timestamp != base+290 {
		t.Fatalf("the largest timestamp: %+v", got)
	}
	want(t, "an unknown topic", p.listOffset(9, "nowhere", -1).ErrorCode, kafka.UnknownTopicOrPartition)
}

func TestTheEndOfALeaderEpochIsFound(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	p.produce("t", 0, batchOf(record.Plain(), "a", "b"))
	first := p.listOffset(9, "t", -1).LeaderEpoch
	p.broker.Restart()
	p = connect(t, p.broker)
	p.produce("t", 0, batchOf(record.Plain(), "c"))
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version, req.ReplicaID = 4, -1
	topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
	topic.Topic = "t"
	part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	part.CurrentLeaderEpoch, part.LeaderEpoch = -1, first
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	ask := func() kmsg.OffsetForLeaderEpochResponseTopicPartition {
		return p.call(req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
	}
	if got := ask(); got.ErrorCode != 0 || got.LeaderEpoch != first || got.EndOffset != 2 {
		t.Fatalf("%+v", got)
	}
	req.Topics[0].Partitions[0].LeaderEpoch = first + 1000
	if got := ask(); got.ErrorCode != 0 || got.EndOffset != -1 || got.LeaderEpoch != -1 {
		t.Fatalf("an epoch that is to come: %+v", got)
	}
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = first
	want(t, "a client of an old epoch", ask().ErrorCode, kafka.FencedLeaderEpoch)
	if got := p.fetch(fetchFrom(12, "t", kafka.TopicID{}, 0, 2)); record.Batch(got.RecordBatches).LeaderEpoch() <= first {
		t.Fatal("the batch is not of the new epoch")
	}
}

// A fetch without a session is answered for every partition it asks for, also where there is nothing to read.
func TestAFetchWithoutASessionAnswersEveryPartition(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 3)
	p.produce("t", 1, batchOf(record.Plain(), "a"))
	for version := int16(4); version <= 12; version++ {
		req := fetchFrom(version, "t", kafka.TopicID{}, 0, 0)
		for i := range int32(2) {
			part := req.Topics[0].Partitions[0]
			part.Partition = i + 1
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
		}
		got := p.call(req).(*kmsg.FetchResponse)
		if got.SessionID != 0 || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 3 {
			t.Fatalf("version %d: %+v", version, got)
		}
	}
}

func TestSessionsEndWhenTheirClientsSaySo(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	open := func(id int32) int32 {
		req := fetchFrom(12, "t", kafka.TopicID{}, 0, 0)
		req.SessionID, req.SessionEpoch = id, 0
		return p.call(req).(*kmsg.FetchResponse).SessionID
	}
	goOn := func(id int32) int16 {
		next := kmsg.NewPtrFetchRequest()
		next.Version, next.SessionID, next.SessionEpoch, next.MaxBytes, next.ReplicaID = 12, id, 1, 1<<20, -1
		return p.call(next).(*kmsg.FetchResponse).ErrorCode
	}
	first := open(0)
	second := open(first) // a full fetch in a session begins another in its place
	if first == 0 || second == 0 || second == first {
		t.Fatal(first, second)
	}
	want(t, "the session that was replaced", goOn(first), kafka.FetchSessionIDNotFound)
	want(t, "the new one", goOn(second), kafka.None)
	last := fetchFrom(12, "t", kafka.TopicID{}, 0, 0)
	last.SessionID, last.SessionEpoch = second, -1
	if got := p.call(last).(*kmsg.FetchResponse); got.ErrorCode != 0 || got.SessionID != 0 || len(got.Topics) != 1 {
		t.Fatalf("%+v", got)
	}
	want(t, "the session that was ended", goOn(second), kafka.FetchSessionIDNotFound)
}

func TestAPartitionAskedForTwiceIsRefused(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 2)
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 7, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "t"
	for _, number := range []int32{0, 1, 0} {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp, part.CurrentLeaderEpoch = number, -1, -1
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	for _, got := range p.call(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		want(t, "ListOffsets", got.ErrorCode, map[int32]kafka.ErrorCode{0: kafka.InvalidRequest, 1: kafka.None}[got.Partition])
	}
}

// What a producer wrote to a topic is no duplicate in the next one of that name.
func TestProducersOfADeletedTopicAreForgotten(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	form := record.Plain()
	form.Sequence = 0
	form.Producer = kafka.Producer{ID: p.call(kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse).ProducerID}
	for range 2 {
		p.createTopic("t", 1)
		p.produce("t", 0, batchOf(record.Plain(), "x", "y"))
		if got := p.produce("t", 0, batchOf(form, "a")); got.ErrorCode != 0 || got.BaseOffset != 2 {
			t.Fatalf("%+v", got)
		}
		p.deleteTopic("t")
	}
}

func TestProducersAreToldWhereTheLogStarts(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 1)
	p.produce("t", 0, batchOf(record.Plain(), "a", "b", "c"))
	del := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = "t"
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = 2
	topic.Partitions = append(topic.Partitions, part)
	del.Topics = append(del.Topics, topic)
	p.call(del)
	for version := int16(3); version <= 13; version++ {
		got := p.call(produceTo(version, "t", id, 0, batchOf(record.Plain(), "d"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if want := map[bool]int64{true: 2, false: -1}[version >= 5]; got.LogStartOffset != want {
			t.Fatalf("version %d: the log starts at %d, want %d", version, got.LogStartOffset, want)
		}
	}
}
