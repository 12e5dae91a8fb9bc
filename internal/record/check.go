package record

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Limits is what a topic allows in its batches.
type Limits struct {
	MaxBytes     int // max.message.bytes, of a batch as it is stored
	SegmentBytes int // segment.bytes
	// Compacted requires a key of every record.
	Compacted bool
	// LogAppendTime stamps batches with the broker's time (message.timestamp.type).
	LogAppendTime bool
	// BeforeMaxMs and AfterMaxMs are how far a record's timestamp may lie from now (message.timestamp.*.max.ms).
	BeforeMaxMs, AfterMaxMs int64
	// Compression is the codec that batches are stored in, or KeepCodec for the producer's.
	Compression Codec
	Levels      Levels
}

// KeepCodec is compression.type=producer.
const KeepCodec Codec = -1

// Levels are compression.gzip.level, compression.lz4.level and compression.zstd.level; 0 is the codec's default.
type Levels struct{ Gzip, LZ4, Zstd int }

// Of is the level for a codec.
func (l Levels) Of(codec Codec) int {
	switch codec {
	case Gzip:
		return l.Gzip
	case LZ4:
		return l.LZ4
	case Zstd:
		return l.Zstd
	}
	return 0
}

// Verdict is what Check found.
type Verdict struct {
	// Batch is what to append where Code is None: the bytes that were given, patched where they had to be, or new ones.
	Batch Batch
	// MaxTimestamp is that of the batch to append.
	MaxTimestamp int64

	Code    kafka.ErrorCode
	Message string
	// RecordErrors names the records that are to blame (KIP-467), where single ones are; at most maxRecordErrors.
	RecordErrors []RecordError
}

// RecordError is what is wrong with one record of a batch.
type RecordError struct {
	Index   int32
	Message string
}

// maxRecordErrors bounds the answer to a batch in which every record is wrong.
const maxRecordErrors = 100

// Check judges one batch as it came from a producer, at the time now (ms since 1970), in the order in which Kafka
// reports errors. docs/decisions/0010 says what of Kafka's checks it leaves out for compressed batches.
// It does not look at producer ids, epochs and sequences beyond their shape: those belong to the partition.
//
// It changes bytes of b only where they are accepted.
func Check(b Batch, limits *Limits, now int64) Verdict {
	if refused := checkHeader(b, limits); refused.Code != kafka.None {
		return refused
	}
	c := check{batch: b, limits: limits, now: now}
	recompress := limits.Compression != KeepCodec && limits.Compression != b.Codec()
	if b.Codec() != Uncompressed && !recompress && !limits.Compacted {
		return c.trusting()
	}
	payload, release, err := b.payload(DecompressLimit(limits.MaxBytes))
	if err == ErrTooLarge {
		return refuse(kafka.InvalidRecord, "the batch decompresses to more than is allowed")
	} else if err != nil {
		return refuse(kafka.CorruptMessage, "the batch cannot be decompressed")
	}
	defer release()
	return c.reading(payload, recompress)
}

// checkHeader is everything that the fixed part of a batch decides.
func checkHeader(b Batch, limits *Limits) Verdict {
	switch {
	case len(b) < HeaderSize || b.Size() != int64(len(b)):
		return refuse(kafka.CorruptMessage, "the batch's length is not that of its bytes")
	case b.Magic() != Magic:
		return refuse(kafka.InvalidRecord, "only record format v2 can be produced")
	case b.BaseOffset() != 0:
		return refuse(kafka.InvalidRecord, "the base offset must be 0")
	case len(b) > limits.MaxBytes:
		return refuse(kafka.MessageTooLarge, "the batch is larger than max.message.bytes")
	case b.CRC() != b.ComputeCRC():
		return refuse(kafka.CorruptMessage, "the batch's checksum does not match")
	case b.Count() <= 0 || b.LastOffsetDelta() < 0 || b.LastOffsetDelta() != b.Count()-1:
		return refuse(kafka.InvalidRecord, "the batch's record count and last offset do not agree")
	case b.Control():
		return refuse(kafka.InvalidRecord, "clients may not write control batches")
	case b.Attributes()&attributeDeleteHorizon != 0:
		return refuse(kafka.InvalidRecord, "clients may not set a delete horizon")
	case b.Producer().ID >= 0 && b.BaseSequence() < 0:
		return refuse(kafka.InvalidRecord, "an idempotent producer's batch needs a sequence number")
	case b.Codec() > Zstd:
		return refuse(kafka.InvalidRecord, "the compression codec does not exist")
	}
	return Verdict{}
}

func refuse(code kafka.ErrorCode, message string) Verdict {
	return Verdict{Code: code, Message: message}
}

type check struct {
	batch  Batch
	limits *Limits
	now    int64

	maxTime   int64
	ordered   bool // offset deltas are 0, 1, 2, …
	badTime   bool // some record's timestamp is out of bounds
	badRecord bool // some record is wrong otherwise
	errors    []RecordError
}

