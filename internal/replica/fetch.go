package replica

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/wire"
)

// FetchPartition is what a fetch wants of one partition.
type FetchPartition struct {
	Topic     string
	ID        kafka.TopicID
	Number    int32
	Epoch     int32 // the leader epoch that the client believes in, or -1
	Offset    int64
	LastEpoch int32 // of the last record that the client has, or -1 (KIP-595)
	MaxBytes  int32
	// What a follower says of its own log: its high watermark (KIP-1166), where it starts, and how far it is durable.
	Follows     bool
	Watermark   int64
	LogStart    int64
	Durable     int64 // -1 where it says nothing
	partition   *Partition
	unavailable kafka.ErrorCode
}

// Fetch is one fetch request on its way: read at once where there is enough, otherwise parked until there is.
type Fetch struct {
	MaxWait       time.Duration
	MinBytes      int32
	MaxBytes      int32
	ReadCommitted bool
	// Follower is who replicates by this fetch; nil for a consumer.
	Follower *Follower
	// Anywhere says that a consumer may be served by a follower, too, and Rack where it stands, empty where that does not matter
	// (KIP-392).
	Anywhere bool
	Rack     string
	// Partitions are read in this order; the first that has anything gives at least one batch (KIP-74).
	Partitions []FetchPartition
	// Results are the answers, in the order of the partitions.
	Results []wire.FetchResult
	// Confirm, where it is set, tells whether what this node knows of leaders is what the quorum knew after the call. It is asked
	// before a consumer is told that it has read more than there is: a leader that was cut off, and does not know yet that
	// there is another, says so of every record that the other has committed since, and the consumer begins anew or gives up.
	Confirm func(answer func(sure bool))
	// Done is called once, from anywhere. The results' file ranges are then the callee's to release.
	Done func(f *Fetch)

	manager *Manager
	stop    func()
	signals atomic.Int64
	timeout atomic.Bool
	// heldBack says that there is more for a follower, which has to wait for its rate.
	heldBack bool
	// behind says that a consumer has more than a log. Once confirmed, sure says whether that is so.
	behind, confirmed, sure bool
}

// Follower is a broker that replicates, and the epoch of its registration.
type Follower struct {
	ID    kafka.NodeID
	Epoch int64
}

// fetchOver is more signals than there can ever be.
const fetchOver = 1 << 40

// Resolve finds a fetched partition among this node's replicas, by topic id where useID says so.
func (m *Manager) Resolve(p *FetchPartition, useID bool) {
	var topic *Topic
	p.partition, p.unavailable = nil, kafka.UnknownTopicOrPartition
	if useID {
		topic, p.unavailable = m.TopicByID(p.ID), kafka.UnknownTopicID
	} else {
		topic = m.TopicNamed(p.Topic)
	}
	if topic == nil {
		return
	}
	p.Topic, p.ID = topic.Name, topic.ID
	if p.partition = topic.Partition(p.Number); p.partition == nil {
		p.unavailable = kafka.UnknownTopicOrPartition
		if int(p.Number) < topic.Count() && p.Number >= 0 {
			p.unavailable = kafka.NotLeaderOrFollower
		}
	}
}

// Fetch reads, now or when there is enough to read.
func (m *Manager) Fetch(f *Fetch) {
	m.Stats.FetchRequests.Add(1)
	f.manager = m
	f.Results = slices.Grow(f.Results[:0], len(f.Partitions))
	if f.read() || f.MaxWait <= 0 {
		f.finish()
		return
	}
	f.park()
}

