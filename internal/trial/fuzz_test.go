package trial

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/server"
)

// What one input may be, and what the node may take for it.
const (
	fuzzMostBytes  = 32 << 10
	fuzzMostMemory = 192 << 20
)

// FuzzSession gives a node any frames on one connection, each behind its length in two bytes, and lets time pass. The node
// neither panics nor takes memory without measure, and answers nothing twice.
func FuzzSession(f *testing.F) {
	for _, seed := range sessionSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > fuzzMostBytes {
			return
		}
		var before, after runtime.MemStats
		w := newStandingNode(t)
		runtime.ReadMemStats(&before)
		w.feed(input)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > fuzzMostMemory {
			t.Fatalf("%d bytes made the node take %d MiB", len(input), took>>20)
		}
	})
}

// standingNode is a node without faults that has a topic.
type standingNode struct{ *trial }

func newStandingNode(t testing.TB) *standingNode {
	w := newTrial(1, Options{})
	w.gather(1)
	w.configure(w.drawConfig())
	founder := newFounder(w, map[string]int{"plain": 2})
	w.hosts[0].start()
	founder.start()
	if !w.runUntil(10*time.Second, founder.idle) {
		t.Fatal("the node does not serve")
	}
	return &standingNode{w}
}

func (w *standingNode) feed(input []byte) {
	k := w.hosts[0].dial(newClient(w.trial, "fuzz"))
	k.broken = true // nobody listens to the answers
	for len(input) >= 2 {
		n := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
		frame := append([]byte(nil), input[2:2+n]...)
		input = input[2+n:]
		s := &slot{life: k.life, done: k.answered}
		k.slots = append(k.slots, s)
		err := k.session.Request(frame, s)
		k.session.Drained()
		if err != nil { // the connection would end: another begins
			k.session.Closed()
			k.session = w.hosts[0].life.node.API.Open(server.Peer{Listener: "PLAINTEXT", LocalHost: "127.0.0.1", RemoteHost: "127.0.0.1"})
		}
		w.runUntil(10*time.Millisecond, func() bool { return false })
	}
	w.runUntil(2*time.Second, func() bool { return false })
	k.session.Closed()
	w.ended, w.hosts[0].life.dead = true, true
}

// sessionSeeds are requests of every kind, and a few that belong together.
func sessionSeeds() (seeds [][]byte) {
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("seed"))
	add := func(to []byte, request kmsg.Request, version int16) []byte {
		request.SetVersion(version)
		frame := format.AppendRequest(nil, request, 1)[4:]
		return append(binary.BigEndian.AppendUint16(to, uint16(len(frame))), frame...)
	}
	for key := int16(0); key <= 92; key++ {
		if request := kmsg.RequestForKey(key); request != nil {
			seeds = append(seeds, add(nil, request, request.MaxVersion()), add(nil, request, request.MaxVersion()/2))
		}
	}
	topic := kafka.TopicPartition{Topic: "plain"}
	form := record.Plain()
	form.Producer, form.Sequence = kafka.Producer{ID: 1}, 0
	b := record.NewBuilder(form)
	b.Add(1, []byte("k"), []byte("v"))
	produce := kmsg.NewPtrProduceRequest()
	produce.Acks, produce.TimeoutMillis = -1, 100
	produced := kmsg.NewProduceRequestTopic()
	produced.Topic = topic.Topic
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = b.Build()
	produced.Partitions = append(produced.Partitions, part)
	produce.Topics = append(produce.Topics, produced)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes, fetch.SessionEpoch = 10, 1, 1000, 0
	fetched := kmsg.NewFetchRequestTopic()
	fetched.Topic = topic.Topic
	wanted := kmsg.NewFetchRequestTopicPartition()
	wanted.PartitionMaxBytes = 1000
	fetched.Partitions = append(fetched.Partitions, wanted)
	fetch.Topics = append(fetch.Topics, fetched)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = "g", "consumer", 6000, 100
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "range"
	join.Protocols = append(join.Protocols, protocol)
	commit := commitOf("g", "plain", 0, 3)
	return append(seeds, add(add(nil, produce, 9), fetch, 12), add(add(add(nil, join, 3), commit, 8), commit, 2))
}