// trusting judges a compressed batch by its header alone.
func (c *check) trusting() Verdict {
	c.maxTime = c.batch.MaxTimestamp()
	if c.batch.LogAppendTime() || c.outOfBounds(c.maxTime) || c.outOfBounds(c.batch.BaseTimestamp()) {
		return refuse(kafka.InvalidTimestamp, "the batch's timestamps are out of bounds")
	}
	return c.accept(c.batch)
}

// reading judges a batch by its records.
func (c *check) reading(payload []byte, recompress bool) Verdict {
	if !c.walk(payload) {
		return refuse(kafka.InvalidRecord, "the batch's records are malformed")
	}
	switch {
	case c.badTime || c.batch.LogAppendTime():
		return Verdict{Code: kafka.InvalidTimestamp, RecordErrors: c.errors,
			Message: "one or more records have a timestamp that is out of bounds"}
	case c.badRecord:
		return Verdict{Code: kafka.InvalidRecord, RecordErrors: c.errors,
			Message: "one or more records have no key, which a compacted topic requires"}
	}
	batch := c.batch
	switch {
	case !c.ordered:
		batch = c.renumbered(payload, c.targetCodec())
	case recompress:
		batch = batch.recompressed(c.limits.Compression, c.limits.Levels.Of(c.limits.Compression), payload)
	}
	if len(batch) > c.limits.MaxBytes {
		return refuse(kafka.MessageTooLarge, "the recompressed batch is larger than max.message.bytes")
	}
	return c.accept(batch)
}

func (c *check) targetCodec() Codec {
	if c.limits.Compression == KeepCodec {
		return c.batch.Codec()
	}
	return c.limits.Compression
}

// walk reads every record once, without allocating unless a record is wrong. It reports whether they are well formed.
func (c *check) walk(payload []byte) bool {
	c.maxTime, c.ordered = NoTimestamp, true
	base, compacted := c.batch.BaseTimestamp(), c.limits.Compacted
	var f fields
	for i, count := int32(0), c.batch.Count(); i < count; i++ {
		rest, ok := f.quick(payload)
		if !ok {
			if rest, ok = f.parse(payload); !ok {
				return false
			}
		}
		payload = rest
		if f.offsetDelta != i {
			c.ordered = false
		}
		if compacted && f.key == nil {
			c.badRecord = true
			c.blame(i, "a compacted topic requires a key of every record")
		}
		timestamp := base + f.timeDelta
		if c.outOfBounds(timestamp) {
			c.badTime = true
			c.blame(i, fmt.Sprintf("timestamp %d is out of bounds", timestamp))
		}
		c.maxTime = max(c.maxTime, timestamp)
	}
	return len(payload) == 0
}

func (c *check) blame(index int32, message string) {
	if len(c.errors) < maxRecordErrors {
		c.errors = append(c.errors, RecordError{Index: index, Message: message})
	}
}

// outOfBounds reports whether a producer's timestamp may not be stored (KIP-937). The bounds are compared without
// adding them to now, which would overflow: "no bound" is the largest int64.
func (c *check) outOfBounds(timestamp int64) bool {
	if c.limits.LogAppendTime || timestamp == NoTimestamp {
		return false
	}
	if timestamp < 0 {
		return true
	}
	return c.now-timestamp > c.limits.BeforeMaxMs || timestamp-c.now > c.limits.AfterMaxMs
}

// accept stamps the batch and bounds it by the segment.
func (c *check) accept(batch Batch) Verdict {
	if len(batch) > c.limits.SegmentBytes {
		return refuse(kafka.RecordListTooLarge, "the batch is larger than segment.bytes")
	}
	attributes := batch.Attributes()
	if c.limits.LogAppendTime {
		c.maxTime = c.now
		attributes |= attributeLogAppendTime
	}
	if attributes != batch.Attributes() || c.maxTime != batch.MaxTimestamp() {
		batch.setAttributes(attributes)
		batch.setMaxTimestamp(c.maxTime)
		batch.Seal()
	}
	return Verdict{Batch: batch, MaxTimestamp: c.maxTime}
}

// renumbered is the batch again with offset deltas 0, 1, 2, …, for producers that did not number their records.
func (c *check) renumbered(payload []byte, codec Codec) Batch {
	form := FormOf(c.batch)
	form.Codec, form.Level = codec, c.limits.Levels.Of(codec)
	builder := NewBuilder(form)
	var f fields
	for range c.batch.Count() {
		payload, _ = f.parse(payload)
		r := Record{headers: f.headers, headerCount: f.headerCount}
		builder.Add(c.batch.BaseTimestamp()+f.timeDelta, f.key, f.value, r.Headers()...)
	}
	return builder.Build()
}
