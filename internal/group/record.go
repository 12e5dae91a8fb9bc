package group

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// Record is one record of __consumer_offsets. docs/format/groups.md draws keys and values. A nil Value deletes.
// In Replay, the bytes are valid during the call only.
type Record struct{ Key, Value []byte }

// Versions of records. A key's version is its kind; keys of kinds that are not here are left alone.
const (
	keyOffset        = 1 // and 0, which old Kafkas wrote
	keyGroup         = 2
	valueOffset      = 3
	valueOffsetID    = 4 // adds the topic's id
	valueOffsetUntil = 1 // with an expiry of its own, from clients that ask for one (OffsetCommit v2-4)
	valueGroup       = 3
)

// codec makes batches of records and reads them.
type codec struct{}

func (codec) Encode(records []Record, now int64) ([]byte, error) {
	builder := record.NewBuilder(record.Plain())
	for _, r := range records {
		builder.Add(now, r.Key, r.Value)
	}
	return builder.Build(), nil
}

// largestBatch bounds what a batch of the topic decompresses to.
const largestBatch = 1 << 30

func (codec) Decode(_ int64, batch []byte, visit func(int64, Record)) error {
	b, _, err := record.Next(batch)
	if err != nil {
		return err
	}
	if b.Control() {
		return nil
	}
	return b.Records(largestBatch, func(r record.Record) error {
		visit(r.Offset, Record{Key: r.Key, Value: r.Value})
		return nil
	})
}

// offset is one committed offset.
type offset struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	committed   int64         // ms since 1970
	expires     int64         // ms since 1970, or -1: as the retention says
	topicID     kafka.TopicID // zero where the client committed by name
}

func offsetKey(group string, tp kafka.TopicPartition) []byte {
	key := kmsg.NewOffsetCommitKey()
	key.Version, key.Group, key.Topic, key.Partition = keyOffset, group, tp.Topic, tp.Partition
	return key.AppendTo(nil)
}

func offsetRecord(group string, tp kafka.TopicPartition, o offset) Record {
	value := kmsg.NewOffsetCommitValue()
	switch {
	case o.expires >= 0:
		value.Version = valueOffsetUntil
	case !o.topicID.IsZero():
		value.Version = valueOffsetID
	default:
		value.Version = valueOffset
	}
	value.Offset, value.LeaderEpoch, value.Metadata = o.offset, o.leaderEpoch, o.metadata
	value.CommitTimestamp, value.ExpireTimestamp, value.TopicID = o.committed, o.expires, o.topicID
	return Record{Key: offsetKey(group, tp), Value: value.AppendTo(nil)}
}

func offsetTombstone(group string, tp kafka.TopicPartition) Record {
	return Record{Key: offsetKey(group, tp)}
}

func readOffset(p []byte) (offset, bool) {
	value := kmsg.NewOffsetCommitValue()
	value.LeaderEpoch, value.ExpireTimestamp = -1, -1
	if err := value.ReadFrom(p); err != nil {
		return offset{}, false
	}
	o := offset{
		offset: value.Offset, leaderEpoch: value.LeaderEpoch, metadata: value.Metadata,
		committed: value.CommitTimestamp, expires: -1, topicID: value.TopicID,
	}
	if value.Version == valueOffsetUntil {
		o.expires, o.leaderEpoch = value.ExpireTimestamp, -1
	}
	return o, true
}

func groupKey(group string) []byte {
	key := kmsg.NewGroupMetadataKey()
	key.Version, key.Group = keyGroup, group
	return key.AppendTo(nil)
}

// keyKind is the version of a record's key, and -1 where there is none.
func keyKind(key []byte) int16 {
	if len(key) < 2 {
		return -1
	}
	return int16(binary.BigEndian.Uint16(key))
}
