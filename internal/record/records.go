package record

import (
	"encoding/binary"
)

// A record, all integers zig-zag varints:
//
//	length          bytes after this field
//	attributes      int8, unused
//	timestampDelta  to the batch's baseTimestamp
//	offsetDelta     to the batch's baseOffset
//	keyLength       -1 for null
//	key
//	valueLength     -1 for null
//	value
//	headerCount
//	headers         keyLength key valueLength value; a header's key is never null

// Record is one record of a batch. Its bytes alias the batch (or a buffer that lives as long as the visit).
type Record struct {
	Offset    int64
	Timestamp int64 // ms since 1970, or NoTimestamp
	Key       []byte
	Value     []byte // as for Key, nil is null, which is not the same as empty

	headers     []byte // as they are in the batch, known to be well formed
	headerCount int
}

// Header is one header of a record. Value may be nil, which is null.
type Header struct {
	Key   string
	Value []byte
}

// HeaderCount is how many headers the record has.
func (r Record) HeaderCount() int { return r.headerCount }

// Headers decodes the record's headers, nil where it has none.
func (r Record) Headers() []Header {
	if r.headerCount == 0 {
		return nil
	}
	headers := make([]Header, 0, r.headerCount)
	at := 0
	for range r.headerCount {
		var key, value []byte
		key, at = nullable(r.headers, at)
		value, at = nullable(r.headers, at)
		headers = append(headers, Header{Key: string(key), Value: value})
	}
	return headers
}

