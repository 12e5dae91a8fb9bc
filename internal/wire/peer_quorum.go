package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// RaftRequest carries messages from one member of the metadata quorum to another. It says where the sender is reached,
// because a member that has just begun may not know that from the metadata.
type RaftRequest struct {
	peerMessage
	Cluster  string
	From, To uint64 // raft ids
	Host     string
	Port     uint16
	Messages [][]byte // in order
}

// Key is the request's.
func (*RaftRequest) Key() int16 { return KeyRaft }

// ResponseKind is an empty response.
func (*RaftRequest) ResponseKind() kmsg.Response { return new(RaftResponse) }

// Wait gives a snapshot the time that it takes on a slow line: it is handled in no time.
func (r *RaftRequest) Wait() time.Duration {
	size := 0
	for _, m := range r.Messages {
		size += len(m)
	}
	return time.Duration(size>>20) * time.Second
}

// AppendTo encodes the request.
func (r *RaftRequest) AppendTo(b []byte) []byte {
	b = appendCompact(b, r.Cluster)
	b = binary.BigEndian.AppendUint64(b, r.From)
	b = binary.BigEndian.AppendUint64(b, r.To)
	b = appendCompact(b, r.Host)
	b = binary.BigEndian.AppendUint16(b, r.Port)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Messages)))
	for _, m := range r.Messages {
		b = appendCompact(b, m)
	}
	return b
}

// ReadFrom decodes the request.
func (r *RaftRequest) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.Cluster, r.From, r.To = in.string(), uint64(in.int64()), uint64(in.int64())
	r.Host, r.Port = in.string(), uint16(in.int16())
	for n := in.arrayLength(false, 1); n > 0; n-- {
		r.Messages = append(r.Messages, in.compactBytes())
	}
	return in.end("messages of the quorum")
}

// RaftResponse says whether the messages have reached the member that they are for.
type RaftResponse struct {
	peerMessage
	ErrorCode int16
}

// Key is the request's.
func (*RaftResponse) Key() int16 { return KeyRaft }

// RequestKind is the request that it answers.
func (*RaftResponse) RequestKind() kmsg.Request { return new(RaftRequest) }

// AppendTo encodes the response.
func (r *RaftResponse) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(r.ErrorCode))
}

// ReadFrom decodes the response.
func (r *RaftResponse) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.ErrorCode = in.int16()
	return in.end("an answer of the quorum")
}

// FetchMetadataRequest asks any node for committed batches of the metadata log. It is answered when there are some, or when
// the leader changes, or when the time is up.
type FetchMetadataRequest struct {
	peerMessage
	Cluster       string
	Node          int32
	RaftID        uint64
	Offset        int64 // of the first batch that is wanted
	MaxBytes      int32
	MaxWaitMillis int32
}

// Key is the request's.
func (*FetchMetadataRequest) Key() int16 { return KeyFetchMetadata }

// ResponseKind is an empty response.
func (*FetchMetadataRequest) ResponseKind() kmsg.Response { return new(FetchMetadataResponse) }

// Wait is how long the request may wait for something to say.
func (r *FetchMetadataRequest) Wait() time.Duration {
	return time.Duration(r.MaxWaitMillis) * time.Millisecond
}

// AppendTo encodes the request.
func (r *FetchMetadataRequest) AppendTo(b []byte) []byte {
	b = appendCompact(b, r.Cluster)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Node))
	b = binary.BigEndian.AppendUint64(b, r.RaftID)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Offset))
	b = binary.BigEndian.AppendUint32(b, uint32(r.MaxBytes))
	return binary.BigEndian.AppendUint32(b, uint32(r.MaxWaitMillis))
}

// ReadFrom decodes the request.
func (r *FetchMetadataRequest) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.Cluster, r.Node, r.RaftID = in.string(), in.int32(), uint64(in.int64())
	r.Offset, r.MaxBytes, r.MaxWaitMillis = in.int64(), in.int32(), in.int32()
	return in.end("a fetch of metadata")
}

// MetadataBatch is one committed batch with its offset.
type MetadataBatch struct {
	Offset int64
	Bytes  []byte
}

// FetchMetadataResponse has committed batches, or the state that they add up to.
type FetchMetadataResponse struct {
	peerMessage
	ErrorCode int16
	// Leader is the node that leads the quorum, as far as whoever answers knows; -1 for nobody.
	Leader    int32
	Host      string
	Port      uint16
	Epoch     int32 // of the leader
	Committed int64 // the end of what whoever answers knows to be committed
	// Snapshot says that the batches are a whole state as of the offset that each of them has, in place of all before.
	Snapshot bool
	Batches  []MetadataBatch
}

// Key is the request's.
func (*FetchMetadataResponse) Key() int16 { return KeyFetchMetadata }

// RequestKind is the request that it answers.
func (*FetchMetadataResponse) RequestKind() kmsg.Request { return new(FetchMetadataRequest) }

// AppendTo encodes the response.
func (r *FetchMetadataResponse) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.ErrorCode))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Leader))
	b = appendCompact(b, r.Host)
	b = binary.BigEndian.AppendUint16(b, r.Port)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Committed))
	b = appendBool(b, r.Snapshot)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Batches)))
	for _, m := range r.Batches {
		b = binary.BigEndian.AppendUint64(b, uint64(m.Offset))
		b = appendCompact(b, m.Bytes)
	}
	return b
}

// ReadFrom decodes the response.
func (r *FetchMetadataResponse) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.ErrorCode, r.Leader, r.Host, r.Port = in.int16(), in.int32(), in.string(), uint16(in.int16())
	r.Epoch, r.Committed, r.Snapshot = in.int32(), in.int64(), in.bool()
	for n := in.arrayLength(false, 9); n > 0; n-- {
		r.Batches = append(r.Batches, MetadataBatch{in.int64(), in.compactBytes()})
	}
	return in.end("fetched metadata")
}

// appendCompact appends a string or bytes as reader.compactBytes reads them.
func appendCompact[T string | []byte](b []byte, text T) []byte {
	b = binary.AppendUvarint(b, uint64(len(text))+1)
	return append(b, text...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// end says what is wrong with a message that was read. What a later version has added behind it is left alone.
func (r *reader) end(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	return nil
}
