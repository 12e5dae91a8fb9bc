package node_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// three is a cluster of three nodes, all of which vote.
func three(t *testing.T, seed uint64) *town {
	w := newTown(t, seed)
	first := w.found()
	for range 2 {
		h := w.join(first)
		w.until("the node that joins serves", h.serves)
	}
	w.agree()
	w.votersAre(0, 1, 2)
	return w
}

func TestThreeNodesBecomeACluster(t *testing.T) {
	w := three(t, 1)
	for i, h := range w.houses {
		if code := w.createTopic(h, fmt.Sprintf("topic-%d", i), 3); code != kafka.None {
			t.Errorf("creating a topic at %v: %v", h, code)
		}
		request := kmsg.NewPtrMetadataRequest()
		request.Version = 9
		metadata := w.ask(h, request).(*kmsg.MetadataResponse)
		if len(metadata.Brokers) != 3 || len(metadata.Topics) != i+1+min(i, 1) { // __consumer_offsets, too
			t.Errorf("%v tells of %d brokers and %d topics", h, len(metadata.Brokers), len(metadata.Topics))
		}
		for _, b := range metadata.Brokers {
			if want := w.address(int(b.NodeID) + 1); b.Host != want.Host || b.Port != int32(want.Port) {
				t.Errorf("%v tells that broker %d is at %s:%d", h, b.NodeID, b.Host, b.Port)
			}
		}
		if voters, observers, leader := w.quorum(h); len(voters) != 3 || len(observers) != 0 || leader != 0 {
			t.Errorf("%v tells of voters %v, observers %v, leader %d", h, voters, observers, leader)
		}
		if c := w.ask(h, kmsg.NewPtrFindCoordinatorRequest()).(*kmsg.FindCoordinatorResponse); c.ErrorCode != 0 || c.Port != 9092 {
			t.Errorf("%v finds the coordinator %+v", h, c)
		}
		if p := w.ask(h, kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse); p.ErrorCode != 0 || p.ProducerID != int64(i)*1000 {
			t.Errorf("%v gives the producer id %+v", h, p)
		}
	}
	if got := w.houses[0].life.node.Image().Topic(kafka.GroupMetadataTopic).Partitions[0].Replicas; len(got) != 3 {
		t.Errorf("offsets of groups are on %v", got)
	}
	if code := w.createTopic(w.houses[1], "topic-0", 1); code != kafka.TopicAlreadyExists {
		t.Errorf("a topic that exists is created with %v", code)
	}
}

func TestTheClusterGoesOnWhenAnyNodeIsKilled(t *testing.T) {
	w := three(t, 2)
	w.join(w.houses[1]) // an observer
	w.agree()
	for i := range 8 {
		h := w.houses[i%4]
		id := h.id()
		h.kill()
		killed := w.world.Now()
		w.until("the dead broker is fenced, by whoever is the active controller", func() bool {
			a := w.active()
			return a != nil && a.life.node.Image().Broker(id).Fenced
		})
		if took := w.world.Now().Sub(killed); took > time.Second {
			t.Errorf("fencing broker %d took %v", id, took)
		}
		for j, other := range w.houses {
			if other.life != nil {
				if code := w.createTopic(other, fmt.Sprintf("topic-%d-%d", i, j), 3); code != kafka.None {
					t.Errorf("creating a topic at %v: %v", other, code)
				}
			}
		}
		h.start()
		w.agree()
	}
	w.votersAre(0, 1, 2)
}

func TestAControllerThatStandsStillKeepsNobodyWaiting(t *testing.T) {
	w := three(t, 12)
	w.join(w.houses[1])
	w.agree()
	for range 3 {
		w.world.Run(time.Second)
		still := w.active()
		id := still.id()
		still.freeze()
		froze := w.world.Now()
		for _, h := range w.houses {
			if h == still {
				continue
			}
			if code := w.createTopic(h, fmt.Sprintf("while-%d-%d-%d", id, h.number, froze.Unix()), 1); code != kafka.None {
				t.Errorf("creating a topic at %v: %v", h, code)
			}
		}
		if took := w.world.Now().Sub(froze); took > 3*time.Second {
			t.Errorf("creating topics takes %v", took)
		}
		w.until("it is fenced", func() bool { a := w.active(); return a != nil && a.life.node.Image().Broker(id).Fenced })
		still.thaw()
		w.agree()
	}
}

