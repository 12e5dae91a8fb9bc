package replica

import (
	"math"
	"slices"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/storage"
)

// SettingsFrom reads a topic's settings off the configs in effect for it.
func SettingsFrom(l config.Layers) Settings {
	policy := l.TopicList("cleanup.policy")
	o := storage.Options{
		SegmentBytes:           l.TopicInt("segment.bytes"),
		SegmentMs:              l.TopicInt("segment.ms"),
		SegmentJitterMs:        l.TopicInt("segment.jitter.ms"),
		IndexIntervalBytes:     l.TopicInt("index.interval.bytes"),
		IndexBytes:             l.TopicInt("segment.index.bytes"),
		Delete:                 slices.Contains(policy, "delete"),
		Compact:                slices.Contains(policy, "compact"),
		RetentionMs:            l.TopicInt("retention.ms"),
		RetentionBytes:         l.TopicInt("retention.bytes"),
		DeleteRetentionMs:      l.TopicInt("delete.retention.ms"),
		MinCompactionLagMs:     l.TopicInt("min.compaction.lag.ms"),
		MaxCompactionLagMs:     l.TopicInt("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: l.TopicFloat("min.cleanable.dirty.ratio"),
		MaxMessageBytes:        l.TopicInt("max.message.bytes"),
		LogAppendTime:          l.TopicString("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMax:     l.TopicInt("message.timestamp.before.max.ms"),
		TimestampAfterMax:      l.TopicInt("message.timestamp.after.max.ms"),
		CompressionType:        l.TopicString("compression.type"),
		GzipLevel:              int(l.TopicInt("compression.gzip.level")),
		LZ4Level:               int(l.TopicInt("compression.lz4.level")),
		ZstdLevel:              int(l.TopicInt("compression.zstd.level")),
		FileDeleteDelayMs:      l.TopicInt("file.delete.delay.ms"),
		FlushMessages:          l.TopicInt("flush.messages"),
		FlushMs:                l.TopicInt("flush.ms"),
		Preallocate:            l.TopicBool("preallocate"),
		ProducerExpirationMs:   l.Int("producer.id.expiration.ms"),
	}
	if l.TopicString("flush.ms") == "" {
		o.FlushMs = math.MaxInt64
	}
	return Settings{Storage: o, Limits: limitsOf(o), Memory: l.TopicString("ack.durability") == "memory",
		MinInsync: int(l.TopicInt("min.insync.replicas")),
		Throttle: Throttle{
			Leader:       ParseReplicaSet(l.TopicList("leader.replication.throttled.replicas")),
			Follower:     ParseReplicaSet(l.TopicList("follower.replication.throttled.replicas")),
			LeaderRate:   l.Int("leader.replication.throttled.rate"),
			FollowerRate: l.Int("follower.replication.throttled.rate"),
		}}
}

var codecNames = map[string]record.Codec{"producer": record.KeepCodec, "uncompressed": record.Uncompressed,
	"gzip": record.Gzip, "snappy": record.Snappy, "lz4": record.LZ4, "zstd": record.Zstd}

func limitsOf(o storage.Options) record.Limits {
	codec, ok := codecNames[o.CompressionType]
	if !ok {
		codec = record.KeepCodec
	}
	return record.Limits{
		MaxBytes: int(min(o.MaxMessageBytes, math.MaxInt32)), SegmentBytes: int(min(o.SegmentBytes, math.MaxInt32)), Compacted: o.Compact,
		LogAppendTime: o.LogAppendTime, BeforeMaxMs: o.TimestampBeforeMax, AfterMaxMs: o.TimestampAfterMax,
		Compression: codec, Levels: record.Levels{Gzip: o.GzipLevel, LZ4: o.LZ4Level, Zstd: o.ZstdLevel},
	}
}
