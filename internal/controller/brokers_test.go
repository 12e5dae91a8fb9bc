package controller

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

func TestABrokerThatIsStartedAgainLeadsItsPartitionsAgain(t *testing.T) {
	c := newCluster(t, 1)
	c.created(topic("t", 1, 1))
	c.boots[1]++
	before := len(c.log.batches)
	epoch, err := c.register(c.broker(1))
	if err != nil || epoch <= c.epoch[1] {
		t.Fatalf("registered again with epoch %d, %v", epoch, err)
	}
	if len(c.log.batches) != before+1 {
		t.Errorf("the end of the old life and the begin of the new one are %d batches, want one", len(c.log.batches)-before)
	}
	c.expectPartition("t", 0, "replicas=[1] isr=[] elr=[1] leader=-1/1 epoch=1")
	if _, err := c.heartbeat(Heartbeat{Broker: 1}); !errors.Is(err, kafka.StaleBrokerEpoch) {
		t.Errorf("the old life's heartbeat is answered %v", err)
	}
	c.epoch[1] = epoch
	if r, err := c.heartbeat(Heartbeat{Broker: 1, Epoch: epoch, Applied: epoch - 1}); err != nil || !r.Fenced || r.CaughtUp {
		t.Errorf("before it has caught up: %+v, %v", r, err)
	}
	if r, err := c.heartbeat(Heartbeat{Broker: 1, Epoch: epoch, Applied: epoch, WantFence: true}); err != nil || !r.Fenced || !r.CaughtUp {
		t.Errorf("before it is ready: %+v, %v", r, err)
	}
	if r, err := c.heartbeat(Heartbeat{Broker: 1}); err != nil || r.Fenced {
		t.Errorf("when it is ready: %+v, %v", r, err)
	}
	c.expectPartition("t", 0, "replicas=[1] isr=[1] elr=[] leader=1/2 epoch=2")
}

func TestRegistrationsAreOrderedByBootSequence(t *testing.T) {
	c := newCluster(t, 1)
	c.boot(1) // start 2
	again, late, copied, other, foreign, old := c.broker(1), c.broker(1), c.broker(1), c.broker(1), c.broker(2), c.broker(2)
	late.BootSequence, late.Incarnation = 1, [16]byte{77}
	copied.Incarnation = [16]byte{78}
	other.BootSequence, other.Directories = 9, []metadata.DirectoryID{{99}}
	old.Features = nil
	if epoch, err := c.register(again); err != nil || epoch != c.epoch[1] {
		t.Errorf("asked again: epoch %d, %v", epoch, err)
	}
	for name, b := range map[string]metadata.Broker{"late": late, "copied": copied, "another node with the same id": other} { // any order
		if _, err := c.register(b); !errors.Is(err, kafka.DuplicateBrokerRegistration) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := errors.New("not answered")
	c.RegisterBroker(Registration{foreign, "other cluster"}, func(_ int64, e error) { err = e })
	c.settle()
	if !errors.Is(err, kafka.InconsistentClusterID) {
		t.Errorf("of another cluster: %v", err)
	}
	c.updateFeature("group.version", 1, upgrade)
	if _, err := c.register(old); !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("with old software: %v", err)
	}
	c.world.Run(10 * time.Second) // the session is over
	if _, err := c.register(other); err != nil {
		t.Errorf("another disk under the id of a broker that is gone: %v", err)
	}
}

