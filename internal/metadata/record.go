package metadata

import (
	"github.com/gregorhq/gregor/internal/kafka"
)

// Record is one change of metadata. The types below are all there are. A record says what is, not what to do: replaying
// it needs no decision.
type Record interface {
	recordType() recordType
	encode(*encoder)
	decode(*decoder)
}

// recordType is the number of a record's type on disk. Numbers are never used again.
type recordType uint64

const (
	typeClusterID        recordType = 1
	typeNoOp             recordType = 2
	typeRegisterBroker   recordType = 3
	typeUnregisterBroker recordType = 4
	typeBrokerChange     recordType = 5
	typeTopic            recordType = 6
	typeRemoveTopic      recordType = 7
	typePartition        recordType = 8
	typePartitionChange  recordType = 9
	typeConfig           recordType = 10
	typeProducerIDs      recordType = 11
	typeFeatureLevel     recordType = 12
)

// ClusterID names the cluster, once.
type ClusterID struct{ ID string }

// NoOp changes nothing; it moves the log forward.
type NoOp struct{}

// RegisterBroker begins a new life of a broker.
type RegisterBroker struct {
	// Broker is the broker as it is from now on. Its Epoch is -1 in the log, where it is the record's offset; a snapshot
	// says it.
	Broker Broker
}

// UnregisterBroker removes a broker.
type UnregisterBroker struct {
	ID    kafka.NodeID
	Epoch int64 // of the registration that is removed; another one stays
}

// Change says what becomes of a flag.
type Change int8

const (
	Unchanged Change = 0
	Set       Change = 1
	Cleared   Change = -1
)

// BrokerChange changes what a registered broker may do.
type BrokerChange struct {
	ID           kafka.NodeID
	Epoch        int64 // of the registration that is changed; another one stays as it is
	Fenced       Change
	ShuttingDown Change
	Directories  []DirectoryID // nil for no change
	Barred       Change
	Newcomer     Change
}

// TopicRecord begins a topic, without partitions.
type TopicRecord struct {
	Name string
	ID   kafka.TopicID
}

// RemoveTopic ends a topic, with its partitions and configs.
type RemoveTopic struct{ ID kafka.TopicID }

// PartitionRecord begins a partition, which has to be the topic's next, or replaces it as a whole.
type PartitionRecord struct {
	Topic     kafka.TopicID
	Partition Partition
}

// PartitionChange changes some of a partition's fields. Every one raises the partition epoch by one; where the leader is
// named, also as what it already was, the leader epoch rises by one.
type PartitionChange struct {
	Topic     kafka.TopicID
	Partition int32
	// Lists replace what was where they are not nil; an empty list that is not nil empties it.
	Replicas     []kafka.NodeID
	Directories  []DirectoryID
	ISR          []kafka.NodeID
	ELR          []kafka.NodeID
	LastKnownELR []kafka.NodeID
	Adding       []kafka.NodeID
	Removing     []kafka.NodeID
	Leader       *kafka.NodeID  // nil for no change, and no new leader epoch
	Recovery     *RecoveryState // nil for no change
}

// ConfigRecord sets a key for a resource, or removes it.
type ConfigRecord struct {
	Resource Resource
	Key      string
	Value    *string // nil removes the key
}

// ProducerIDs says that all ids below Next are given out.
type ProducerIDs struct {
	Broker kafka.NodeID // who got the block
	Epoch  int64
	Next   int64
}

// FeatureLevel finalizes a feature at a level; 0 removes it.
type FeatureLevel struct {
	Name  string
	Level int16
}

func (*ClusterID) recordType() recordType        { return typeClusterID }
func (*NoOp) recordType() recordType             { return typeNoOp }
func (*RegisterBroker) recordType() recordType   { return typeRegisterBroker }
func (*UnregisterBroker) recordType() recordType { return typeUnregisterBroker }
func (*BrokerChange) recordType() recordType     { return typeBrokerChange }
func (*TopicRecord) recordType() recordType      { return typeTopic }
func (*RemoveTopic) recordType() recordType      { return typeRemoveTopic }
func (*PartitionRecord) recordType() recordType  { return typePartition }
func (*PartitionChange) recordType() recordType  { return typePartitionChange }
func (*ConfigRecord) recordType() recordType     { return typeConfig }
func (*ProducerIDs) recordType() recordType      { return typeProducerIDs }
func (*FeatureLevel) recordType() recordType     { return typeFeatureLevel }
