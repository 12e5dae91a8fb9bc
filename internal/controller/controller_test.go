package controller

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/sim"
)

// memoryLog is the quorum's log in memory. It numbers batches from 10, and commits at once unless it is held.
type memoryLog struct {
	batches  [][]byte
	held     bool
	over     bool
	listener func(int64)
}

const firstOffset = 10

func (l *memoryLog) end() int64 { return firstOffset + int64(len(l.batches)) }

func (l *memoryLog) Append(_ int32, batch []byte) (int64, error) {
	if l.over {
		return 0, kafka.NotLeaderOrFollower
	}
	l.batches = append(l.batches, batch)
	next := l.end()
	if !l.held {
		l.commit()
	}
	return next, nil
}

func (l *memoryLog) Read(from int64, visit func(int64, []byte) error) error {
	for n, batch := range l.batches {
		if offset := firstOffset + int64(n); offset >= from {
			if err := visit(offset, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *memoryLog) OnCommitted(f func(int64)) {
	if l.listener = f; f != nil && !l.held {
		f(l.end())
	}
}

func (l *memoryLog) commit() {
	if l.listener != nil {
		l.listener(l.end())
	}
}

// testConfigs knows a few keys.
type testConfigs struct{}

func (testConfigs) Check(_ metadata.ResourceType, _, key, value string) error {
	switch key {
	case "retention.ms", "min.insync.replicas":
		if strings.Trim(value, "0123456789") != "" || value == "" {
			return fmt.Errorf("%s must be a number, and %q is none", key, value)
		}
		return nil
	case "cleanup.policy", "unclean.leader.election.enable":
		return nil
	}
	return fmt.Errorf("there is no config %q", key)
}

func (testConfigs) IsList(_ metadata.ResourceType, key string) bool { return key == "cleanup.policy" }
func (testConfigs) Default(_ *metadata.Image, _ metadata.ResourceType, _, key string) string {
	return map[string]string{"cleanup.policy": "delete", "retention.ms": "604800000"}[key]
}
func (testConfigs) NumPartitions(*metadata.Image) int32     { return 2 }
func (testConfigs) ReplicationFactor(*metadata.Image) int16 { return 1 }
func (testConfigs) MinISR(i *metadata.Image, topic string) int {
	n := 1
	if v, ok := i.Config(metadata.TopicResource, topic, "min.insync.replicas"); ok {
		fmt.Sscan(v, &n)
	}
	return n
}
func (testConfigs) InternalReplicas(_ *metadata.Image, topic string) int {
	return map[string]int{kafka.GroupMetadataTopic: 3}[topic]
}
func (c testConfigs) TopicConfigs(_ *metadata.Image, set *metadata.Configs) (all []kmsg.CreateTopicsResponseTopicConfig) {
	for key, value := range set.All {
		entry := kmsg.NewCreateTopicsResponseTopicConfig()
		entry.Name, entry.Value, entry.Source = key, &value, 1
		all = append(all, entry)
	}
	return all
}

type cluster struct {
	*Controller
	t     testing.TB
	world *sim.World
	log   *memoryLog
	boots map[kafka.NodeID]uint64
	epoch map[kafka.NodeID]int64
}

// newCluster has the brokers 1 to n, registered and unfenced.
func newCluster(t testing.TB, brokers int) *cluster {
	c := &cluster{
		t: t, world: sim.New(1), log: &memoryLog{}, boots: map[kafka.NodeID]uint64{}, epoch: map[kafka.NodeID]int64{},
	}
	c.Controller = New(Options{
		Runtime: c.world, Configs: testConfigs{}, SessionTimeout: 6 * time.Second,
		Features: []metadata.FeatureRange{{Name: "group.version", Min: 0, Max: 1}},
		Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	batch, _ := metadata.Codec{Base: func() int64 { return -1 }}.Encode([]metadata.Record{&metadata.ClusterID{ID: "c"}}, 0)
	c.log.batches = [][]byte{batch}
	c.Lead(1, c.log)
	c.settle()
	for id := range kafka.NodeID(brokers) {
		c.boot(id + 1)
	}
	return c
}

// settle lets everything that is queued for now happen.
func (c *cluster) settle() { c.world.Run(time.Millisecond) }

func (c *cluster) broker(id kafka.NodeID) metadata.Broker {
	return metadata.Broker{
		ID: id, BootSequence: c.boots[id], Incarnation: [16]byte{byte(id), byte(c.boots[id])},
		Directories: []metadata.DirectoryID{{byte(id)}},
		Features:    []metadata.FeatureRange{{Name: "group.version", Min: 0, Max: 1}},
	}
}

func (c *cluster) register(b metadata.Broker) (epoch int64, err error) {
	epoch, err = -2, errors.New("not answered")
	c.RegisterBroker(Registration{b, "c"}, func(e int64, failed error) { epoch, err = e, failed })
	c.settle()
	return epoch, err
}

func (c *cluster) heartbeat(h Heartbeat) (reply HeartbeatReply, err error) {
	err = errors.New("not answered")
	if h.Epoch == 0 {
		h.Epoch, h.Applied = c.epoch[h.Broker], 1<<40
	}
	c.Heartbeat(h, func(r HeartbeatReply, failed error) { reply, err = r, failed })
	c.settle()
	return reply, err
}

// boot starts a broker, again if it runs.
func (c *cluster) boot(id kafka.NodeID) {
	c.t.Helper()
	c.boots[id]++
	epoch, err := c.register(c.broker(id))
	if err != nil {
		c.t.Fatal(err)
	}
	c.epoch[id] = epoch
	if r, err := c.heartbeat(Heartbeat{Broker: id}); err != nil || r.Fenced {
		c.t.Fatalf("after a heartbeat broker %d is %+v, %v", id, r, err)
	}
}

func (c *cluster) image() (i *metadata.Image) {
	f := metadata.NewFollower()
	if err := c.log.Read(0, f.Apply); err != nil {
		c.t.Fatal(err)
	}
	f.Publish()
	return f.Image()
}

func (c *cluster) partition(topic string, number int32) string {
	p := c.image().Partition(topic, number)
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("replicas=%v isr=%v elr=%v leader=%d/%d epoch=%d", p.Replicas, p.ISR, p.ELR, p.Leader, p.LeaderEpoch, p.PartitionEpoch)
}

func (c *cluster) expectPartition(topic string, number int32, want string) {
	c.t.Helper()
	if got := c.partition(topic, number); got != want {
		c.t.Errorf("partition %d of %s is\n %s, want\n %s", number, topic, got, want)
	}
}

func topic(name string, partitions int32, factor int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	for n := 0; n < len(configs); n += 2 {
		e := kmsg.NewCreateTopicsRequestTopicConfig()
		e.Name, e.Value = configs[n], &configs[n+1]
		t.Configs = append(t.Configs, e)
	}
	return t
}

func assigned(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	t := topic(name, -1, -1)
	for n, list := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(n), list
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	return t
}

func (c *cluster) create(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsResponse {
	return c.createAs(false, topics...)
}

func (c *cluster) createAs(validateOnly bool, topics ...kmsg.CreateTopicsRequestTopic) (resp *kmsg.CreateTopicsResponse) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics, req.ValidateOnly = 7, topics, validateOnly
	c.CreateTopics(req, func(r *kmsg.CreateTopicsResponse) { resp = r })
	c.settle()
	return resp
}

func (c *cluster) created(topics ...kmsg.CreateTopicsRequestTopic) {
	c.t.Helper()
	for _, r := range c.create(topics...).Topics {
		if r.ErrorCode != 0 {
			c.t.Fatalf("create %s: %v %s", r.Topic, kafka.ErrorCode(r.ErrorCode), *r.ErrorMessage)
		}
	}
}

func text(code int16, message *string) string {
	if message != nil {
		return kafka.ErrorCode(code).Error() + " " + *message
	}
	return kafka.ErrorCode(code).Error()
}

func TestATopicIsCreatedWithDefaultsAndConfigs(t *testing.T) {
	c := newCluster(t, 1)
	r := c.create(topic("a", -1, -1, "retention.ms", "5"), topic("b", 3, 1)).Topics
	if len(r) != 2 || r[0].ErrorCode != 0 || r[0].NumPartitions != 2 || r[0].ReplicationFactor != 1 || len(r[0].Configs) != 1 || r[1].NumPartitions != 3 {
		t.Fatalf("answered %+v", r)
	}
	i := c.image()
	a := i.Topic("a")
	if a.ID != r[0].TopicID || a.ID.IsZero() || a.ID.String()[0] == '-' || len(a.Partitions) != 2 || i.Configs(metadata.TopicResource, "a").Len() != 1 {
		t.Errorf("topic is %+v", a)
	}
	c.expectPartition("a", 0, "replicas=[1] isr=[1] elr=[] leader=1/0 epoch=0")
	if d := a.Partitions[0].Directories; !slices.Equal(d, []metadata.DirectoryID{{1}}) {
		t.Errorf("directories are %v", d)
	}
}

func TestARequestThatComesAgainFindsItsTopicsCreated(t *testing.T) {
	c := newCluster(t, 1)
	ask := func(token byte, names ...string) (codes []kafka.ErrorCode, ids []kafka.TopicID) {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		for _, name := range names {
			req.Topics = append(req.Topics, topic(name, 3, 1))
		}
		c.CreateTopicsOnce([16]byte{token}, req, func(r *kmsg.CreateTopicsResponse) {
			for _, one := range r.Topics {
				codes, ids = append(codes, kafka.ErrorCode(one.ErrorCode)), append(ids, one.TopicID)
				if one.ErrorCode == 0 && (one.NumPartitions != 3 || one.ReplicationFactor != 1) {
					t.Errorf("answered %+v", one)
				}
			}
		})
		c.settle()
		return codes, ids
	}
	first, ids := ask(7, "a", "b")
	again, same := ask(7, "b", "a", "c")
	if !slices.Equal(first, []kafka.ErrorCode{0, 0}) || !slices.Equal(again, []kafka.ErrorCode{0, 0, 0}) || ids[0] != same[1] || ids[1] != same[0] || ids[0] == ids[1] {
		t.Errorf("the same request is answered %v %v, and %v %v", first, ids, again, same)
	}
	if len(c.image().Topic("a").Partitions) != 3 {
		t.Errorf("the topic is %+v", c.image().Topic("a"))
	}
	if other, _ := ask(8, "a"); other[0] != kafka.TopicAlreadyExists {
		t.Errorf("another request is answered %v", other)
	}
	if r := c.create(topic("a", 3, 1)).Topics[0]; kafka.ErrorCode(r.ErrorCode) != kafka.TopicAlreadyExists {
		t.Errorf("a request without a token is answered %v", kafka.ErrorCode(r.ErrorCode))
	}
}

func TestTopicsAreRefusedWithAReason(t *testing.T) {
	c := newCluster(t, 2)
	c.created(topic("there", 1, 1), topic("dotted.name", 1, 1))
	null := topic("null", 1, 1, "retention.ms", "")
	null.Configs[0].Value = nil
	both := assigned("both", []int32{1})
	both.NumPartitions = 1
	factor := assigned("factor", []int32{1})
	factor.ReplicationFactor = 1
	twice := assigned("gap", []int32{1}, []int32{1})
	twice.ReplicaAssignment[1].Partition = 5
	for _, c2 := range []struct {
		topic kmsg.CreateTopicsRequestTopic
		want  kafka.ErrorCode
	}{
		{topic("there", 1, 1), kafka.TopicAlreadyExists},
		{topic("", 1, 1), kafka.InvalidTopicException},
		{topic("..", 1, 1), kafka.InvalidTopicException},
		{topic("with space", 1, 1), kafka.InvalidTopicException},
		{topic("ümlaut", 1, 1), kafka.InvalidTopicException},
		{topic(strings.Repeat("x", 250), 1, 1), kafka.InvalidTopicException},
		{topic("dotted_name", 1, 1), kafka.InvalidTopicException},
		{topic("__cluster_metadata", 1, 1), kafka.InvalidRequest},
		{topic("zero", 0, 1), kafka.InvalidPartitions},
		{topic("negative", -2, 1), kafka.InvalidPartitions},
		{topic("many", 20_000, 1), kafka.PolicyViolation},
		{topic("factor0", 1, 0), kafka.InvalidReplicationFactor},
		{topic("factor3", 1, 3), kafka.InvalidReplicationFactor},
		{topic("config", 1, 1, "no.such", "1"), kafka.InvalidConfig},
		{topic("config", 1, 1, "retention.ms", "soon"), kafka.InvalidConfig},
		{null, kafka.InvalidConfig},
		{both, kafka.InvalidRequest},
		{factor, kafka.InvalidRequest},
		{twice, kafka.InvalidReplicaAssignment},
		{assigned("none", []int32{}), kafka.InvalidReplicaAssignment},
		{assigned("stranger", []int32{9}), kafka.InvalidReplicaAssignment},
		{assigned("twice", []int32{1, 1}), kafka.InvalidReplicaAssignment},
		{assigned("uneven", []int32{1, 2}, []int32{1}), kafka.InvalidReplicaAssignment},
	} {
		before := len(c.log.batches)
		r := c.create(c2.topic).Topics
		if len(r) != 1 || kafka.ErrorCode(r[0].ErrorCode) != c2.want || r[0].ErrorMessage == nil || *r[0].ErrorMessage == "" {
			t.Errorf("%q is answered %v, want %v", c2.topic.Topic, text(r[0].ErrorCode, r[0].ErrorMessage), c2.want)
		}
		if len(c.log.batches) != before {
			t.Errorf("%q was refused, and something was written", c2.topic.Topic)
		}
	}
	r := c.create(topic("twin", 1, 1), topic("single", 1, 1), topic("twin", 2, 1), topic("x.y", 1, 1), topic("x_y", 1, 1)).Topics
	var got []string
	for _, r := range r {
		got = append(got, r.Topic+"="+kafka.ErrorCode(r.ErrorCode).Error())
	}
	if want := "twin=INVALID_REQUEST single=NONE x.y=NONE x_y=INVALID_TOPIC_EXCEPTION"; strings.Join(got, " ") != want {
		t.Errorf("answered %v, want %s", got, want)
	}
}

func TestAFactorAboveTheBrokersSaysHowManyThereAre(t *testing.T) {
	c := newCluster(t, 1)
	r := c.create(topic("t", 1, 3)).Topics[0]
	if want := "replication factor 3 needs as many live brokers, but there are 1 (1 registered)"; r.ErrorMessage == nil || *r.ErrorMessage != want {
		t.Errorf("answered %s", text(r.ErrorCode, r.ErrorMessage))
	}
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	c := newCluster(t, 1)
	before := len(c.log.batches)
	r := c.createAs(true, topic("t", 4, 1)).Topics[0]
	if r.ErrorCode != 0 || r.NumPartitions != 4 || r.TopicID != [16]byte{} || len(c.log.batches) != before {
		t.Errorf("answered %+v, %d batches written", r, len(c.log.batches)-before)
	}
}

func TestAnAnswerWaitsForTheQuorum(t *testing.T) {
	c := newCluster(t, 1)
	c.log.held = true
	if resp := c.create(topic("t", 1, 1)); resp != nil {
		t.Fatalf("answered before it was committed: %+v", resp)
	}
	if resp := c.create(topic("t", 1, 1)); resp != nil {
		t.Fatalf("refused on ground that is not committed: %+v", resp)
	}
	answered := 0
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic("u", 1, 1))
	c.CreateTopics(req, func(r *kmsg.CreateTopicsResponse) {
		answered++
		if kafka.ErrorCode(r.Topics[0].ErrorCode) != kafka.NotController {
			t.Errorf("answered %v when leadership was lost", kafka.ErrorCode(r.Topics[0].ErrorCode))
		}
	})
	c.settle()
	c.Resign()
	c.settle()
	if answered != 1 || c.Active() {
		t.Errorf("answered %d times, active %v", answered, c.Active())
	}
	if r := c.create(topic("v", 1, 1)); kafka.ErrorCode(r.Topics[0].ErrorCode) != kafka.NotController {
		t.Errorf("answered %+v when not active", r)
	}
}

func TestTopicsAreDeletedByNameOrId(t *testing.T) {
	c := newCluster(t, 1)
	c.created(topic("a", 1, 1), topic("b.b", 1, 1, "retention.ms", "5"), topic("c", 1, 1), topic("d", 1, 1))
	id := func(name string) [16]byte { return c.image().Topic(name).ID }
	named := func(name string, id [16]byte) kmsg.DeleteTopicsRequestTopic {
		r := kmsg.NewDeleteTopicsRequestTopic()
		if r.TopicID = id; name != "" {
			r.Topic = &name
		}
		return r
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	bID := id("b.b")
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		named("a", [16]byte{}), named("", bID), named("c", id("c")), named("", [16]byte{}), named("x", [16]byte{}),
		named("", [16]byte{9}), named("d", [16]byte{}), named("", id("d")),
	}
	var got []string
	c.DeleteTopics(req, func(r *kmsg.DeleteTopicsResponse) {
		for _, r := range r.Topics {
			got = append(got, kafka.ErrorCode(r.ErrorCode).Error())
		}
		if *r.Topics[1].Topic != "b.b" || r.Topics[0].TopicID == [16]byte{} {
			t.Errorf("answered %+v", r.Topics[:2])
		}
	})
	c.settle()
	want := "NONE NONE INVALID_REQUEST INVALID_REQUEST UNKNOWN_TOPIC_OR_PARTITION UNKNOWN_TOPIC_ID INVALID_REQUEST INVALID_REQUEST"
	if strings.Join(got, " ") != want || c.image().TopicCount() != 2 || c.image().Configs(metadata.TopicResource, "b.b").Len() != 0 {
		t.Errorf("answered %v, %d topics are left", got, c.image().TopicCount())
	}
	old := kmsg.NewPtrDeleteTopicsRequest()
	old.Version, old.TopicNames = 3, []string{"c", "a"}
	got = nil
	c.DeleteTopics(old, func(r *kmsg.DeleteTopicsResponse) {
		for _, r := range r.Topics {
			got = append(got, *r.Topic+"="+kafka.ErrorCode(r.ErrorCode).Error())
		}
	})
	c.settle()
	if strings.Join(got, " ") != "c=NONE a=UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("answered %v", got)
	}
	c.created(topic("b_b", 1, 1)) // the name is free again
	c.created(topic("a", 1, 1))
	if c.image().TopicByID(bID) != nil {
		t.Error("an id came back")
	}
}

func TestPartitionsAreAdded(t *testing.T) {
	c := newCluster(t, 2)
	c.created(topic("t", 2, 2))
	add := func(name string, count int32, assignment ...[]int32) string {
		req := kmsg.NewPtrCreatePartitionsRequest()
		r := kmsg.NewCreatePartitionsRequestTopic()
		r.Topic, r.Count = name, count
		for _, list := range assignment {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = list
			r.Assignment = append(r.Assignment, a)
		}
		req.Topics = append(req.Topics, r)
		got := "not answered"
		c.CreatePartitions(req, func(r *kmsg.CreatePartitionsResponse) { got = kafka.ErrorCode(r.Topics[0].ErrorCode).Error() })
		c.settle()
		return got
	}
	for _, x := range []struct{ got, want string }{
		{add("t", 2), "INVALID_PARTITIONS"},
		{add("t", 1), "INVALID_PARTITIONS"},
		{add("x", 3), "UNKNOWN_TOPIC_OR_PARTITION"},
		{add("t", 4, []int32{1, 2}), "INVALID_REPLICA_ASSIGNMENT"},
		{add("t", 3, []int32{1}), "INVALID_REPLICA_ASSIGNMENT"},
		{add("t", 3, []int32{2, 1}), "NONE"},
		{add("t", 5), "NONE"},
	} {
		if x.got != x.want {
			t.Errorf("answered %s, want %s", x.got, x.want)
		}
	}
	c.expectPartition("t", 2, "replicas=[2 1] isr=[2 1] elr=[] leader=2/0 epoch=0")
	if n := len(c.image().Topic("t").Partitions); n != 5 {
		t.Errorf("there are %d partitions", n)
	}
}

func TestTheClusterGetsTheTopicsThatItNeeds(t *testing.T) {
	c := newCluster(t, 1)
	spec := TopicSpec{kafka.GroupMetadataTopic, 50, 3, []metadata.ConfigEntry{{Key: "cleanup.policy", Value: "compact"}}}
	for range 2 {
		err := errors.New("not answered")
		c.EnsureTopic(spec, func(e error) { err = e })
		c.settle()
		if err != nil {
			t.Fatal(err)
		}
	}
	i := c.image()
	if v, _ := i.Config(metadata.TopicResource, kafka.GroupMetadataTopic, "cleanup.policy"); v != "compact" || i.PartitionCount() != 50 {
		t.Errorf("%d partitions, cleanup.policy=%q", i.PartitionCount(), v)
	}
}
