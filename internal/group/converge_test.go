package group

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/sim"
)

// TestGroupsConvergeWhenTheWorldCalmsDown lets well-behaved consumers of every protocol version crash and restart while
// the coordinator moves and its log stalls. Whatever happens, an assignment is of the member's own generation; and once
// the world is calm, everybody who lives is in one stable generation with an assignment.
func TestGroupsConvergeWhenTheWorldCalmsDown(t *testing.T) {
	for seed := range uint64(40) {
		world := sim.New(seed)
		chance := rand.New(rand.NewPCG(seed, 9))
		log := &memoryLog{epoch: 1, later: func(f func()) { world.Schedule(time.Duration(chance.IntN(20))*time.Millisecond, f) }}
		s := NewService(world, DefaultConfig(), fixedTopics(1))
		s.Elect(0, 1, log)
		consumers := make([]*consumer, 6)
		for i := range consumers {
			c := &consumer{t: t, world: world, service: s, name: fmt.Sprint("c", i), version: int16(chance.IntN(10)), seed: seed}
			if i < 2 {
				c.instance, c.version = kmsg.StringPtr(c.name), int16(5+chance.IntN(5))
			}
			consumers[i] = c
			c.start()
		}
		for range 100 {
			world.Run(time.Duration(chance.IntN(10_000)) * time.Millisecond)
			switch chance.IntN(4) {
			case 0:
				log.depose()
				s.Elect(0, log.epoch, log)
			case 1:
				log.held = !log.held
				log.commit()
			case 2:
				consumers[chance.IntN(len(consumers))].start()
			case 3:
				consumers[chance.IntN(len(consumers))].crash()
			}
		}
		log.held = false
		log.commit()
		world.Run(15 * time.Minute)
		living := 0
		for _, c := range consumers {
			if c.life%2 == 0 {
				continue
			}
			living++
			if c.generation != consumers[firstLiving(consumers)].generation || c.assignment == "" {
				t.Fatalf("seed %d: %s is in generation %d with assignment %q", seed, c.name, c.generation, c.assignment)
			}
		}
		var members int
		s.DescribeGroups(&kmsg.DescribeGroupsRequest{Groups: []string{"g"}}, func(r *kmsg.DescribeGroupsResponse) {
			members = len(r.Groups[0].Members)
		})
		world.Run(time.Second)
		if members != living {
			t.Fatalf("seed %d: %d members, %d consumers live", seed, members, living)
		}
	}
}

func firstLiving(consumers []*consumer) int {
	for i, c := range consumers {
		if c.life%2 == 1 {
			return i
		}
	}
	return 0
}

// consumer is a well-behaved member of the group g. While its life is odd, it lives.
type consumer struct {
	t          *testing.T
	world      *sim.World
	service    *Service
	seed       uint64
	name       string
	instance   *string
	version    int16
	life       int
	id         string
	generation int32
	assignment string
}

// start begins a new life, which knows nothing of the one before.
func (c *consumer) start() {
	c.life += 1 + c.life%2
	c.id, c.generation, c.assignment = "", -1, ""
	c.join()
}

func (c *consumer) crash() {
	if c.life%2 == 1 {
		c.life++
	}
}

// still wraps an answer: it counts only in the life that asked, and comes once.
func still[T any](c *consumer, f func(T)) func(T) {
	life, come := c.life, false
	return func(resp T) {
		if come {
			c.t.Fatalf("seed %d: %s was answered twice", c.seed, c.name)
		}
		come = true
		if c.life == life {
			f(resp)
		}
	}
}

func (c *consumer) soon(d time.Duration, f func()) {
	life := c.life
	c.world.Schedule(d, func() {
		if c.life == life {
			f()
		}
	})
}

func (c *consumer) join() {
	c.assignment = ""
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = c.version, "g", c.id, c.instance
	req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "consumer", 10_000, 30_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = "range"
	req.Protocols = append(req.Protocols, p)
	c.service.JoinGroup(Client{ID: c.name}, req, still(c, func(resp *kmsg.JoinGroupResponse) {
		switch code := kafka.ErrorCode(resp.ErrorCode); code {
		case kafka.None:
			c.id, c.generation = resp.MemberID, resp.Generation
			c.sync(resp)
		case kafka.MemberIDRequired:
			c.id = resp.MemberID
			c.join()
		default:
			c.failed(code)
		}
	}))
}

// key is what a leader assigns by: it outlives the member id of a static member.
func key(id string, instance *string) string {
	if instance != nil {
		return *instance
	}
	return id
}

func (c *consumer) sync(joined *kmsg.JoinGroupResponse) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = 5, "g", c.id, c.instance
	req.Generation, req.ProtocolType, req.Protocol = c.generation, kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	if !joined.SkipAssignment {
		for _, m := range joined.Members {
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID = m.MemberID
			a.MemberAssignment = fmt.Appendf(nil, "%d/%s", c.generation, key(m.MemberID, m.InstanceID))
			req.GroupAssignment = append(req.GroupAssignment, a)
		}
	}
	c.service.SyncGroup(req, still(c, func(resp *kmsg.SyncGroupResponse) {
		if code := kafka.ErrorCode(resp.ErrorCode); code != kafka.None {
			c.failed(code)
			return
		}
		c.assignment = string(resp.MemberAssignment)
		if want := fmt.Sprintf("%d/%s", c.generation, key(c.id, c.instance)); c.assignment != want {
			c.t.Fatalf("seed %d: %s is assigned %q, want %q", c.seed, c.name, c.assignment, want)
		}
		c.soon(3*time.Second, c.heartbeat)
	}))
}

func (c *consumer) heartbeat() {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 4, "g", c.id, c.instance, c.generation
	c.service.Heartbeat(req, still(c, func(resp *kmsg.HeartbeatResponse) {
		if code := kafka.ErrorCode(resp.ErrorCode); code != kafka.None {
			c.failed(code)
			return
		}
		c.soon(3*time.Second, c.heartbeat)
	}))
}

func (c *consumer) failed(code kafka.ErrorCode) {
	switch code {
	case kafka.UnknownMemberID:
		c.id, c.generation = "", -1
		fallthrough
	case kafka.RebalanceInProgress, kafka.IllegalGeneration:
		c.soon(0, c.join)
	case kafka.NotCoordinator, kafka.CoordinatorLoadInProgress:
		c.soon(500*time.Millisecond, c.join)
	case kafka.FencedInstanceID:
		// The id was given in a generation that no coordinator has written down, and the next one knows the id before:
		// as in Kafka, the consumer dies of that, and whoever supervises it starts it again.
		c.soon(time.Second, c.start)
	default:
		c.t.Fatalf("seed %d: %s was told %v", c.seed, c.name, code)
	}
}
