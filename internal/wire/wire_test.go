package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

func produceRequest(version int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 1500
	if version%2 == 0 {
		id := "transaction"
		req.TransactionID = &id
	}
	for t, name := range []string{"alpha", "beta", "gamma"} {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic, topic.TopicID = name, [16]byte{byte(t + 1)}
		for p := range t + 1 {
			part := kmsg.NewProduceRequestTopicPartition()
			part.Partition, part.Records = int32(p), bytes.Repeat([]byte{byte(p)}, 10*p)
			topic.Partitions = append(topic.Partitions, part)
		}
		req.Topics = append(req.Topics, topic)
	}
	return req
}

func TestProduceRequestsReadAsKmsgWroteThem(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		want := produceRequest(version)
		got, err := ParseProduce(version, want.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		if got.Acks != want.Acks || got.TimeoutMs != want.TimeoutMillis || got.Topics != 3 || got.Partitions != 6 {
			t.Fatalf("version %d: %+v", version, got)
		}
		if (want.TransactionID == nil) != (got.TransactionalID == nil) {
			t.Fatalf("version %d: transactional id %q", version, got.TransactionalID)
		}
		for _, topic := range want.Topics {
			name, ok := got.NextTopic()
			if !ok || version < 13 && string(name.Name) != topic.Topic || version >= 13 && name.ID != kafka.TopicID(topic.TopicID) {
				t.Fatalf("version %d: topic %+v, want %s", version, name, topic.Topic)
			}
			for _, part := range topic.Partitions {
				index, records, ok := got.NextPartition()
				if !ok || index != part.Partition || !bytes.Equal(records, part.Records) {
					t.Fatalf("version %d: partition %d %v", version, index, records)
				}
			}
		}
		if _, ok := got.NextTopic(); ok {
			t.Fatalf("version %d: a topic too many", version)
		}
	}
}

func TestEveryCutOfAProduceRequestIsRefused(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		whole := produceRequest(version).AppendTo(nil)
		for n := range whole {
			if _, err := ParseProduce(version, whole[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("version %d cut at %d of %d: %v", version, n, len(whole), err)
			}
		}
	}
}

func TestProduceResponsesReadBackWithKmsg(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		w := ProduceResponse{Version: version}
		id := kafka.TopicID{7}
		b := w.Begin(nil, 99, 1)
		b = w.BeginTopic(b, "alpha", id, 2)
		b = w.Partition(b, &ProduceResult{Partition: 0, BaseOffset: 42, AppendTime: -1, LogStart: 3, Leader: -1, LeaderEpoch: -1})
		b = w.Partition(b, &ProduceResult{Partition: 1, Error: kafka.NotLeaderOrFollower, BaseOffset: -1, AppendTime: -1, LogStart: -1,
			Message: "moved", Records: []RecordError{{Index: 4, Message: "bad"}}, Leader: 2, LeaderEpoch: 9})
		b = w.EndTopic(b)
		b = w.End(b, 17, []Endpoint{{Node: 2, Host: "h", Port: 9, Rack: "r"}})

		got := kmsg.NewPtrProduceResponse()
		got.Version = version
		readFrame(t, b, Flexible(KeyProduce, version), got)
		want := kmsg.NewPtrProduceResponse()
		want.Version, want.ThrottleMillis = version, 17
		topic := kmsg.NewProduceResponseTopic()
		if version >= 13 {
			topic.TopicID = id
		} else {
			topic.Topic = "alpha"
		}
		first, second := kmsg.NewProduceResponseTopicPartition(), kmsg.NewProduceResponseTopicPartition()
		first.BaseOffset, first.LogAppendTime = 42, -1
		second.Partition, second.ErrorCode, second.BaseOffset, second.LogAppendTime = 1, 6, -1, -1
		if version >= 5 {
			first.LogStartOffset, second.LogStartOffset = 3, -1
		}
		if version >= 8 {
			message, bad := "moved", "bad"
			second.ErrorMessage = &message
			recordError := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			recordError.RelativeOffset, recordError.ErrorMessage = 4, &bad
			second.ErrorRecords = append(second.ErrorRecords, recordError)
		}
		if version >= 10 {
			second.CurrentLeader.LeaderID, second.CurrentLeader.LeaderEpoch = 2, 9
			broker := kmsg.NewProduceResponseBroker()
			rack := "r"
			broker.NodeID, broker.Host, broker.Port, broker.Rack = 2, "h", 9, &rack
			want.Brokers = append(want.Brokers, broker)
		}
		topic.Partitions = append(topic.Partitions, first, second)
		want.Topics = append(want.Topics, topic)
		same(t, version, got.AppendTo(nil), want.AppendTo(nil), got, want)
	}
}