func TestASilentBrokerIsFencedAndItsPartitionsMove(t *testing.T) {
	c := newCluster(t, 3)
	min2 := assigned("t", []int32{1, 2, 3})
	min2.Configs = topic("", 0, 0, "min.insync.replicas", "2").Configs
	c.created(min2, assigned("alone", []int32{1}))
	for range 9 {
		c.world.Run(time.Second)
		for _, id := range []kafka.NodeID{2, 3} {
			if _, err := c.heartbeat(Heartbeat{Broker: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !c.image().Broker(1).Fenced || c.image().Broker(2).Fenced {
		t.Fatal("the silent broker is not fenced, or another is")
	}
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[2 3] elr=[] leader=2/1 epoch=1")
	c.expectPartition("alone", 0, "replicas=[1] isr=[] elr=[1] leader=-1/1 epoch=1")
	if r, err := c.heartbeat(Heartbeat{Broker: 1}); err != nil || r.Fenced {
		t.Errorf("the broker came back: %+v, %v", r, err)
	}
	c.expectPartition("alone", 0, "replicas=[1] isr=[1] elr=[] leader=1/2 epoch=2")
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[2 3] elr=[] leader=2/1 epoch=1")
}

func TestANewControllerGivesEverybodyASessionLessTheElection(t *testing.T) {
	c := newCluster(t, 1)
	c.world.Run(5 * time.Second)
	c.Resign()
	c.Lead(2, c.log)
	c.world.Run(5 * time.Second)
	if c.image().Broker(1).Fenced {
		t.Error("the broker was fenced by a controller that has known it for 5 s of a session of 6 s")
	}
	c.world.Run(time.Second)
	if !c.image().Broker(1).Fenced {
		t.Error("the broker was not fenced after its session")
	}
}

func TestAShutdownWaitsUntilEverybodyKnowsTheNewLeaders(t *testing.T) {
	c := newCluster(t, 2)
	c.created(assigned("t", []int32{1, 2}))
	r, err := c.heartbeat(Heartbeat{Broker: 1, WantShutdown: true, Epoch: c.epoch[1], Applied: 1 << 40})
	if err != nil || !r.ShouldShutDown {
		t.Errorf("everybody has applied everything: %+v, %v", r, err)
	}
	c.expectPartition("t", 0, "replicas=[1 2] isr=[2] elr=[] leader=2/1 epoch=1")
	c = newCluster(t, 2)
	c.created(assigned("t", []int32{1, 2}))
	behind := Heartbeat{Broker: 2, Epoch: c.epoch[2], Applied: c.epoch[2]}
	if _, err := c.heartbeat(behind); err != nil {
		t.Fatal(err)
	}
	leaving := Heartbeat{Broker: 1, WantShutdown: true, Epoch: c.epoch[1], Applied: 1 << 40}
	if r, err := c.heartbeat(leaving); err != nil || r.ShouldShutDown {
		t.Errorf("broker 2 does not know yet: %+v, %v", r, err)
	}
	behind.Applied = 1 << 40
	if _, err := c.heartbeat(behind); err != nil {
		t.Fatal(err)
	}
	if r, err := c.heartbeat(leaving); err != nil || !r.ShouldShutDown {
		t.Errorf("broker 2 knows: %+v, %v", r, err)
	}
}

func TestAnUnregisteredBrokerIsGone(t *testing.T) {
	c := newCluster(t, 2)
	c.created(assigned("t", []int32{1, 2}))
	unregister := func(id int32) string {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		got := "not answered"
		c.UnregisterBroker(req, func(r *kmsg.UnregisterBrokerResponse) { got = kafka.ErrorCode(r.ErrorCode).Error() })
		c.settle()
		return got
	}
	if a, b := unregister(1), unregister(1); a != "NONE" || b != "BROKER_ID_NOT_REGISTERED" {
		t.Errorf("answered %s, then %s", a, b)
	}
	c.expectPartition("t", 0, "replicas=[1 2] isr=[2] elr=[] leader=2/1 epoch=1")
	if _, err := c.heartbeat(Heartbeat{Broker: 1}); !errors.Is(err, kafka.BrokerIDNotRegistered) {
		t.Errorf("its heartbeat is answered %v", err)
	}
}

func TestBlocksOfProducerIDsNeverOverlap(t *testing.T) {
	c := newCluster(t, 1)
	allocate := func(epoch int64) (first int64, count int32, err error) {
		c.AllocateProducerIDs(1, epoch, func(f int64, n int32, e error) { first, count, err = f, n, e })
		c.settle()
		return first, count, err
	}
	for n := range int64(3) {
		if first, count, err := allocate(c.epoch[1]); first != n*1000 || count != 1000 || err != nil {
			t.Errorf("block %d is %d and %d more, %v", n, first, count, err)
		}
	}
	c.Resign()
	c.Lead(2, c.log)
	c.settle()
	if first, _, err := allocate(c.epoch[1]); first != 3000 || err != nil {
		t.Errorf("a new controller gave %d, %v", first, err)
	}
	if _, _, err := allocate(c.epoch[1] + 1); !errors.Is(err, kafka.StaleBrokerEpoch) {
		t.Errorf("of another epoch: %v", err)
	}
}

func (c *cluster) updateFeature(name string, level int16, kind int8) string {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version = 1
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType = name, level, kind
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	got := "not answered"
	c.UpdateFeatures(req, func(r *kmsg.UpdateFeaturesResponse) {
		got = kafka.ErrorCode(r.ErrorCode).Error()
		// Results are of version 1, and only where all went well.
		if want := map[bool]int{true: 1}[r.ErrorCode == 0]; len(r.Results) != want {
			c.t.Errorf("answered %s with %d results", got, len(r.Results))
		}
	})
	c.settle()
	return got
}

func TestFeaturesAreRaisedAndLoweredWhereEverybodyCan(t *testing.T) {
	c := newCluster(t, 1)
	for _, x := range []struct {
		name  string
		level int16
		kind  int8
		want  string
	}{
		{"group.version", 2, upgrade, "INVALID_UPDATE_VERSION"},
		{"no.such", 1, upgrade, "INVALID_UPDATE_VERSION"},
		{"group.version", 1, 7, "INVALID_UPDATE_VERSION"},
		{"group.version", 1, upgrade, "NONE"},
		{"group.version", 0, upgrade, "INVALID_UPDATE_VERSION"},
		{"group.version", 0, safeDowngrade, "NONE"},
	} {
		if got := c.updateFeature(x.name, x.level, x.kind); got != x.want {
			t.Errorf("%s to %d (%d) is answered %s, want %s", x.name, x.level, x.kind, got, x.want)
		}
	}
}

func ids(list ...kafka.NodeID) []kafka.NodeID { return list }

// Fencing brokers one after another keeps everybody who has everything eligible, and only them (KIP-966).
func TestWhoLeavesStaysEligibleWhileNothingCanBeCommitted(t *testing.T) {
	down := map[kafka.NodeID]bool{}
	live := func(id kafka.NodeID) bool { return !down[id] }
	p := &metadata.Partition{Replicas: ids(1, 2, 3), ISR: ids(1, 2, 3), Leader: 1}
	apply := func(o outcome) string {
		p.ISR, p.ELR, p.Leader = o.isr, o.elr, o.leader
		return fmt.Sprintf("isr=%v elr=%v leader=%d", o.isr, o.elr, o.leader)
	}
	fence := func(id kafka.NodeID) string {
		got := apply(leave(p, id, 2, live))
		down[id] = true
		return got
	}
	revive := func(id kafka.NodeID) string {
		down[id] = false
		return apply(elect(p, outcomeOf(p), 2, live))
	}
	for _, x := range []struct{ got, want string }{
		{fence(1), "isr=[2 3] elr=[] leader=2"},
		{fence(3), "isr=[2] elr=[3] leader=2"},
		{revive(1), "isr=[2] elr=[3] leader=2"},
		{fence(2), "isr=[] elr=[3 2] leader=-1"},
		{revive(3), "isr=[3] elr=[2] leader=3"},
		{fence(3), "isr=[] elr=[2 3] leader=-1"},
		{revive(2), "isr=[2] elr=[3] leader=2"},
	} {
		if x.got != x.want {
			t.Errorf("got  %s\nwant %s", x.got, x.want)
		}
	}
}

// Whatever comes and goes, the sets stay what they have to be.
func TestAPartitionsSetsStayConsistent(t *testing.T) {
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 5))
		n := 1 + chance.IntN(4)
		min := 1 + chance.IntN(3)
		p := &metadata.Partition{Leader: 0}
		for id := range kafka.NodeID(n) {
			p.Replicas, p.ISR = append(p.Replicas, id), append(p.ISR, id)
		}
		down := map[kafka.NodeID]bool{}
		live := func(id kafka.NodeID) bool { return !down[id] }
		for range 30 {
			id := kafka.NodeID(chance.IntN(n))
			before := append(slices.Clone(p.ISR), p.ELR...)
			var o outcome
			if down[id] {
				down[id] = false
				o = elect(p, outcomeOf(p), effectiveMin(p, min), live)
			} else {
				o = leave(p, id, min, live)
				down[id] = true
			}
			for _, id := range append(slices.Clone(o.isr), o.elr...) {
				if !slices.Contains(before, id) {
					t.Fatalf("seed %d: replica %d became eligible", seed, id)
				}
			}
			for _, id := range o.elr {
				if slices.Contains(o.isr, id) {
					t.Fatalf("seed %d: replica %d is in sync and eligible", seed, id)
				}
			}
			switch {
			case len(o.isr)+len(o.elr) == 0:
				t.Fatalf("seed %d: nobody is eligible any more", seed)
			case len(o.isr) >= effectiveMin(p, min) && len(o.elr) > 0:
				t.Fatalf("seed %d: %v are in sync, and %v eligible", seed, o.isr, o.elr)
			case o.leader != kafka.NoNode && (!slices.Contains(o.isr, o.leader) || !live(o.leader)):
				t.Fatalf("seed %d: the leader %d is not live and in sync", seed, o.leader)
			}
			p.ISR, p.ELR, p.Leader = o.isr, o.elr, o.leader
		}
	}
}

func TestReplicasAreSpreadOverBrokersAndRacks(t *testing.T) {
	for seed := range uint64(40) {
		chance := rand.New(rand.NewPCG(seed, 6))
		n, racks := 1+chance.IntN(9), 1+chance.IntN(4)
		var brokers []*metadata.Broker
		for id := range n {
			brokers = append(brokers, &metadata.Broker{ID: kafka.NodeID(id), Rack: fmt.Sprint("r", id%racks)})
		}
		factor := 1 + chance.IntN(n)
		leads, holds := map[kafka.NodeID]int{}, map[kafka.NodeID]int{}
		for _, replicas := range place(chance, brokers, 10*n, factor) {
			if len(replicas) != factor {
				t.Fatalf("seed %d: %v for factor %d on %d brokers", seed, replicas, factor, n)
			}
			in := map[string]bool{}
			for k, id := range replicas {
				if slices.Contains(replicas[:k], id) {
					t.Fatalf("seed %d: %v", seed, replicas)
				}
				in[brokers[id].Rack] = true
				holds[id]++
			}
			if len(in) < min(factor, min(racks, n)) {
				t.Errorf("seed %d: %v are in %d racks of %d", seed, replicas, len(in), racks)
			}
			leads[replicas[0]]++
		}
		for id := range kafka.NodeID(n) {
			if leads[id] != 10 {
				t.Errorf("seed %d: broker %d leads %d of %d", seed, id, leads[id], 10*n)
			}
		}
	}
}

func (c *cluster) elect(kind int8, topics map[string][]int32) (got []string) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.ElectionType = 2, kind
	for name, partitions := range topics { // any order
		r := kmsg.NewElectLeadersRequestTopic()
		r.Topic, r.Partitions = name, partitions
		req.Topics = append(req.Topics, r)
	}
	c.ElectLeaders(req, func(r *kmsg.ElectLeadersResponse) {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				got = append(got, fmt.Sprintf("%s-%d=%v", t.Topic, p.Partition, kafka.ErrorCode(p.ErrorCode)))
			}
		}
	})
	c.settle()
	return got
}