// read reads every partition, and reports whether the answer should go out as it is.
func (f *Fetch) read() (answer bool) {
	f.drop()
	f.heldBack, f.behind = false, false
	if len(f.Partitions) == 0 {
		return true
	}
	left, total, first := int(f.MaxBytes), 0, true
	for i := range f.Partitions {
		want := &f.Partitions[i]
		f.Results = append(f.Results, wire.NewFetchResult(want.Number))
		result := &f.Results[len(f.Results)-1]
		if want.partition == nil {
			result.Error = want.unavailable
		} else {
			want.partition.read(f, want, result, max(min(left, int(want.MaxBytes)), 0), first)
		}
		if result.Error != kafka.None || result.DivergingEpoch >= 0 || result.PreferredReplica >= 0 || want.Follows && result.HighWatermark > want.Watermark {
			answer = true
		}
		if n := result.Records.Size; n > 0 {
			first = false
			total += n
			left -= n
		}
	}
	return answer || total >= int(f.MinBytes)
}

func (f *Fetch) drop() {
	for i := range f.Results {
		f.Results[i].Records.Release()
	}
	f.Results = f.Results[:0]
}

// finish answers. Only one caller gets here.
func (f *Fetch) finish() {
	if f.behind && !f.confirmed && f.Confirm != nil {
		f.drop()
		f.signals.Add(fetchOver) // nobody else reads meanwhile
		f.Confirm(func(sure bool) {
			f.confirmed, f.sure = true, sure
			f.read()
			f.finish()
		})
		return
	}
	bytes := 0
	for i := range f.Results {
		bytes += f.Results[i].Records.Size
		if f.Follower != nil && f.Results[i].Records.Size > 0 && f.Partitions[i].partition.throttledAsLeader() {
			f.manager.sent.record(f.manager.rt.Now(), f.Results[i].Records.Size)
		}
		if f.Results[i].Error != kafka.None {
			f.manager.Stats.FailedFetch.Add(1)
		}
	}
	f.manager.Stats.BytesOut.Add(int64(bytes))
	f.Done(f)
}

// park leaves the fetch with its partitions, which wake it when their high watermarks move.
func (f *Fetch) park() {
	// Whoever wakes it before it is wholly parked only leaves word.
	f.signals.Store(1)
	for i := range f.Partitions {
		if p := f.Partitions[i].partition; p != nil {
			p.hold(f)
		}
	}
	wait := f.MaxWait
	if f.heldBack {
		wait = min(wait, throttlePause)
	}
	f.stop = f.manager.after(wait, func() {
		f.timeout.Store(true)
		f.wake()
	})
	// Something may have come between the read and the parking.
	f.again(1)
}

// wake reads again, unless somebody else is doing just that and will see why.
func (f *Fetch) wake() {
	if n := f.signals.Add(1); n == 1 {
		f.again(n)
	}
}

// again reads until it is clear that no signal came since the last reading began.
func (f *Fetch) again(n int64) {
	for {
		if f.read() || f.timeout.Load() {
			f.signals.Add(fetchOver)
			f.unpark()
			f.finish()
			return
		}
		if f.signals.CompareAndSwap(n, 0) {
			return
		}
		n = f.signals.Load()
	}
}

func (f *Fetch) unpark() {
	if f.stop != nil {
		f.stop()
	}
	for i := range f.Partitions {
		if p := f.Partitions[i].partition; p != nil {
			p.letGo(f)
		}
	}
}

// Cancel answers a parked fetch with what there is, because nobody waits for it any more.
func (f *Fetch) Cancel() {
	f.timeout.Store(true)
	f.wake()
}

func (p *Partition) hold(f *Fetch) {
	p.mu.Lock()
	list := p.parkedWith(f)
	*list = append(*list, f)
	p.mu.Unlock()
}

func (p *Partition) letGo(f *Fetch) {
	p.mu.Lock()
	list := p.parkedWith(f)
	if i := slices.Index(*list, f); i >= 0 {
		last := len(*list) - 1
		(*list)[i], (*list)[last] = (*list)[last], nil
		*list = (*list)[:last]
	}
	p.mu.Unlock()
}

// parkedWith is the list of those who wait for the same as a fetch: consumers for the high watermark, followers for the end of
// the log as well. The partition's lock is held.
func (p *Partition) parkedWith(f *Fetch) *[]*Fetch {
	if f.Follower != nil {
		return &p.following
	}
	return &p.parked
}

