package replica

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// followerFetchVersion is the version of Fetch that followers speak: with topic ids, and their high watermark (KIP-1166).
	followerFetchVersion = 18
	// fetcherPause is how long a leader that cannot be reached, or a partition that it does not serve, is left alone.
	fetcherPause = 100 * time.Millisecond
)

// fetcher replicates from one leader everything that this node follows it for, with one fetch at a time. It keeps a fetch
// session, so that a fetch says only what has changed (KIP-227).
//
// A fetch for which there is nothing waits at the leader. A partition that comes in meanwhile must not wait with it: the
// fetch that adds it is sent at once, and the leader answers the one before it when it sees that.
//
// Everything happens on the fetcher's loop.
type fetcher struct {
	manager *Manager
	leader  kafka.NodeID
	loop    loop.Loop

	partitions []*followed // in the order of their names
	index      map[sessionKey]*followed
	session    int32 // 0 for none yet
	epoch      int32 // of the next fetch in the session
	forget     []sessionKey
	sent       int       // fetches ever sent
	flying     []*flight // fetches without an answer, the oldest first
	urgent     bool      // a partition has come in
	waking     bool      // a timer will look at those that are left alone
	paused     bool
	closed     bool
}

// followed is one partition that is fetched.
type followed struct {
	partition *Partition
	key       sessionKey
	asked     following // as the session has it
	since     int       // the fetch that was the first to ask for that: answers to earlier ones are about something else
	inSession bool
	notBefore time.Time
	watermark int64 // of the leader, as it has said last; -1 before that
}

// flight is one fetch under way.
type flight struct {
	number  int
	session int32
}

func newFetcher(m *Manager, leader kafka.NodeID) *fetcher {
	return &fetcher{manager: m, leader: leader, loop: m.rt.Loop("fetch"), index: map[sessionKey]*followed{}}
}

// add takes a partition in, or has another look at it.
func (f *fetcher) add(p *Partition) { f.loop.Do(func() { f.take(p) }) }

// drop lets go of a partition.
func (f *fetcher) drop(p *Partition) { f.loop.Do(func() { f.leave(p) }) }

func (f *fetcher) take(p *Partition) {
	at, found := f.find(p)
	if found {
		f.partitions[at].notBefore = time.Time{}
	} else {
		q := &followed{partition: p, key: sessionKey{id: p.TopicID, number: p.TopicPartition.Partition}, watermark: -1}
		f.partitions = slices.Insert(f.partitions, at, q)
		f.index[q.key] = q
	}
	f.urgent = true
	f.fetch()
}

func (f *fetcher) find(p *Partition) (int, bool) {
	return slices.BinarySearchFunc(f.partitions, p, func(q *followed, p *Partition) int { return q.partition.compare(p) })
}

func (f *fetcher) leave(p *Partition) {
	at, found := f.find(p)
	if !found || f.partitions[at].partition != p {
		return
	}
	f.unsession(f.partitions[at])
	delete(f.index, f.partitions[at].key)
	f.partitions = slices.Delete(f.partitions, at, at+1)
}

// unsession takes a partition out of the session: one that cannot be served would end every wait at once.
func (f *fetcher) unsession(q *followed) {
	if q.inSession {
		q.inSession = false
		f.forget = append(f.forget, q.key)
	}
}

// fetch sends the next fetch if it is time for one.
func (f *fetcher) fetch() {
	hurried := f.urgent && len(f.flying) == 1 && f.session != 0 && f.flying[0].session == f.session
	if f.closed || f.paused || len(f.flying) > 0 && !hurried {
		return
	}
	if len(f.partitions) == 0 {
		return
	}
	address, known := f.manager.address(f.leader)
	if !known {
		f.pause()
		return
	}
	request := f.request()
	if request == nil {
		return
	}
	fl := &flight{number: f.sent, session: f.session}
	f.urgent = false
	f.sent++
	f.epoch = nextEpoch(f.epoch)
	f.flying = append(f.flying, fl)
	f.manager.network.Call(address, peer.Records, request, func(response kmsg.Response, err error) {
		f.loop.Do(func() { f.answered(fl, response, err) })
	})
}

