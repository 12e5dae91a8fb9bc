package replica_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// watch has every broker look after its replicas for a while, as its housekeeper does.
func (c *cluster) watch(d time.Duration) {
	for until := c.world.Now().Add(d); c.world.Now().Before(until); c.world.Run(500 * time.Millisecond) {
		for _, b := range c.brokers {
			if b.life != nil {
				b.life.replicas.WatchFollowers()
			}
		}
	}
}

// rot destroys the beginning of a broker's oldest segment, on its disk.
func (b *broker) rot() {
	names, err := b.disk.List("data/logs/orders-0")
	if err != nil {
		b.c.t.Fatal(err)
	}
	slices.Sort(names)
	at := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") })
	f, err := b.disk.Open("data/logs/orders-0/" + names[at])
	if err != nil {
		b.c.t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 100), 0); err != nil {
		b.c.t.Fatal(err)
	}
	f.Release()
}

// flip changes one bit of a broker's newest segment, on its disk.
func (b *broker) flip(at int64) {
	names, err := b.disk.List("data/logs/orders-0")
	if err != nil {
		b.c.t.Fatal(err)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") })
	f, err := b.disk.Open("data/logs/orders-0/" + names[len(names)-1])
	if err != nil {
		b.c.t.Fatal(err)
	}
	defer f.Release()
	was := make([]byte, 1)
	if _, err = f.ReadAt(was, at); err == nil {
		_, err = f.WriteAt([]byte{was[0] ^ 4}, at)
	}
	if err != nil {
		b.c.t.Fatal(err)
	}
}

// trip has a broker read what has rotted, as whoever looks for a time does.
func (b *broker) trip() {
	log := b.life.partition().Log()
	if _, _, err := log.OffsetForTimestamp(0, log.End()); err == nil || !log.Damaged() {
		b.c.t.Fatalf("the damage is not seen: %v", err)
	}
}

// shorten cuts most of a broker's newest segment off, on its disk, below what it had promised to keep.
func (b *broker) shorten() {
	names, err := b.disk.List("data/logs/orders-0")
	if err != nil {
		b.c.t.Fatal(err)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") })
	f, err := b.disk.Open("data/logs/orders-0/" + names[len(names)-1])
	if err == nil {
		err = f.Truncate(10)
	}
	if err != nil {
		b.c.t.Fatal(err)
	}
	f.Release()
}

func (c *cluster) orders() *metadata.Partition { return c.follower.Image().Partition("orders", 0) }

// settled is heal for a cluster in which nothing is down: everybody watches until all are in sync and agree.
func (c *cluster) settled() {
	c.t.Helper()
	c.watch(5 * time.Second)
	c.heal()
}

func TestADamagedReplicaIsMadeAnewFromTheOthers(t *testing.T) {
	for name, damage := range map[string]func(c *cluster, b *broker){
		"found at the start": func(c *cluster, b *broker) {
			if err := b.life.directory.Checkpoint(); err != nil {
				c.t.Fatal(err)
			}
			b.stop(false)
			b.shorten()
			b.start()
		},
		"found by a read": func(c *cluster, b *broker) {
			b.rot()
			b.trip()
		},
	} {
		for _, leads := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				c := newCluster(t, 7, 3, nil)
				c.live(30)
				c.settled()
				b := c.leader()
				if !leads {
					b = c.brokers[b.n%len(c.brokers)]
				}
				old := b.life.partition().Log()
				damage(c, b)
				c.until("the controller knows", func() bool {
					c.watch(500 * time.Millisecond)
					return c.orders().Leader != kafka.NodeID(b.n)
				})
				c.live(10) // nobody has to wait for the replica
				c.settled()
				c.judge()
				if log := b.life.partition().Log(); log == old || log.Damaged() || len(c.acked) < 40 {
					t.Fatalf("%d records were acknowledged; damaged: %v", len(c.acked), log.Damaged())
				}
			})
		}
	}
}

// A damaged replica that is the only one with everything that is committed stays what it is until somebody says that what it
// has may be given up.
func TestADamagedReplicaThatNobodyCanReplaceIsKept(t *testing.T) {
	c := newCluster(t, 3, 3, nil)
	c.settings.MinInsync = 1
	c.live(20)
	c.settled()
	b := c.leader()
	for _, other := range c.brokers {
		if other != b {
			other.stop(false)
		}
	}
	c.until("it is alone", func() bool {
		c.watch(500 * time.Millisecond)
		return len(c.orders().ISR) == 1
	})
	c.live(5)
	log := b.life.partition().Log()
	b.rot()
	b.trip()
	for _, other := range c.brokers {
		if other != b {
			other.start()
		}
	}
	c.watch(2 * time.Minute)
	if p := c.orders(); !slices.Equal(p.ISR, []kafka.NodeID{kafka.NodeID(b.n)}) {
		t.Fatalf("the ISR is %v, and only %d has everything", p.ISR, b.n)
	}
	if b.life.partition().Log() != log || !log.Damaged() {
		t.Fatal("the damaged log was removed, and nobody else has what is in it")
	}
	b.stop(false)
	c.until("nobody leads", func() bool { return c.orders().Leader == kafka.NoNode })
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.ElectionType = 1
	c.controller.ElectLeaders(elect, func(r *kmsg.ElectLeadersResponse) {
		if code := kafka.ErrorCode(r.Topics[0].Partitions[0].ErrorCode); code != kafka.None {
			t.Error(code)
		}
	})
	c.until("another leads", func() bool { l := c.leader(); return l != nil && l != b })
	b.start()
	c.settled()
}

// What has rotted on the leader is noticed when a follower does not take it, and never spreads.
func TestALeaderWhoseRecordsHaveRottedIsMadeAnew(t *testing.T) {
	c := newCluster(t, 5, 3, nil)
	c.live(20)
	c.settled()
	leader := c.leader()
	late := c.brokers[leader.n%len(c.brokers)]
	late.stop(false)
	c.until("the others go on", func() bool {
		c.watch(500 * time.Millisecond)
		return len(c.orders().ISR) == 2
	})
	from := leader.life.partition().Log().End()
	c.live(10)
	c.until("both have it", func() bool { return leader.life.partition().HighWatermark() == leader.life.partition().Log().End() })
	if leader.life.partition().Log().End() == from {
		t.Fatal("nothing was produced meanwhile")
	}
	r, err := leader.life.partition().Log().Read(from, 1, from+10, true)
	if err != nil {
		t.Fatal(err)
	}
	at := r.Position + int64(r.Size) - 3 // in the records of the first batch that the late one lacks
	r.Release()
	leader.flip(at)
	late.start()
	c.until("another leads", func() bool {
		c.watch(500 * time.Millisecond)
		return c.leader() != nil && c.leader() != leader
	})
	c.settled()
	c.judge()
}
