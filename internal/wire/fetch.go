package wire

import (
	"encoding/binary"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Range is a part of a file that is sent as it lies on disk. Its holder has retained the file.
type Range struct {
	File     vfs.File
	Position int64
	Size     int
}

// Release gives the file back. A range without a file holds nothing.
func (r Range) Release() {
	if r.File != nil {
		_ = r.File.Release()
	}
}

// Splice says where in a response's bytes a range of a file belongs.
type Splice struct {
	At int // index into the buffer; the range goes before the byte there
	Range
}

// FetchResult is the answer for one partition of a Fetch request.
type FetchResult struct {
	Partition        int32
	Error            kafka.ErrorCode
	HighWatermark    int64 // -1 where unknown
	LastStableOffset int64 // -1 where unknown
	LogStart         int64 // -1 where unknown
	// Aborted lists the aborted transactions in the range, for read_committed. Nil is sent as null: a client that reads
	// uncommitted data must not be given a list.
	Aborted          []AbortedTransaction
	PreferredReplica kafka.NodeID // -1 for none (KIP-392)
	Records          Range
	// DivergingEpoch and DivergingEnd tell a follower where its log left ours, or are -1 (KIP-595).
	DivergingEpoch int32
	DivergingEnd   int64
	// Leader and LeaderEpoch say who leads instead (KIP-951), or -1.
	Leader      kafka.NodeID
	LeaderEpoch int32
}

// AbortedTransaction names a producer, and the first offset of a transaction that it aborted.
type AbortedTransaction struct {
	Producer    int64
	FirstOffset int64
}

// NewFetchResult is a result with nothing in it: every number that has a default is at its default.
func NewFetchResult(partition int32) FetchResult {
	return FetchResult{Partition: partition, HighWatermark: -1, LastStableOffset: -1, LogStart: -1, PreferredReplica: -1,
		DivergingEpoch: -1, DivergingEnd: -1, Leader: -1, LeaderEpoch: -1}
}

// FetchResponse appends the parts of a Fetch response in their order: Begin, then for each topic BeginTopic, its
// partitions and EndTopic, then End. Records are spliced in from files when the frame is sent.
type FetchResponse struct {
	Version int16
	Splices []Splice
	extra   int64
}

func (w *FetchResponse) flexible() bool { return w.Version >= 12 }

// Begin appends the frame's start, the session's answer and the number of topics.
func (w *FetchResponse) Begin(b []byte, correlation int32, throttleMs int32, code kafka.ErrorCode, session int32, topics int) []byte {
	b = BeginFrame(b, correlation, w.flexible())
	b = binary.BigEndian.AppendUint32(b, uint32(throttleMs))
	if w.Version >= 7 {
		b = binary.BigEndian.AppendUint16(b, uint16(code))
		b = binary.BigEndian.AppendUint32(b, uint32(session))
	}
	return appendArrayLength(b, w.flexible(), topics)
}

// BeginTopic appends a topic's name, or from version 13 on its id, and how many partitions follow.
func (w *FetchResponse) BeginTopic(b []byte, name string, id kafka.TopicID, partitions int) []byte {
	if w.Version >= 13 {
		b = append(b, id[:]...)
	} else {
		b = appendString(b, w.flexible(), name)
	}
	return appendArrayLength(b, w.flexible(), partitions)
}

// Partition appends one partition's result, and takes over the file reference of its records.
func (w *FetchResponse) Partition(b []byte, r *FetchResult) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(r.Partition))
	b = binary.BigEndian.AppendUint16(b, uint16(r.Error))
	b = binary.BigEndian.AppendUint64(b, uint64(r.HighWatermark))
	b = binary.BigEndian.AppendUint64(b, uint64(r.LastStableOffset))
	if w.Version >= 5 {
		b = binary.BigEndian.AppendUint64(b, uint64(r.LogStart))
	}
	b = w.aborted(b, r.Aborted)
	if w.Version >= 11 {
		b = binary.BigEndian.AppendUint32(b, uint32(r.PreferredReplica))
	}
	// Records are never null: librdkafka takes a null for a broken message set.
	if w.flexible() {
		b = binary.AppendUvarint(b, uint64(r.Records.Size)+1)
	} else {
		b = binary.BigEndian.AppendUint32(b, uint32(r.Records.Size))
	}
	if r.Records.Size > 0 {
		w.Splices = append(w.Splices, Splice{At: len(b), Range: r.Records})
		w.extra += int64(r.Records.Size)
	} else {
		r.Records.Release()
	}
	if w.flexible() {
		b = w.tags(b, r)
	}
	return b
}

func (w *FetchResponse) aborted(b []byte, list []AbortedTransaction) []byte {
	if list == nil {
		if w.flexible() {
			return append(b, 0)
		}
		return append(b, 0xff, 0xff, 0xff, 0xff)
	}
	b = appendArrayLength(b, w.flexible(), len(list))
	for _, a := range list {
		b = binary.BigEndian.AppendUint64(b, uint64(a.Producer))
		b = binary.BigEndian.AppendUint64(b, uint64(a.FirstOffset))
		if w.flexible() {
			b = append(b, 0)
		}
	}
	return b
}

func (w *FetchResponse) tags(b []byte, r *FetchResult) []byte {
	diverging, leader := r.DivergingEpoch >= 0, r.LeaderEpoch >= 0
	count := byte(0)
	if diverging {
		count++
	}
	if leader {
		count++
	}
	b = append(b, count)
	if diverging {
		b = append(b, 0, 13) // tag 0, size: epoch, end offset and no tagged fields
		b = binary.BigEndian.AppendUint32(b, uint32(r.DivergingEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(r.DivergingEnd))
		b = append(b, 0)
	}
	if leader {
		b = appendLeader(append(b, 1), r.Leader, r.LeaderEpoch)
	}
	return b
}

// EndTopic appends what follows a topic's partitions.
func (w *FetchResponse) EndTopic(b []byte) []byte {
	if w.flexible() {
		b = append(b, 0)
	}
	return b
}

// End appends the endpoints of leaders that were named, and finishes the frame.
func (w *FetchResponse) End(b []byte, endpoints []Endpoint) []byte {
	if w.flexible() {
		if w.Version >= 16 && len(endpoints) > 0 {
			b = appendEndpoints(append(b, 1, 0), endpoints)
		} else {
			b = append(b, 0)
		}
	}
	return EndFrame(b, w.extra)
}
