package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// newGrowing is a cluster that gives newcomers their share after ten seconds.
func newGrowing(t *testing.T, brokers int) *cluster {
	c := newCluster(t, brokers)
	c.options.ShareOutAfter = 10 * time.Second
	c.Lead(2, c.log)
	c.settle()
	return c
}

// copied has everybody who was to come be in sync, as if what is being moved were copied.
func (c *cluster) copied() (moved int) {
	c.t.Helper()
	var all []metadata.PartitionID
	names := map[kafka.TopicID]string{}
	c.image().Topics(func(t *metadata.Topic) bool {
		names[t.ID] = t.Name
		for _, p := range t.Partitions {
			if p.Reassigning() {
				all = append(all, metadata.PartitionID{Topic: t.ID, Partition: p.Number})
			}
		}
		return true
	})
	for _, id := range all {
		name := names[id.Topic]
		c.expectAlter("everybody is in sync", c.proposal(name, id.Partition, c.image().Partition(name, id.Partition).Replicas...), kafka.None)
	}
	return len(all)
}

// shares are how many replicas each broker has, and how many partitions it leads.
func (c *cluster) shares() string {
	replicas, leads := map[kafka.NodeID]int{}, map[kafka.NodeID]int{}
	c.image().Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			leads[p.Leader]++
			for _, id := range p.Replicas {
				replicas[id]++
			}
		}
		return true
	})
	return fmt.Sprint(replicas, leads)
}

func (c *cluster) isNewcomer(id kafka.NodeID) bool { return c.image().Broker(id).Newcomer }

func TestABrokerThatJoinsGetsItsShareByItself(t *testing.T) {
	c := newGrowing(t, 2)
	placed := make([][]int32, 60)
	for n := range placed {
		placed[n] = [][]int32{{1, 2}, {2, 1}}[n%2]
	}
	c.created(assigned("t", placed...))
	c.boot(3)
	if !c.isNewcomer(3) || c.isNewcomer(1) {
		t.Fatal("who has come to partitions is a newcomer, and nobody else")
	}
	c.live(9, 1, 2, 3)
	c.expect(t, c.reassignments())
	c.live(3, 1, 2, 3)
	if n := len(c.reassignments()); n != mostCopied {
		t.Errorf("%d partitions are moved at a time", n)
	}
	c.Lead(3, c.log) // the next controller goes on
	c.settle()
	for range 10 {
		c.live(3, 1, 2, 3)
		c.copied()
		c.live(12, 1, 2, 3)
	}
	if got, want := c.shares(), "map[1:40 2:40 3:40] map[1:20 2:20 3:20]"; got != want {
		t.Errorf("replicas and leaders are %s, want %s", got, want)
	}
	if c.isNewcomer(3) {
		t.Error("the broker has its share, and is a newcomer still")
	}
	// What somebody does to it later lasts.
	if got := c.reassign("t", 0, []int32{1, 2}); got != "NONE" {
		t.Error(got)
	}
	before := c.shares()
	c.boot(3)
	c.live(30, 1, 2, 3)
	if n := c.copied(); n > 1 || c.isNewcomer(3) {
		t.Errorf("a broker that comes again is a newcomer; before %s, now %s", before, c.shares())
	}
}

func TestNothingIsSharedOutWhileABrokerIsAway(t *testing.T) {
	c := newGrowing(t, 2)
	c.created(assigned("t", []int32{1}, []int32{1}, []int32{1}))
	c.boot(3)
	c.live(8, 1, 3) // broker 2 is fenced meanwhile
	c.live(20, 1, 3)
	c.expect(t, c.reassignments())
	c.boot(2)
	c.live(8, 1, 2, 3)
	c.expect(t, c.reassignments())
	c.live(4, 1, 2, 3)
	c.expect(t, c.reassignments(), "t-0 [3 1]+[3]-[1]")
}

