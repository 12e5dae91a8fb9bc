package api_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

func TestEveryVersionOfProduceAppends(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 1)
	for version := int16(3); version <= 13; version++ {
		resp := p.call(produceTo(version, "t", id, 0, batchOf(record.Plain(), "a", "b"))).(*kmsg.ProduceResponse)
		part := resp.Topics[0].Partitions[0]
		if part.ErrorCode != 0 || part.BaseOffset != int64(version-3)*2 || part.LogAppendTime != -1 {
			t.Fatalf("version %d: %+v", version, part)
		}
		if version < 13 && resp.Topics[0].Topic != "t" || version >= 13 && resp.Topics[0].TopicID != id {
			t.Fatalf("version %d names %+v", version, resp.Topics[0])
		}
	}
}

func TestEveryVersionOfFetchReads(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 1)
	batch := batchOf(record.Plain(), "a", "b", "c")
	p.produce("t", 0, bytes.Clone(batch))
	for version := int16(4); version <= 18; version++ {
		part := p.fetch(fetchFrom(version, "t", id, 0, 1)) // inside the batch: the whole batch comes
		if part.ErrorCode != 0 || part.HighWatermark != 3 || part.LastStableOffset != 3 || len(part.RecordBatches) != len(batch) {
			t.Fatalf("version %d: %+v", version, part)
		}
		if part.AbortedTransactions != nil || part.PreferredReadReplica != -1 || version >= 12 && part.CurrentLeader.LeaderEpoch != -1 {
			t.Fatalf("version %d: %+v", version, part)
		}
		got := record.Batch(part.RecordBatches)
		if got.BaseOffset() != 0 || got.CRC() != record.Batch(batch).CRC() || !bytes.Equal(got[21:], batch[21:]) {
			t.Fatalf("version %d: the batch has changed", version)
		}
	}
	committed := fetchFrom(11, "t", id, 0, 0)
	committed.IsolationLevel = 1
	if part := p.fetch(committed); part.AbortedTransactions == nil {
		t.Fatal("read_committed is told no list of aborted transactions")
	}
}

func TestAFetchWithNothingToReadHasEmptyRecordsAndNotNull(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 1)
	for version := int16(4); version <= 18; version++ {
		if part := p.fetch(fetchFrom(version, "t", id, 0, 0)); part.ErrorCode != 0 || part.RecordBatches == nil {
			t.Fatalf("version %d: %+v", version, part)
		}
	}
}

func TestFetchOffsetsOutOfRange(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	p.produce("t", 0, batchOf(record.Plain(), "a", "b", "c", "d"))
	for offset, code := range map[int64]kafka.ErrorCode{-1: kafka.OffsetOutOfRange, 4: kafka.None, 5: kafka.OffsetOutOfRange} {
		want(t, "fetch", p.fetch(fetchFrom(11, "t", kafka.TopicID{}, 0, offset)).ErrorCode, code)
	}
	del := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = "t"
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = 2
	topic.Partitions = append(topic.Partitions, part)
	del.Topics = append(del.Topics, topic)
	if got := p.call(del).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.LowWatermark != 2 {
		t.Fatalf("%+v", got)
	}
	want(t, "before the log's start", p.fetch(fetchFrom(11, "t", kafka.TopicID{}, 0, 1)).ErrorCode, kafka.OffsetOutOfRange)
	del.Topics[0].Partitions[0].Offset = 9
	want(t, "beyond the end", p.call(del).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode, kafka.OffsetOutOfRange)
	del.Topics[0].Partitions[0].Offset = -1
	if got := p.call(del).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; got.LowWatermark != 4 {
		t.Fatalf("%+v", got)
	}
}

func TestTheFirstBatchComesHoweverLargeItIs(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 2)
	big := batchOf(record.Plain(), string(bytes.Repeat([]byte("x"), 5000)))
	p.produce("t", 0, bytes.Clone(big))
	p.produce("t", 1, bytes.Clone(big))
	req := fetchFrom(11, "t", kafka.TopicID{}, 0, 0)
	req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 10, 10
	second := req.Topics[0].Partitions[0]
	second.Partition = 1
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, second)
	parts := p.call(req).(*kmsg.FetchResponse).Topics[0].Partitions
	if len(parts[0].RecordBatches) != len(big) || len(parts[1].RecordBatches) != 0 {
		t.Fatalf("%d and %d bytes", len(parts[0].RecordBatches), len(parts[1].RecordBatches))
	}
}