func TestAClusterComesBackAfterThePowerWasOut(t *testing.T) {
	w := three(t, 3)
	w.join(w.houses[2])
	w.agree()
	if code := w.createTopic(w.houses[3], "kept", 3); code != kafka.None {
		t.Fatal(code)
	}
	for range 3 {
		for _, h := range w.houses {
			h.kill()
		}
		for _, h := range w.houses {
			h.start() // nobody tells them where the others are
		}
		w.agree()
		for _, h := range w.houses {
			if h.life.node.Image().Topic("kept") == nil {
				t.Errorf("%v does not have the topic", h)
			}
		}
	}
}

func TestANodeThatStopsHandsOverFirst(t *testing.T) {
	w := three(t, 4)
	for _, h := range slices.Clone(w.houses) {
		if code := w.createTopic(h, "at-"+fmt.Sprint(h.number), 1); code != kafka.None {
			t.Fatal(code)
		}
		h.stop()
		w.until("another controller", func() bool { return w.active() != nil })
		h.start()
		w.agree()
	}
}

func TestNodesThatComeBackWithAnEmptyDisk(t *testing.T) {
	w := three(t, 5)
	w.agree()
	lost := w.houses[2]
	if code := w.createTopic(w.houses[0], "copied", 3); code != kafka.None {
		t.Fatal(code)
	}
	// Whoever takes the id of a node that lives is refused.
	thief := w.build()
	thief.thief = true
	thief.join(config.Static{"node.id": "2"}, w.houses[0])
	w.until("the thief is refused", func() bool { return thief.refused != nil })
	// With an empty disk the node is another member of the quorum under its old id.
	lost.kill()
	lost.disk = vfs.NewMemory()
	lost.join(config.Static{"node.id": "2"}, w.houses[0], w.houses[1])
	w.agree()
	w.votersAre(0, 1, 2)
	// Without an id it is given another.
	lost.kill()
	lost.disk = vfs.NewMemory()
	lost.join(nil, w.houses[1])
	w.agree()
	if id := lost.id(); id != 3 {
		t.Errorf("it is node %d", id)
	}
	remove := kmsg.NewPtrUnregisterBrokerRequest()
	remove.BrokerID = 2
	if r := w.ask(w.houses[1], remove).(*kmsg.UnregisterBrokerResponse); r.ErrorCode != 0 {
		t.Error(kafka.ErrorCode(r.ErrorCode))
	}
	w.votersAre(0, 1, 3)
}

