package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/sim"
)

// fixedTopics are topics that never change: t, with 8 partitions, and __consumer_offsets with that many.
type fixedTopics int32

func (f fixedTopics) PartitionCount(topic string) int32 {
	switch topic {
	case "t":
		return 8
	case kafka.GroupMetadataTopic:
		return int32(f)
	}
	return 0
}
func (fixedTopics) NameOf(kafka.TopicID) (string, bool) { return "", false }
func (fixedTopics) IDOf(string) kafka.TopicID           { return kafka.TopicID{} }

func TestGroupsBelongToPartitionsAsInJava(t *testing.T) {
	for id, want := range map[string]int32{ // from java.lang.String.hashCode
		"":                   0,
		"hello":              99162322 % 50,
		"polygenelubricants": 0, // the hash is the least int, whose absolute value Kafka takes for 0
		"Aa":                 2112 % 50,
		"BB":                 2112 % 50,
		"\U0001F600":         1772899 % 50, // two UTF-16 units: 0xD83D * 31 + 0xDE00
	} {
		if got := NewService(sim.New(1), DefaultConfig(), fixedTopics(0)).PartitionFor(id); got != want {
			t.Errorf("%q belongs to partition %d, want %d", id, got, want)
		}
	}
}

func TestRequestsOfSeveralGroupsAreGatheredFromTheirPartitions(t *testing.T) {
	world := sim.New(3)
	s := NewService(world, DefaultConfig(), fixedTopics(4))
	for n := range int32(3) { // partition 3 is another node's
		s.Elect(n, 1, &memoryLog{epoch: 1, later: func(f func()) { world.Schedule(time.Millisecond, f) }})
	}
	world.Run(time.Second)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 8
	for i := range 20 {
		id := fmt.Sprint("group-", i)
		commit(s, id, 0, int64(i), func(kafka.ErrorCode) {})
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = id
		req.Groups = append(req.Groups, group)
	}
	world.Run(time.Second)
	var resp *kmsg.OffsetFetchResponse
	s.OffsetFetch(req, func(r *kmsg.OffsetFetchResponse) { resp = r })
	world.Run(time.Second)
	elsewhere := 0
	for i, g := range resp.Groups {
		switch {
		case g.Group != fmt.Sprint("group-", i):
			t.Fatalf("answer %d is for %s", i, g.Group)
		case s.PartitionFor(g.Group) == 3:
			elsewhere++
			if kafka.ErrorCode(g.ErrorCode) != kafka.NotCoordinator {
				t.Fatalf("%s: %v", g.Group, kafka.ErrorCode(g.ErrorCode))
			}
		case g.Topics[0].Partitions[0].Offset != int64(i):
			t.Fatalf("%s: %+v", g.Group, g.Topics)
		}
	}
	seen := 0
	s.Offsets(func(string, kafka.TopicPartition, int64) { seen++ })
	if elsewhere == 0 || elsewhere == 20 || seen != 20-elsewhere {
		t.Fatalf("%d groups elsewhere, %d offsets here", elsewhere, seen)
	}
}

func TestHeartbeatsAreBelievedAndListsAreNotGivenWhileLoading(t *testing.T) {
	world := sim.New(4)
	log := &memoryLog{epoch: 1, later: func(f func()) { world.Schedule(0, f) }}
	for range 4 { // more than a shard loads in one turn of its loop
		builder := record.NewBuilder(record.Plain())
		builder.Add(1, []byte{0, 99}, make([]byte, 1<<20))
		if _, err := log.Append(1, builder.Build()); err != nil {
			t.Fatal(err)
		}
	}
	s := NewService(world, DefaultConfig(), fixedTopics(1))
	s.Elect(0, 1, log)
	codes := map[string]kafka.ErrorCode{}
	ask := func() {
		s.Heartbeat(&kmsg.HeartbeatRequest{Group: "g"}, func(r *kmsg.HeartbeatResponse) {
			codes["heartbeat"] = kafka.ErrorCode(r.ErrorCode)
		})
		s.ListGroups(&kmsg.ListGroupsRequest{}, func(r *kmsg.ListGroupsResponse) { codes["list"] = kafka.ErrorCode(r.ErrorCode) })
		commit(s, "g", 0, 1, func(code kafka.ErrorCode) { codes["commit"] = code })
		world.Run(time.Second)
	}
	ask()
	if loading := kafka.CoordinatorLoadInProgress; codes["heartbeat"] != kafka.None || codes["list"] != loading || codes["commit"] != loading {
		t.Fatalf("while loading: %v", codes)
	}
	ask()
	if codes["heartbeat"] != kafka.UnknownMemberID || codes["list"] != kafka.None || codes["commit"] != kafka.None {
		t.Fatalf("afterwards: %v", codes)
	}
}