func TestAFetchWaitsForBytesAndForNoLongerThanItSays(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	other := connect(t, p.broker)
	req := fetchFrom(11, "t", kafka.TopicID{}, 0, 0)
	req.MaxWaitMillis = 100
	began := time.Now()
	if part := p.fetch(req); len(part.RecordBatches) != 0 || time.Since(began) < 100*time.Millisecond {
		t.Fatalf("answered after %v", time.Since(began))
	}
	req.MaxWaitMillis = 15000
	correlation := p.send(req)
	other.produce("t", 0, batchOf(record.Plain(), "a"))
	if part := p.receive(req, correlation).(*kmsg.FetchResponse).Topics[0].Partitions[0]; len(part.RecordBatches) == 0 {
		t.Fatal("woken for nothing")
	}
	unknown := fetchFrom(11, "nowhere", kafka.TopicID{}, 0, 0)
	unknown.MaxWaitMillis = 15000
	want(t, "an error does not wait", p.fetch(unknown).ErrorCode, kafka.UnknownTopicOrPartition)
}

func TestLeaderEpochsOfClientsAreCompared(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 9
	epoch := p.call(metadata).(*kmsg.MetadataResponse).Topics[0].Partitions[0].LeaderEpoch
	req := fetchFrom(11, "t", kafka.TopicID{}, 0, 0)
	for e, code := range map[int32]kafka.ErrorCode{-1: kafka.None, epoch: kafka.None, epoch + 1: kafka.UnknownLeaderEpoch} {
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = e
		want(t, "fetch", p.fetch(req).ErrorCode, code)
	}
	p.broker.Restart() // the epoch rises
	p = connect(t, p.broker)
	req = fetchFrom(16, "t", kafka.TopicID{}, 0, 0)
	req.Topics[0].TopicID = p.topicID("t")
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
	part := p.fetch(req)
	want(t, "an old epoch", part.ErrorCode, kafka.FencedLeaderEpoch)
	if part.CurrentLeader.LeaderID != 0 || part.CurrentLeader.LeaderEpoch <= epoch {
		t.Fatalf("no hint at the leader: %+v", part.CurrentLeader)
	}
}