func (c *cluster) expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("answered %v, want %v", got, want)
	}
}

func TestLeadersAreElectedOnRequest(t *testing.T) {
	c := newCluster(t, 2)
	c.created(assigned("t", []int32{1, 2}, []int32{2, 1}), assigned("alone", []int32{2}))
	c.expect(t, c.elect(electPreferred, map[string][]int32{"t": {0, 1, 9}}),
		"t-0=ELECTION_NOT_NEEDED", "t-1=ELECTION_NOT_NEEDED", "t-9=UNKNOWN_TOPIC_OR_PARTITION")
	if _, err := c.heartbeat(Heartbeat{Broker: 2, Epoch: c.epoch[2], WantFence: true}); err != nil {
		t.Fatal(err)
	}
	c.expectPartition("t", 1, "replicas=[2 1] isr=[1] elr=[] leader=1/1 epoch=1")
	c.expect(t, c.elect(electPreferred, map[string][]int32{"t": {1}}), "t-1=PREFERRED_LEADER_NOT_AVAILABLE")
	c.expect(t, c.elect(electAnyLive, map[string][]int32{"alone": {0}}), "alone-0=ELIGIBLE_LEADERS_NOT_AVAILABLE")
	c.expect(t, c.elect(electPreferred, nil), "alone-0=PREFERRED_LEADER_NOT_AVAILABLE", "t-1=PREFERRED_LEADER_NOT_AVAILABLE")
	if _, err := c.heartbeat(Heartbeat{Broker: 1, Epoch: c.epoch[1], WantFence: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.heartbeat(Heartbeat{Broker: 2}); err != nil {
		t.Fatal(err)
	}
	// Only broker 1 has everything of partition 1, but an operator prefers broker 2 to nobody.
	c.expectPartition("t", 1, "replicas=[2 1] isr=[] elr=[1] leader=-1/2 epoch=2")
	c.expect(t, c.elect(electAnyLive, map[string][]int32{"t": {1}}), "t-1=NONE")
	c.expectPartition("t", 1, "replicas=[2 1] isr=[2] elr=[] leader=2/3 epoch=3")
	if c.image().Partition("t", 1).Recovery != metadata.Recovering {
		t.Error("the partition does not say that records may be missing")
	}
}

func (c *cluster) reassign(name string, partition int32, replicas []int32) string {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.AllowReplicationFactorChange = true
	r := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition, p.Replicas = partition, replicas
	r.Topic, r.Partitions = name, append(r.Partitions, p)
	req.Topics = append(req.Topics, r)
	got := "not answered"
	c.AlterPartitionReassignments(req, func(r *kmsg.AlterPartitionAssignmentsResponse) {
		got = kafka.ErrorCode(r.Topics[0].Partitions[0].ErrorCode).Error()
	})
	c.settle()
	return got
}

func (c *cluster) reassignments() (got []string) {
	c.ListPartitionReassignments(kmsg.NewPtrListPartitionReassignmentsRequest(), func(r *kmsg.ListPartitionReassignmentsResponse) {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				got = append(got, fmt.Sprintf("%s-%d %v+%v-%v", t.Topic, p.Partition, p.Replicas, p.AddingReplicas, p.RemovingReplicas))
			}
		}
	})
	c.settle()
	return got
}

