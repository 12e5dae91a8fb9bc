package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Requests of our own, between nodes of a cluster. They are never advertised. Their keys lie where Kafka has none, they
// have the header of flexible versions (request v2, response v1), and one version: what a later release adds goes behind
// what is there, and what is missing at the end reads as zero.
const (
	KeyProgress = 10_000 + iota
	KeyRaft
	KeyFetchMetadata
	KeyJoinCluster
	KeyForward
	peerKeys // one above the last
)

// DurableTag is the tagged field of a partition in a follower's Fetch that says how far its log is durable, an int64.
const DurableTag = 10_000

// peerMessage is what all requests and responses of our own share: one version, flexible.
type peerMessage struct{}

func (peerMessage) MaxVersion() int16 { return 0 }
func (peerMessage) SetVersion(int16)  {}
func (peerMessage) GetVersion() int16 { return 0 }
func (peerMessage) IsFlexible() bool  { return true }

// newPeerRequest makes an empty request of our own; nil for a key that is none.
func newPeerRequest(key int16) kmsg.Request {
	switch key {
	case KeyProgress:
		return new(ProgressRequest)
	case KeyRaft:
		return new(RaftRequest)
	case KeyFetchMetadata:
		return new(FetchMetadataRequest)
	case KeyJoinCluster:
		return new(JoinClusterRequest)
	case KeyForward:
		return new(ForwardRequest)
	}
	return nil
}

// Progress is how far one of a follower's logs is durable.
type Progress struct {
	Topic       [16]byte
	Partition   int32
	LeaderEpoch int32
	Durable     int64 // the end of what is on stable storage
}

const progressSize = 16 + 4 + 4 + 8

// ProgressRequest tells a leader how far a follower's logs are durable, after a flush of its disk. What it says also stands
// in the follower's next fetch: the request only saves waiting for that.
type ProgressRequest struct {
	peerMessage
	Broker      int32
	BrokerEpoch int64
	Partitions  []Progress
}

// Key is the request's.
func (*ProgressRequest) Key() int16 { return KeyProgress }

// ResponseKind is an empty response.
func (*ProgressRequest) ResponseKind() kmsg.Response { return new(ProgressResponse) }

// AppendTo encodes the request.
func (r *ProgressRequest) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(r.Broker))
	b = binary.BigEndian.AppendUint64(b, uint64(r.BrokerEpoch))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Partitions)))
	for i := range r.Partitions {
		p := &r.Partitions[i]
		b = append(b, p.Topic[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(p.Partition))
		b = binary.BigEndian.AppendUint32(b, uint32(p.LeaderEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Durable))
	}
	return b
}

// ReadFrom decodes the request.
func (r *ProgressRequest) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.Broker, r.BrokerEpoch = in.int32(), in.int64()
	for n := in.arrayLength(false, progressSize); n > 0; n-- {
		var p Progress
		copy(p.Topic[:], in.take(16))
		p.Partition, p.LeaderEpoch, p.Durable = in.int32(), in.int32(), in.int64()
		r.Partitions = append(r.Partitions, p)
	}
	if in.bad {
		return fmt.Errorf("%w: a report of progress", ErrMalformed)
	}
	return nil
}

// ProgressResponse says that a report has arrived.
type ProgressResponse struct{ peerMessage }

// Key is the request's.
func (*ProgressResponse) Key() int16 { return KeyProgress }

// RequestKind is the request that it answers.
func (*ProgressResponse) RequestKind() kmsg.Request { return new(ProgressRequest) }

// AppendTo encodes the response.
func (*ProgressResponse) AppendTo(b []byte) []byte { return b }

// ReadFrom decodes the response.
func (*ProgressResponse) ReadFrom([]byte) error { return nil }
