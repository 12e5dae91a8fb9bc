package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

func (c *cluster) admit(a Applicant) (node kafka.NodeID, err error) {
	err = errors.New("not answered")
	c.Admit(a, func(n kafka.NodeID, failed error) { node, err = n, failed })
	c.settle()
	return node, err
}

func TestWhoJoinsIsGivenAFreeId(t *testing.T) {
	c := newCluster(t, 2)
	for _, want := range []struct {
		raft uint64
		id   kafka.NodeID
	}{{71, 3}, {72, 4}, {71, 3}, {72, 4}} {
		if id, err := c.admit(Applicant{Node: kafka.NoNode, RaftID: want.raft}); err != nil || id != want.id {
			t.Errorf("%d is given %d, %v", want.raft, id, err)
		}
	}
	if _, err := c.admit(Applicant{Node: 3, RaftID: 73}); !errors.Is(err, kafka.DuplicateBrokerRegistration) {
		t.Errorf("an id that was just given away: %v", err)
	}
	if _, err := c.admit(Applicant{Node: 1, RaftID: 73}); !errors.Is(err, kafka.DuplicateBrokerRegistration) || !strings.Contains(err.Error(), "--node-id") {
		t.Errorf("an id that is in use: %v", err)
	}
	if _, err := c.admit(Applicant{Cluster: "another", Node: kafka.NoNode}); !errors.Is(err, kafka.InconsistentClusterID) {
		t.Errorf("another cluster: %v", err)
	}
	c.world.Run(2 * reservation)
	c.boot(1)
	c.boot(2)
	if id, err := c.admit(Applicant{Node: kafka.NoNode, RaftID: 74}); err != nil || id != 3 {
		t.Errorf("after a while the id is free again, and %d is given, %v", id, err)
	}
}

func TestAnEmptyDiskIsWelcomeUnlessItsLossWouldGoUnseen(t *testing.T) {
	c := newCluster(t, 3)
	c.created(topic("copied", 1, 3))
	c.created(assigned("alone", []int32{2}))
	c.world.Run(10 * time.Second) // all are silent, and fenced
	c.boot(1)
	c.boot(3)
	_, err := c.admit(Applicant{Node: 2, RaftID: 9})
	if !errors.Is(err, kafka.InvalidRegistration) || !strings.Contains(err.Error(), "alone-0") || !strings.Contains(err.Error(), "gregor cluster remove 2") {
		t.Fatalf("the loss of the only copy: %v", err)
	}
	wiped := c.broker(2)
	wiped.Incarnation, wiped.Directories = [16]byte{99}, []metadata.DirectoryID{{22}}
	if _, err := c.register(wiped); !errors.Is(err, kafka.InvalidRegistration) {
		t.Fatalf("the loss of the only copy, by registering: %v", err)
	}
	remove := kmsg.NewPtrUnregisterBrokerRequest()
	remove.BrokerID = 2
	c.UnregisterBroker(remove, func(r *kmsg.UnregisterBrokerResponse) {
		if r.ErrorCode != 0 {
			t.Error(kafka.ErrorCode(r.ErrorCode))
		}
	})
	c.settle()
	p := c.image().Partition("copied", 0)
	for _, list := range [][]kafka.NodeID{p.ISR, p.ELR} {
		for _, id := range list {
			if id == 2 {
				t.Errorf("a broker that is gone for good may still be elected: %+v", p)
			}
		}
	}
	if id, err := c.admit(Applicant{Node: 2, RaftID: 9}); err != nil || id != 2 {
		t.Fatalf("after it was given up: %d, %v", id, err)
	}
	if _, err := c.register(wiped); err != nil {
		t.Fatal(err)
	}
}

func TestAWipedDiskIsElectedForNothingThatOthersHave(t *testing.T) {
	c := newCluster(t, 2)
	manual := assigned("t", []int32{1, 2})
	manual.Configs = topic("t", 1, 2, "min.insync.replicas", "2").Configs
	c.created(manual)
	c.world.Run(10 * time.Second)
	c.expectPartition("t", 0, "replicas=[1 2] isr=[] elr=[1 2] leader=-1/2 epoch=2")
	wiped := c.broker(1)
	wiped.Incarnation, wiped.Directories = [16]byte{99}, []metadata.DirectoryID{{11}}
	epoch, err := c.register(wiped)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.heartbeat(Heartbeat{Broker: 1, Epoch: epoch, Applied: epoch}); err != nil || r.Fenced {
		t.Fatalf("%+v, %v", r, err)
	}
	c.expectPartition("t", 0, "replicas=[1 2] isr=[] elr=[2] leader=-1/2 epoch=3")
	c.boot(2)
	c.expectPartition("t", 0, "replicas=[1 2] isr=[2] elr=[] leader=2/3 epoch=4")
}

func TestABrokerWhoseConnectionHasEndedIsFencedUnlessItIsHeardOf(t *testing.T) {
	c := newCluster(t, 2)
	fenced := func() bool { return c.image().Broker(2).Fenced }
	c.Lost(2)
	c.world.Run(lostGrace / 2)
	c.heartbeat(Heartbeat{Broker: 2})
	c.world.Run(lostGrace)
	if fenced() {
		t.Fatal("it was heard of and is fenced")
	}
	c.Lost(2)
	c.Lost(2)
	c.Lost(7)
	c.world.Run(lostGrace + time.Millisecond)
	if !fenced() || c.image().Broker(1).Fenced {
		t.Fatal("it is silent and not fenced")
	}
	c.boot(2)
	c.world.Run(lostGrace)
	if fenced() {
		t.Fatal("its next life is fenced for its last one")
	}
}