func TestPartitionsAreReassigned(t *testing.T) {
	c := newCluster(t, 3)
	c.created(assigned("t", []int32{1, 2}))
	for _, x := range []struct{ got, want string }{
		{c.reassign("t", 0, nil), "NO_REASSIGNMENT_IN_PROGRESS"},
		{c.reassign("t", 7, []int32{1}), "UNKNOWN_TOPIC_OR_PARTITION"},
		{c.reassign("t", 0, []int32{}), "INVALID_REPLICA_ASSIGNMENT"},
		{c.reassign("t", 0, []int32{9}), "INVALID_REPLICA_ASSIGNMENT"},
		{c.reassign("t", 0, []int32{1, 2}), "NONE"},
	} {
		if x.got != x.want {
			t.Errorf("answered %s, want %s", x.got, x.want)
		}
	}
	c.expectPartition("t", 0, "replicas=[1 2] isr=[1 2] elr=[] leader=1/0 epoch=0")
	c.expect(t, c.reassignments())
	// To replicas that are in sync: at once, in a new leader epoch.
	if got := c.reassign("t", 0, []int32{2}); got != "NONE" {
		t.Errorf("answered %s", got)
	}
	c.expectPartition("t", 0, "replicas=[2] isr=[2] elr=[] leader=2/1 epoch=1")
	// To others: begun, and taken back.
	if got := c.reassign("t", 0, []int32{3, 1}); got != "NONE" {
		t.Errorf("answered %s", got)
	}
	c.expectPartition("t", 0, "replicas=[3 1 2] isr=[2] elr=[] leader=2/1 epoch=2")
	c.expect(t, c.reassignments(), "t-0 [3 1 2]+[3 1]-[2]")
	if got := c.reassign("t", 0, nil); got != "NONE" {
		t.Errorf("answered %s", got)
	}
	c.expectPartition("t", 0, "replicas=[2] isr=[2] elr=[] leader=2/2 epoch=3")
	c.expect(t, c.reassignments())
}

