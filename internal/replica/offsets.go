package replica

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// The special timestamps of ListOffsets.
const (
	LatestTimestamp          = -1
	EarliestTimestamp        = -2
	MaxTimestamp             = -3 // KIP-734
	EarliestLocalTimestamp   = -4 // KIP-405
	LatestTieredTimestamp    = -5 // KIP-1005
	EarliestPendingTimestamp = -6 // KIP-1023
)

// FoundOffset answers a lookup; offset and timestamp are -1 where there is none.
type FoundOffset struct {
	Offset, Timestamp int64
	LeaderEpoch       int32
}

var nothingFound = FoundOffset{-1, -1, -1}

// OffsetFor finds an offset by a timestamp, or by one of the special ones. It is kafka.OffsetNotAvailable where a leader that
// has just been elected does not know yet whether that offset is committed.
func (p *Partition) OffsetFor(timestamp int64, clientEpoch int32, committed bool) (FoundOffset, kafka.ErrorCode) {
	p.mu.Lock()
	code, epochStart, epoch := p.leads(clientEpoch), int64(0), p.leaderEpoch
	if p.lead != nil {
		epochStart = p.lead.epochStart
	}
	p.mu.Unlock()
	if code != kafka.None {
		return nothingFound, code
	}
	log, end := p.log.Load(), p.watermark.Load()
	if committed {
		end = p.LastStableOffset()
	}
	// A new leader does not know yet what was committed before it; an answer that depends on that could go back behind an
	// earlier one (KIP-207).
	lags := end < epochStart
	switch timestamp {
	case LatestTimestamp:
		if lags {
			return nothingFound, kafka.OffsetNotAvailable
		}
		return FoundOffset{end, -1, epoch}, kafka.None
	case EarliestTimestamp, EarliestLocalTimestamp:
		start := log.LogStart()
		return FoundOffset{start, -1, log.EpochAt(start)}, kafka.None
	case LatestTieredTimestamp:
		return nothingFound, kafka.None
	case EarliestPendingTimestamp:
		return nothingFound, kafka.None
	case MaxTimestamp:
		if lags {
			return nothingFound, kafka.OffsetNotAvailable
		}
		return looked(log.MaxTimestamp(end))
	}
	found, ok, err := log.OffsetForTimestamp(timestamp, end)
	if !ok && err == nil && lags {
		return nothingFound, kafka.OffsetNotAvailable
	}
	return looked(found, ok, err)
}

func looked(found storage.TimestampOffset, ok bool, err error) (FoundOffset, kafka.ErrorCode) {
	if err != nil {
		return nothingFound, kafka.AsErrorCode(err)
	}
	if !ok {
		return nothingFound, kafka.None
	}
	return FoundOffset{found.Offset, found.Timestamp, found.LeaderEpoch}, kafka.None
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-101): the largest epoch not above the one asked for, and where it ends.
func (p *Partition) EpochEnd(epoch, clientEpoch int32) (found int32, end int64, code kafka.ErrorCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := p.leads(clientEpoch); code != kafka.None {
		return -1, -1, code
	}
	log := p.log.Load()
	if epoch == p.leaderEpoch {
		return epoch, log.End(), kafka.None
	}
	found, end = log.EndOffsetForEpoch(epoch)
	return found, end, kafka.None
}

// KnowsProducer reports whether the log, if it is here, remembers an idempotent producer.
func (p *Partition) KnowsProducer(id int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log.Load()
	return log != nil && log.Knows(id)
}

// Producers lists the idempotent producers that have written here of late.
func (p *Partition) Producers() ([]storage.ActiveProducer, kafka.ErrorCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := p.leads(-1); code != kafka.None {
		return nil, code
	}
	return p.log.Load().Producers(), kafka.None
}
