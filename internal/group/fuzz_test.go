package group

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/sim"
)

// FuzzReplay reads records that nobody wrote, and lets a member join and leave whatever group they made.
func FuzzReplay(f *testing.F) {
	f.Add(groupKey("g"), []byte{})
	o := offsetRecord("g", kafka.TopicPartition{Topic: "t"}, offset{offset: 1, expires: -1})
	f.Add(o.Key, o.Value)
	m := newMachine(DefaultConfig(), fixedTopics(1), &shardWorld{rt: sim.New(1)})
	g := newClassicGroup(m, "g")
	g.protocol = "p"
	g.add(&member{id: "a", protocols: []protocol{{"p", []byte{0, 0}}}}, consumerProtocol)
	f.Add(groupKey("g"), g.record(nil).Value)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		world := sim.New(1)
		log := &memoryLog{epoch: 1, later: func(f func()) { world.Schedule(0, f) }}
		batch, err := codec{}.Encode([]Record{{Key: key, Value: value}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(1, batch); err != nil {
			t.Fatal(err)
		}
		s := NewService(world, DefaultConfig(), fixedTopics(1))
		s.Elect(0, 1, log)
		world.Run(time.Millisecond)
		answers := 0
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.ProtocolType, req.SessionTimeoutMillis = 3, "g", "consumer", 6000
		req.Protocols = append(req.Protocols, kmsg.JoinGroupRequestProtocol{Name: "p"})
		s.JoinGroup(Client{}, req, func(*kmsg.JoinGroupResponse) { answers++ })
		s.DescribeGroups(&kmsg.DescribeGroupsRequest{Groups: []string{"g"}}, func(*kmsg.DescribeGroupsResponse) { answers++ })
		s.OffsetFetch(&kmsg.OffsetFetchRequest{Version: 5, Group: "g"}, func(*kmsg.OffsetFetchResponse) { answers++ })
		world.Run(time.Hour)
		s.Resign(0)
		world.Run(time.Second)
		if answers != 3 {
			t.Fatalf("%d of 3 requests were answered", answers)
		}
	})
}
