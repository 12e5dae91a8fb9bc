package controller

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// proposal is an ISR that the leader of a partition asks for, as it sees the partition.
func (c *cluster) proposal(topic string, number int32, isr ...kafka.NodeID) *kmsg.AlterPartitionRequest {
	t := c.image().Topic(topic)
	p := t.Partition(number)
	r := kmsg.NewPtrAlterPartitionRequest()
	r.Version, r.BrokerID, r.BrokerEpoch = 3, int32(p.Leader), c.epoch[p.Leader]
	one := kmsg.NewAlterPartitionRequestTopicPartition()
	one.Partition, one.LeaderEpoch, one.PartitionEpoch = number, p.LeaderEpoch, p.PartitionEpoch
	for _, id := range isr {
		member := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		member.BrokerID, member.BrokerEpoch = int32(id), c.epoch[id]
		one.NewEpochISR = append(one.NewEpochISR, member)
	}
	of := kmsg.NewAlterPartitionRequestTopic()
	of.TopicID, of.Partitions = t.ID, append(of.Partitions, one)
	r.Topics = append(r.Topics, of)
	return r
}

// propose asks for an ISR and returns what it is answered.
func (c *cluster) propose(r *kmsg.AlterPartitionRequest) kafka.ErrorCode {
	code := kafka.UnknownServerError
	c.AlterPartition(r, func(resp *kmsg.AlterPartitionResponse) {
		if code = kafka.ErrorCode(resp.ErrorCode); code == kafka.None {
			code = kafka.ErrorCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
	})
	c.settle()
	return code
}

func (c *cluster) expectAlter(what string, r *kmsg.AlterPartitionRequest, want kafka.ErrorCode) {
	c.t.Helper()
	if got := c.propose(r); got != want {
		c.t.Errorf("%s is answered %v, not %v", what, got, want)
	}
}

// live lets time pass in which these brokers, and no others, are heard.
func (c *cluster) live(seconds int, brokers ...kafka.NodeID) {
	c.t.Helper()
	for range seconds {
		c.world.Run(time.Second)
		for _, id := range brokers {
			if _, err := c.heartbeat(Heartbeat{Broker: id}); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

func TestLeadersProposeWhoIsInSync(t *testing.T) {
	c := newCluster(t, 4)
	c.created(assigned("t", []int32{1, 2, 3}))
	c.expectAlter("a smaller ISR", c.proposal("t", 0, 1, 2), kafka.None)
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1 2] elr=[] leader=1/0 epoch=1")
	c.expectAlter("the ISR that there is", c.proposal("t", 0, 1, 2), kafka.None)
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1 2] elr=[] leader=1/0 epoch=2")
	c.expectAlter("a larger ISR", c.proposal("t", 0, 1, 2, 3), kafka.None)
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1 2 3] elr=[] leader=1/0 epoch=3")
}

func TestProposalsAreRefusedForAReason(t *testing.T) {
	c := newCluster(t, 4)
	c.created(assigned("t", []int32{1, 2, 3}))
	old := c.proposal("t", 0, 1, 2)
	c.expectAlter("a proposal", c.proposal("t", 0, 1, 2), kafka.None)
	c.expectAlter("a proposal made before the last change", old, kafka.InvalidUpdateVersion)
	c.expectAlter("an ISR without its leader", c.proposal("t", 0, 2), kafka.InvalidRequest)
	c.expectAlter("an ISR with a broker that has no replica", c.proposal("t", 0, 1, 4), kafka.InvalidRequest)
	c.expectAlter("an ISR that names a broker twice", c.proposal("t", 0, 1, 2, 2), kafka.InvalidRequest)
	earlier := c.proposal("t", 0, 1, 2, 3)
	earlier.Topics[0].Partitions[0].NewEpochISR[2].BrokerEpoch--
	c.expectAlter("an ISR with an earlier life of a broker", earlier, kafka.IneligibleReplica)
	stale := c.proposal("t", 0, 1, 2)
	stale.BrokerEpoch--
	c.expectAlter("a proposal of an earlier life", stale, kafka.StaleBrokerEpoch)
	ahead := c.proposal("t", 0, 1, 2)
	ahead.Topics[0].Partitions[0].PartitionEpoch++
	c.expectAlter("a proposal from the future", ahead, kafka.NotController)
	other := c.proposal("t", 0, 1, 2)
	other.BrokerID, other.BrokerEpoch = 2, c.epoch[2]
	c.expectAlter("a proposal of somebody else", other, kafka.InvalidRequest)
	gone := c.proposal("t", 0, 1, 2)
	gone.Topics[0].TopicID = [16]byte{42}
	c.expectAlter("a proposal for a topic that is not there", gone, kafka.UnknownTopicID)
	beaten := c.proposal("t", 0, 1, 2)
	c.boot(1)
	beaten.BrokerEpoch = c.epoch[1]
	c.expectAlter("a proposal of an earlier leader epoch", beaten, kafka.FencedLeaderEpoch)
}

func TestAReplicaThatLeavesABareISRStaysEligible(t *testing.T) {
	c := newCluster(t, 3)
	min2 := assigned("t", []int32{1, 2, 3})
	min2.Configs = topic("", 0, 0, "min.insync.replicas", "2").Configs
	c.created(min2)
	c.expectAlter("a smaller ISR", c.proposal("t", 0, 1, 2), kafka.None)
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1 2] elr=[] leader=1/0 epoch=1")
	c.expectAlter("an ISR below the minimum", c.proposal("t", 0, 1), kafka.None)
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1] elr=[2] leader=1/0 epoch=2")
	c.expectAlter("a larger ISR", c.proposal("t", 0, 1, 3), kafka.None)
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1 3] elr=[] leader=1/0 epoch=3")
}

