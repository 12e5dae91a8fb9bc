package replica_test

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/raft"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// cluster is a handful of brokers that replicate one topic, in one goroutine under a seed: their disks lose what was not
// synced, their messages are late, lost and cut off. The controller is a real one whose own disk is spared.
type cluster struct {
	t          *testing.T
	world      *sim.World
	chance     *rand.Rand
	controller *controller.Controller
	follower   *metadata.Follower
	settings   replica.Settings
	brokers    []*broker
	cut        map[[2]int]bool // from one broker to another: nothing arrives
	calm       bool            // no more losses
	quiet      *slog.Logger

	produced, answered int
	acked              map[int64]string // by offset
	seen               map[int64]string // what any consumer has read
	failures           map[kafka.ErrorCode]int
}

// broker is one of them; life is what runs of it, nil while it is down.
type broker struct {
	c    *cluster
	n    int
	disk *vfs.Memory
	life *life
}

type life struct {
	b         *broker
	directory *storage.Directory
	replicas  *replica.Manager
	api       *api.API
	queue     []*metadata.Delta
	busy      bool
	applied   int64
	image     *metadata.Image
	epoch     int64
	dead      bool
	lines     map[[2]int]*line // to whom and on which lane
}

var errLost = fmt.Errorf("%w: the network", peer.ErrUnreachable)

type testConfigs struct{ c *cluster }

func (testConfigs) Check(metadata.ResourceType, string, string, string) error { return nil }
func (testConfigs) IsList(metadata.ResourceType, string) bool                 { return false }
func (testConfigs) Default(*metadata.Image, metadata.ResourceType, string, string) string {
	return ""
}

func (testConfigs) TopicConfigs(*metadata.Image, *metadata.Configs) []kmsg.CreateTopicsResponseTopicConfig {
	return nil
}
func (testConfigs) NumPartitions(*metadata.Image) int32          { return 1 }
func (testConfigs) ReplicationFactor(*metadata.Image) int16      { return 3 }
func (c testConfigs) MinISR(*metadata.Image, string) int         { return c.c.settings.MinInsync }
func (testConfigs) InternalReplicas(*metadata.Image, string) int { return 0 }

func newCluster(t *testing.T, seed uint64, brokers int, adjust func(*replica.Settings)) *cluster {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	c := &cluster{t: t, world: sim.New(seed), chance: rand.New(rand.NewPCG(seed, 99)), cut: map[[2]int]bool{}, calm: true,
		quiet: slog.New(slog.NewTextHandler(io.Discard, nil)),
		acked: map[int64]string{}, seen: map[int64]string{}, failures: map[kafka.ErrorCode]int{}}
	o := storage.DefaultOptions()
	o.SegmentBytes = 20_000
	c.settings = replica.Settings{Storage: o, MinInsync: 2, Limits: record.Limits{MaxBytes: 1 << 20, SegmentBytes: 1 << 20,
		BeforeMaxMs: 1 << 60, AfterMaxMs: 1 << 60, Compression: record.KeepCodec}}
	if adjust != nil {
		adjust(&c.settings)
	}
	c.startController()
	for n := range brokers {
		disk := vfs.NewMemory()
		if err := vfs.MakeFolder(disk, "data"); err != nil {
			t.Fatal(err)
		}
		c.brokers = append(c.brokers, &broker{c: c, n: n + 1, disk: disk})
		c.brokers[n].start()
	}
	c.until("every broker is live", func() bool {
		live := 0
		c.follower.Image().Brokers(func(b *metadata.Broker) bool {
			if b.Active() {
				live++
			}
			return true
		})
		return live == brokers
	})
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "orders", 1, int16(min(brokers, 3))
	create.Topics = append(create.Topics, topic)
	c.controller.CreateTopics(create, func(r *kmsg.CreateTopicsResponse) {
		if code := r.Topics[0].ErrorCode; code != 0 {
			t.Fatal(kafka.ErrorCode(code))
		}
	})
	c.until("the topic has a leader", func() bool { return c.leader() != nil })
	return c
}

