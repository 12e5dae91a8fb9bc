package wire

import (
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// JoinClusterRequest asks any node of a cluster to let a new node in. It changes nothing: who is let in makes its data
// folder and registers as a broker.
type JoinClusterRequest struct {
	peerMessage
	Cluster string // that the node means to join; empty where it takes whatever cluster it finds
	Node    int32  // the id that it wants; -1 for any that is free
	RaftID  uint64 // the id that it has drawn for its metadata folder: the same from try to try
	Relayed bool   // a node has sent it on to the active controller
	// Directory is the id of a log directory that the node has although it has lost its metadata; zero for none.
	Directory [16]byte
}

// Key is the request's.
func (*JoinClusterRequest) Key() int16 { return KeyJoinCluster }

// ResponseKind is an empty response.
func (*JoinClusterRequest) ResponseKind() kmsg.Response { return new(JoinClusterResponse) }

// AppendTo encodes the request.
func (r *JoinClusterRequest) AppendTo(b []byte) []byte {
	b = appendCompact(b, r.Cluster)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Node))
	b = binary.BigEndian.AppendUint64(b, r.RaftID)
	b = appendBool(b, r.Relayed)
	return append(b, r.Directory[:]...)
}

// ReadFrom decodes the request.
func (r *JoinClusterRequest) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.Cluster, r.Node, r.RaftID, r.Relayed = in.string(), in.int32(), uint64(in.int64()), in.bool()
	copy(r.Directory[:], in.take(16))
	return in.end("a wish to join")
}

// KnownNode is a node, and where other nodes reach it.
type KnownNode struct {
	Node int32
	Host string
	Port uint16
}

// JoinClusterResponse lets a node in, or says in words for its operator why not.
type JoinClusterResponse struct {
	peerMessage
	ErrorCode int16
	Message   string
	Cluster   string
	Node      int32 // the id to take
	Nodes     []KnownNode
}

// Key is the request's.
func (*JoinClusterResponse) Key() int16 { return KeyJoinCluster }

// RequestKind is the request that it answers.
func (*JoinClusterResponse) RequestKind() kmsg.Request { return new(JoinClusterRequest) }

// AppendTo encodes the response.
func (r *JoinClusterResponse) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.ErrorCode))
	b = appendCompact(b, r.Message)
	b = appendCompact(b, r.Cluster)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Node))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Nodes)))
	for _, n := range r.Nodes {
		b = binary.BigEndian.AppendUint32(b, uint32(n.Node))
		b = appendCompact(b, n.Host)
		b = binary.BigEndian.AppendUint16(b, n.Port)
	}
	return b
}

// ReadFrom decodes the response.
func (r *JoinClusterResponse) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.ErrorCode, r.Message, r.Cluster, r.Node = in.int16(), in.string(), in.string(), in.int32()
	for n := in.arrayLength(false, 7); n > 0; n-- {
		r.Nodes = append(r.Nodes, KnownNode{in.int32(), in.string(), uint16(in.int16())})
	}
	return in.end("an answer to a wish to join")
}

// ForwardRequest brings a client's request to the active controller, as the client has sent it.
type ForwardRequest struct {
	peerMessage
	Listener      string // that the client came in by
	RemoteHost    string // of the client
	TimeoutMillis int32
	Frame         []byte // without its size prefix
	// Token is the same each time that a request is forwarded, so that what an earlier copy has done is known; zero for none.
	Token [16]byte
}

// Key is the request's.
func (*ForwardRequest) Key() int16 { return KeyForward }

// ResponseKind is an empty response.
func (*ForwardRequest) ResponseKind() kmsg.Response { return new(ForwardResponse) }

// Wait is how long the client's request may take.
func (r *ForwardRequest) Wait() time.Duration {
	return time.Duration(r.TimeoutMillis) * time.Millisecond
}

// AppendTo encodes the request.
func (r *ForwardRequest) AppendTo(b []byte) []byte {
	b = appendCompact(b, r.Listener)
	b = appendCompact(b, r.RemoteHost)
	b = binary.BigEndian.AppendUint32(b, uint32(r.TimeoutMillis))
	b = appendCompact(b, r.Frame)
	return append(b, r.Token[:]...)
}

// ReadFrom decodes the request.
func (r *ForwardRequest) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.Listener, r.RemoteHost, r.TimeoutMillis = in.string(), in.string(), in.int32()
	r.Frame = in.compactBytes()
	copy(r.Token[:], in.take(len(r.Token)))
	return in.end("a request that is forwarded")
}

// ForwardResponse is the answer to the client, or says that whoever was asked is not the active controller.
type ForwardResponse struct {
	peerMessage
	ErrorCode int16
	// Offset is that of the metadata that the answer rests on: the client is answered when its node has it too.
	Offset int64
	Frame  []byte // with its size prefix
}

// Key is the request's.
func (*ForwardResponse) Key() int16 { return KeyForward }

// RequestKind is the request that it answers.
func (*ForwardResponse) RequestKind() kmsg.Request { return new(ForwardRequest) }

// AppendTo encodes the response.
func (r *ForwardResponse) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.ErrorCode))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Offset))
	return appendCompact(b, r.Frame)
}

// ReadFrom decodes the response.
func (r *ForwardResponse) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.ErrorCode, r.Offset = in.int16(), in.int64()
	r.Frame = in.compactBytes()
	return in.end("the answer to a request that was forwarded")
}