// request makes the next fetch; nil if there is nothing to fetch.
func (f *fetcher) request() *kmsg.FetchRequest {
	m := f.manager
	r := kmsg.NewPtrFetchRequest()
	r.Version = followerFetchVersion
	r.ReplicaState.ID, r.ReplicaState.Epoch = int32(m.node), m.ownEpoch()
	r.MaxWaitMillis, r.MinBytes, r.MaxBytes = int32(m.fetching.Wait.Milliseconds()), 1, m.fetching.MaxBytes
	r.SessionID, r.SessionEpoch = f.session, f.epoch
	if f.session == 0 {
		r.SessionEpoch = initialEpoch
		r.MaxWaitMillis = 0 // until there is a session, nothing could be added to a fetch that waits
	}
	now := m.rt.Now()
	var earliest time.Time
	fetched := 0
	for _, q := range f.partitions {
		at, ok := q.partition.position(f.leader)
		if ok && !now.Before(q.notBefore) && q.partition.mustWait(at.offset, q.watermark, now) {
			q.notBefore = now.Add(throttlePause)
		}
		if !ok || now.Before(q.notBefore) {
			if ok && (earliest.IsZero() || q.notBefore.Before(earliest)) {
				earliest = q.notBefore
			}
			f.unsession(q)
			continue
		}
		fetched++
		if !q.inSession || at != q.asked {
			q.asked, q.since, q.inSession = at, f.sent, true
			appendFetchPartition(r, q, m.fetching.MaxPartitionBytes)
		}
	}
	if f.session != 0 {
		f.appendForgotten(r)
	}
	if !earliest.IsZero() {
		f.wakeIn(earliest.Sub(now))
	}
	if fetched == 0 {
		return nil
	}
	return r
}

// wakeIn looks again, after a while, at partitions that are left alone.
func (f *fetcher) wakeIn(d time.Duration) {
	if f.waking {
		return
	}
	f.waking = true
	f.loop.After(d, func() {
		f.waking, f.urgent = false, true
		f.fetch()
	})
}

func appendFetchPartition(r *kmsg.FetchRequest, q *followed, maxBytes int32) {
	at := q.asked
	if n := len(r.Topics); n == 0 || r.Topics[n-1].TopicID != q.key.id {
		t := kmsg.NewFetchRequestTopic()
		t.TopicID = q.key.id
		r.Topics = append(r.Topics, t)
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.FetchOffset, p.LastFetchedEpoch = q.key.number, at.epoch, at.offset, at.lastEpoch
	p.LogStartOffset, p.PartitionMaxBytes, p.HighWatermark = at.logStart, maxBytes, at.watermark
	p.UnknownTags.Set(wire.DurableTag, binary.BigEndian.AppendUint64(nil, uint64(at.durable)))
	t := &r.Topics[len(r.Topics)-1]
	t.Partitions = append(t.Partitions, p)
}

func (f *fetcher) appendForgotten(r *kmsg.FetchRequest) {
	for _, key := range f.forget {
		if q := f.index[key]; q != nil && q.inSession {
			continue // it is back
		}
		t := kmsg.NewFetchRequestForgottenTopic()
		t.TopicID, t.Partitions = key.id, []int32{key.number}
		r.ForgottenTopics = append(r.ForgottenTopics, t)
	}
	f.forget = f.forget[:0]
}

// answered handles one answer, or the lack of one.
func (f *fetcher) answered(fl *flight, response kmsg.Response, err error) {
	f.flying = slices.DeleteFunc(f.flying, func(other *flight) bool { return other == fl })
	if f.closed {
		return
	}
	if w := f.manager.watcher; w != nil && err != nil {
		w.BrokerLost(f.leader)
	} else if w != nil {
		w.BrokerHeard(f.leader)
	}
	if err != nil {
		f.endSession()
		f.pause()
		return
	}
	r := response.(*kmsg.FetchResponse)
	if code := kafka.ErrorCode(r.ErrorCode); code != kafka.None {
		f.endSession()
		if code != kafka.FetchSessionIDNotFound && code != kafka.InvalidFetchSessionEpoch && code != kafka.FetchSessionTopicIDError {
			f.pause()
			return
		}
		f.fetch()
		return
	}
	if fl.session == f.session {
		f.nameSession(r.SessionID)
	}
	now := f.manager.rt.Now()
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			q := f.index[sessionKey{id: t.TopicID, number: p.Partition}]
			if q == nil || q.since > fl.number {
				continue
			}
			if q.partition.throttledAsFollower() {
				f.manager.taken.record(now, len(p.RecordBatches))
			}
			if q.watermark = p.HighWatermark; q.partition.take(f.leader, q.asked, p) == takenPause {
				q.notBefore = now.Add(fetcherPause)
			}
		}
	}
	f.fetch()
}

// nameSession takes the name that the leader has given to the session; 0 is none.
func (f *fetcher) nameSession(id int32) {
	switch {
	case id == 0:
		f.endSession()
	case f.session == 0:
		f.session, f.epoch = id, 1
	}
}

func (f *fetcher) endSession() {
	f.session, f.epoch, f.forget = 0, 0, nil
	for _, q := range f.partitions {
		q.inSession = false
	}
}

// pause leaves the leader alone for a while.
func (f *fetcher) pause() {
	if f.paused {
		return
	}
	f.paused = true
	f.loop.After(fetcherPause, func() {
		f.paused = false
		f.fetch()
	})
}

func (f *fetcher) close() { f.loop.Do(func() { f.closed = true }) }