func TestWhatIsWrongWithABatchIsSaid(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	p.createTopic("compacted", 1, "cleanup.policy", "compact")
	p.createTopic("small", 1, "max.message.bytes", "200")
	good := func() record.Batch { return batchOf(record.Plain(), "a", "b") }
	change := func(f func(b record.Batch)) []byte { b := good(); f(b); return b }
	sealed := func(f func(b record.Batch)) []byte { b := good(); f(b); b.Seal(); return b }
	late := record.NewBuilder(record.Plain())
	late.Add(time.Now().Add(48*time.Hour).UnixMilli(), nil, []byte("x"))
	for name, c := range map[string]struct {
		topic   string
		records []byte
		code    kafka.ErrorCode
	}{
		"bad checksum":     {"t", change(func(b record.Batch) { b[len(b)-1]++ }), kafka.CorruptMessage},
		"base offset":      {"t", change(func(b record.Batch) { b.SetBaseOffset(7) }), kafka.InvalidRecord},
		"magic 1":          {"t", change(func(b record.Batch) { b[16] = 1 }), kafka.InvalidRecord},
		"count":            {"t", sealed(func(b record.Batch) { b[60] = 9 }), kafka.InvalidRecord},
		"control batch":    {"t", sealed(func(b record.Batch) { b[22] |= 0x20 }), kafka.InvalidRecord},
		"no record":        {"t", nil, kafka.InvalidRecord},
		"two batches":      {"t", append(good(), good()...), kafka.InvalidRecord},
		"no key":           {"compacted", good(), kafka.InvalidRecord},
		"too large":        {"small", batchOf(record.Plain(), string(make([]byte, 300))), kafka.MessageTooLarge},
		"in the future":    {"t", late.Build(), kafka.InvalidTimestamp},
		"no such topic":    {"nowhere", good(), kafka.UnknownTopicOrPartition},
		"leader epoch any": {"t", change(func(b record.Batch) { b.SetLeaderEpoch(12345) }), kafka.None},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.produce(c.topic, 0, c.records)
			want(t, name, got.ErrorCode, c.code)
			if c.code != kafka.None && got.BaseOffset != -1 {
				t.Fatalf("an error has base offset %d", got.BaseOffset)
			}
		})
	}
	resp := p.produce("compacted", 0, good())
	if len(resp.ErrorRecords) != 2 || resp.ErrorRecords[1].RelativeOffset != 1 || resp.ErrorMessage == nil {
		t.Fatalf("the records to blame are not named: %+v", resp)
	}
	bad := produceTo(9, "t", kafka.TopicID{}, 0, good())
	bad.Acks = 2
	want(t, "acks=2", p.call(bad).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, kafka.InvalidRequiredAcks)
	zstd := record.Plain()
	zstd.Codec = record.Zstd
	want(t, "zstd in version 6", p.call(produceTo(6, "t", kafka.TopicID{}, 0, batchOf(zstd, "a"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, kafka.UnsupportedCompressionType)
	want(t, "an internal topic", p.produceInternal(), kafka.InvalidTopicException)
	want(t, "an unknown id", p.call(produceTo(13, "", kafka.TopicID{9}, 0, good())).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, kafka.UnknownTopicID)
}

func (p *peer) produceInternal() int16 {
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = "g"
	p.call(find)
	return p.produce(kafka.GroupMetadataTopic, 0, batchOf(record.Plain(), "a")).ErrorCode
}

func TestIdempotentProducersAreDeduplicated(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	init := p.call(kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse)
	if init.ErrorCode != 0 || init.ProducerEpoch != 0 {
		t.Fatalf("%+v", init)
	}
	send := func(epoch int16, sequence int32) kmsg.ProduceResponseTopicPartition {
		form := record.Plain()
		form.Producer, form.Sequence = kafka.Producer{ID: init.ProducerID, Epoch: epoch}, sequence
		return p.produce("t", 0, batchOf(form, "a", "b"))
	}
	for i := range int32(7) {
		if got := send(0, 2*i); got.ErrorCode != 0 || got.BaseOffset != int64(2*i) {
			t.Fatalf("batch %d: %+v", i, got)
		}
	}
	for i := int32(2); i < 7; i++ { // the last five are remembered
		if got := send(0, 2*i); got.ErrorCode != 0 || got.BaseOffset != int64(2*i) {
			t.Fatalf("duplicate of batch %d: %+v", i, got)
		}
	}
	want(t, "an older duplicate", send(0, 2).ErrorCode, kafka.OutOfOrderSequenceNumber)
	want(t, "a gap", send(0, 100).ErrorCode, kafka.OutOfOrderSequenceNumber)
	want(t, "a new epoch not from 0", send(1, 5).ErrorCode, kafka.OutOfOrderSequenceNumber)
	want(t, "a new epoch", send(1, 0).ErrorCode, kafka.None)
	want(t, "an old epoch", send(0, 14).ErrorCode, kafka.InvalidProducerEpoch)

	describe := kmsg.NewPtrDescribeProducersRequest()
	topic := kmsg.NewDescribeProducersRequestTopic()
	topic.Topic, topic.Partitions = "t", []int32{0}
	describe.Topics = append(describe.Topics, topic)
	active := p.call(describe).(*kmsg.DescribeProducersResponse).Topics[0].Partitions[0].ActiveProducers
	if len(active) != 1 || active[0].ProducerID != init.ProducerID || active[0].ProducerEpoch != 1 || active[0].LastSequence != 1 {
		t.Fatalf("%+v", active)
	}
}

func TestLogAppendTimeIsTheBrokers(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1, "message.timestamp.type", "LogAppendTime")
	before := time.Now().UnixMilli()
	got := p.produce("t", 0, batchOf(record.Plain(), "a", "b"))
	if got.ErrorCode != 0 || got.LogAppendTime < before {
		t.Fatalf("%+v", got)
	}
	b := record.Batch(p.fetch(fetchFrom(11, "t", kafka.TopicID{}, 0, 0)).RecordBatches)
	if !b.LogAppendTime() || b.MaxTimestamp() != got.LogAppendTime || b.CRC() != b.ComputeCRC() {
		t.Fatalf("%v %d", b.LogAppendTime(), b.MaxTimestamp())
	}
}

func TestCompressionTypeRecompresses(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	for name, codec := range map[string]record.Codec{"uncompressed": 0, "gzip": record.Gzip, "snappy": record.Snappy, "lz4": record.LZ4, "zstd": record.Zstd} {
		p.createTopic(name, 1, "compression.type", name)
		form := record.Plain()
		form.Codec = record.LZ4
		p.produce(name, 0, batchOf(form, "one", "two"))
		b := record.Batch(p.fetch(fetchFrom(11, name, kafka.TopicID{}, 0, 0)).RecordBatches)
		var values []string
		if err := b.Records(1<<20, func(r record.Record) error { values = append(values, string(r.Value)); return nil }); err != nil {
			t.Fatal(err)
		}
		if b.Codec() != codec || len(values) != 2 || values[1] != "two" {
			t.Fatalf("%s: codec %d, %q", name, b.Codec(), values)
		}
	}
}

// The first batch of a producer comes before the topic does, and the second, sent together with it, after that.
func TestWhatFollowsABatchThatCameBeforeItsTopicWaitsForIt(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	send := func(producer kafka.Producer, sequence int32) int16 {
		form := record.Plain()
		form.Producer, form.Sequence = producer, sequence
		return p.call(produceTo(9, "later", kafka.TopicID{}, 0, batchOf(form, "a"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
	}
	one, other := kafka.Producer{ID: 7}, kafka.Producer{ID: 8}
	want(t, "the first", send(one, 0), kafka.UnknownTopicOrPartition)
	want(t, "the third", send(one, 2), kafka.UnknownTopicOrPartition)
	p.createTopic("later", 1)
	want(t, "another producer's", send(other, 5), kafka.None)
	want(t, "the second", send(one, 1), kafka.NotLeaderOrFollower)
	for sequence := range int32(3) {
		want(t, "all in order", send(one, sequence), kafka.None)
	}
	want(t, "a later epoch, which counts anew", send(kafka.Producer{ID: 7, Epoch: 1}, 0), kafka.None)
}
