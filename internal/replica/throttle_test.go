package replica_test

import (
	"math"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/replica"
)

// throttledAt lets the replicas of a list be copied at a rate, on one side.
func throttledAt(list string, leader, follower int64) func(*replica.Settings) {
	return func(s *replica.Settings) {
		set := replica.ParseReplicaSet([]string{list})
		s.Throttle = replica.Throttle{LeaderRate: leader, FollowerRate: follower}
		if leader < math.MaxInt64 {
			s.Throttle.Leader = set
		}
		if follower < math.MaxInt64 {
			s.Throttle.Follower = set
		}
	}
}

// catchUp has a broker miss some megabytes, and says how long it then takes, in the simulated world's time, until it is in sync again.
func catchUp(t *testing.T, adjust func(*replica.Settings)) (missed int64, took time.Duration) {
	t.Helper()
	c := newCluster(t, 7, 3, adjust)
	c.until("all are in sync", func() bool { return len(c.follower.Image().Partition("orders", 0).ISR) == 3 })
	p := c.follower.Image().Partition("orders", 0)
	away := c.brokers[p.Replicas[2]-1]
	if away == c.leader() {
		away = c.brokers[p.Replicas[1]-1]
	}
	away.stop(false)
	c.until("the broker is out of the ISR", func() bool {
		c.leader().life.replicas.WatchFollowers()
		return len(c.follower.Image().Partition("orders", 0).ISR) == 2
	})
	for range 200 {
		missed += c.produceBytes(5000)
		c.world.Run(10 * time.Millisecond)
	}
	away.start()
	began := c.world.Now()
	c.until("the broker is live", func() bool { return c.follower.Image().Broker(kafka.NodeID(away.n)).Active() })
	// While it catches up, those that are in sync are not held up.
	for len(c.follower.Image().Partition("orders", 0).ISR) < 3 {
		answered := c.answered
		c.produceBytes(100)
		if !c.world.RunUntil(400*time.Millisecond, func() bool { return c.answered > answered }) {
			t.Fatal("a producer waits for a replica that is not in sync")
		}
		c.world.Run(100 * time.Millisecond)
		if c.world.Now().Sub(began) > 5*time.Minute {
			t.Fatal("the broker never catches up")
		}
	}
	return missed, c.world.Now().Sub(began)
}

// produceBytes produces a record of a size with acks=all, and says how large its batch is.
func (c *cluster) produceBytes(size int) int64 {
	builder := record.NewBuilder(record.Plain())
	builder.Add(c.world.Now().UnixMilli(), nil, make([]byte, size))
	batch := builder.Build()
	l := c.leader().life
	r := &replica.Produce{}
	r.Done = func() {
		c.answered++
		if code := r.Batches[0].Err; code != kafka.None {
			c.t.Error(code)
		}
	}
	r.Begin(-1, 5000, 1)
	r.Stage(0, l.partition(), batch, c.world.Now().UnixMilli())
	d := l.replicas.NewDrain()
	d.Add(r)
	d.Flush()
	return int64(len(batch))
}

func TestThrottledReplicasCatchUpAtTheirRate(t *testing.T) {
	const rate = 50_000
	free := int64(math.MaxInt64)
	missed, unhindered := catchUp(t, nil)
	atRate := time.Duration(float64(missed) / rate * float64(time.Second))
	if unhindered > atRate/5 {
		t.Fatalf("without a throttle %d bytes take %v: the test would show nothing", missed, unhindered)
	}
	for _, c := range []struct {
		name   string
		adjust func(*replica.Settings)
		slow   bool
	}{
		{"the follower's rate", throttledAt("*", free, rate), true},
		{"the leader's rate", throttledAt("*", rate, free), true},
		{"a rate, and no replicas", func(s *replica.Settings) { s.Throttle = replica.Throttle{LeaderRate: rate, FollowerRate: rate} }, false},
		{"a rate for a replica of another partition", throttledAt("1:1", rate, rate), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			missed, took := catchUp(t, c.adjust)
			// One window may be gone through before it counts, and what comes at a time may be more than the rest of a rate.
			if c.slow && (took < atRate*8/10 || took > atRate*2) || !c.slow && took > atRate/5 {
				t.Errorf("%d bytes take %v, where the rate makes %v of them; unhindered %v", missed, took, atRate, unhindered)
			}
		})
	}
}

func TestThrottledReplicasAreNamedByPartitionAndBroker(t *testing.T) {
	c := newCluster(t, 3, 3, func(s *replica.Settings) {
		s.Throttle = replica.Throttle{Leader: replica.ParseReplicaSet([]string{"0:1", "0:2", "0:3"}), LeaderRate: 0, FollowerRate: math.MaxInt64}
	})
	c.until("the leader leads", func() bool {
		p := c.leader().life.partition()
		return p != nil && p.State().Leading
	})
	// A rate of nothing holds nobody up who is in sync.
	for range 20 {
		c.produceBytes(1000)
		c.world.Run(100 * time.Millisecond)
	}
	c.until("all have all of it", func() bool {
		p := c.follower.Image().Partition("orders", 0)
		for _, id := range p.Replicas {
			if c.brokers[id-1].life.partition().HighWatermark() != 20 {
				return false
			}
		}
		return len(p.ISR) == 3
	})
	// One that is not is held up, by the name of its leader, as long as what went to others counts.
	p := c.follower.Image().Partition("orders", 0)
	away := c.brokers[others(p, p.Leader)[0]-1]
	away.stop(false)
	c.until("the broker is out of the ISR", func() bool {
		c.leader().life.replicas.WatchFollowers()
		return len(c.follower.Image().Partition("orders", 0).ISR) == 2
	})
	c.produceBytes(1000)
	away.start()
	c.world.Run(5 * time.Second)
	if end := away.life.partition().Log().End(); end != 20 || len(c.follower.Image().Partition("orders", 0).ISR) != 2 {
		t.Errorf("the replica ends at %d of 21, and is in sync with %v", end, c.follower.Image().Partition("orders", 0).ISR)
	}
}

func others(p *metadata.Partition, id kafka.NodeID) (rest []kafka.NodeID) {
	for _, r := range p.Replicas {
		if r != id {
			rest = append(rest, r)
		}
	}
	return rest
}