func (c *cluster) startController() {
	fs := vfs.NewMemory()
	_ = fs.MkdirAll("quorum")
	c.follower = metadata.NewFollower()
	c.controller = controller.New(controller.Options{Runtime: c.world, Configs: testConfigs{c}, SessionTimeout: 2 * time.Second, Log: c.quiet})
	var quorum *raft.Node
	quorum, err := raft.Open(raft.Options{Runtime: c.world, FS: fs, Dir: "quorum", Node: 1000, ClusterID: "c", Machine: c.follower, Log: c.quiet,
		Bootstrap: func(id string) (batches [][]byte) {
			d := metadata.Empty().Delta()
			d.Replay(1, &metadata.ClusterID{ID: id})
			_ = d.Image().Snapshot(0, func(b []byte) error { batches = append(batches, slices.Clone(b)); return nil })
			return batches
		},
		OnLeader: func(epoch int32, leads bool) {
			if leads {
				c.controller.Lead(epoch, quorum)
			}
		},
		Failed: func(err error) { c.t.Error(err) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	quorum.Start()
	c.until("the controller is active", c.controller.Active)
}

func (c *cluster) until(what string, holds func() bool) {
	c.t.Helper()
	if !c.world.RunUntil(30*time.Second, holds) {
		c.t.Fatalf("after 30 s it does not come to be that %s", what)
	}
}

func (c *cluster) between(a, b time.Duration) time.Duration {
	return a + time.Duration(c.chance.Int64N(int64(b-a)))
}

// start brings a broker up on what its disk has.
func (b *broker) start() {
	c := b.c
	l := &life{b: b, epoch: -1, image: metadata.Empty(), lines: map[[2]int]*line{}}
	var err error
	l.directory, err = storage.OpenDirectory(c.world, b.disk, "data/logs", storage.DirectoryConfig{ClusterID: "c", NodeID: kafka.NodeID(b.n), Logger: c.quiet,
		OnFailed: func(err error) {
			if !l.dead {
				c.t.Errorf("broker %d: %v", b.n, err)
			}
		}})
	if err != nil {
		c.t.Fatal(err)
	}
	l.replicas = replica.New(replica.Options{Runtime: deadly{c.world, l}, Node: kafka.NodeID(b.n), Directory: l.directory, Logger: c.quiet,
		Network: network{l}, MaxLag: 3 * time.Second, MaxHold: time.Second,
		Address: func(m *metadata.Broker) (peer.Address, bool) {
			return peer.Address{Host: "broker", Port: uint16(m.ID)}, true
		},
		AlterPartition: func(r *kmsg.AlterPartitionRequest, answered func(*kmsg.AlterPartitionResponse, error)) {
			l.control(func(back func(func())) {
				c.controller.AlterPartition(r, func(resp *kmsg.AlterPartitionResponse) { back(func() { answered(resp, nil) }) })
			}, func() { answered(nil, errLost) })
		},
		AssignDirectories: func(r *kmsg.AssignReplicasToDirsRequest, answered func(*kmsg.AssignReplicasToDirsResponse, error)) {
			l.control(func(back func(func())) {
				c.controller.AssignReplicasToDirs(r, func(resp *kmsg.AssignReplicasToDirsResponse) { back(func() { answered(resp, nil) }) })
			}, func() { answered(nil, errLost) })
		},
		Fetching: replica.Fetching{Wait: 500 * time.Millisecond, MaxBytes: 1 << 20, MaxPartitionBytes: 10_000}})
	l.api = api.New(api.Options{Runtime: c.world, Node: kafka.NodeID(b.n), Image: func() *metadata.Image { return l.image }, Replicas: l.replicas,
		Controller: c.controller, Layers: func(*metadata.Image, string) config.Layers { return config.Layers{} },
		Advertised: func(server.Peer) (string, int32) { return "broker", int32(b.n) }})
	b.life = l
	c.follower.Subscribe(func(d *metadata.Delta) {
		if !l.dead {
			l.queue = append(l.queue, d)
			l.later(c.between(0, 30*time.Millisecond), l.apply)
		}
	})
	l.register()
}

// deadly is the world as a life sees it, in which everything stops with it.
type deadly struct {
	*sim.World
	life *life
}

type deadlyLoop struct {
	loop.Loop
	life *life
}

func (r deadly) Loop(name string) loop.Loop { return deadlyLoop{r.World.Loop(name), r.life} }

func (l *life) living(f func()) func() {
	return func() {
		if !l.dead {
			f()
		}
	}
}

func (d deadlyLoop) Do(f func()) { d.Loop.Do(d.life.living(f)) }
func (d deadlyLoop) After(t time.Duration, f func()) func() {
	return d.Loop.After(t, d.life.living(f))
}

func (l *life) later(d time.Duration, f func()) { l.b.c.world.Schedule(d, l.living(f)) }

// apply has the replicas take over what the metadata says, one delta after another.
func (l *life) apply() {
	if l.busy || len(l.queue) == 0 {
		return
	}
	l.busy = true
	d := l.queue[0]
	l.queue = l.queue[1:]
	l.replicas.Apply(d, l.b.c, func() {
		l.image, l.applied, l.busy = d.Image(), d.Image().Offset(), false
		l.apply()
	})
}

// TopicSettings is the same for all.
func (c *cluster) TopicSettings(string) replica.Settings { return c.settings }

// control brings a question to the controller and the answer back, or neither.
func (l *life) control(ask func(back func(func())), lost func()) {
	c := l.b.c
	if !c.calm && c.chance.IntN(20) == 0 {
		l.later(c.between(0, time.Second), lost)
		return
	}
	l.later(c.between(100*time.Microsecond, 5*time.Millisecond), func() {
		ask(func(answer func()) {
			if !c.calm && c.chance.IntN(20) == 0 {
				answer = lost // it was carried out all the same
			}
			l.later(c.between(100*time.Microsecond, 5*time.Millisecond), answer)
		})
	})
}

func (l *life) register() {
	meta := l.directory.Meta()
	b := metadata.Broker{ID: kafka.NodeID(l.b.n), BootSequence: uint64(meta.BootSeq), Incarnation: [16]byte{byte(meta.BootSeq)},
		Rack: fmt.Sprint("rack ", l.b.n), Directories: []metadata.DirectoryID{metadata.DirectoryID(meta.DirectoryID)}}
	l.control(func(back func(func())) {
		l.b.c.controller.RegisterBroker(controller.Registration{Broker: b, Cluster: "c"}, func(epoch int64, err error) {
			back(func() {
				if err != nil {
					l.register()
					return
				}
				l.epoch = epoch
				l.beat()
			})
		})
	}, l.register)
}

func (l *life) beat() {
	again := func() { l.later(200*time.Millisecond, l.beat) }
	h := controller.Heartbeat{Broker: kafka.NodeID(l.b.n), Epoch: l.epoch, Applied: l.applied}
	l.control(func(back func(func())) {
		l.b.c.controller.Heartbeat(h, func(_ controller.HeartbeatReply, err error) {
			back(func() {
				if err == kafka.StaleBrokerEpoch {
					l.register()
					return
				}
				again()
			})
		})
	}, again)
}

// stop ends a broker as kill does, or with its power.
func (b *broker) stop(power bool) {
	if b.life == nil {
		return
	}
	dead := b.life
	dead.dead, b.life = true, nil
	for _, other := range b.c.brokers {
		if other.life == nil {
			continue
		}
		for _, key := range slices.SortedFunc(maps.Keys(other.life.lines), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }) {
			if k := other.life.lines[key]; k.to == dead {
				other.life.later(b.c.between(0, 50*time.Millisecond), k.breakOff)
			}
		}
	}
	if power {
		b.disk = b.disk.Crash(b.c.chance)
	}
	b.disk = b.disk.Clone() // without the lock of the dead
}

// leader is the broker that the metadata says leads, if it runs.
func (c *cluster) leader() *broker {
	p := c.follower.Image().Partition("orders", 0)
	if p == nil || p.Leader == kafka.NoNode {
		return nil
	}
	return c.brokers[p.Leader-1]
}

func (l *life) partition() *replica.Partition {
	return l.replicas.TopicNamed("orders").Partition(0)
}

// produce sends a batch to some broker that may lead, and notes what it is told.
func (c *cluster) produce(acks int16) {
	b := c.leader()
	if b == nil || b.life == nil {
		return
	}
	l, value := b.life, fmt.Sprintf("record-%d", c.produced)
	p := l.partition()
	if p == nil {
		return
	}
	c.produced++
	builder := record.NewBuilder(record.Plain())
	for n := range 1 + c.chance.IntN(4) {
		builder.Add(c.world.Now().UnixMilli(), nil, fmt.Appendf(nil, "%s.%d", value, n))
	}
	batch := builder.Build()
	count := int64(batch.Count())
	r := &replica.Produce{}
	r.Done = func() {
		c.answered++
		if c.failures[r.Batches[0].Err]++; r.Batches[0].Err != kafka.None || acks != -1 || l.dead {
			return
		}
		for n := range count {
			offset := r.Batches[0].BaseOffset + n
			if old := c.acked[offset]; old != "" {
				c.t.Errorf("offset %d is acknowledged for %s.%d and for %s", offset, value, n, old)
			}
			c.acked[offset] = fmt.Sprintf("%s.%d", value, n)
		}
	}
	r.Begin(acks, 2000, 1)
	r.Stage(0, p, batch, c.world.Now().UnixMilli())
	d := l.replicas.NewDrain()
	d.Add(r)
	d.Flush()
}

// consume reads everything that a broker shows, and compares it with what was seen before.
func (c *cluster) consume(b *broker) {
	if b.life == nil || b.life.partition() == nil {
		return
	}
	for from := int64(0); ; {
		want := replica.FetchPartition{Number: 0, Epoch: -1, LastEpoch: -1, Offset: from, MaxBytes: 1 << 20}
		want.ID = b.life.partition().TopicID
		b.life.replicas.Resolve(&want, true)
		f := &replica.Fetch{Anywhere: true, MaxBytes: 1 << 20, Partitions: []replica.FetchPartition{want}, Done: func(*replica.Fetch) {}}
		b.life.replicas.Fetch(f)
		r := &f.Results[0]
		if r.Error != kafka.None || r.Records.Size == 0 {
			r.Records.Release()
			return
		}
		data := make([]byte, r.Records.Size)
		if _, err := r.Records.File.ReadAt(data, r.Records.Position); err != nil {
			c.t.Fatal(err)
		}
		r.Records.Release()
		eachRecord(c.t, data, func(offset int64, value string) {
			if old, ok := c.seen[offset]; ok && old != value {
				c.t.Fatalf("broker %d shows %s at offset %d, where %s was seen", b.n, value, offset, old)
			}
			c.seen[offset] = value
			from = offset + 1
		})
	}
}

func eachRecord(t *testing.T, data []byte, visit func(offset int64, value string)) {
	t.Helper()
	if err := record.Split(data, func(b record.Batch) error {
		return b.Records(1<<20, func(r record.Record) error {
			visit(r.Offset, string(r.Value))
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// fault does something bad.
func (c *cluster) fault() {
	b := c.brokers[c.chance.IntN(len(c.brokers))]
	other := c.brokers[c.chance.IntN(len(c.brokers))]
	switch c.chance.IntN(10) {
	case 0:
		b.stop(false)
	case 1:
		b.stop(true)
	case 2:
		if c.chance.IntN(4) == 0 {
			for _, b := range c.brokers {
				b.stop(true)
			}
		}
	case 3:
		c.cut[[2]int{b.n, other.n}] = true
	case 4, 5:
		clear(c.cut)
	default:
		if b.life == nil {
			b.start()
		}
	}
}

// heal ends all trouble, and waits until everybody is in sync.
func (c *cluster) heal() {
	c.calm = true
	clear(c.cut)
	for _, b := range c.brokers {
		if b.life == nil {
			b.start()
		}
	}
	c.until("all replicas are in sync and agree", func() bool {
		p := c.follower.Image().Partition("orders", 0)
		if p.Leader == kafka.NoNode || len(p.ISR) != len(p.Replicas) {
			return false
		}
		end := int64(-1)
		for _, id := range p.Replicas {
			q := c.brokers[id-1].life.partition()
			if q == nil || q.Log() == nil {
				return false
			}
			if end < 0 {
				end = q.Log().End()
			}
			if q.Log().End() != end || q.HighWatermark() != end {
				return false
			}
		}
		return true
	})
}

// judge compares everything that was promised with what there is, on every replica.
func (c *cluster) judge() {
	c.t.Helper()
	for _, id := range c.follower.Image().Partition("orders", 0).Replicas {
		log, has := c.brokers[id-1].life.partition().Log(), map[int64]string{}
		for from := log.LogStart(); from < log.End(); {
			r, err := log.Read(from, 1<<20, log.End(), true)
			if err != nil {
				c.t.Fatal(err)
			}
			data := make([]byte, r.Size)
			if _, err := r.ReadAt(data, 0); err != nil {
				c.t.Fatal(err)
			}
			eachRecord(c.t, data, func(offset int64, value string) { has[offset] = value })
			from = r.NextOffset
			r.Release()
		}
		for offset, value := range c.acked { // any order
			if has[offset] != value {
				c.t.Errorf("broker %d has %q at offset %d, where %q was acknowledged", id, has[offset], offset, value)
			}
		}
		for offset, value := range c.seen { // any order
			if has[offset] != value {
				c.t.Errorf("broker %d has %q at offset %d, where %q was read", id, has[offset], offset, value)
			}
		}
	}
}

func (c *cluster) live(rounds int) {
	for range rounds {
		for range c.chance.IntN(8) {
			c.produce([]int16{-1, -1, 1}[c.chance.IntN(3)])
		}
		if !c.calm && c.chance.IntN(3) == 0 {
			c.fault()
		}
		c.world.Run(time.Duration(c.chance.IntN(300)) * time.Millisecond)
		for _, b := range c.brokers {
			if b.life != nil && c.chance.IntN(5) == 0 {
				b.life.replicas.WatchFollowers()
			}
		}
		for _, b := range c.brokers {
			c.consume(b)
		}
	}
}

func TestRecordsAreReplicatedBeforeTheyAreAcknowledged(t *testing.T) {
	c := newCluster(t, 1, 3, nil)
	c.live(50)
	c.heal()
	c.judge()
	if len(c.acked) < 50 || c.failures[kafka.None] != c.answered {
		t.Errorf("%d records were acknowledged; answers: %v", len(c.acked), c.failures)
	}
}

func TestConsumersAreSentToReplicasInTheirRacks(t *testing.T) {
	c := newCluster(t, 1, 3, nil)
	c.live(20)
	c.heal()
	leader, p := c.leader(), c.follower.Image().Partition("orders", 0)
	fetch := func(b *broker, rack string, offset int64) wire.FetchResult {
		want := replica.FetchPartition{ID: b.life.partition().TopicID, Epoch: -1, LastEpoch: -1, Offset: offset, MaxBytes: 1 << 20}
		b.life.replicas.Resolve(&want, true)
		f := &replica.Fetch{Anywhere: true, Rack: rack, MaxBytes: 1 << 20, Partitions: []replica.FetchPartition{want}, Done: func(*replica.Fetch) {}}
		b.life.replicas.Fetch(f)
		f.Results[0].Records.Release()
		return f.Results[0]
	}
	near := p.Replicas[1]
	if near == p.Leader {
		near = p.Replicas[0]
	}
	if r := fetch(leader, fmt.Sprint("rack ", near), 0); r.PreferredReplica != near || r.Records.Size > 0 {
		t.Errorf("a client in the rack of broker %d is sent to %d with %d bytes", near, r.PreferredReplica, r.Records.Size)
	}
	if r := fetch(c.brokers[near-1], fmt.Sprint("rack ", near), 0); r.Error != kafka.None || r.Records.Size == 0 || r.PreferredReplica != kafka.NoNode {
		t.Errorf("the replica near by answers %+v", r)
	}
	for _, rack := range []string{"", "rack 77", fmt.Sprint("rack ", leader.n)} {
		if r := fetch(leader, rack, 0); r.PreferredReplica != kafka.NoNode || r.Records.Size == 0 {
			t.Errorf("a client in rack %q is sent to %d with %d bytes", rack, r.PreferredReplica, r.Records.Size)
		}
	}
}

func TestNothingAcknowledgedIsLostWhateverHappens(t *testing.T) {
	seeds, acked := uint64(60), 0
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newCluster(t, seed, 3+int(seed%3), func(s *replica.Settings) { s.MinInsync = 1 + int(seed%2) })
			c.calm = false
			c.live(120)
			c.heal()
			c.judge()
			acked += len(c.acked)
		})
	}
	t.Logf("%d records were acknowledged", acked)
}