func TestABrokerThatIsRemovedWhileItIsGivenItsShareHoldsUpNobody(t *testing.T) {
	c := newGrowing(t, 1)
	placed := make([][]int32, 40)
	for n := range placed {
		placed[n] = []int32{1}
	}
	c.created(assigned("t", placed...))
	c.boot(2)
	c.live(12, 1, 2)
	if n := len(c.reassignments()); n != mostCopied {
		t.Fatalf("%d partitions are moved", n)
	}
	c.live(10, 1) // broker 2 dies with nothing copied
	c.boot(3)
	c.live(15, 1, 3)
	if n := len(c.reassignments()); n != mostCopied {
		t.Errorf("%d partitions are moved while a broker is away", n)
	}
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = 2
	c.UnregisterBroker(req, func(r *kmsg.UnregisterBrokerResponse) {
		if r.ErrorCode != 0 {
			t.Error(kafka.ErrorCode(r.ErrorCode))
		}
	})
	c.settle()
	c.expect(t, c.reassignments())
	for range 4 {
		c.live(12, 1, 3)
		c.copied()
	}
	c.live(3, 1, 3)
	if got, want := c.shares(), "map[1:20 3:20] map[1:20 3:20]"; got != want || c.isNewcomer(3) {
		t.Errorf("replicas and leaders are %s, want %s", got, want)
	}
}

func TestWhatHasNoLeaderIsNotMoved(t *testing.T) {
	c := newGrowing(t, 2)
	c.created(assigned("t", []int32{1}, []int32{1}, []int32{2}, []int32{2}))
	c.expectAlter("a smaller ISR is none", c.proposal("t", 0, 1), kafka.None)
	c.boot(3)
	c.boot(1)
	lost := c.image().Partition("t", 0)
	if lost.Leader != 1 {
		t.Fatalf("the partition is %+v", lost)
	}
	c.live(12, 1, 2, 3)
	for _, id := range c.reassignments() {
		if !strings.Contains(id, "+[3]") {
			t.Error(id)
		}
	}
	c.copied()
	c.live(3, 1, 2, 3)
	if got, want := c.shares(), "map[1:1 2:2 3:1] map[1:1 2:2 3:1]"; got != want || c.isNewcomer(3) {
		t.Errorf("replicas and leaders are %s, want %s", got, want)
	}
}

func TestABrokerThatIsAboutToComeWhenAnInternalTopicIsMadeIsANewcomer(t *testing.T) {
	c := newGrowing(t, 1)
	c.boots[2]++
	epoch, err := c.register(c.broker(2)) // and is fenced still
	if err != nil {
		t.Fatal(err)
	}
	c.EnsureTopic(TopicSpec{Name: kafka.GroupMetadataTopic, Partitions: 1, ReplicationFactor: 3}, func(error) {})
	c.settle()
	c.epoch[2] = epoch
	c.live(13, 1, 2)
	c.expect(t, c.reassignments(), "__consumer_offsets-0 [1 2]+[2]-[]")
}

func TestWhoMovesReplicasByHandEndsTheSharingOut(t *testing.T) {
	c := newGrowing(t, 1)
	c.created(assigned("t", []int32{1}, []int32{1}, []int32{1}, []int32{1}))
	c.boot(2)
	c.live(12, 1, 2)
	c.expect(t, c.reassignments(), "t-0 [2 1]+[2]-[1]", "t-1 [2 1]+[2]-[1]")
	if got := c.reassign("t", 0, nil); got != "NONE" {
		t.Error(got)
	}
	if c.isNewcomer(2) {
		t.Error("the broker is a newcomer still")
	}
	c.copied()
	c.live(30, 1, 2)
	c.expect(t, c.reassignments())
	c.expectPartition("t", 0, "replicas=[1] isr=[1] elr=[] leader=1/1 epoch=2")
}

func TestABrokerThatComesBeforeAllPartitionsIsNoNewcomer(t *testing.T) {
	c := newGrowing(t, 2)
	c.created(assigned("t", []int32{1}, []int32{1}))
	if c.isNewcomer(2) {
		t.Error("it is")
	}
	c.live(20, 1, 2)
	c.expect(t, c.reassignments())
}

func TestInternalTopicsGetTheReplicasThatTheyLack(t *testing.T) {
	c := newGrowing(t, 1)
	c.created(topic("t", 1, 1))
	c.EnsureTopic(TopicSpec{Name: kafka.GroupMetadataTopic, Partitions: 2, ReplicationFactor: 3}, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	c.settle()
	c.boot(2)
	c.boot(3)
	c.live(12, 1, 2, 3)
	c.copied()
	c.live(3, 1, 2, 3)
	for n := range int32(2) {
		p := c.image().Partition(kafka.GroupMetadataTopic, n)
		if replicas := slices.Sorted(slices.Values(p.Replicas)); !slices.Equal(replicas, []kafka.NodeID{1, 2, 3}) {
			t.Errorf("partition %d is on %v", n, p.Replicas)
		}
	}
	if got := c.image().Partition("t", 0).Replicas; len(got) != 1 {
		t.Errorf("a topic that somebody wanted with one replica has %v", got)
	}
}