func TestABrokerThatHasJustComeBackIsGivenLittle(t *testing.T) {
	c := newCluster(t, 4)
	c.Lead(2, c.log) // to which all have been there for ever
	c.settle()
	all := make([][]int32, 6)
	for n := range all {
		all[n] = [][]int32{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}[n%3]
	}
	c.created(assigned("t", all...), assigned("single", []int32{1, 2}), assigned("alone", []int32{1, 4}, []int32{1, 4}))
	leaders := func() string {
		var list []kafka.NodeID
		for _, p := range c.image().Topic("t").Partitions {
			list = append(list, p.Leader)
		}
		return fmt.Sprint(list)
	}
	restart := func(id kafka.NodeID, want string) {
		t.Helper()
		if _, err := c.heartbeat(Heartbeat{Broker: id, WantShutdown: true, Epoch: c.epoch[id], Applied: 1 << 40}); err != nil {
			t.Fatal(err)
		}
		if got := leaders(); got != want {
			t.Errorf("without %d, leaders are %s, want %s", id, got, want)
		}
		c.boot(id)
		c.live(2, 1, 2, 3, 4)
		for n := range int32(6) {
			c.expectAlter("it is back", c.proposal("t", n, c.image().Partition("t", n).Replicas...), kafka.None)
		}
	}
	restart(1, "[2 2 3 2 2 3]") // in the order of assignment
	c.expectPartition("single", 0, "replicas=[1 2] isr=[2] elr=[] leader=2/1 epoch=1")
	for n := range int32(2) {
		c.expectPartition("alone", n, "replicas=[1 4] isr=[4] elr=[] leader=4/1 epoch=1") // there is nobody else
	}
	restart(2, "[1 3 3 3 3 3]")
	restart(3, "[1 2 1 1 1 1]")
	c.live(31, 1, 2, 3, 4)
	restart(1, "[2 2 3 2 2 3]") // 3 came back too long ago to be spared
}

