// Package storage is a partition's log on local disk: segments, indexes, recovery, retention, compaction.
//
// It promises that what it reported durable is there after a power cut, that a log reopened is always a prefix of what
// was appended, that bytes on disk are Kafka's own formats, and that readers never wait for the writer. A disk that fails
// a write or a sync is never believed again: its directory is dead until the process starts anew.
// The rooms above (replica, tier, node) call it. A Log has one writer at a time: functions marked "writer" need the
// caller's lock around them (the partition's mutex); everything else may be called from anywhere.
// It does not replicate, validate records, know topic configs, or do anything by itself: housekeeping are plain
// functions that somebody must call. See DESIGN.md.
package storage

import "math"

// Options say how a log keeps its data. They are immutable; Log.SetOptions puts others in their place.
// Names and meanings are those of Kafka's topic configs.
type Options struct {
	SegmentBytes       int64
	SegmentMs          int64
	SegmentJitterMs    int64
	IndexIntervalBytes int64
	IndexBytes         int64

	Delete         bool  // cleanup.policy has "delete"
	RetentionMs    int64 // -1: no limit
	RetentionBytes int64 // -1: no limit

	Compact                bool // cleanup.policy has "compact"
	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64

	MaxMessageBytes    int64
	LogAppendTime      bool  // message.timestamp.type
	TimestampBeforeMax int64 // message.timestamp.before.max.ms
	TimestampAfterMax  int64 // message.timestamp.after.max.ms
	CompressionType    string
	GzipLevel          int
	LZ4Level           int
	ZstdLevel          int

	FileDeleteDelayMs    int64
	FlushMessages        int64
	FlushMs              int64
	Preallocate          bool
	ProducerExpirationMs int64
}

// DefaultOptions are Kafka's defaults.
func DefaultOptions() Options {
	return Options{
		SegmentBytes:           1 << 30,
		SegmentMs:              7 * 24 * 3600 * 1000,
		IndexIntervalBytes:     4096,
		IndexBytes:             10 << 20,
		Delete:                 true,
		RetentionMs:            7 * 24 * 3600 * 1000,
		RetentionBytes:         -1,
		DeleteRetentionMs:      24 * 3600 * 1000,
		MaxCompactionLagMs:     math.MaxInt64,
		MinCleanableDirtyRatio: 0.5,
		MaxMessageBytes:        1<<20 + 12,
		TimestampBeforeMax:     math.MaxInt64,
		TimestampAfterMax:      3600 * 1000,
		CompressionType:        "producer",
		GzipLevel:              -1,
		LZ4Level:               9,
		ZstdLevel:              3,
		FileDeleteDelayMs:      60 * 1000,
		FlushMessages:          math.MaxInt64,
		FlushMs:                math.MaxInt64,
		ProducerExpirationMs:   24 * 3600 * 1000,
	}
}
