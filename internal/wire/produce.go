package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Produce is a Produce request, versions 3 to 13, read where it lies. It is walked once by ParseProduce, so that a
// malformed request has no effect, and then visited with NextTopic and NextPartition, which cannot fail.
type Produce struct {
	TransactionalID []byte // nil where it is null
	Acks            int16
	TimeoutMs       int32
	Topics          int // how many there are
	Partitions      int // how many there are over all topics

	version    int16
	r          reader
	topics     int // still to come
	partitions int // still to come of the current topic
	inTopic    bool
}

// ProduceTopic names a topic as the request did: by name up to version 12, by id from 13 on.
type ProduceTopic struct {
	Name []byte // aliases the frame
	ID   kafka.TopicID
}

// ParseProduce checks the shape of a whole Produce request.
func ParseProduce(version int16, body []byte) (Produce, error) {
	p := Produce{version: version, r: reader{b: body}}
	p.readPreamble()
	walk := p
	for {
		_, ok := walk.NextTopic()
		if !ok {
			break
		}
		p.Topics++
		for {
			if _, _, ok := walk.NextPartition(); !ok {
				break
			}
			p.Partitions++
		}
	}
	if walk.flexible() {
		walk.r.skipTags()
	}
	if walk.r.bad {
		return Produce{}, fmt.Errorf("%w: Produce version %d", ErrMalformed, version)
	}
	return p, nil
}

func (p *Produce) flexible() bool { return p.version >= 9 }

func (p *Produce) readPreamble() {
	if p.flexible() {
		p.TransactionalID = p.r.compactBytes()
	} else {
		p.TransactionalID = p.r.nullableString()
	}
	p.Acks = p.r.int16()
	p.TimeoutMs = p.r.int32()
	p.topics = p.r.arrayLength(p.flexible(), 3)
}

// NextTopic goes on to the next topic, past the rest of the current one.
func (p *Produce) NextTopic() (topic ProduceTopic, ok bool) {
	for p.inTopic {
		if _, _, more := p.NextPartition(); !more {
			break
		}
	}
	if p.topics == 0 || p.r.bad {
		return topic, false
	}
	p.topics--
	switch {
	case p.version >= 13:
		copy(topic.ID[:], p.r.take(16))
	case p.flexible():
		topic.Name = p.r.compactBytes()
	default:
		topic.Name = p.r.nullableString()
	}
	p.partitions = p.r.arrayLength(p.flexible(), 5)
	p.inTopic = true
	return topic, !p.r.bad
}

// NextPartition returns the next partition of the current topic with its records, which alias the frame; nil is null.
func (p *Produce) NextPartition() (partition int32, records []byte, ok bool) {
	if !p.inTopic || p.r.bad {
		return 0, nil, false
	}
	if p.partitions == 0 {
		p.inTopic = false
		if p.flexible() {
			p.r.skipTags()
		}
		return 0, nil, false
	}
	p.partitions--
	partition = p.r.int32()
	if p.flexible() {
		records = p.r.compactBytes()
		p.r.skipTags()
	} else if n := p.r.int32(); n >= 0 {
		records = p.r.take(int(n))
	}
	return partition, records, !p.r.bad
}

// RecordError says what is wrong with one record of a batch, by its index in the batch (KIP-467).
type RecordError struct {
	Index   int32
	Message string
}

// ProduceResult is the answer for one partition of a Produce request.
type ProduceResult struct {
	Partition  int32
	Error      kafka.ErrorCode
	BaseOffset int64 // -1 on errors
	AppendTime int64 // ms since 1970 where the log stamped the batch, else -1
	LogStart   int64 // -1 on errors
	Message    string
	Records    []RecordError
	// Leader and LeaderEpoch say who leads instead (KIP-951), or -1.
	Leader      kafka.NodeID
	LeaderEpoch int32
}

// Endpoint is how a client reaches a node.
type Endpoint struct {
	Node kafka.NodeID
	Host string
	Port int32
	Rack string // "" is null
}

