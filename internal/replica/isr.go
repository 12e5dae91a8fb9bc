package replica

import (
	"slices"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// leadership is what the leader of a partition knows of its followers in one leader epoch, and what it has proposed to
// the controller. It decides, and does nothing: the partition asks it under its lock.
//
// The high watermark rests on the maximal ISR: the members that are committed in the metadata, and all those that a
// proposal whose fate is not known might make members. A record that all of these have on stable storage is with whoever
// the controller may elect, however the proposal ends (KIP-497, KIP-966).
type leadership struct {
	self           kafka.NodeID
	epoch          int32 // leader epoch
	partitionEpoch int32
	epochStart     int64          // where the log ended when the epoch began
	deletedTo      int64          // what lies before was deleted for good: a log that has it still must not lead
	isr            []kafka.NodeID // as committed
	recovering     bool           // elected although it may lack committed records
	proposal       *proposal      // unresolved; nil if none
	// doubtful are the members of proposals that were refused. A copy of one may still be on its way to some controller, and
	// until a change of the partition is committed nobody knows that it will not be accepted after all.
	doubtful  []kafka.NodeID
	followers []follower // the other replicas, in the order of assignment
}

// follower is one other replica as its leader sees it.
type follower struct {
	id          kafka.NodeID
	brokerEpoch int64 // of the life in which it fetched; -1 for none
	fetched     bool  // in this leader epoch: its log is then known to be a beginning of ours, up to validated
	validated   int64 // the end of what it has of ours
	durable     int64 // the end of what it has on stable storage
	logStart    int64 // where its log begins, for good; -1 where that is not known
	caughtUp    time.Time
	sentFrom    int64     // where what it was sent last begins; -1 for nothing yet
	again       int       // how often it has asked for that once more
	lastEnd     int64     // where our log ended when it fetched last
	lastFetch   time.Time // and when that was
	blocking    time.Time // since when it alone has held the high watermark back; zero if it does not
	penance     time.Duration
	backFrom    time.Time // not to join again before
}

// proposal is an ISR that the leader has asked the controller for. It is sent again and again exactly as it is, with the
// broker epochs as they were when it was made, until its fate is known.
type proposal struct {
	isr            []kafka.NodeID
	brokerEpochs   []int64 // of each member
	leaderEpoch    int32
	partitionEpoch int32
}

// liveness tells what the metadata says of other brokers.
type liveness interface {
	// eligible reports whether a broker, in the life that has the epoch, may join an ISR.
	eligible(id kafka.NodeID, brokerEpoch int64) bool
	// brokerEpoch is that of a broker's registration; -1 for none.
	brokerEpoch(id kafka.NodeID) int64
}

// newLeadership begins a leader epoch with a log that holds [logStart, epochStart): nothing is known of anybody.
func newLeadership(self kafka.NodeID, state *metadata.Partition, logStart, epochStart int64, now time.Time) *leadership {
	l := &leadership{self: self, epoch: state.LeaderEpoch, epochStart: epochStart, deletedTo: logStart}
	l.adopt(state, now)
	return l
}

// adopt takes over what is committed for the same leader epoch, and with it the fate of what was proposed: a change of the
// partition makes every older proposal void.
func (l *leadership) adopt(state *metadata.Partition, now time.Time) {
	if l.isr != nil && state.PartitionEpoch <= l.partitionEpoch {
		return
	}
	l.partitionEpoch, l.isr = state.PartitionEpoch, state.ISR
	l.recovering = state.Recovery == metadata.Recovering
	l.proposal, l.doubtful = nil, nil
	old := l.followers
	l.followers = make([]follower, 0, len(state.Replicas))
	for _, id := range state.Replicas {
		if id == l.self {
			continue
		}
		if i := slices.IndexFunc(old, func(f follower) bool { return f.id == id }); i >= 0 {
			l.followers = append(l.followers, old[i])
		} else {
			l.followers = append(l.followers, follower{id: id, brokerEpoch: -1, logStart: -1, caughtUp: now})
		}
	}
}

func (l *leadership) follower(id kafka.NodeID) *follower {
	for i := range l.followers {
		if l.followers[i].id == id {
			return &l.followers[i]
		}
	}
	return nil
}

// fetched notes a fetch whose log was found to be a beginning of ours up to offset. durable is what the follower says of
// itself, -1 where it says nothing, and logStart where its log begins.
func (l *leadership) fetched(id kafka.NodeID, brokerEpoch, offset, durable, logStart, end int64, now time.Time) {
	f := l.follower(id)
	if f == nil || brokerEpoch < f.brokerEpoch {
		return // a late word of an earlier life
	}
	if brokerEpoch > f.brokerEpoch || !f.fetched {
		*f = follower{id: id, brokerEpoch: brokerEpoch, fetched: true, logStart: -1, sentFrom: -1, caughtUp: f.caughtUp, penance: f.penance, backFrom: f.backFrom}
	}
	f.validated, f.logStart = offset, logStart
	f.durable = min(max(f.durable, durable), offset)
	switch {
	case offset >= end:
		f.caughtUp = now
	case f.lastEnd > 0 && offset >= f.lastEnd:
		f.caughtUp = f.lastFetch
	}
	f.lastEnd, f.lastFetch = end, now
}

// sent notes how far the records go that a fetch is answered with. The follower may have them on stable storage before it
// fetches again.
func (l *leadership) sent(id kafka.NodeID, end int64) {
	if f := l.follower(id); f != nil && f.fetched {
		f.validated = max(f.validated, end)
	}
}

// refuses notes that a follower is to be sent what lies at an offset, and reports whether it has asked for that so often that it
// seems to refuse what it gets. A fetch that is lost on its way is asked again as well, but not for long.
func (l *leadership) refuses(id kafka.NodeID, offset int64) bool {
	f := l.follower(id)
	if f == nil || f.sentFrom != offset {
		if f != nil {
			f.sentFrom, f.again = offset, 0
		}
		return false
	}
	f.again++
	return f.again%suspicious == 0
}

// progress notes how far a follower's log is durable, and reports whether that is news.
func (l *leadership) progress(id kafka.NodeID, brokerEpoch, durable int64) bool {
	f := l.follower(id)
	if f == nil || !f.fetched || f.brokerEpoch != brokerEpoch {
		return false
	}
	durable = min(durable, f.validated)
	news := durable > f.durable
	f.durable = max(f.durable, durable)
	return news
}

// held is how far a follower's copy counts: on stable storage, or in its memory where a topic asks for no more.
func (f *follower) held(memory bool) int64 {
	switch {
	case !f.fetched:
		return 0
	case memory:
		return f.validated
	}
	return f.durable
}

// maximal visits the followers in the maximal ISR.
func (l *leadership) maximal(visit func(f *follower)) {
	for i := range l.followers {
		f := &l.followers[i]
		if slices.Contains(l.isr, f.id) || slices.Contains(l.doubtful, f.id) ||
			l.proposal != nil && slices.Contains(l.proposal.isr, f.id) {
			visit(f)
		}
	}
}

// committed is how far everybody in the maximal ISR has the log, given how far this node has it.
func (l *leadership) committed(own int64, memory bool) int64 {
	l.maximal(func(f *follower) { own = min(own, f.held(memory)) })
	return own
}

// lag bounds how far followers may be behind.
type lag struct {
	max  time.Duration // replica.lag.time.max.ms
	slow time.Duration // replica.slow.evict.ms: how long one follower alone may hold everybody up
}

// suspicious is after how many fetches of the same records a leader looks at them.
const suspicious = 3

const (
	// firstPenance is how long a follower that was put out for being slow has to keep up before it may join again. It doubles
	// each time, up to lastPenance.
	firstPenance = 10 * time.Second
	lastPenance  = 20 * time.Second
)

// propose is the ISR to ask the controller for; nil where the one there is will do. end is where our log ends, watermark
// the high watermark.
func (l *leadership) propose(lag lag, end, watermark int64, minISR int, memory bool, alive liveness, now time.Time) *proposal {
	if l.proposal != nil {
		return nil
	}
	if l.doubtful != nil {
		return l.make(l.isr, alive)
	}
	isr := l.shrunk(lag, end, watermark, minISR, memory, now)
	for i := range l.followers {
		f := &l.followers[i]
		if slices.Contains(isr, f.id) || slices.Contains(l.isr, f.id) || !l.mayJoin(f, watermark, memory, alive, now) {
			continue
		}
		isr = append(slices.Clip(isr), f.id)
	}
	if slices.Equal(isr, l.isr) && !l.recovering {
		return nil
	}
	return l.make(isr, alive)
}

// mayJoin says that a follower has everything that is committed and everything that came before this epoch, and nothing that was
// deleted for good.
func (l *leadership) mayJoin(f *follower, watermark int64, memory bool, alive liveness, now time.Time) bool {
	held := f.held(memory)
	return f.fetched && held >= watermark && held >= l.epochStart && f.logStart >= l.deletedTo && !now.Before(f.backFrom) && alive.eligible(f.id, f.brokerEpoch)
}

// shrunk is the ISR without those who have not kept up.
func (l *leadership) shrunk(lag lag, end, watermark int64, minISR int, memory bool, now time.Time) []kafka.NodeID {
	slow := l.slowest(lag, end, watermark, minISR, memory, now)
	return slices.DeleteFunc(slices.Clone(l.isr), func(id kafka.NodeID) bool {
		f := l.follower(id)
		if f == nil {
			return false
		}
		if id == slow {
			f.penance = min(max(firstPenance, f.penance*2), lastPenance)
			f.backFrom = now.Add(f.penance)
			return true
		}
		return f.behind(end, memory) && now.Sub(f.caughtUp) > lag.max
	})
}

// behind reports whether a follower lacks anything. One that has everything is in sync however long ago it said so.
func (f *follower) behind(end int64, memory bool) bool { return f.held(memory) < end }

// slowest is the one follower that alone holds the high watermark back, and has done so for too long, if enough others
// stay; NoNode otherwise. Kafka waits for replica.lag.time.max.ms; producers would wait with it.
func (l *leadership) slowest(lag lag, end, watermark int64, minISR int, memory bool, now time.Time) kafka.NodeID {
	var laggard *follower
	laggards := 0
	l.maximal(func(f *follower) {
		if f.held(memory) > watermark || watermark >= end {
			f.blocking = time.Time{}
			return
		}
		laggards++
		laggard = f
	})
	if laggards != 1 {
		for i := range l.followers {
			l.followers[i].blocking = time.Time{}
		}
		return kafka.NoNode
	}
	if laggard.blocking.IsZero() {
		laggard.blocking = now
	}
	// With two members, the one left would be the only copy.
	if now.Sub(laggard.blocking) < lag.slow || len(l.isr)-1 < max(minISR, 2) || !slices.Contains(l.isr, laggard.id) {
		return kafka.NoNode
	}
	return laggard.id
}

func (l *leadership) make(isr []kafka.NodeID, alive liveness) *proposal {
	p := &proposal{isr: isr, leaderEpoch: l.epoch, partitionEpoch: l.partitionEpoch}
	for _, id := range isr {
		epoch := alive.brokerEpoch(id)
		if f := l.follower(id); f != nil && f.fetched {
			epoch = f.brokerEpoch
		}
		p.brokerEpochs = append(p.brokerEpochs, epoch)
	}
	l.proposal = p
	return p
}

// refused notes that the controller has turned a proposal down for one of its members. Its members go on counting until a
// change with a later partition epoch is committed, be it one that changes nothing: only then no copy of it can be accepted.
// So what is proposed next is the ISR that there is.
func (l *leadership) refused(p *proposal) {
	if l.proposal == p {
		l.proposal, l.doubtful = nil, append(l.doubtful, p.isr...)
	}
}