func TestRecordsOfOtherKindsAreLeftAlone(t *testing.T) {
	world := sim.New(5)
	log := &memoryLog{epoch: 1, later: func(f func()) { world.Schedule(0, f) }}
	for _, r := range []Record{
		{Key: []byte{0, 3, 1, 2}, Value: []byte{1}}, {Key: []byte{0}}, {Key: nil}, {Key: []byte{0, 2}, Value: []byte{1}},
		{Key: []byte{0, 1, 0, 9}}, {Key: groupKey("g"), Value: []byte{0, 3, 0}}, {Key: groupKey("h"), Value: []byte{}},
		{Key: offsetKey("g", kafka.TopicPartition{Topic: "t"}), Value: []byte{9}},
		offsetRecord("kept", kafka.TopicPartition{Topic: "t"}, offset{offset: 5}),
	} {
		builder := record.NewBuilder(record.Plain())
		builder.Add(1, r.Key, r.Value)
		if _, err := log.Append(1, builder.Build()); err != nil {
			t.Fatal(err)
		}
	}
	s := NewService(world, DefaultConfig(), fixedTopics(1))
	s.Elect(0, 1, log)
	world.Run(time.Second)
	var groups []string
	s.ListGroups(&kmsg.ListGroupsRequest{}, func(r *kmsg.ListGroupsResponse) {
		for _, g := range r.Groups {
			groups = append(groups, g.Group)
		}
	})
	world.Run(time.Second)
	if !slices.Equal(groups, []string{"kept"}) {
		t.Fatalf("groups %q", groups)
	}
}

func commit(s *Service, group string, partition int32, at int64, reply func(kafka.ErrorCode)) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 9, group, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "t"
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset = partition, at
	topic.Partitions = append(topic.Partitions, rp)
	req.Topics = append(req.Topics, topic)
	s.OffsetCommit(req, func(resp *kmsg.OffsetCommitResponse) {
		reply(kafka.ErrorCode(resp.Topics[0].Partitions[0].ErrorCode))
	})
}

// TestCommittedOffsetsAreReadBack runs clients that commit and read at random while coordinators come and go and the log
// stalls, and loses with its leader what it has not committed. A model knows what a read may return: the last answered
// commit, or one after it whose fate is not known. Once one has been read, none before it may be.
func TestCommittedOffsetsAreReadBack(t *testing.T) {
	for seed := range uint64(30) {
		world := sim.New(seed)
		chance := rand.New(rand.NewPCG(seed, 7))
		log := &memoryLog{epoch: 1, later: func(f func()) { world.Schedule(time.Duration(chance.IntN(20))*time.Millisecond, f) }}
		s := NewService(world, DefaultConfig(), fixedTopics(1))
		s.Elect(0, 1, log)
		possible := [8][]int64{} // what may be read now; the first has been answered, or is -1
		for i := range possible {
			possible[i] = []int64{-1}
		}
		asked, answered := 0, 0
		for op := range 400 {
			n := int32(chance.IntN(8))
			switch at := int64(op); chance.IntN(12) {
			case 0:
				log.depose()
				s.Elect(0, log.epoch, log)
			case 1:
				log.held = !log.held
				log.commit()
			case 2:
				log.refuse = kafka.MessageTooLarge
			case 3:
				world.Run(time.Duration(chance.IntN(50)) * time.Millisecond)
			case 4, 5, 6, 7:
				asked++
				possible[n] = append(possible[n], at)
				commit(s, "g", n, at, func(code kafka.ErrorCode) {
					answered++
					i := slices.Index(possible[n], at)
					if code == kafka.None && i >= 0 { // whatever was before is gone
						possible[n] = possible[n][i:]
					} else if i >= 0 && (code == kafka.InvalidCommitOffsetSize || code == kafka.CoordinatorLoadInProgress) {
						possible[n] = slices.Delete(possible[n], i, i+1) // certainly not written
					}
				})
			default:
				asked++
				allowed := slices.Clone(possible[n]) // at least what has been answered when the read begins
				read(s, n, func(got int64, code kafka.ErrorCode) {
					answered++
					if code == kafka.None && !slices.Contains(allowed, got) && !slices.Contains(possible[n], got) {
						t.Fatalf("seed %d: read %d of partition %d, allowed %v", seed, got, n, allowed)
					}
					if i := slices.Index(possible[n], got); code == kafka.None && i >= 0 {
						possible[n] = possible[n][i:]
					}
				})
			}
		}
		log.held = false
		log.commit()
		world.Run(10 * time.Second)
		if asked != answered {
			t.Fatalf("seed %d: %d requests, %d answers", seed, asked, answered)
		}
	}
}