// read answers for one partition.
func (p *Partition) read(f *Fetch, want *FetchPartition, result *wire.FetchResult, maxBytes int, atLeastOne bool) {
	p.mu.Lock()
	code := p.leads(want.Epoch)
	leader, epoch := p.leader, p.leaderEpoch
	follows := code == kafka.NotLeaderOrFollower && f.Anywhere && p.follows(leader)
	if follows {
		code = p.readable()
	} else if code == kafka.None && f.Rack != "" {
		result.PreferredReplica = p.nearer(f.Rack, want.Offset)
	}
	p.mu.Unlock()
	if code != kafka.None {
		result.Error = code
		if code == kafka.NotLeaderOrFollower || code == kafka.FencedLeaderEpoch {
			result.Leader, result.LeaderEpoch = leader, epoch
		}
		return
	}
	if f.Follower != nil {
		p.readForFollower(f, want, result, maxBytes, atLeastOne)
		return
	}
	log := p.log.Load()
	limit := p.watermark.Load()
	result.HighWatermark, result.LastStableOffset, result.LogStart = limit, limit, log.LogStart()
	if f.ReadCommitted {
		result.Aborted = []wire.AbortedTransaction{}
	}
	if result.PreferredReplica >= 0 {
		return // the client goes there
	}
	if want.LastEpoch >= 0 && p.diverges(want, result) {
		if f.behindEnd() != kafka.OffsetOutOfRange {
			result.Error, result.DivergingEpoch, result.DivergingEnd = kafka.NotLeaderOrFollower, -1, -1
			p.forgetBounds(result)
		}
		return
	}
	switch {
	case follows && want.Offset > limit:
		// A follower does not know what the leader has committed since.
		result.Error = kafka.OffsetNotAvailable
	case want.Offset > log.End():
		result.Error = f.behindEnd()
	case want.Offset < result.LogStart:
		result.Error = kafka.OffsetOutOfRange
	}
	if result.Error != kafka.None {
		p.forgetBounds(result)
		return
	}
	if want.Offset >= limit || maxBytes == 0 && !atLeastOne {
		return
	}
	p.readRange(log, want, result, maxBytes, limit, atLeastOne)
}

// behindEnd is what a consumer hears who has more than the log.
func (f *Fetch) behindEnd() kafka.ErrorCode {
	f.behind = true
	if f.confirmed && !f.sure {
		return kafka.NotLeaderOrFollower // as far as anybody knows here; somebody else may know more
	}
	return kafka.OffsetOutOfRange
}

// readRange finds the records.
func (p *Partition) readRange(log *storage.Log, want *FetchPartition, result *wire.FetchResult, maxBytes int, limit int64, atLeastOne bool) (next int64) {
	found, err := log.Read(want.Offset, maxBytes, limit, atLeastOne)
	if err != nil {
		result.Error = kafka.AsErrorCode(err)
		p.forgetBounds(result)
		return want.Offset
	}
	result.Records = wire.Range{File: found.File, Position: found.Position, Size: found.Size}
	return found.NextOffset
}

// forgetBounds takes back what an error does not tell.
func (p *Partition) forgetBounds(result *wire.FetchResult) {
	result.HighWatermark, result.LastStableOffset, result.LogStart, result.Aborted = -1, -1, -1, nil
}

// diverges compares the client's last record with our log: where the epochs part, so do the logs (KIP-595).
func (p *Partition) diverges(want *FetchPartition, result *wire.FetchResult) bool {
	epoch, end := p.log.Load().EndOffsetForEpoch(want.LastEpoch)
	if epoch == want.LastEpoch && end >= want.Offset || epoch < 0 && want.Offset == 0 {
		return false
	}
	if epoch < 0 {
		result.Error = kafka.OffsetOutOfRange
		p.forgetBounds(result)
		return true
	}
	result.DivergingEpoch, result.DivergingEnd = epoch, end
	return true
}
