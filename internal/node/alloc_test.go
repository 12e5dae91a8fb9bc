//go:build !race

// The race detector makes pools forget at random, so allocations mean nothing under it.

package node_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// answerSlot is a place for one answer, with a buffer that is kept.
type answerSlot struct {
	buffer []byte
	done   chan struct{}
}

func (s *answerSlot) Buffer() []byte { return s.buffer[:0] }
func (s *answerSlot) Send(frame []byte, _ []wire.Splice) {
	s.buffer = frame
	s.done <- struct{}{}
}
func (s *answerSlot) Silence() { s.done <- struct{}{} }
func (s *answerSlot) Abort()   { s.done <- struct{}{} }

// The produce path, from the frame to the answer, on a real disk: what it allocates the collector pays for on every
// request, and producers see it as a tail.
func TestProducingAllocatesNothing(t *testing.T) {
	n, err := node.Open(node.Options{Runtime: loop.Real(), FS: vfs.OS(false), Dir: t.TempDir(), Config: config.Static{},
		Advertised: func(server.Peer) (string, int32) { return "127.0.0.1", 9092 }})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	n.Start(func() { close(ready) })
	<-ready
	defer func() {
		stopped := make(chan error)
		n.Stop(func(err error) { stopped <- err })
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()
	session := n.API.Open(server.Peer{Listener: "PLAINTEXT"})
	slot := &answerSlot{buffer: make([]byte, 0, 4096), done: make(chan struct{}, 1)}
	send := func(frame []byte) {
		if err := session.Request(frame, slot); err != nil {
			t.Fatal(err)
		}
		session.Drained()
		<-slot.done
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 4
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	create.Topics = append(create.Topics, topic)
	send(kmsg.NewRequestFormatter().AppendRequest(nil, create, 1)[4:])

	for name, acks := range map[string]int16{"acks=1": 1, "acks=all": -1} {
		t.Run(name, func(t *testing.T) {
			produce := kmsg.NewPtrProduceRequest()
			produce.Version, produce.Acks, produce.TimeoutMillis = 9, acks, 5000
			part := kmsg.NewProduceRequestTopicPartition()
			batch := record.NewBuilder(record.Plain())
			for range 100 {
				batch.Add(1000, nil, make([]byte, 100))
			}
			part.Records = batch.Build()
			in := kmsg.NewProduceRequestTopic()
			in.Topic = "t"
			in.Partitions = append(in.Partitions, part)
			produce.Topics = append(produce.Topics, in)
			original := kmsg.NewRequestFormatter().AppendRequest(nil, produce, 1)[4:]
			frame := make([]byte, len(original))
			round := func() { send(frame[:copy(frame, original)]) }
			for range 100 {
				round()
			}
			// A flush begins a goroutine, and now and then an index grows or a timer is armed: much less than one for each.
			if allocations := testing.AllocsPerRun(500, round); acks == 1 && allocations > 0 || allocations > 3 {
				t.Fatalf("%v allocations for each request", allocations)
			}
		})
	}
}
