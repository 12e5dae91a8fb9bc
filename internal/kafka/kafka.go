// Package kafka holds the nouns that every room shares: topics and their ids, partitions, nodes, producers, error codes.
//
// It promises that these types are plain values: comparable, copyable, usable as map keys.
// Every room may import it; it imports nothing of ours.
// It does not know the wire format (package wire), nor what any of these things is for.
package kafka

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"strconv"
)

// NodeID numbers a member of the cluster (Kafka's broker id). NoNode means "none", as on the wire.
type NodeID int32

// NoNode is the absence of a node.
const NoNode NodeID = -1

// TopicID is the identity of one incarnation of a topic (KIP-516): a deleted and recreated topic has another.
type TopicID [16]byte

// IsZero reports whether the id is absent, which is how old request versions name topics only by name.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String prints the id as Kafka's tools do: 22 characters of unpadded URL-safe base64.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID reads what String prints.
func ParseTopicID(s string) (TopicID, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != 16 {
		return TopicID{}, fmt.Errorf("%q is not a topic id: want 22 characters of URL-safe base64", s)
	}
	return TopicID(raw), nil
}

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

func (tp TopicPartition) String() string { return tp.Topic + "-" + strconv.Itoa(int(tp.Partition)) }

// Compare orders by topic name, then by partition.
func (tp TopicPartition) Compare(other TopicPartition) int {
	if c := cmp.Compare(tp.Topic, other.Topic); c != 0 {
		return c
	}
	return cmp.Compare(tp.Partition, other.Partition)
}

// Producer is an idempotent producer's identity (KIP-98): the id the cluster gave it, and its epoch.
type Producer struct {
	ID    int64
	Epoch int16
}

// NoProducer is what a batch carries that no idempotent producer wrote.
var NoProducer = Producer{ID: -1, Epoch: -1}

// Names of the topics that the cluster keeps for itself.
const (
	GroupMetadataTopic    = "__consumer_offsets"
	TransactionStateTopic = "__transaction_state"
	ShareGroupStateTopic  = "__share_group_state"
)

// IsInternal reports whether clients may not produce to the topic.
func IsInternal(topic string) bool {
	return topic == GroupMetadataTopic || topic == TransactionStateTopic || topic == ShareGroupStateTopic
}
