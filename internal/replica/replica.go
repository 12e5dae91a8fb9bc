// Package replica is many copies and one log: what a node does with the partitions that the metadata gives it.
//
// It appends what producers send, replicates from the leaders that it follows, moves high watermarks, answers fetches, and
// lets requests wait for what has not happened yet. A record counts as committed, and may be read, once every in-sync
// replica has it on stable storage (or in memory, where a topic asks for no more).
//
// It promises that nothing is readable before it is committed, that produce requests with acks=all are answered only
// after that, that batches of one connection are appended in the order they came in, that every request that waits is
// answered exactly once, and that no callback runs under a partition's lock.
// The API rooms call it with requests, node with metadata. It does not decode requests, know clients, or decide who leads:
// it proposes who is in sync, and the controller decides.
package replica

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/storage"
)

// Settings are what a topic's configs say about its partitions.
type Settings struct {
	Storage storage.Options
	Limits  record.Limits
	// Memory is ack.durability=memory: a record counts once it is in the log, not once it is on disk.
	Memory bool
	// MinInsync is min.insync.replicas.
	MinInsync int
	Throttle  Throttle
}

// Configs tells what is set for a topic. Package node makes it of the table of keys.
type Configs interface {
	TopicSettings(topic string) Settings
}

// Options are what a Manager is made of.
type Options struct {
	Runtime   loop.Runtime
	Node      kafka.NodeID
	Directory *storage.Directory
	Logger    *slog.Logger
	// Openers is how many logs are opened at a time (num.recovery.threads.per.data.dir).
	Openers int

	// What follows is for clusters; a node that is alone needs none of it.

	// Network reaches other nodes, at the addresses that Address knows.
	Network peer.Network
	Address func(*metadata.Broker) (peer.Address, bool)
	// AlterPartition asks the active controller for other ISRs. An error says that it is not known what became of it.
	AlterPartition func(*kmsg.AlterPartitionRequest, func(*kmsg.AlterPartitionResponse, error))
	// AssignDirectories tells the active controller where replicas are (AssignReplicasToDirs), which is that some are damaged.
	AssignDirectories func(*kmsg.AssignReplicasToDirsRequest, func(*kmsg.AssignReplicasToDirsResponse, error))
	// MaxLag is how long a follower may be behind and stay in sync (replica.lag.time.max.ms), and MaxHold how long it alone may
	// keep records from being committed (replica.slow.evict.ms).
	MaxLag, MaxHold time.Duration
	Fetching        Fetching
	// Quota is over what the rates of throttled replicas are measured; the zero value is Kafka's default.
	Quota QuotaWindow
}

// Fetching bounds the fetches of a follower.
type Fetching struct {
	Wait              time.Duration // replica.fetch.wait.max.ms
	MaxBytes          int32         // replica.fetch.response.max.bytes
	MaxPartitionBytes int32         // replica.fetch.max.bytes
}

// Watcher hears of other brokers by what becomes of this node's fetches from them.
type Watcher interface {
	BrokerLost(kafka.NodeID)  // a fetch had no answer
	BrokerHeard(kafka.NodeID) // one was answered
}

// Watch has somebody hear of other brokers. It is called before anything is applied.
func (m *Manager) Watch(w Watcher) { m.watcher = w }

// Stats count what went through the node's partitions.
type Stats struct {
	BatchesIn, RecordsIn, BytesIn atomic.Int64
	BytesOut                      atomic.Int64
	BytesReplicated               atomic.Int64 // from leaders to this node
	ProduceRequests               atomic.Int64
	FetchRequests                 atomic.Int64
	FailedProduce                 atomic.Int64
	FailedFetch                   atomic.Int64
}

// Manager holds this node's replicas.
type Manager struct {
	Stats    Stats
	Sessions *Sessions

	rt        loop.Runtime
	node      kafka.NodeID
	directory *storage.Directory
	logger    *slog.Logger
	delayed   loop.Loop
	openers   []loop.Loop
	deadlines deadlines

	network           peer.Network
	addressOf         func(*metadata.Broker) (peer.Address, bool)
	alterPartition    func(*kmsg.AlterPartitionRequest, func(*kmsg.AlterPartitionResponse, error))
	assignDirectories func(*kmsg.AssignReplicasToDirsRequest, func(*kmsg.AssignReplicasToDirsResponse, error))
	lag               lag
	fetching          Fetching
	sent, taken       *quota // of throttled replicas: to followers, and from leaders
	proposals         *proposals
	starts            *starts
	watcher           Watcher // nil for nobody

	// image is the metadata that is being applied, or has been.
	image atomic.Pointer[metadata.Image]
	// registered says that the metadata has this life of the broker. Before that, it may only have an earlier one's roles: to
	// take them up again without what that one had not made durable would give two histories to one leader epoch.
	registered atomic.Bool

	linking sync.Mutex
	links   map[kafka.NodeID]*link

	reopening sync.Mutex // held while a log that did not open is tried again; taken before any other
	closed    bool

	mu     sync.RWMutex
	byName map[string]*Topic
	byID   map[kafka.TopicID]*Topic
}

