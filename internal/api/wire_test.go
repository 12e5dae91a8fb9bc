package api_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// peer is a client that sends exactly what a test says, and reads exactly what comes back.
type peer struct {
	t      *testing.T
	broker *gregortest.Broker
	conn   net.Conn
	next   int32
}

func connect(t *testing.T, b *gregortest.Broker) *peer {
	t.Helper()
	c, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t: t, broker: b, conn: c}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// send writes a request and returns its correlation id.
func (p *peer) send(req kmsg.Request) int32 {
	p.t.Helper()
	p.next++
	p.write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, p.next))
	return p.next
}

// frame reads one response frame, without its size.
func (p *peer) frame() []byte {
	p.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(p.conn, size[:]); err != nil {
		p.t.Fatalf("no answer: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatal(err)
	}
	return b
}

// receive reads the answer to a request and checks that it is in its place.
func (p *peer) receive(req kmsg.Request, correlation int32) kmsg.Response {
	p.t.Helper()
	b := p.frame()
	if got := int32(binary.BigEndian.Uint32(b)); got != correlation {
		p.t.Fatalf("answer %d in the place of %d", got, correlation)
	}
	b = b[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && req.Key() != 18 {
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		p.t.Fatalf("%T version %d: %v", resp, req.GetVersion(), err)
	}
	return resp
}

func (p *peer) call(req kmsg.Request) kmsg.Response {
	p.t.Helper()
	return p.receive(req, p.send(req))
}

// closed waits for the broker to close the connection, without an answer.
func (p *peer) closed() {
	p.t.Helper()
	var b [1]byte
	n, err := p.conn.Read(b[:])
	var timeout net.Error
	if n > 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatalf("still open: %d bytes, %v", n, err)
	}
}

// createTopic creates a topic and returns its id.
func (p *peer) createTopic(name string, partitions int32, configs ...string) kafka.TopicID {
	p.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 5000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		topic.Configs = append(topic.Configs, c)
	}
	req.Topics = append(req.Topics, topic)
	resp := p.call(req).(*kmsg.CreateTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		p.t.Fatalf("cannot create %s: %v", name, kafka.ErrorCode(code))
	}
	return resp.Topics[0].TopicID
}

// batchOf is one batch of values, at times from 1000 on.
func batchOf(form record.Form, values ...string) []byte {
	b := record.NewBuilder(form)
	for i, v := range values {
		b.Add(time.Now().UnixMilli()+int64(i), nil, []byte(v))
	}
	return b.Build()
}

func produceTo(version int16, topic string, id kafka.TopicID, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, records
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	return req
}

func (p *peer) produce(topic string, partition int32, records []byte) kmsg.ProduceResponseTopicPartition {
	p.t.Helper()
	return p.call(produceTo(9, topic, kafka.TopicID{}, partition, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

func fetchFrom(version int16, topic string, id kafka.TopicID, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch, req.ReplicaID = version, 0, 1, 1<<20, -1, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	return req
}

func (p *peer) fetch(req *kmsg.FetchRequest) kmsg.FetchResponseTopicPartition {
	p.t.Helper()
	resp := p.call(req).(*kmsg.FetchResponse)
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		p.t.Fatalf("%+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func want(t *testing.T, what string, got int16, code kafka.ErrorCode) {
	t.Helper()
	if kafka.ErrorCode(got) != code {
		t.Fatalf("%s: %v, want %v", what, kafka.ErrorCode(got), code)
	}
}

// topicID asks for a topic's id.
func (p *peer) topicID(name string) kafka.TopicID {
	p.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	return p.call(req).(*kmsg.MetadataResponse).Topics[0].TopicID
}