func TestFetchResponsesReadBackWithKmsg(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		w := FetchResponse{Version: version}
		id := kafka.TopicID{7}
		b := w.Begin(nil, 99, 5, kafka.None, 77, 1)
		b = w.BeginTopic(b, "alpha", id, 2)
		first := NewFetchResult(0)
		first.HighWatermark, first.LastStableOffset, first.LogStart = 10, 9, 1
		first.Aborted = []AbortedTransaction{{Producer: 5, FirstOffset: 6}}
		b = w.Partition(b, &first)
		second := NewFetchResult(1)
		second.Error, second.Leader, second.LeaderEpoch, second.DivergingEpoch, second.DivergingEnd = kafka.FencedLeaderEpoch, 2, 9, 3, 4
		b = w.Partition(b, &second)
		b = w.EndTopic(b)
		b = w.End(b, []Endpoint{{Node: 2, Host: "h", Port: 9}})

		got := kmsg.NewPtrFetchResponse()
		got.Version = version
		readFrame(t, b, Flexible(KeyFetch, version), got)
		if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 2 {
			t.Fatalf("version %d: %+v", version, got)
		}
		p0, p1 := got.Topics[0].Partitions[0], got.Topics[0].Partitions[1]
		if p0.HighWatermark != 10 || p0.LastStableOffset != 9 || len(p0.AbortedTransactions) != 1 || p0.AbortedTransactions[0].FirstOffset != 6 {
			t.Fatalf("version %d: %+v", version, p0)
		}
		if p0.RecordBatches == nil {
			t.Fatalf("version %d: records are null", version)
		}
		if p1.AbortedTransactions != nil || p1.ErrorCode != 74 {
			t.Fatalf("version %d: %+v", version, p1)
		}
		if version >= 7 && got.SessionID != 77 {
			t.Fatalf("version %d: session %d", version, got.SessionID)
		}
		if version >= 12 && (p1.CurrentLeader.LeaderID != 2 || p1.DivergingEpoch.Epoch != 3 || p1.DivergingEpoch.EndOffset != 4 || p0.CurrentLeader.LeaderID != -1) {
			t.Fatalf("version %d: %+v", version, p1)
		}
		if version >= 16 && (len(got.Brokers) != 1 || got.Brokers[0].Host != "h") {
			t.Fatalf("version %d: %+v", version, got.Brokers)
		}
	}
}

func TestTheHeaderOfApiVersionsResponsesIsNeverFlexible(t *testing.T) {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = 4
	b := AppendResponse(nil, 5, resp)
	if got := kmsg.NewPtrApiVersionsResponse(); true {
		got.Version = 4
		readFrame(t, b, false, got)
	}
}

func TestHeadersOfBothVersionsAreRead(t *testing.T) {
	for _, version := range []int16{3, 9} {
		frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("me")).AppendRequest(nil, produceRequest(version), 12)
		h, err := ParseHeader(frame[4:])
		if err != nil || h.Key != 0 || h.Version != version || h.Correlation != 12 || string(h.ClientID) != "me" {
			t.Fatalf("%+v %v", h, err)
		}
		if _, err := ParseProduce(version, h.Body); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("GET / HT"), make([]byte, 7), {0, 0, 0, 9, 0, 0, 0, 1, 0, 50}} {
		if _, err := ParseHeader(bad); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%q: %v", bad, err)
		}
	}
}

func TestParsingProduceDoesNotAllocate(t *testing.T) {
	body := produceRequest(13).AppendTo(nil)
	if n := testing.AllocsPerRun(100, func() {
		p, err := ParseProduce(13, body)
		for err == nil {
			if _, ok := p.NextTopic(); !ok {
				break
			}
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzRequests(f *testing.F) {
	for version := int16(3); version <= 13; version++ {
		f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, produceRequest(version), 1)[4:])
	}
	for key := int16(0); key <= maxKey; key++ {
		if request := kmsg.RequestForKey(key); request != nil {
			request.SetVersion(request.MaxVersion())
			f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, request, 1)[4:])
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := ParseHeader(frame)
		if err != nil {
			return
		}
		if h.Key == KeyProduce && h.Version >= 3 && h.Version <= 13 {
			ours, err := ParseProduce(h.Version, h.Body)
			theirs := kmsg.NewPtrProduceRequest()
			theirs.Version = h.Version
			if their := theirs.ReadFrom(h.Body); err == nil && their == nil && ours.Topics != len(theirs.Topics) {
				t.Fatalf("%d topics, kmsg reads %d", ours.Topics, len(theirs.Topics))
			}
			return
		}
		if request := kmsg.RequestForKey(h.Key); request != nil && h.Version >= 0 && h.Version <= request.MaxVersion() && len(frame) < 1<<16 {
			_, _ = Decode(h.Key, h.Version, h.Body)
		}
	})
}

func readFrame(t *testing.T, frame []byte, flexible bool, into kmsg.Response) {
	t.Helper()
	if int(uint32(frame[0])<<24|uint32(frame[1])<<16|uint32(frame[2])<<8|uint32(frame[3])) != len(frame)-4 {
		t.Fatalf("size prefix %v of %d bytes", frame[:4], len(frame))
	}
	body := frame[8:]
	if flexible {
		body = body[1:]
	}
	if err := into.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, version int16, got, want []byte, a, b any) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("version %d:\n got %+v\nwant %+v (equal: %v)", version, a, b, reflect.DeepEqual(a, b))
	}
}
