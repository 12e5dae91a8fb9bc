// Package record is Kafka's record batch, format v2 (KIP-98): the unit that producers send, logs keep and consumers get.
//
// It validates, numbers, stamps, compresses and iterates batches in place, on the bytes as they came. It promises to
// bound what it allocates by what it was told to allow, never to panic on any input, and to leave bytes that it refuses
// untouched. Storage, the coordinators and the API rooms call it.
// It does not know partitions, offsets beyond those in the batch, or who may write what; formats v0 and v1 do not exist here.
package record

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/gregorhq/gregor/internal/kafka"
)

// The fixed part of a batch, all integers big-endian:
//
//	 0  baseOffset            int64    assigned by the leader
//	 8  batchLength           int32    bytes after this field
//	12  partitionLeaderEpoch  int32    assigned by the leader
//	16  magic                 int8     2
//	17  crc                   uint32   CRC-32C of everything from attributes on
//	21  attributes            int16    0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//	23  lastOffsetDelta       int32    offset of the last record minus baseOffset
//	27  baseTimestamp         int64    ms since 1970; records hold deltas to it (or the delete horizon)
//	35  maxTimestamp          int64    ms since 1970
//	43  producerId            int64    -1 without idempotence
//	51  producerEpoch         int16
//	53  baseSequence          int32    -1 without idempotence
//	57  recordsCount          int32
//	61  records               …        compressed as one block if the codec is not 0
const (
	offsetBaseOffset  = 0
	offsetLength      = 8
	offsetLeaderEpoch = 12
	offsetMagic       = 16
	offsetCRC         = 17
	offsetAttributes  = 21
	offsetLastDelta   = 23
	offsetBaseTime    = 27
	offsetMaxTime     = 35
	offsetProducerID  = 43
	offsetProducerEp  = 51
	offsetSequence    = 53
	offsetCount       = 57

	// HeaderSize is the length of the fixed part, and the least length of a batch.
	HeaderSize = 61
	// LengthOverhead is what batchLength does not count: baseOffset and itself.
	LengthOverhead = 12
	// Magic is the only format there is.
	Magic = 2
	// NoTimestamp is the timestamp of a record that has none.
	NoTimestamp = -1
	// NoSequence is the base sequence of a batch without idempotence.
	NoSequence = -1
)

const (
	attributeCodec         = 0x07
	attributeLogAppendTime = 0x08
	attributeTransactional = 0x10
	attributeControl       = 0x20
	attributeDeleteHorizon = 0x40
)

// Castagnoli is the polynomial of the batch's checksum.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is the bytes of exactly one batch. Its methods read and patch the fixed part; they need len >= HeaderSize.
type Batch []byte

func (b Batch) BaseOffset() int64      { return int64(binary.BigEndian.Uint64(b[offsetBaseOffset:])) }
func (b Batch) LeaderEpoch() int32     { return int32(binary.BigEndian.Uint32(b[offsetLeaderEpoch:])) }
func (b Batch) Magic() int8            { return int8(b[offsetMagic]) }
func (b Batch) CRC() uint32            { return binary.BigEndian.Uint32(b[offsetCRC:]) }
func (b Batch) Attributes() int16      { return int16(binary.BigEndian.Uint16(b[offsetAttributes:])) }
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[offsetLastDelta:])) }
func (b Batch) BaseTimestamp() int64   { return int64(binary.BigEndian.Uint64(b[offsetBaseTime:])) }
func (b Batch) MaxTimestamp() int64    { return int64(binary.BigEndian.Uint64(b[offsetMaxTime:])) }
func (b Batch) BaseSequence() int32    { return int32(binary.BigEndian.Uint32(b[offsetSequence:])) }
func (b Batch) Count() int32           { return int32(binary.BigEndian.Uint32(b[offsetCount:])) }

// Size is the batch's whole length in bytes as its header says, which the bytes at hand may not have.
func (b Batch) Size() int64 {
	return int64(int32(binary.BigEndian.Uint32(b[offsetLength:]))) + LengthOverhead
}

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// Producer is who wrote the batch; ID is -1 without idempotence.
func (b Batch) Producer() kafka.Producer {
	return kafka.Producer{
		ID:    int64(binary.BigEndian.Uint64(b[offsetProducerID:])),
		Epoch: int16(binary.BigEndian.Uint16(b[offsetProducerEp:])),
	}
}

// LastSequence is the sequence number of the last record; sequences wrap from the largest int32 to 0.
func (b Batch) LastSequence() int32 {
	return AddSequence(b.BaseSequence(), b.LastOffsetDelta())
}

// AddSequence advances a sequence number, wrapping from the largest int32 to 0 as Kafka does.
func AddSequence(sequence, delta int32) int32 {
	return int32((int64(sequence) + int64(delta)) & 0x7fffffff)
}

func (b Batch) Codec() Codec        { return Codec(b.Attributes() & attributeCodec) }
func (b Batch) LogAppendTime() bool { return b.Attributes()&attributeLogAppendTime != 0 }
func (b Batch) Transactional() bool { return b.Attributes()&attributeTransactional != 0 }
func (b Batch) Control() bool       { return b.Attributes()&attributeControl != 0 }

// DeleteHorizon is the time (ms since 1970) from which tombstones in the batch may go, where compaction has set one.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	if b.Attributes()&attributeDeleteHorizon == 0 {
		return 0, false
	}
	return b.BaseTimestamp(), true
}

// SetBaseOffset and SetLeaderEpoch number a batch. Neither field is under the checksum.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[offsetBaseOffset:], uint64(offset))
}

func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[offsetLeaderEpoch:], uint32(epoch))
}

// ComputeCRC is the checksum that the batch's bytes have; it is intact where that equals CRC.
func (b Batch) ComputeCRC() uint32 { return crc32.Checksum(b[offsetAttributes:], Castagnoli) }

// Seal writes the checksum after a change to anything under it.
func (b Batch) Seal() { binary.BigEndian.PutUint32(b[offsetCRC:], b.ComputeCRC()) }

// Codec is a compression codec, by its number in the attributes.
type Codec int8

// The codecs of record format v2.
const (
	Uncompressed Codec = 0
	Gzip         Codec = 1
	Snappy       Codec = 2
	LZ4          Codec = 3
	Zstd         Codec = 4
)
