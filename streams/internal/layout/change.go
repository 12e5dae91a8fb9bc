package layout

import (
	"encoding/binary"
	"fmt"
)

// Flags at the end of a change.
const (
	oldOnly = 0
	newOnly = 1
	both    = 2
)

// Change is an update of a row on its way through a repartition topic (Java's ChangedSerializer; both values in one record
// since KIP-904). A nil slice stands for an absent value.
//
//	old ...                              | 0
//	new ...                              | 1
//	length of new, a zigzag varint | new ... | old ... | 2
func Change(new, old []byte) ([]byte, error) {
	b := make([]byte, 0, len(new)+len(old)+5)
	switch {
	case new != nil && old != nil:
		b = binary.AppendVarint(b, int64(len(new)))
		b = append(append(b, new...), old...)
		return append(b, both), nil
	case new != nil:
		return append(append(b, new...), newOnly), nil
	case old != nil:
		return append(append(b, old...), oldOnly), nil
	}
	return nil, fmt.Errorf("layout: a change needs a new or an old value")
}

// ParseChange takes a [Change] apart.
func ParseChange(b []byte) (new, old []byte, err error) {
	n := len(b) - 1
	if n < 0 {
		return nil, nil, errShort
	}
	switch b[n] {
	case newOnly:
		return b[:n:n], nil, nil
	case oldOnly:
		return nil, b[:n:n], nil
	case both:
		size, width := binary.Varint(b[:n])
		if width <= 0 || size < 0 || size > int64(n-width) {
			return nil, nil, errShort
		}
		end := width + int(size)
		return b[width:end:end], b[end:n:n], nil
	}
	return nil, nil, fmt.Errorf("layout: a change ends in the unknown flag %d", b[n])
}

// Buffered is a record that waits in a buffer: a suppressed change of a table, or a stream's record of a join with grace.
// Absent values are nil.
type Buffered struct {
	Time      int64 // of the record
	Offset    int64
	Partition int32
	Topic     string
	Headers   []Header
	Prior     []byte // what downstream saw last
	Old, New  []byte
}

// Header is a record header.
type Header struct {
	Key   string
	Value []byte
}

// Lengths that stand for something else.
const (
	absent      = -1
	sameAsPrior = -2
)

// Append writes a buffered record in version 3 of the buffer's format (KIP-441's header "v"=3):
//
//	time, 8 | offset, 8 | length, 4 | topic ... | partition, 4 |
//	headers, 4 | (length, 4 | key ... | length, 4 | value ...) each |
//	prior | old | new                        each: length, 4 | bytes; -1 absent; old: -2 as prior
//	buffer time, 8
func (v *Buffered) Append(b []byte, bufferTime int64) []byte {
	b = be.AppendUint64(b, uint64(v.Time))
	b = be.AppendUint64(b, uint64(v.Offset))
	b = appendSized(b, []byte(v.Topic))
	b = be.AppendUint32(b, uint32(v.Partition))
	b = be.AppendUint32(b, uint32(len(v.Headers)))
	for _, h := range v.Headers {
		b = appendSized(b, []byte(h.Key))
		b = appendSized(b, h.Value)
	}
	b = appendSized(b, v.Prior)
	if v.Old != nil && v.Prior != nil && string(v.Old) == string(v.Prior) {
		b = be.AppendUint32(b, uint32(0xFFFFFFFE)) // sameAsPrior
	} else {
		b = appendSized(b, v.Old)
	}
	b = appendSized(b, v.New)
	return be.AppendUint64(b, uint64(bufferTime))
}

func appendSized(b, value []byte) []byte {
	if value == nil {
		return be.AppendUint32(b, uint32(0xFFFFFFFF)) // absent
	}
	return append(be.AppendUint32(b, uint32(len(value))), value...)
}

// ParseBuffered takes a record of [Buffered.Append] apart.
func ParseBuffered(b []byte) (v Buffered, bufferTime int64, err error) {
	r := reader{b: b}
	v.Time, v.Offset = r.int64(), r.int64()
	v.Topic = string(r.sized(nil))
	v.Partition = r.int32()
	for n := r.int32(); n > 0 && r.err == nil; n-- {
		v.Headers = append(v.Headers, Header{Key: string(r.sized(nil)), Value: r.sized(nil)})
	}
	v.Prior = r.sized(nil)
	v.Old = r.sized(v.Prior)
	v.New = r.sized(nil)
	bufferTime = r.int64()
	return v, bufferTime, r.err
}

// Size is how much memory the record is counted for against a buffer's limit, as Java counts it.
func (v *Buffered) Size(key []byte) int64 {
	n := 8 + len(key) + len(v.Prior) + len(v.New) + 8 + 8 + len(v.Topic) + 4
	if string(v.Old) != string(v.Prior) {
		n += len(v.Old)
	}
	for _, h := range v.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}

// reader reads fields until one is missing, and then remembers that.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.err, r.b = errShort, nil
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) int64() int64 {
	if b := r.take(8); r.err == nil {
		return int64(be.Uint64(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); r.err == nil {
		return int32(be.Uint32(b))
	}
	return 0
}

func (r *reader) sized(prior []byte) []byte {
	switch n := r.int32(); n {
	case absent:
		return nil
	case sameAsPrior:
		return prior
	default:
		return r.take(int(n))
	}
}