// Records visits the records of the batch in turn, decompressing at most limit bytes. Where the batch is compressed, a
// record's bytes are valid only during its visit. It returns the first error of visit, or ErrCorrupt or ErrTooLarge.
func (b Batch) Records(limit int, visit func(Record) error) error {
	payload, release, err := b.payload(limit)
	if err != nil {
		return err
	}
	defer release()
	// Where compaction has put a delete horizon in place of the base timestamp, the deltas are relative to that.
	base, baseTime, appendTime := b.BaseOffset(), b.BaseTimestamp(), b.LogAppendTime()
	var f fields
	for range b.Count() {
		rest, ok := f.parse(payload)
		if !ok {
			return ErrCorrupt
		}
		payload = rest
		r := Record{
			Offset: base + int64(f.offsetDelta), Timestamp: baseTime + f.timeDelta,
			Key: f.key, Value: f.value, headers: f.headers, headerCount: f.headerCount,
		}
		if appendTime {
			r.Timestamp = b.MaxTimestamp()
		}
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// payload is the batch's records uncompressed. release gives back what it took; the payload must not be used after it.
func (b Batch) payload(limit int) (payload []byte, release func(), err error) {
	if len(b) < HeaderSize || b.Count() < 0 {
		return nil, nil, ErrCorrupt
	}
	if b.Codec() == Uncompressed || len(b) == HeaderSize {
		return b[HeaderSize:], func() {}, nil
	}
	buffer := takeBuffer()
	out, err := decompress(b.Codec(), (*buffer)[:0], b[HeaderSize:], limit)
	if out != nil {
		*buffer = out[:0]
	}
	if err != nil {
		giveBuffer(buffer)
		return nil, nil, err
	}
	return out, func() { giveBuffer(buffer) }, nil
}

// fields is one record as it is encoded. It is reused from record to record, which keeps the walk free of allocations.
type fields struct {
	timeDelta   int64
	offsetDelta int32
	key, value  []byte
	headers     []byte
	headerCount int
}

// parse reads the record at the start of p and returns what follows it; false where there is no well-formed record.
// It is the broker's innermost loop, so it moves a position instead of cutting slices.
func (f *fields) parse(p []byte) (rest []byte, ok bool) {
	length, at := varint(p, 0)
	if at < 0 || length < leastBody || length > int64(len(p)-at) {
		return nil, false
	}
	end := at + int(length)
	body := p[:end]
	if f.timeDelta, at = varint(body, at+1); at < 0 { // +1: attributes have no meaning yet
		return nil, false
	}
	delta, at := varint(body, at)
	if at < 0 || delta != int64(int32(delta)) {
		return nil, false
	}
	f.offsetDelta = int32(delta)
	if f.key, at = nullable(body, at); at < 0 {
		return nil, false
	}
	if f.value, at = nullable(body, at); at < 0 {
		return nil, false
	}
	count, at := varint(body, at)
	if at < 0 || count < 0 || count > int64(end-at)/2 {
		return nil, false
	}
	f.headers, f.headerCount = body[at:], int(count)
	return p[end:], count == 0 && at == end || wellFormedHeaders(f.headers, f.headerCount)
}

// leastBody is the shortest a record can be: attributes, two deltas, two lengths and a header count, a byte each.
const leastBody = 6

// quick is parse for the record that nearly all are: numbers of one or two bytes, and no headers. It is what judging an
// uncompressed batch mostly costs, so the reading of a varint is written out five times rather than called. ok is false
// for any other record, right or wrong; of key it only tells whether it is null.
func (f *fields) quick(p []byte) (rest []byte, ok bool) {
	if len(p) < quickRecord {
		return nil, false
	}
	length, at := uint(p[0]), uint(1)
	if length >= 0x80 {
		length, at = length&0x7f|uint(p[1])<<7, 2
	}
	end := at + length>>1
	if length&1 != 0 || length > 0x3fff || end > uint(len(p)) || end < at+leastBody {
		return nil, false
	}
	at++ // attributes have no meaning yet
	delta := uint(p[at])
	if at++; delta >= 0x80 {
		delta = delta&0x7f | uint(p[at])<<7
		at++
	}
	offset := uint(p[at])
	if at++; offset >= 0x80 {
		offset = offset&0x7f | uint(p[at])<<7
		at++
	}
	key := uint(p[at])
	if at++; key >= 0x80 {
		key = key&0x7f | uint(p[at])<<7
		at++
	}
	f.key = nil
	if key != 1 { // 1 is -1, null
		f.key = present
		at += key >> 1
	}
	if (delta|offset|key) > 0x3fff || key&1 != 0 && key != 1 || at+2 > uint(len(p)) {
		return nil, false
	}
	value := uint(p[at])
	if at++; value >= 0x80 {
		value = value&0x7f | uint(p[at])<<7
		at++
	}
	if value != 1 {
		at += value >> 1
	}
	if value > 0x3fff || value&1 != 0 && value != 1 || at+1 != end || p[at] != 0 {
		return nil, false // headers, or lengths that do not add up
	}
	f.timeDelta, f.offsetDelta = zigzag(uint64(delta)), int32(zigzag(uint64(offset)))
	return p[end:], true
}

// quickRecord is as long as the fixed part of a record of short numbers can be, so that reading it needs no other check.
const quickRecord = 16

// present is a key that is not null, where its bytes do not matter.
var present = []byte{}

// wellFormedHeaders reports whether p is exactly count headers.
func wellFormedHeaders(p []byte, count int) bool {
	at := 0
	for i := range 2 * count {
		var length int64
		length, at = varint(p, at)
		if at < 0 || length > int64(len(p)-at) || length < 0 && (length < -1 || i&1 == 0) { // a key is never null
			return false
		}
		at += max(int(length), 0)
	}
	return at == len(p)
}

// nullable reads bytes behind their length; -1 is null. next is negative where there are none.
func nullable(p []byte, at int) (value []byte, next int) {
	length, at := varint(p, at)
	switch {
	case at < 0 || length < -1 || length > int64(len(p)-at):
		return nil, -1
	case length == -1:
		return nil, at
	}
	end := at + int(length)
	return p[at:end:end], end
}

// varint reads a zig-zag number at a position, and the position after it, which is negative where there is none.
// Almost every number in a record is one or two bytes long.
func varint(p []byte, at int) (v int64, next int) {
	if at < len(p) && p[at] < 0x80 {
		return zigzag(uint64(p[at])), at + 1
	}
	if at+1 < len(p) && p[at+1] < 0x80 {
		return zigzag(uint64(p[at]&0x7f) | uint64(p[at+1])<<7), at + 2
	}
	v, n := binary.Varint(p[min(at, len(p)):])
	if n <= 0 {
		return 0, -1
	}
	return v, at + n
}

func zigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// appendRecord encodes a record.
func appendRecord(p []byte, timeDelta int64, offsetDelta int32, key, value []byte, headers []Header) []byte {
	length := 1 + varintSize(timeDelta) + varintSize(int64(offsetDelta)) + nullableSize(key) + nullableSize(value) +
		varintSize(int64(len(headers)))
	for _, h := range headers {
		length += varintSize(int64(len(h.Key))) + len(h.Key) + nullableSize(h.Value)
	}
	p = binary.AppendVarint(p, int64(length))
	p = append(p, 0)
	p = binary.AppendVarint(p, timeDelta)
	p = binary.AppendVarint(p, int64(offsetDelta))
	p = appendNullable(p, key)
	p = appendNullable(p, value)
	p = binary.AppendVarint(p, int64(len(headers)))
	for _, h := range headers {
		p = binary.AppendVarint(p, int64(len(h.Key)))
		p = append(p, h.Key...)
		p = appendNullable(p, h.Value)
	}
	return p
}

func appendNullable(p, value []byte) []byte {
	if value == nil {
		return append(p, 1) // -1
	}
	return append(binary.AppendVarint(p, int64(len(value))), value...)
}

func nullableSize(value []byte) int {
	if value == nil {
		return 1
	}
	return varintSize(int64(len(value))) + len(value)
}

func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
