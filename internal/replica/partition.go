package replica

import (
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/storage"
)

// Partition is this node's replica of one partition.
type Partition struct {
	kafka.TopicPartition
	TopicID kafka.TopicID

	manager  *Manager
	settings atomic.Pointer[Settings]
	log      atomic.Pointer[storage.Log] // nil until it is open
	// watermark is the high watermark: consumers read below it. It moves under mu, and is read without.
	watermark atomic.Int64

	mu          sync.Mutex
	leading     bool
	leaderEpoch int32
	leader      kafka.NodeID
	lead        *leadership // while leading with a log
	inSync      int         // how many replicas are in sync, as committed
	copies      int         // how many replicas it is to have
	deleted     bool
	failed      string       // why the log could not be opened
	damage      damage       // of the log that there is
	fetchedFrom kafka.NodeID // whose fetcher has the partition; NoNode for none
	state       *metadata.Partition

	refused   refusals
	waiting   produceQueue
	parked    []*Fetch // of consumers
	following []*Fetch // of followers
	deletions []*Deletion
	early     []*Deletion // of records that are not committed yet
	// savedStart is where the log begins, as far as that is durable: what a follower tells its leader.
	savedStart int64
	// stuckWith is why what the leader has sent could not be appended the last time, empty where it could.
	stuckWith string
	committed func(offset int64) // see machineLog
}

// State is what the metadata says about the replica, as of the last change that was applied.
type State struct {
	Leader      kafka.NodeID
	LeaderEpoch int32
	Leading     bool
}

// State says who leads.
func (p *Partition) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State{p.leader, p.leaderEpoch, p.leading}
}

// Log is the partition's log; nil while it is not open.
func (p *Partition) Log() *storage.Log { return p.log.Load() }

// Settings is what the topic's configs say.
func (p *Partition) Settings() *Settings { return p.settings.Load() }

// HighWatermark is where consumers' reads end.
func (p *Partition) HighWatermark() int64 { return p.watermark.Load() }

// LastStableOffset is where reads of committed data end (KIP-98).
func (p *Partition) LastStableOffset() int64 { return p.watermark.Load() }

// leads answers whether requests may be served here, in the epoch that the client believes in; -1 is any.
// The partition's lock is held.
func (p *Partition) leads(clientEpoch int32) kafka.ErrorCode {
	switch {
	case p.deleted:
		return kafka.UnknownTopicOrPartition
	case clientEpoch >= 0 && clientEpoch < p.leaderEpoch:
		return kafka.FencedLeaderEpoch
	case clientEpoch > p.leaderEpoch:
		return kafka.UnknownLeaderEpoch
	case !p.leading:
		return kafka.NotLeaderOrFollower
	case p.lead == nil || p.log.Load() == nil || p.log.Load().Offline():
		return kafka.KafkaStorageError
	}
	return kafka.None
}

// CheckLeader is leads for callers without the lock.
func (p *Partition) CheckLeader(clientEpoch int32) kafka.ErrorCode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads(clientEpoch)
}

// apply takes over what the metadata says of the partition. The log is open, or could not be opened.
func (p *Partition) apply(state *metadata.Partition) {
	var fire firing
	p.mu.Lock()
	p.remember(state)
	log := p.log.Load()
	leading := state.Leader == p.manager.node && !p.deleted && p.manager.registered.Load()
	newEpoch := leading && (!p.leading || state.LeaderEpoch != p.leaderEpoch)
	stepDown := p.leading && !leading
	if state.LeaderEpoch != p.leaderEpoch {
		fire.fetches = append(append(fire.fetches, p.parked...), p.following...) // who leads is news to those who wait
	}
	p.leading, p.leaderEpoch = leading, state.LeaderEpoch
	switch {
	case stepDown:
		p.lead = nil
		p.failAll(kafka.NotLeaderOrFollower, &fire)
	case newEpoch && log != nil && !log.Offline():
		p.begin(log, state, &fire)
	case leading && p.lead != nil:
		p.lead.adopt(state, p.manager.rt.Now())
		p.advance(log, &fire)
		p.settleDeletions(&fire)
	}
	if leading && p.underMinInSync() {
		p.waiting.fail(kafka.NotEnoughReplicasAfterAppend, &fire)
	}
	p.propose(&fire)
	p.mu.Unlock()
	p.manager.follow(p)
	fire.run()
}

// begin begins to lead in a new epoch. The partition's lock is held.
func (p *Partition) begin(log *storage.Log, state *metadata.Partition, fire *firing) {
	p.lead = newLeadership(p.manager.node, state, log.LogStart(), log.End(), p.manager.rt.Now())
	if err := log.AssignEpochStart(state.LeaderEpoch); err != nil {
		p.manager.logger.Error("cannot note the start of a leader epoch", "partition", p.TopicPartition, "error", err)
	}
	// What the last leader epoch left behind counts once it is on disk, like all else.
	p.manager.directory.Flush(log)
	p.advance(log, fire)
}

// advance moves the high watermark as far as what everybody in sync holds allows, and collects who waited for that.
// The partition's lock is held.
func (p *Partition) advance(log *storage.Log, fire *firing) {
	if !p.leading || p.lead == nil {
		return
	}
	s := p.settings.Load()
	end := log.Durable()
	if s.Memory {
		if leo := log.End(); leo-end < s.Storage.FlushMessages {
			end = leo
		}
	}
	if p.underMinInSync() {
		return // strict min ISR: nothing is committed by fewer (KIP-966)
	}
	if end = p.lead.committed(end, s.Memory); end <= p.watermark.Load() {
		return
	}
	p.raise(log, end, fire)
	p.waiting.release(end, log.LogStart(), fire)
	if p.committed != nil {
		fire.commits = append(fire.commits, commit{p.committed, end})
	}
}

