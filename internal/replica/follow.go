package replica

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/wire"
)

// What a leader does for followers, and what a follower does with what it is told (KIP-101, KIP-279, KIP-320, KIP-595).

// readForFollower answers a follower: records up to the end of the log, committed or not. Its log is first found to be a
// beginning of ours; where it is not, it is told where the two part, and nothing that it says counts.
func (p *Partition) readForFollower(f *Fetch, want *FetchPartition, result *wire.FetchResult, maxBytes int, atLeastOne bool) {
	fire := firings.Get().(*firing)
	p.mu.Lock()
	log, code := p.admit(f, want, result)
	if code == kafka.None && result.DivergingEpoch < 0 {
		p.lead.fetched(f.Follower.ID, f.Follower.Epoch, want.Offset, want.Durable, want.LogStart, log.End(), p.manager.rt.Now())
		p.settleDeletions(fire)
		p.advance(log, fire)
		p.propose(fire)
		watermark := p.watermark.Load()
		result.HighWatermark, result.LastStableOffset = watermark, watermark
		switch end := log.End(); {
		case want.Offset >= end || maxBytes == 0 && !atLeastOne:
		case p.holdsBack(f.Follower.ID):
			f.heldBack = true
		case p.lead.refuses(f.Follower.ID, want.Offset) && log.Check(want.Offset) != nil:
			// What this node has there has rotted. It is damaged, and somebody else will lead.
			result.Error = kafka.KafkaStorageError
		default:
			next := p.readRange(log, want, result, maxBytes, end, atLeastOne)
			p.lead.sent(f.Follower.ID, next)
		}
	}
	p.mu.Unlock()
	fire.run()
	fire.reset()
	firings.Put(fire)
}

// admit judges whether a follower's fetch may be served. The partition's lock is held.
func (p *Partition) admit(f *Fetch, want *FetchPartition, result *wire.FetchResult) (*storage.Log, kafka.ErrorCode) {
	refuse := func(code kafka.ErrorCode) (*storage.Log, kafka.ErrorCode) {
		result.Error = code
		return nil, code
	}
	if code := p.leads(want.Epoch); code != kafka.None {
		return refuse(code)
	}
	log := p.log.Load()
	switch known := p.lead.follower(f.Follower.ID); {
	case known == nil:
		return refuse(kafka.UnknownTopicOrPartition)
	case f.Follower.Epoch < known.brokerEpoch:
		return refuse(kafka.StaleBrokerEpoch)
	}
	result.LogStart = log.LogStart()
	if want.LastEpoch >= 0 && p.diverges(want, result) {
		return log, result.Error
	}
	if want.Offset > log.End() || want.Offset < result.LogStart {
		return refuse(kafka.OffsetOutOfRange) // with the log's start, from where it may begin anew
	}
	return log, kafka.None
}

// following is where a follower's log ends, and what else its next fetch says of it.
type following struct {
	epoch     int32 // leader epoch
	offset    int64
	lastEpoch int32
	logStart  int64
	watermark int64
	durable   int64
}

// position says where to go on fetching from a leader; false where there is nothing to fetch from it.
func (p *Partition) position(leader kafka.NodeID) (following, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log.Load()
	if !p.follows(leader) || log == nil || log.Offline() {
		return following{}, false
	}
	return following{epoch: p.leaderEpoch, offset: log.End(), lastEpoch: log.LatestEpoch(), logStart: p.savedStart,
		watermark: p.watermark.Load(), durable: log.Durable()}, true
}

// follows reports whether the metadata has this node follow a leader. The partition's lock is held.
func (p *Partition) follows(leader kafka.NodeID) bool {
	return !p.deleted && !p.leading && p.leader == leader && leader != p.manager.node && p.manager.registered.Load()
}

// readable answers whether a follower can serve consumers. The partition's lock is held.
func (p *Partition) readable() kafka.ErrorCode {
	if log := p.log.Load(); log == nil || log.Offline() {
		return kafka.KafkaStorageError
	}
	return kafka.None
}

// nearer is a follower in the same rack as a client, in sync and with the offset that the client wants; NoNode where the leader
// itself is as near, or nobody is (KIP-392). The partition's lock is held.
func (p *Partition) nearer(rack string, offset int64) kafka.NodeID {
	image := p.manager.image.Load()
	if own := image.Broker(p.manager.node); own == nil || own.Rack == rack {
		return kafka.NoNode
	}
	best, end := kafka.NodeID(kafka.NoNode), int64(-1)
	for i := range p.lead.followers {
		f := &p.lead.followers[i]
		b := image.Broker(f.id)
		if b.Active() && b.Rack == rack && f.fetched && f.validated >= offset && f.validated > end && slices.Contains(p.lead.isr, f.id) {
			best, end = f.id, f.validated
		}
	}
	return best
}

// taken is what became of a leader's answer.
type taken uint8

const (
	takenAll   taken = iota // go on
	takenStale              // it does not fit what is there now: fetch again
	takenPause              // something is wrong that may pass
)

// take makes a leader's answer to a fetch true for this replica.
func (p *Partition) take(leader kafka.NodeID, asked following, r *kmsg.FetchResponseTopicPartition) taken {
	fire := firings.Get().(*firing)
	p.mu.Lock()
	result := p.takeLocked(leader, asked, r, fire)
	p.mu.Unlock()
	fire.run()
	fire.reset()
	firings.Put(fire)
	return result
}