func TestABrokerThatIsHeardOfSeldomHasLongerToBeHeardOf(t *testing.T) {
	c := newCluster(t, 2)
	for range 30 { // as over a network that takes long
		c.world.Run(2 * lostGrace)
		c.heartbeat(Heartbeat{Broker: 2})
	}
	c.Lost(2)
	c.world.Run(2 * lostGrace)
	c.heartbeat(Heartbeat{Broker: 2})
	c.world.Run(2 * lostGrace)
	if c.image().Broker(2).Fenced {
		t.Error("it is as it was all the time, and is fenced")
	}
	c.Lost(2)
	c.world.Run(mostGrace + time.Millisecond)
	if !c.image().Broker(2).Fenced {
		t.Error("it is silent and not fenced")
	}
}

func TestANodeIsTakenOutOfTheQuorumAndLetInAgain(t *testing.T) {
	c := newCluster(t, 0)
	for id := range kafka.NodeID(2) {
		c.boots[id+1]++
		b := c.broker(id + 1)
		b.RaftID = uint64(id) + 100
		epoch, err := c.register(b)
		if err != nil {
			t.Fatal(err)
		}
		c.epoch[id+1] = epoch
		c.heartbeat(Heartbeat{Broker: id + 1})
	}
	remove := func(id int32, want kafka.ErrorCode) {
		t.Helper()
		req := kmsg.NewPtrRemoveRaftVoterRequest()
		req.VoterID = id
		c.RemoveRaftVoter(req, func(r *kmsg.RemoveRaftVoterResponse) {
			if r.ErrorCode != want.Code() {
				t.Errorf("removing %d is answered %v", id, kafka.ErrorCode(r.ErrorCode))
			}
		})
		c.settle()
	}
	remove(3, kafka.VoterNotFound)
	remove(2, kafka.None)
	remove(1, kafka.InvalidRequest) // nobody would be left
	c.boots[2]++
	again := c.broker(2)
	again.RaftID = 101
	if _, err := c.register(again); err != nil {
		t.Fatal(err)
	}
	if !c.image().Broker(2).Barred {
		t.Error("its next life is let in again")
	}
	add := kmsg.NewPtrAddRaftVoterRequest()
	add.VoterID, add.VoterDirectoryID = 2, [16]byte{2}
	c.AddRaftVoter(add, func(r *kmsg.AddRaftVoterResponse) {
		if r.ErrorCode != 0 {
			t.Error(kafka.ErrorCode(r.ErrorCode))
		}
	})
	c.settle()
	if c.image().Broker(2).Barred {
		t.Error("it is not let in")
	}
}

func TestBrokersAreServedInKafkasOwnRequests(t *testing.T) {
	c := newCluster(t, 0)
	b := metadata.Broker{ID: 5, BootSequence: 9, Incarnation: [16]byte{1}, Rack: "r", RaftID: 77, Directories: []metadata.DirectoryID{{3}},
		Endpoints: []metadata.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 1}}, Features: c.broker(5).Features}
	serve := func(request kmsg.Request) (response kmsg.Response) {
		t.Helper()
		again := kmsg.RequestForKey(request.Key())
		again.SetVersion(request.GetVersion())
		if err := again.ReadFrom(request.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		if !c.Serve(again, func(r kmsg.Response) { response = r }) {
			t.Fatalf("%T is not served", request)
		}
		c.settle()
		return response
	}
	epoch, err := RegistrationReply(serve(RegistrationRequest(Registration{b, "c"})).(*kmsg.BrokerRegistrationResponse))
	if err != nil {
		t.Fatal(err)
	}
	want := b
	want.Epoch, want.Fenced = epoch, true
	if got := c.image().Broker(5); got == nil || !equalBrokers(*got, want) {
		t.Errorf("registered as %+v, want %+v", got, want)
	}
	if _, err := RegistrationReply(serve(RegistrationRequest(Registration{b, "another"})).(*kmsg.BrokerRegistrationResponse)); !errors.Is(err, kafka.InconsistentClusterID) || !strings.Contains(err.Error(), "cluster") {
		t.Errorf("refused with %v", err)
	}
	beat := kmsg.NewPtrBrokerHeartbeatRequest()
	beat.BrokerID, beat.BrokerEpoch, beat.CurrentMetadataOffset = 5, epoch, epoch
	if r := serve(beat).(*kmsg.BrokerHeartbeatResponse); r.ErrorCode != 0 || r.IsFenced || !r.IsCaughtUp {
		t.Errorf("the heartbeat is answered %+v", r)
	}
	ids := kmsg.NewPtrAllocateProducerIDsRequest()
	ids.BrokerID, ids.BrokerEpoch = 5, epoch
	if r := serve(ids).(*kmsg.AllocateProducerIDsResponse); r.ErrorCode != 0 || r.ProducerIDLen != producerIDBlock {
		t.Errorf("producer ids are answered %+v", r)
	}
	if c.Serve(kmsg.NewPtrMetadataRequest(), func(kmsg.Response) {}) {
		t.Error("Metadata is taken for a request of brokers")
	}
}

func equalBrokers(a, b metadata.Broker) bool {
	same := a.ID == b.ID && a.Epoch == b.Epoch && a.BootSequence == b.BootSequence && a.Incarnation == b.Incarnation && a.Rack == b.Rack &&
		a.RaftID == b.RaftID && a.Fenced == b.Fenced && len(a.Endpoints) == len(b.Endpoints) && len(a.Features) == len(b.Features)
	return same && a.Endpoints[0] == b.Endpoints[0] && sameDirectories(&a, &b)
}