func TestAReassignmentIsOverWhenEverybodyWhoWasToComeIsInSync(t *testing.T) {
	c := newCluster(t, 4)
	c.created(assigned("t", []int32{1, 2}))
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	one := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	one.Replicas = []int32{3, 4}
	of := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	of.Topic, of.Partitions = "t", append(of.Partitions, one)
	req.Topics = append(req.Topics, of)
	c.AlterPartitionReassignments(req, func(r *kmsg.AlterPartitionAssignmentsResponse) {
		if code := r.Topics[0].Partitions[0].ErrorCode; code != 0 {
			t.Error(kafka.ErrorCode(code))
		}
	})
	c.settle()
	c.expectPartition("t", 0, "replicas=[3 4 1 2] isr=[1 2] elr=[] leader=1/0 epoch=1")
	c.expectAlter("one of two has come", c.proposal("t", 0, 1, 2, 3), kafka.None)
	c.expectPartition("t", 0, "replicas=[3 4 1 2] isr=[1 2 3] elr=[] leader=1/0 epoch=2")
	c.expectAlter("the other one has come", c.proposal("t", 0, 1, 2, 3, 4), kafka.None)
	c.expectPartition("t", 0, "replicas=[3 4] isr=[3 4] elr=[] leader=3/1 epoch=3")
	if p := c.image().Partition("t", 0); p.Reassigning() {
		t.Errorf("adding %v, removing %v", p.Adding, p.Removing)
	}
}

func TestATopicMayChooseALeaderThatLacksRecords(t *testing.T) {
	c := newCluster(t, 2)
	risky := assigned("risky", []int32{1, 2})
	risky.Configs = topic("", 0, 0, "unclean.leader.election.enable", "true").Configs
	c.created(risky, assigned("safe", []int32{1, 2}))
	for _, name := range []string{"risky", "safe"} {
		c.expectAlter("a smaller ISR", c.proposal(name, 0, 1), kafka.None)
	}
	c.live(8, 2)
	c.expectPartition("risky", 0, "replicas=[1 2] isr=[2] elr=[] leader=2/1 epoch=2")
	c.expectPartition("safe", 0, "replicas=[1 2] isr=[] elr=[1] leader=-1/1 epoch=2")
	c.expectAlter("the leader has recovered", c.proposal("risky", 0, 2), kafka.None)
}

func TestLeadersGoBackToTheReplicasThatArePreferred(t *testing.T) {
	c := newCluster(t, 2)
	c.options.RebalanceEvery = 10 * time.Second
	c.Lead(2, c.log)
	c.settle()
	c.created(assigned("t", []int32{1, 2}))
	c.boot(1)
	c.expectPartition("t", 0, "replicas=[1 2] isr=[2] elr=[] leader=2/1 epoch=1")
	c.expectAlter("the other one is back", c.proposal("t", 0, 2, 1), kafka.None)
	c.live(11, 1, 2)
	c.expectPartition("t", 0, "replicas=[1 2] isr=[2 1] elr=[] leader=1/2 epoch=3")
}