// ProduceResponse appends the parts of a Produce response in their order: Begin, then for each topic BeginTopic, its
// partitions and EndTopic, then End.
type ProduceResponse struct {
	Version int16
}

func (w ProduceResponse) flexible() bool { return w.Version >= 9 }

// Begin appends the frame's start and the number of topics.
func (w ProduceResponse) Begin(b []byte, correlation int32, topics int) []byte {
	b = BeginFrame(b, correlation, w.flexible())
	return appendArrayLength(b, w.flexible(), topics)
}

// BeginTopic appends a topic's name, or from version 13 on its id, and how many partitions follow.
func (w ProduceResponse) BeginTopic(b []byte, name string, id kafka.TopicID, partitions int) []byte {
	if w.Version >= 13 {
		b = append(b, id[:]...)
	} else {
		b = appendString(b, w.flexible(), name)
	}
	return appendArrayLength(b, w.flexible(), partitions)
}

// Partition appends one partition's result.
func (w ProduceResponse) Partition(b []byte, r *ProduceResult) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(r.Partition))
	b = binary.BigEndian.AppendUint16(b, uint16(r.Error))
	b = binary.BigEndian.AppendUint64(b, uint64(r.BaseOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(r.AppendTime))
	if w.Version >= 5 {
		b = binary.BigEndian.AppendUint64(b, uint64(r.LogStart))
	}
	if w.Version >= 8 {
		b = appendArrayLength(b, w.flexible(), len(r.Records))
		for i := range r.Records {
			b = binary.BigEndian.AppendUint32(b, uint32(r.Records[i].Index))
			b = appendNullableString(b, w.flexible(), r.Records[i].Message)
			if w.flexible() {
				b = append(b, 0)
			}
		}
		b = appendNullableString(b, w.flexible(), r.Message)
	}
	if !w.flexible() {
		return b
	}
	if w.Version >= 10 && r.LeaderEpoch >= 0 {
		b = append(b, 1, 0) // one tagged field: 0, CurrentLeader
		return appendLeader(b, r.Leader, r.LeaderEpoch)
	}
	return append(b, 0)
}

// EndTopic appends what follows a topic's partitions.
func (w ProduceResponse) EndTopic(b []byte) []byte {
	if w.flexible() {
		b = append(b, 0)
	}
	return b
}

// End appends the throttle time and the endpoints of leaders that were named, and finishes the frame.
func (w ProduceResponse) End(b []byte, throttleMs int32, endpoints []Endpoint) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(throttleMs))
	if w.flexible() {
		if w.Version >= 10 && len(endpoints) > 0 {
			b = appendEndpoints(append(b, 1, 0), endpoints)
		} else {
			b = append(b, 0)
		}
	}
	return EndFrame(b, 0)
}

func appendLeader(b []byte, leader kafka.NodeID, epoch int32) []byte {
	b = append(b, 9) // size: two integers and no tagged fields
	b = binary.BigEndian.AppendUint32(b, uint32(leader))
	b = binary.BigEndian.AppendUint32(b, uint32(epoch))
	return append(b, 0)
}

func appendEndpoints(b []byte, endpoints []Endpoint) []byte {
	var body []byte
	body = appendArrayLength(body, true, len(endpoints))
	for _, e := range endpoints {
		body = binary.BigEndian.AppendUint32(body, uint32(e.Node))
		body = appendString(body, true, e.Host)
		body = binary.BigEndian.AppendUint32(body, uint32(e.Port))
		body = appendNullableString(body, true, e.Rack)
		body = append(body, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

func appendArrayLength(b []byte, compact bool, n int) []byte {
	if compact {
		return binary.AppendUvarint(b, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendString(b []byte, compact bool, s string) []byte {
	if compact {
		b = binary.AppendUvarint(b, uint64(len(s))+1)
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	}
	return append(b, s...)
}

// appendNullableString writes null for the empty string.
func appendNullableString(b []byte, compact bool, s string) []byte {
	if s != "" {
		return appendString(b, compact, s)
	}
	if compact {
		return append(b, 0)
	}
	return append(b, 0xff, 0xff)
}
