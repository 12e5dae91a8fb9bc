package record

import (
	"encoding/binary"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Form is everything about a batch that is not its records.
type Form struct {
	Codec Codec
	Level int // as in compression.*.level; 0 is the codec's default

	BaseOffset  int64
	LeaderEpoch int32
	Producer    kafka.Producer
	Sequence    int32 // of the record at BaseOffset, or NoSequence

	Transactional bool
	Control       bool
	// LogAppendTime, where it is not 0, is the timestamp of every record.
	LogAppendTime int64
	// DeleteHorizon, where it is not 0, is when tombstones in the batch may go.
	DeleteHorizon int64
}

// Plain is the form of an ordinary uncompressed batch that no idempotent producer wrote.
func Plain() Form {
	return Form{LeaderEpoch: -1, Producer: kafka.NoProducer, Sequence: NoSequence}
}

// FormOf is the form of a batch, from which a batch like it can be built.
func FormOf(b Batch) Form {
	form := Form{
		Codec: b.Codec(), BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(),
		Producer: b.Producer(), Sequence: b.BaseSequence(),
		Transactional: b.Transactional(), Control: b.Control(),
	}
	if b.LogAppendTime() {
		form.LogAppendTime = b.MaxTimestamp()
	}
	form.DeleteHorizon, _ = b.DeleteHorizon()
	return form
}

// Builder makes one batch of records. Get one from NewBuilder; it is used once.
type Builder struct {
	form      Form
	records   []byte
	count     int32
	lastDelta int32
	baseTime  int64
	maxTime   int64
}

// NewBuilder starts a batch.
func NewBuilder(form Form) *Builder {
	return &Builder{form: form, lastDelta: -1, baseTime: NoTimestamp, maxTime: NoTimestamp}
}

// Len is how many records have been added.
func (b *Builder) Len() int { return int(b.count) }

// Size is how long the batch is by now, uncompressed.
func (b *Builder) Size() int { return HeaderSize + len(b.records) }

// Add appends a record at the next offset. A nil key or value is null.
func (b *Builder) Add(timestamp int64, key, value []byte, headers ...Header) {
	b.put(timestamp, b.lastDelta+1, key, value, headers)
}

// AddRecord appends a record at its own offset, which is above the last one's and not below the form's BaseOffset.
func (b *Builder) AddRecord(r Record) {
	b.put(r.Timestamp, int32(r.Offset-b.form.BaseOffset), r.Key, r.Value, r.Headers())
}

func (b *Builder) put(timestamp int64, delta int32, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.baseTime = timestamp
		if b.form.DeleteHorizon != 0 {
			b.baseTime = b.form.DeleteHorizon
		}
	}
	b.records = appendRecord(b.records, timestamp-b.baseTime, delta, key, value, headers)
	b.maxTime = max(b.maxTime, timestamp)
	b.lastDelta = delta
	b.count++
}

// ReachTo makes the batch end at an offset even if its last record lies before it, as compaction leaves batches.
func (b *Builder) ReachTo(lastOffset int64) {
	b.lastDelta = max(b.lastDelta, int32(lastOffset-b.form.BaseOffset))
}

// Build finishes the batch.
func (b *Builder) Build() Batch {
	out := make([]byte, HeaderSize, HeaderSize+len(b.records))
	if b.count > 0 {
		out = compress(b.form.Codec, b.form.Level, out, b.records)
	}
	batch := Batch(out)
	maxTime, baseTime := b.maxTime, b.baseTime
	if b.form.LogAppendTime != 0 {
		maxTime = b.form.LogAppendTime
	}
	if b.form.DeleteHorizon != 0 {
		baseTime = b.form.DeleteHorizon
	}
	batch.SetBaseOffset(b.form.BaseOffset)
	binary.BigEndian.PutUint32(batch[offsetLength:], uint32(len(batch)-LengthOverhead))
	batch.SetLeaderEpoch(b.form.LeaderEpoch)
	batch[offsetMagic] = Magic
	batch.setAttributes(b.form.attributes())
	binary.BigEndian.PutUint32(batch[offsetLastDelta:], uint32(b.lastDelta))
	binary.BigEndian.PutUint64(batch[offsetBaseTime:], uint64(baseTime))
	batch.setMaxTimestamp(maxTime)
	binary.BigEndian.PutUint64(batch[offsetProducerID:], uint64(b.form.Producer.ID))
	binary.BigEndian.PutUint16(batch[offsetProducerEp:], uint16(b.form.Producer.Epoch))
	binary.BigEndian.PutUint32(batch[offsetSequence:], uint32(b.form.Sequence))
	binary.BigEndian.PutUint32(batch[offsetCount:], uint32(b.count))
	batch.Seal()
	return batch
}

func (f Form) attributes() int16 {
	attributes := int16(f.Codec)
	if f.LogAppendTime != 0 {
		attributes |= attributeLogAppendTime
	}
	if f.Transactional {
		attributes |= attributeTransactional
	}
	if f.Control {
		attributes |= attributeControl
	}
	if f.DeleteHorizon != 0 {
		attributes |= attributeDeleteHorizon
	}
	return attributes
}

// setAttributes and setMaxTimestamp change what is under the checksum: Seal comes after them.
func (b Batch) setAttributes(attributes int16) {
	binary.BigEndian.PutUint16(b[offsetAttributes:], uint16(attributes))
}

func (b Batch) setMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[offsetMaxTime:], uint64(ms))
}

// recompressed is the batch with another codec for the same payload, which is its records uncompressed.
func (b Batch) recompressed(codec Codec, level int, payload []byte) Batch {
	out := append(make([]byte, 0, HeaderSize+len(payload)/2), b[:HeaderSize]...)
	batch := Batch(compress(codec, level, out, payload))
	binary.BigEndian.PutUint32(batch[offsetLength:], uint32(len(batch)-LengthOverhead))
	batch.setAttributes(b.Attributes()&^attributeCodec | int16(codec))
	batch.Seal()
	return batch
}