func TestANodeThatHasLostOnlyItsMetadataIsTheNodeThatItWas(t *testing.T) {
	w := three(t, 13)
	h := w.houses[2]
	if code := w.createTopic(h, "alone", 1); code != kafka.None {
		t.Fatal(code)
	}
	h.kill()
	names, err := h.disk.List("/gregor/metadata")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := h.disk.Remove("/gregor/metadata/" + name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := node.Open(node.Options{Runtime: w.world, FS: h.disk, Dir: "/gregor", Peers: &wires{h.begin()}}); err == nil || !strings.Contains(err.Error(), "--join") {
		t.Fatalf("it founds a cluster, or says %v", err)
	}
	h.join(nil, w.houses[0])
	w.agree()
	if h.id() != 2 {
		t.Errorf("it is node %d", h.id())
	}
	for _, p := range h.life.node.Image().Topic("alone").Partitions {
		if p.Leader == kafka.NoNode {
			t.Errorf("partition %d has lost its leader", p.Number)
		}
	}
	w.votersAre(0, 1, 2)
}

func TestANodeOfAnotherClusterIsRefused(t *testing.T) {
	w := three(t, 6)
	other := w.found() // another cluster
	if other.life.node.ClusterID() == w.houses[0].life.node.ClusterID() {
		t.Fatal("two clusters have one name")
	}
	if err := errors.Join(w.houses[0].life.failure, other.life.failure); err != nil {
		t.Fatal(err)
	}
	// Its node is told to look for the first cluster's nodes, by mistake.
	a := node.Admission{Cluster: w.houses[0].life.node.ClusterID(), Node: 9, RaftID: 12345, Known: []peer.Address{w.address(other.number)}}
	lost := w.build()
	lost.open(&a, nil)
	w.world.Run(time.Minute)
	if lost.serves() || lost.life.node.Image().Offset() >= 0 {
		t.Error("a node follows another cluster than its own")
	}
}

func TestANodeThatIsToldToJoinAnotherClusterThanItsOwnEnds(t *testing.T) {
	w := three(t, 8)
	other := w.found()
	other.kill()
	other.seeds = []peer.Address{w.address(1)}
	other.start()
	l := other.life
	w.until("it has seen that", func() bool { return l.failure != nil })
	if !strings.Contains(l.failure.Error(), "--data-dir") {
		t.Error(l.failure)
	}
}

func TestANodeThatWasRemovedMayComeBack(t *testing.T) {
	w := three(t, 9)
	w.join(w.houses[0])
	w.agree()
	gone := w.houses[1]
	gone.kill()
	w.world.Run(time.Second)
	remove := kmsg.NewPtrUnregisterBrokerRequest()
	remove.BrokerID = 1
	if r := w.ask(w.houses[2], remove).(*kmsg.UnregisterBrokerResponse); r.ErrorCode != 0 {
		t.Error(kafka.ErrorCode(r.ErrorCode))
	}
	w.votersAre(0, 2, 3)
	gone.start()
	w.agree()
	if _, observers, _ := w.quorum(w.houses[0]); !slices.Equal(observers, []int32{1}) {
		t.Errorf("the observers are %v", observers)
	}
}

func TestWithoutAMajorityAdminRequestsTimeOut(t *testing.T) {
	w := three(t, 10)
	w.houses[0].kill()
	w.houses[1].kill()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Version, request.TimeoutMillis = 7, 3000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	request.Topics = append(request.Topics, topic)
	began := w.world.Now()
	r := w.ask(w.houses[2], request).(*kmsg.CreateTopicsResponse)
	if code := kafka.ErrorCode(r.Topics[0].ErrorCode); code != kafka.RequestTimedOut {
		t.Errorf("it is answered %v", code)
	}
	if took := w.world.Now().Sub(began); took > 4*time.Second {
		t.Errorf("that takes %v", took)
	}
}

func TestTopicsHaveThreeReplicasWhereThereAreThreeNodes(t *testing.T) {
	w := newTown(t, 11)
	first := w.found()
	for want := 1; want <= 4; want++ {
		name := fmt.Sprintf("topic-%d", want)
		if code := w.createTopic(first, name, -1); code != kafka.None {
			t.Fatal(code)
		}
		if got := len(first.life.node.Image().Topic(name).Partitions[0].Replicas); got != min(want, 3) {
			t.Errorf("with %d nodes a topic has %d replicas", want, got)
		}
		w.until("another node", w.join(first).serves)
		w.agree()
	}
}

func TestAVoterThatIsTakenOutCanBeLetInAtOnce(t *testing.T) {
	w := three(t, 17)
	remove, add := kmsg.NewPtrRemoveRaftVoterRequest(), kmsg.NewPtrAddRaftVoterRequest()
	remove.VoterID, add.VoterID = 2, 2
	if r := w.ask(w.houses[0], remove).(*kmsg.RemoveRaftVoterResponse); r.ErrorCode != 0 {
		t.Fatal(kafka.ErrorCode(r.ErrorCode))
	}
	if r := w.ask(w.houses[0], add).(*kmsg.AddRaftVoterResponse); r.ErrorCode != 0 {
		t.Fatal(kafka.ErrorCode(r.ErrorCode))
	}
	if r := w.ask(w.houses[0], add).(*kmsg.AddRaftVoterResponse); kafka.ErrorCode(r.ErrorCode) != kafka.DuplicateVoter {
		t.Errorf("adding it twice: %v", kafka.ErrorCode(r.ErrorCode))
	}
	w.world.Run(3 * time.Second)
	w.votersAre(0, 1, 2)
}

func TestAnObserverThatWasRemovedIsNotToldOf(t *testing.T) {
	w := three(t, 19)
	fourth := w.join(w.houses[0])
	w.agree()
	if _, observers, _ := w.quorum(w.houses[0]); len(observers) != 1 {
		t.Fatalf("observers %v", observers)
	}
	fourth.kill()
	remove := kmsg.NewPtrUnregisterBrokerRequest()
	remove.BrokerID = 3
	if r := w.ask(w.houses[1], remove).(*kmsg.UnregisterBrokerResponse); r.ErrorCode != 0 {
		t.Fatal(kafka.ErrorCode(r.ErrorCode))
	}
	if voters, observers, _ := w.quorum(w.houses[0]); len(observers) != 0 || len(voters) != 3 {
		t.Errorf("voters %v, observers %v", voters, observers)
	}
}

func TestVotersAreTakenOutAndLetIn(t *testing.T) {
	w := three(t, 7)
	w.join(w.houses[0])
	w.agree()
	remove := kmsg.NewPtrRemoveRaftVoterRequest()
	for _, id := range []int32{0, 1} { // the leader, too
		remove.VoterID = id
		if r := w.ask(w.houses[2], remove).(*kmsg.RemoveRaftVoterResponse); r.ErrorCode != 0 {
			t.Errorf("removing voter %d: %v", id, kafka.ErrorCode(r.ErrorCode))
		}
		if id == 0 {
			w.votersAre(1, 2, 3)
		}
	}
	w.until("one voter", func() bool { voters, _, _ := w.quorum(w.houses[3]); return len(voters) == 1 })
	add := kmsg.NewPtrAddRaftVoterRequest()
	add.VoterID = 1
	if r := w.ask(w.houses[0], add).(*kmsg.AddRaftVoterResponse); r.ErrorCode != 0 {
		t.Errorf("adding a voter: %v", kafka.ErrorCode(r.ErrorCode))
	}
	w.votersAre(1, 2, 3)
	w.agree()
}

func TestAClusterThatSuffersComesBack(t *testing.T) {
	created := 0
	for seed := range uint64(20) {
		w := three(t, 100+seed)
		w.join(w.houses[0])
		w.agree()
		var acknowledged []string
		for step := range 60 {
			h := w.houses[w.chance.IntN(4)]
			switch w.chance.IntN(10) {
			case 0, 1:
				if h.life != nil {
					h.kill()
				}
			case 2, 3, 4:
				if h.life == nil {
					h.start()
				}
			case 5:
				w.loss = w.chance.IntN(3) * 10
			case 6:
				w.cut[h.number] = !w.cut[h.number]
			case 7:
				if h.life != nil && h.life.frozen {
					h.thaw()
				} else if h.life != nil {
					h.freeze()
				}
			default:
				if name := fmt.Sprintf("topic-%d", step); h.serves() && !h.life.frozen && !w.cut[h.number] && w.createTopic(h, name, 1) == kafka.None {
					acknowledged = append(acknowledged, name)
				}
			}
			w.world.Run(time.Duration(w.chance.IntN(2000)) * time.Millisecond)
		}
		w.loss, w.cut = 0, map[int]bool{}
		for _, h := range w.houses {
			if h.life == nil {
				h.start()
			} else if h.life.frozen {
				h.thaw()
			}
		}
		w.agree()
		for _, name := range acknowledged {
			if w.houses[0].life.node.Image().Topic(name) == nil {
				t.Errorf("seed %d: %s was acknowledged and is gone", seed, name)
			}
		}
		for _, h := range w.houses {
			if h.life.failure != nil {
				t.Errorf("seed %d: %v failed: %v", seed, h, h.life.failure)
			}
		}
		created += len(acknowledged)
	}
	if created < 20 {
		t.Errorf("only %d topics were created", created)
	}
}

func TestATopicThatWasCreatedByWayOfOneNodeIsKnownToAll(t *testing.T) {
	w := three(t, 21)
	w.join(w.houses[0]) // an observer, which pulls what the others are sent
	w.agree()
	for i := range 40 {
		name := fmt.Sprintf("topic-%d", i)
		w.far = 1 + (i+1)%4
		if code := w.createTopic(w.houses[i%4], name, 1); code != kafka.None {
			t.Fatal(code)
		}
		for _, h := range w.houses {
			if code := w.topicError(h, name); code != kafka.None {
				t.Fatalf("%v answers %v for a topic that was created by way of %v", h, code, w.houses[i%4])
			}
		}
	}
	if code := w.topicError(w.houses[1], "no-such-topic"); code != kafka.UnknownTopicOrPartition {
		t.Errorf("a topic that does not exist: %v", code)
	}
	// A node that reaches no controller answers what it knows, soon.
	var alone *house
	for _, h := range w.houses {
		if h == w.active() {
			continue
		}
		if alone == nil {
			alone = h
		}
	}
	w.cut[w.active().number] = true
	began := w.world.Now()
	if code := w.topicError(alone, "no-such-topic"); code != kafka.UnknownTopicOrPartition {
		t.Errorf("without a controller: %v", code)
	}
	if took := w.world.Now().Sub(began); took > time.Second {
		t.Errorf("without a controller that takes %v", took)
	}
}

// topicError is what a node answers in its metadata for a topic, which it is not to create.
func (t *town) topicError(h *house, name string) kafka.ErrorCode {
	t.t.Helper()
	request := kmsg.NewPtrMetadataRequest()
	request.Version = 9
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	request.Topics = append(request.Topics, topic)
	return kafka.ErrorCode(t.ask(h, request).(*kmsg.MetadataResponse).Topics[0].ErrorCode)
}

func TestLeadersGoBackToFirstReplicasByThemselves(t *testing.T) {
	for _, enabled := range []string{"true", "false"} {
		w := newTown(t, 22)
		w.config = config.Static{"leader.imbalance.check.interval.seconds": "20", "auto.leader.rebalance.enable": enabled}
		first := w.found()
		for range 2 {
			w.until("the node that joins serves", w.join(first).serves)
		}
		w.agree()
		if code := w.createTopic(first, "orders", 3); code != kafka.None {
			t.Fatal(code)
		}
		astray := func() (n int) {
			for _, p := range first.life.node.Image().Topic("orders").Partitions {
				if p.Leader != p.Replicas[0] {
					n++
				}
			}
			return n
		}
		w.houses[2].kill()
		w.until("others lead what it led", func() bool { return astray() > 0 })
		w.houses[2].start()
		w.agree()
		w.world.Run(time.Minute)
		if n := astray(); (n == 0) != (enabled == "true") {
			t.Errorf("auto.leader.rebalance.enable=%s: %d partitions are not led by their first replicas", enabled, n)
		}
	}
}

func TestWhoseDiskIsFullLeadsNothing(t *testing.T) {
	w := newTown(t, 24)
	w.config = config.Static{"leader.imbalance.check.interval.seconds": "20", "min.insync.replicas": "2"}
	first := w.found()
	for range 2 {
		w.until("the node that joins serves", w.join(first).serves)
	}
	w.agree()
	if code := w.createTopic(first, "orders", 3); code != kafka.None {
		t.Fatal(code)
	}
	leads := func(h *house) (n int) {
		for _, p := range w.active().life.node.Image().Topic("orders").Partitions {
			if int(p.Leader) == h.number-1 {
				n++
			}
		}
		return n
	}
	produce := func() (code kafka.ErrorCode) {
		request := kmsg.NewPtrProduceRequest()
		request.Version, request.Acks, request.TimeoutMillis = 9, -1, 5000
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = "orders"
		part := kmsg.NewProduceRequestTopicPartition()
		leader := w.active().life.node.Image().Partition("orders", 0).Leader
		batch := record.NewBuilder(record.Plain())
		batch.Add(1000, nil, []byte("an order"))
		part.Records = batch.Build()
		topic.Partitions = append(topic.Partitions, part)
		request.Topics = append(request.Topics, topic)
		return kafka.ErrorCode(w.ask(w.houses[leader], request).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
	}
	w.until("a produced record", func() bool { return produce() == kafka.None })
	full := w.houses[w.active().life.node.Image().Partition("orders", 0).Leader]
	before := leads(full)
	full.faulty.Add(vfs.Rule{Op: "write", Name: "/gregor/logs/*/*.log", Err: vfs.ErrNoSpace})
	if code := produce(); code != kafka.KafkaStorageError {
		t.Errorf("where there is no space a record is answered %v", code)
	}
	began := w.world.Now()
	w.until("others to lead", func() bool { return leads(full) == 0 })
	w.until("a record to be acknowledged", func() bool { return produce() == kafka.None })
	if took := w.world.Now().Sub(began); took > 3*time.Second {
		t.Errorf("nobody could produce for %v", took)
	}
	w.world.Run(time.Minute)
	if n := leads(full); n > 0 {
		t.Errorf("%d leaders came back to a disk that is full", n)
	}
	full.faulty.Clear()
	w.until("its leaders to come back", func() bool { return leads(full) == before })
}

func TestATopicIsCreatedOnceWhateverBecomesOfTheController(t *testing.T) {
	w := three(t, 23)
	for i := range 30 {
		// The controller is killed while it decides, or while its answer is under way.
		asked := w.houses[0]
		if asked == w.active() {
			asked = w.houses[1]
		}
		controller := w.active()
		w.world.Schedule(time.Duration(i)*200*time.Microsecond, controller.kill)
		if code := w.createTopic(asked, fmt.Sprintf("topic-%d", i), 3); code != kafka.None {
			t.Errorf("creating topic-%d at %v, while %v is killed: %v", i, asked, controller, code)
		}
		w.until("the controller is dead", func() bool { return controller.life == nil })
		controller.start()
		w.agree()
	}
}

func TestWhoAsksWhenALeaderWasJustKilledIsToldWhoLeadsInItsPlace(t *testing.T) {
	for dead := range 3 { // the active controller is one of them
		w := three(t, 41+uint64(dead))
		if code := w.createTopic(w.houses[0], "orders", 3); code != kafka.None {
			t.Fatal(code)
		}
		w.agree()
		w.world.Run(2 * time.Second)
		h, others := w.houses[dead], slices.Delete(slices.Clone(w.houses), dead, dead+1)
		id := h.id()
		h.kill()
		w.world.Run(20 * time.Millisecond) // the others' connections to it end
		for _, other := range others {
			began := w.world.Now()
			request := kmsg.NewPtrMetadataRequest()
			request.Version = 9
			for _, topic := range w.ask(other, request).(*kmsg.MetadataResponse).Topics {
				for _, p := range topic.Partitions {
					if kafka.NodeID(p.Leader) == id {
						t.Errorf("%v tells that %s-%d is led by node %d, which is dead", other, *topic.Topic, p.Partition, id)
					}
				}
			}
			if took := w.world.Now().Sub(began); took > 1200*time.Millisecond {
				t.Errorf("that took %v", took)
			}
		}
	}
}