func (p *Partition) takeLocked(leader kafka.NodeID, asked following, r *kmsg.FetchResponseTopicPartition, fire *firing) taken {
	log := p.log.Load()
	// An answer that comes after the leader or its epoch has changed would mix two histories.
	if !p.follows(leader) || p.leaderEpoch != asked.epoch || log == nil || log.Offline() || log.End() != asked.offset {
		return takenStale
	}
	switch code := kafka.ErrorCode(r.ErrorCode); {
	case r.DivergingEpoch.Epoch >= 0:
		return p.truncate(log, r.DivergingEpoch.Epoch, r.DivergingEpoch.EndOffset)
	case code == kafka.OffsetOutOfRange && r.LogStartOffset > asked.offset:
		return p.restart(log, r.LogStartOffset)
	case code != kafka.None:
		return takenPause
	}
	wrote, err := p.appendFetched(log, r.RecordBatches)
	if err != nil {
		if err.Error() != p.stuckWith {
			p.stuckWith = err.Error()
			p.manager.logger.Warn("cannot append what the leader has sent; trying again", "partition", p.TopicPartition.String(), "leader", int(leader), "error", err)
		}
		return takenPause
	}
	p.stuckWith = ""
	if end := min(r.HighWatermark, log.End()); end > p.watermark.Load() {
		p.raise(log, end, fire)
	}
	if start := min(r.LogStartOffset, p.watermark.Load()); start > p.savedStart {
		// Retention here may have been faster, and its progress is not durable either.
		if err := log.DeleteRecordsBefore(start); err != nil {
			return takenPause
		}
		p.manager.starts.add(p)
	}
	if settings := p.settings.Load(); wrote && (!settings.Memory || log.End()-log.Durable() >= settings.Storage.FlushMessages) {
		p.manager.directory.FlushAppends(log, 1)
	}
	return takenAll
}

// truncate cuts the log where it parts from the leader's, or at the last point before that which both may know.
func (p *Partition) truncate(log *storage.Log, epoch int32, end int64) taken {
	if own, ownEnd := log.EndOffsetForEpoch(epoch); own >= 0 {
		end = min(end, ownEnd)
	}
	end = min(end, log.End())
	if watermark := p.watermark.Load(); end < watermark {
		// Only where an operator has asked for a leader that lacks committed records.
		p.manager.logger.Error("records that were committed are cut off, because the leader does not have them",
			"partition", p.TopicPartition.String(), "leader", int(p.leader), "leader_epoch", p.leaderEpoch, "from", end, "high_watermark", watermark)
		p.watermark.Store(end)
		log.SetHighWatermark(end)
	}
	was := log.End()
	cut, err := log.Truncate(end)
	if err != nil {
		return takenPause
	}
	p.manager.logger.Info("cut the log to where the leader's parts from it", "partition", p.TopicPartition.String(),
		"leader", int(p.leader), "leader_epoch", p.leaderEpoch, "from", was, "to", cut)
	return takenStale
}

// restart begins the log anew where the leader's begins: what lies between was deleted everywhere.
func (p *Partition) restart(log *storage.Log, at int64) taken {
	p.manager.logger.Info("the leader's log begins behind the end of this one, which begins anew", "partition", p.TopicPartition.String(),
		"leader", int(p.leader), "end", log.End(), "log_start", at)
	if err := log.Restart(at); err != nil {
		return takenPause
	}
	p.watermark.Store(at)
	log.SetHighWatermark(at)
	p.manager.starts.add(p)
	return takenStale
}

// appendFetched checks and appends the batches of a leader's answer.
func (p *Partition) appendFetched(log *storage.Log, data []byte) (wrote bool, err error) {
	var batches []record.Batch
	for len(data) > 0 {
		if len(data) < record.HeaderSize {
			break // the rest of a batch that was cut
		}
		b, err := p.firstFetched(data)
		if err != nil && len(batches) == 0 {
			return false, err
		}
		if err != nil || b == nil {
			break // what is good before it is taken, and it is asked for again
		}
		data = data[len(b):]
		batches = append(batches, b)
	}
	if len(batches) == 0 {
		return false, nil
	}
	stats := &p.manager.Stats
	for _, b := range batches {
		stats.BytesReplicated.Add(int64(len(b)))
	}
	start := log.End()
	if first := batches[0]; log.LogStart() == start && first.BaseOffset() < start && first.LastOffset() >= start {
		return true, p.beginWithin(log, batches, start)
	}
	return true, log.AppendAsFollower(p.manager.now(), batches)
}

// firstFetched is the first batch of what a leader has sent; nil for one that was cut.
func (p *Partition) firstFetched(data []byte) (record.Batch, error) {
	size := record.Batch(data).Size()
	if size < record.HeaderSize {
		return nil, fmt.Errorf("a batch of %d bytes: %w", size, kafka.CorruptMessage)
	}
	if size > int64(len(data)) {
		return nil, nil
	}
	b := record.Batch(data[:size:size])
	if b.Magic() != record.Magic || b.CRC() != b.ComputeCRC() || b.LastOffsetDelta() < 0 || b.LeaderEpoch() > p.leaderEpoch {
		return nil, fmt.Errorf("batch at %d: %w", b.BaseOffset(), kafka.CorruptMessage)
	}
	return b, nil
}

// beginWithin makes an empty log begin with a batch of which only the end is wanted: the leader's log begins within it, because the
// records before that were deleted.
func (p *Partition) beginWithin(log *storage.Log, batches []record.Batch, start int64) error {
	base := batches[0].BaseOffset()
	if err := log.Restart(base); err != nil {
		return err
	}
	p.savedStart = base
	if err := log.AppendAsFollower(p.manager.now(), batches); err != nil {
		return err
	}
	p.manager.starts.add(p)
	return log.DeleteRecordsBefore(start)
}