// Topic is a topic of which this node may hold replicas.
type Topic struct {
	Name       string
	ID         kafka.TopicID
	partitions atomic.Pointer[[]*Partition] // by number; nil where this node has no replica
}

// Partition finds a partition; nil where this node has no replica of it.
func (t *Topic) Partition(number int32) *Partition {
	if t == nil {
		return nil
	}
	list := *t.partitions.Load()
	if number < 0 || int(number) >= len(list) {
		return nil
	}
	return list[number]
}

// Count is how many partitions the topic has in the cluster.
func (t *Topic) Count() int { return len(*t.partitions.Load()) }

// minOpeners is how many logs are opened at a time at least. Opening one mostly waits for the disk, also where a new one
// is made: with 16 at a time, 3,000 partitions were made in 2.4 s rather than 4.
const minOpeners = 16

// New makes a manager without replicas.
func New(o Options) *Manager {
	m := &Manager{rt: o.Runtime, node: o.Node, directory: o.Directory, logger: o.Logger,
		delayed: o.Runtime.Loop("delayed"), byName: map[string]*Topic{}, byID: map[kafka.TopicID]*Topic{},
		network: o.Network, addressOf: o.Address, alterPartition: o.AlterPartition, assignDirectories: o.AssignDirectories, lag: lag{o.MaxLag, o.MaxHold},
		fetching: o.Fetching, sent: newQuota(o.Quota), taken: newQuota(o.Quota), links: map[kafka.NodeID]*link{}}
	m.image.Store(metadata.Empty())
	m.starts = &starts{manager: m, loop: o.Runtime.Loop("log starts"), moved: map[*Partition]bool{}}
	m.proposals = &proposals{manager: m, loop: o.Runtime.Loop("proposals")}
	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}
	for range max(o.Openers, minOpeners) {
		m.openers = append(m.openers, o.Runtime.Loop("open"))
	}
	m.deadlines.init(m.rt, m.delayed)
	m.Sessions = newSessions(o.Runtime, defaultSessions)
	return m
}

// Topic finds a topic by the bytes of its name, without copying them.
func (m *Manager) Topic(name []byte) *Topic {
	m.mu.RLock()
	t := m.byName[string(name)]
	m.mu.RUnlock()
	return t
}

// TopicNamed finds a topic by name.
func (m *Manager) TopicNamed(name string) *Topic {
	m.mu.RLock()
	t := m.byName[name]
	m.mu.RUnlock()
	return t
}

// TopicByID finds a topic by id.
func (m *Manager) TopicByID(id kafka.TopicID) *Topic {
	m.mu.RLock()
	t := m.byID[id]
	m.mu.RUnlock()
	return t
}

// Partitions visits all partitions of which this node has a replica, in no order that means anything.
func (m *Manager) Partitions(visit func(*Partition)) {
	m.mu.RLock()
	topics := make([]*Topic, 0, len(m.byName))
	for _, t := range m.byName { // any order
		topics = append(topics, t)
	}
	m.mu.RUnlock()
	sortTopics(topics)
	for _, t := range topics {
		for _, p := range *t.partitions.Load() {
			if p != nil {
				visit(p)
			}
		}
	}
}

// brokerEpoch is that of a broker's registration; -1 for none.
func (m *Manager) brokerEpoch(id kafka.NodeID) int64 {
	if b := m.image.Load().Broker(id); b != nil {
		return b.Epoch
	}
	return -1
}

// ownEpoch is that of this node's registration.
func (m *Manager) ownEpoch() int64 { return m.brokerEpoch(m.node) }

// eligible reports whether a broker, in the life that has the epoch, may join an ISR (KIP-903).
func (m *Manager) eligible(id kafka.NodeID, brokerEpoch int64) bool {
	b := m.image.Load().Broker(id)
	return b.Active() && b.Epoch == brokerEpoch
}

// address is where a broker is reached.
func (m *Manager) address(id kafka.NodeID) (peer.Address, bool) {
	b := m.image.Load().Broker(id)
	if b == nil {
		return peer.Address{}, false
	}
	return m.addressOf(b)
}

// Directory is where the logs are.
func (m *Manager) Directory() *storage.Directory { return m.directory }

func (m *Manager) now() int64 { return m.rt.Now().UnixMilli() }

// after runs f on the loop for waiting.
func (m *Manager) after(d time.Duration, f func()) (stop func()) { return m.delayed.After(d, f) }
