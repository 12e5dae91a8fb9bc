// Package metadata is what the cluster agrees on: typed records, the immutable Image that they add up to, and the Delta
// that leads from one image to the next.
//
// It promises that an image never changes once made, so that it may be read from anywhere without a lock; that applying
// a delta costs what changed and not what there is; that the same records give the same image everywhere, and that an
// image dumped to records and read again is the same image; and that no bytes make it panic.
// The controller decides by it; every node follows it; answers about metadata are read from it.
// It does not decide anything, does not know where records come from, and replays a record that makes no sense by
// ignoring the part that makes none: refusing is the controller's business, before it writes.
package metadata

import (
	"sync"

	"github.com/tidwall/btree"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Image is the metadata of the cluster as of one batch of the metadata log.
type Image struct {
	offset      int64
	clusterID   string
	producerIDs int64 // the next id that was given to nobody

	// Trees share what did not change with the images before and after.
	topics   btree.Map[string, *Topic]
	ids      btree.Map[string, *Topic] // by the id's 16 bytes
	brokers  btree.Map[kafka.NodeID, *Broker]
	configs  btree.Map[string, *Configs] // by Resource.key
	features btree.Map[string, int16]

	partitions int // of all topics

	copying sync.Mutex // guards the trees' bookkeeping while a delta copies them
}

// Empty is the image before the first record.
func Empty() *Image { return &Image{offset: -1} }

// Offset is the offset of the last batch in the image, -1 for the empty image.
func (i *Image) Offset() int64 { return i.offset }

// ClusterID names the cluster, as clients see it.
func (i *Image) ClusterID() string { return i.clusterID }

// NextProducerID is the first producer id that was given to nobody.
func (i *Image) NextProducerID() int64 { return i.producerIDs }

// Topic finds a topic by name; nil if there is none.
func (i *Image) Topic(name string) *Topic {
	t, _ := i.topics.Get(name)
	return t
}

// TopicByID finds a topic by id; nil if there is none.
func (i *Image) TopicByID(id kafka.TopicID) *Topic {
	t, _ := i.ids.Get(string(id[:]))
	return t
}

// Partition finds a partition of a topic; nil if there is none.
func (i *Image) Partition(topic string, partition int32) *Partition {
	return i.Topic(topic).Partition(partition)
}

// Topics visits the topics in the order of their names until visit returns false.
func (i *Image) Topics(visit func(*Topic) bool) {
	i.topics.Scan(func(_ string, t *Topic) bool { return visit(t) })
}

// TopicsFrom visits the topics whose names are not less than name, in order, until visit returns false.
func (i *Image) TopicsFrom(name string, visit func(*Topic) bool) {
	i.topics.Ascend(name, func(_ string, t *Topic) bool { return visit(t) })
}

// TopicCount and PartitionCount say how many there are in the cluster.
func (i *Image) TopicCount() int     { return i.topics.Len() }
func (i *Image) PartitionCount() int { return i.partitions }

// Broker finds a registered broker, fenced or not; nil if there is none.
func (i *Image) Broker(id kafka.NodeID) *Broker {
	b, _ := i.brokers.Get(id)
	return b
}

// Brokers visits the registered brokers, fenced or not, in the order of their ids until visit returns false.
func (i *Image) Brokers(visit func(*Broker) bool) {
	i.brokers.Scan(func(_ kafka.NodeID, b *Broker) bool { return visit(b) })
}

// Configs returns what is set for a resource. It is never nil, but may be empty.
func (i *Image) Configs(kind ResourceType, name string) *Configs {
	if c, ok := i.configs.Get((Resource{kind, name}).key()); ok {
		return c
	}
	return &noConfigs
}

// Config returns one key that is set for a resource.
func (i *Image) Config(kind ResourceType, name, key string) (value string, ok bool) {
	return i.Configs(kind, name).Get(key)
}

// ConfiguredResources visits the resources of a type for which anything is set, in the order of their names.
func (i *Image) ConfiguredResources(kind ResourceType, visit func(name string, c *Configs) bool) {
	i.configs.Ascend((Resource{kind, ""}).key(), func(key string, c *Configs) bool {
		r := resourceOfKey(key)
		return r.Type == kind && visit(r.Name, c)
	})
}

// Feature is the finalized level of a feature, 0 if it is not finalized.
func (i *Image) Feature(name string) int16 {
	level, _ := i.features.Get(name)
	return level
}

// Features visits the finalized features in the order of their names until visit returns false.
func (i *Image) Features(visit func(name string, level int16) bool) { i.features.Scan(visit) }

// Topic is one topic of an image. Like everything reached from an image it must not be changed.
type Topic struct {
	Name string
	ID   kafka.TopicID
	// Partitions are numbered by their places.
	Partitions []*Partition
}

// Partition finds a partition by number; nil if there is none, also in the nil topic.
func (t *Topic) Partition(number int32) *Partition {
	if t == nil || number < 0 || int(number) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[number]
}

// RecoveryState says whether a leader was elected although it may lack committed records (KIP-704).
type RecoveryState int8

const (
	Recovered  RecoveryState = 0
	Recovering RecoveryState = 1
)

// DirectoryID is the identity of one log directory (KIP-858).
type DirectoryID [16]byte

// The directory ids that name no directory.
var (
	DirectoryUnassigned = DirectoryID{}
	DirectoryLost       = DirectoryID{15: 1}
	DirectoryMigrating  = DirectoryID{15: 2}
)

// Partition is the state of one partition as the controller has decided it.
// ISR, ELR, Adding and Removing are subsets of Replicas; ISR and ELR are disjoint; Leader is in ISR, or NoNode.
// Epochs never decrease, and every change raises PartitionEpoch.
type Partition struct {
	Number         int32
	Replicas       []kafka.NodeID // the first is preferred as leader
	Directories    []DirectoryID  // of each replica, in the same order
	ISR            []kafka.NodeID
	ELR            []kafka.NodeID // eligible leader replicas (KIP-966)
	LastKnownELR   []kafka.NodeID
	Adding         []kafka.NodeID // of the reassignment in progress (KIP-455)
	Removing       []kafka.NodeID
	Leader         kafka.NodeID
	LeaderEpoch    int32
	PartitionEpoch int32
	Recovery       RecoveryState
}

// Reassigning reports whether replicas are being added or removed.
func (p *Partition) Reassigning() bool { return len(p.Adding)+len(p.Removing) > 0 }

// Endpoint is where a broker can be reached under one listener.
type Endpoint struct {
	Listener string
	Protocol int16 // Kafka's SecurityProtocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL
	Host     string
	Port     uint16
}

// FeatureRange is what versions of a feature a broker's software supports.
type FeatureRange struct {
	Name     string
	Min, Max int16
}

// Broker is one registered broker.
type Broker struct {
	ID kafka.NodeID
	// Epoch is the offset of the registration, unique for ever: it names one life of the broker.
	Epoch int64
	// BootSequence counts the starts of the broker's process. A registration with a lower one is late, and refused.
	BootSequence uint64
	Incarnation  [16]byte // random for each start
	Endpoints    []Endpoint
	Rack         string // empty for none
	Directories  []DirectoryID
	Features     []FeatureRange
	// Fenced brokers lead nothing and are in no ISR. A broker registers fenced, and is unfenced when it has caught up.
	Fenced bool
	// ShuttingDown brokers may be in an ISR, but are elected for nothing and join no ISR.
	ShuttingDown bool
	// RaftID is the broker's id in the metadata quorum, drawn with its metadata folder; 0 where it has told none.
	RaftID uint64
	// Barred brokers are no members of the quorum, because an operator has said so.
	Barred bool
	// Newcomer brokers have come to a cluster that has partitions, and their share of these has not been given to them yet.
	Newcomer bool
}

// Active reports whether the broker may lead: it exists, is not fenced, and is not on its way out.
func (b *Broker) Active() bool { return b != nil && !b.Fenced && !b.ShuttingDown }

// Endpoint finds the broker's address under a listener.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return e, true
		}
	}
	return Endpoint{}, false
}