// raise moves the high watermark, on the leader and on followers alike. The partition's lock is held.
func (p *Partition) raise(log *storage.Log, end int64, fire *firing) {
	p.watermark.Store(end)
	log.SetHighWatermark(end)
	fire.fetches = append(append(fire.fetches, p.parked...), p.following...)
	p.releaseEarly(end, fire)
}

// propose asks the controller for another ISR where that is due. The partition's lock is held.
func (p *Partition) propose(fire *firing) {
	log := p.log.Load()
	if p.lead == nil || log == nil || p.copies < 2 && !p.lead.recovering {
		return
	}
	m, s := p.manager, p.settings.Load()
	asked := p.lead.propose(m.lag, log.End(), p.watermark.Load(), min(s.MinInsync, p.copies), s.Memory, m, m.rt.Now())
	if asked != nil {
		fire.proposals = append(fire.proposals, proposed{p, asked})
	}
}

// underMinInSync says whether fewer replicas are in sync than a record needs to be committed: min.insync.replicas, but no
// more than the partition has at all, as in Kafka (KAFKA-15583). The partition's lock is held.
func (p *Partition) underMinInSync() bool {
	return p.inSync < min(p.settings.Load().MinInsync, p.copies)
}

// durable is called by the directory's flusher.
func (p *Partition) durable(int64) {
	fire := firings.Get().(*firing)
	p.mu.Lock()
	if log := p.log.Load(); log != nil {
		p.advance(log, fire)
	}
	report := !p.leading && p.leader != kafka.NoNode && !p.deleted
	p.mu.Unlock()
	if report {
		p.manager.report(p)
	}
	fire.run()
	fire.reset()
	firings.Put(fire)
}

// failAll answers everybody who waits. The partition's lock is held.
func (p *Partition) failAll(code kafka.ErrorCode, fire *firing) {
	p.waiting.fail(code, fire)
	p.failDeletions(code, fire)
	fire.fetches = append(append(fire.fetches, p.parked...), p.following...)
}

// offline answers everybody who waits when the log's directory has died.
func (p *Partition) offline() {
	var fire firing
	p.mu.Lock()
	p.failAll(kafka.KafkaStorageError, &fire)
	p.mu.Unlock()
	fire.run()
}

// append writes the batches that one drain staged for this partition, in order.
func (p *Partition) append(batches []*Staged, appends []*storage.Append, now int64, fire *firing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := p.leads(-1); code != kafka.None {
		for _, s := range batches {
			p.refused.note(s, p.leaderEpoch, code)
			s.refuse(code)
			fire.finish(s)
		}
		return
	}
	log := p.log.Load()
	if len(p.refused) > 0 {
		batches, appends = p.refuseOvertakers(log, batches, appends, fire)
	}
	settings := p.settings.Load()
	if p.underMinInSync() {
		batches, appends = p.refuseAcksAll(batches, appends, fire)
	}
	if len(appends) > 0 {
		// The error says that the log as a whole failed; every batch that was not written has it as well.
		_ = log.AppendAsLeader(p.leaderEpoch, now, appends)
	}
	logStart := log.LogStart()
	wrote := 0
	for _, s := range batches {
		if p.appended(s, log, logStart, fire) {
			wrote++
		}
	}
	if wrote == 0 {
		return
	}
	if !settings.Memory || log.End()-log.Durable() >= settings.Storage.FlushMessages {
		p.manager.directory.FlushAppends(log, wrote)
	}
	fire.fetches = append(fire.fetches, p.following...)
	if settings.Memory {
		p.advance(log, fire)
	}
}

// refuseAcksAll turns away what asks for more in-sync replicas than there are (KAFKA's NOT_ENOUGH_REPLICAS).
func (p *Partition) refuseAcksAll(batches []*Staged, appends []*storage.Append, fire *firing) ([]*Staged, []*storage.Append) {
	kept, keptAppends := batches[:0], appends[:0]
	for _, s := range batches {
		if s.request.Acks == -1 {
			p.refused.note(s, p.leaderEpoch, kafka.NotEnoughReplicas)
			s.refuse(kafka.NotEnoughReplicas)
			fire.finish(s)
			continue
		}
		kept, keptAppends = append(kept, s), append(keptAppends, &s.Append)
	}
	return kept, keptAppends
}

// appended settles one batch after the log has had it: it failed, is good enough, or waits to be committed.
func (p *Partition) appended(s *Staged, log *storage.Log, logStart int64, fire *firing) (wrote bool) {
	if s.Err != kafka.None {
		if s.Err == kafka.KafkaStorageError {
			p.refused.note(s, p.leaderEpoch, s.Err)
		}
		s.judged = p.leaderEpoch
		s.refuse(s.Err)
		fire.finish(s)
		return false
	}
	s.LogStart = logStart
	if !s.Duplicate {
		wrote = true
		stats := &p.manager.Stats
		stats.BatchesIn.Add(1)
		stats.RecordsIn.Add(int64(s.Batch.Count()))
		stats.BytesIn.Add(int64(len(s.Batch)))
	}
	if s.request.Acks != -1 || s.LastOffset < p.watermark.Load() {
		fire.finish(s)
		return wrote
	}
	p.waiting.add(s, s.LastOffset+1)
	return wrote
}

// check judges a producer's batch by the topic's limits, outside of any lock.
func (p *Partition) check(batch record.Batch, now int64) record.Verdict {
	return record.Check(batch, &p.settings.Load().Limits, now)
}