func read(s *Service, partition int32, reply func(int64, kafka.ErrorCode)) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 7
	req.Group = "g"
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "t", []int32{partition}
	req.Topics = append(req.Topics, topic)
	s.OffsetFetch(req, func(resp *kmsg.OffsetFetchResponse) {
		if resp.ErrorCode != 0 {
			reply(0, kafka.ErrorCode(resp.ErrorCode))
			return
		}
		reply(resp.Topics[0].Partitions[0].Offset, kafka.None)
	})
}

// TestEveryRequestIsAnsweredOnceInTheRealWorld is for the race detector: members join, sync and leave on real loops
// while partitions change hands.
func TestEveryRequestIsAnsweredOnceInTheRealWorld(t *testing.T) {
	config := DefaultConfig()
	config.InitialRebalanceDelay = time.Millisecond
	s := NewService(loop.Real(), config, fixedTopics(4))
	logs := make([]*memoryLog, 4)
	for n := range logs {
		logs[n] = &memoryLog{epoch: 1, later: func(f func()) { go f() }}
		s.Elect(int32(n), 1, logs[n])
	}
	var asked, answered atomic.Int64
	var clients sync.WaitGroup
	for client := range 12 {
		clients.Go(func() {
			c := &realClient{service: s, group: fmt.Sprint("g", client%5), asked: &asked, answered: &answered}
			for range 40 {
				c.live()
			}
		})
	}
	for round := range 20 {
		time.Sleep(5 * time.Millisecond)
		n := round % 4
		logs[n].mu.Lock()
		logs[n].epoch++
		epoch := logs[n].epoch
		logs[n].mu.Unlock()
		if round%3 == 0 {
			s.Resign(int32(n))
		}
		s.Elect(int32(n), epoch, logs[n])
		s.Offsets(func(string, kafka.TopicPartition, int64) {})
	}
	clients.Wait()
	for n := range logs {
		s.Resign(int32(n))
	}
	for end := time.Now().Add(5 * time.Second); asked.Load() != answered.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if asked.Load() != answered.Load() {
		t.Fatalf("%d requests, %d answers", asked.Load(), answered.Load())
	}
}

// realClient is a consumer that does not wait long for anything.
type realClient struct {
	service         *Service
	group           string
	id              string
	generation      int32
	asked, answered *atomic.Int64
}

// ask sends a request and waits a little for its answer, which may also come later, or twice, which would be counted.
func (c *realClient) ask(send func(done func())) {
	c.asked.Add(1)
	got := make(chan struct{}, 2)
	send(func() {
		c.answered.Add(1)
		got <- struct{}{}
	})
	select {
	case <-got:
	case <-time.After(20 * time.Millisecond):
	}
}

func (c *realClient) live() {
	var mu sync.Mutex // an answer may come after ask has given up on it
	id, generation, leads := c.id, c.generation, false
	c.ask(func(done func()) {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.MemberID, req.ProtocolType = 3, c.group, id, "x"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 6000, 10
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name = "p"
		req.Protocols = append(req.Protocols, p)
		c.service.JoinGroup(Client{ID: "c"}, req, func(resp *kmsg.JoinGroupResponse) {
			mu.Lock()
			id, generation, leads = resp.MemberID, resp.Generation, resp.LeaderID == resp.MemberID
			if kafka.ErrorCode(resp.ErrorCode) == kafka.UnknownMemberID {
				id = ""
			}
			mu.Unlock()
			done()
		})
	})
	mu.Lock()
	c.id, c.generation = id, generation
	assign := leads
	mu.Unlock()
	c.ask(func(done func()) {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 4, c.group, c.id, c.generation
		if assign {
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = c.id, []byte("x")
			req.GroupAssignment = append(req.GroupAssignment, a)
		}
		c.service.SyncGroup(req, func(*kmsg.SyncGroupResponse) { done() })
	})
	c.ask(func(done func()) { commit(c.service, c.group+"-simple", 1, 2, func(kafka.ErrorCode) { done() }) })
	c.ask(func(done func()) {
		c.service.ListGroups(&kmsg.ListGroupsRequest{}, func(*kmsg.ListGroupsResponse) { done() })
	})
	if c.generation%7 == 3 {
		c.ask(func(done func()) {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Version, req.Group, req.MemberID = 2, c.group, c.id
			c.service.LeaveGroup(req, func(*kmsg.LeaveGroupResponse) { done() })
		})
	}
}