func TestABrokerWhoseDiskIsFullLeadsOnlyWhatNobodyElseCan(t *testing.T) {
	c := newCluster(t, 4)
	c.options.RebalanceEvery = 10 * time.Second
	c.Lead(2, c.log)
	c.settle()
	c.created(assigned("t", []int32{1, 2, 3}, []int32{1, 3, 2}, []int32{2, 1, 3}), assigned("alone", []int32{1}))
	c.expectAlter("who is late", c.proposal("t", 1, 1, 2), kafka.None) // 3 is not in sync
	live := func(seconds int, full ...kafka.NodeID) {
		t.Helper()
		for range seconds {
			c.world.Run(time.Second)
			for id := kafka.NodeID(1); id <= 4; id++ {
				if _, err := c.heartbeat(Heartbeat{Broker: id, Full: slices.Contains(full, id), Epoch: c.epoch[id], Applied: 1 << 40}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	leaders := func(what, want string) {
		t.Helper()
		var list []kafka.NodeID
		for _, p := range c.image().Topic("t").Partitions {
			list = append(list, p.Leader)
		}
		list = append(list, c.image().Partition("alone", 0).Leader)
		if got := fmt.Sprint(list); got != want {
			t.Errorf("%s leaders are %s, want %s", what, got, want)
		}
	}
	live(1)
	leaders("with space everywhere", "[1 1 2 1]")
	live(1, 1)
	leaders("with 1 full", "[2 2 2 1]")
	c.expectPartition("t", 0, "replicas=[1 2 3] isr=[1 2 3] elr=[] leader=2/1 epoch=1")
	live(15, 1)
	leaders("with 1 full for long", "[2 2 2 1]") // what is preferred does not come back to it
	live(1, 1, 2)
	leaders("with 1 and 2 full", "[3 2 3 1]") // of the second nobody in sync has space
	live(1, 1, 2, 3)
	leaders("with all full", "[3 2 3 1]")
	live(15)
	leaders("with space again", "[1 1 2 1]")
}
