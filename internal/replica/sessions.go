package replica

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// defaultSessions is max.incremental.fetch.session.cache.slots.
	defaultSessions = 1000
	// sessionEviction is how long a session must have been idle before a larger one takes its place
	// (Kafka's MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS).
	sessionEviction = 2 * time.Minute

	// The epochs of a fetch that mean something else than a place in a session (KIP-227).
	initialEpoch = 0
	finalEpoch   = -1
)

// Sessions remembers what clients fetch, so that they need to send only what changes (KIP-227).
type Sessions struct {
	rt    loop.Runtime
	slots int

	mu   sync.Mutex
	byID map[int32]*Session
}

// Session is what one client fetches: partitions in the order in which they are served.
type Session struct {
	sessions *Sessions
	id       int32

	mu       sync.Mutex
	epoch    int32 // the one that the next fetch must have
	usesIDs  bool
	list     []*sessionPartition
	index    map[sessionKey]*sessionPartition
	lastUsed time.Time
}

type sessionKey struct {
	topic  string
	id     kafka.TopicID
	number int32
}

// sessionPartition is a fetched partition and what the client was last told of it.
type sessionPartition struct {
	FetchPartition
	key       sessionKey
	watermark int64
	logStart  int64
	told      bool // in some answer
}

func newSessions(rt loop.Runtime, slots int) *Sessions {
	return &Sessions{rt: rt, slots: slots, byID: map[int32]*Session{}}
}

// SetSlots bounds how many sessions there may be.
func (s *Sessions) SetSlots(slots int) {
	s.mu.Lock()
	s.slots = slots
	s.mu.Unlock()
}

// Len is how many sessions there are.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// Update is a fetch request as far as it concerns its session.
type Update struct {
	SessionID, Epoch int32
	UsesIDs          bool // names topics by id: version 13 and later
	Set              []FetchPartition
	Forget           []FetchPartition
}

// Plan is what to fetch and how to answer: the whole of it, or what changed since the last answer.
type Plan struct {
	Partitions []FetchPartition
	session    *Session
	epoch      int32 // the session's, when the plan was made
	full       bool  // answer every partition
	create     bool
	usesIDs    bool
}

// Plan finds out what a fetch request wants. The error is for the request as a whole.
func (s *Sessions) Plan(u Update) (Plan, kafka.ErrorCode) {
	if u.Epoch == finalEpoch || u.Epoch == initialEpoch {
		if u.SessionID != 0 {
			s.remove(u.SessionID)
		}
		return Plan{Partitions: u.Set, full: true, create: u.Epoch == initialEpoch, usesIDs: u.UsesIDs}, kafka.None
	}
	s.mu.Lock()
	session := s.byID[u.SessionID]
	s.mu.Unlock()
	if session == nil {
		return Plan{}, kafka.FetchSessionIDNotFound
	}
	return session.plan(u)
}

func (s *Session) plan(u Update) (Plan, kafka.ErrorCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.usesIDs != u.UsesIDs:
		return Plan{}, kafka.FetchSessionTopicIDError
	case s.epoch != u.Epoch:
		return Plan{}, kafka.InvalidFetchSessionEpoch
	}
	s.epoch = nextEpoch(s.epoch)
	s.lastUsed = s.sessions.rt.Now()
	for _, f := range u.Forget {
		s.forget(keyOf(f, s.usesIDs))
	}
	for _, f := range u.Set {
		s.set(f)
	}
	plan := Plan{session: s, epoch: u.Epoch, usesIDs: s.usesIDs, Partitions: make([]FetchPartition, len(s.list))}
	for i, p := range s.list {
		plan.Partitions[i] = p.FetchPartition
	}
	return plan, kafka.None
}

func keyOf(f FetchPartition, ids bool) sessionKey {
	if ids {
		return sessionKey{id: f.ID, number: f.Number}
	}
	return sessionKey{topic: f.Topic, number: f.Number}
}

func (s *Session) set(f FetchPartition) {
	key := keyOf(f, s.usesIDs)
	if p := s.index[key]; p != nil {
		p.FetchPartition = f
		return
	}
	p := &sessionPartition{FetchPartition: f, key: key, watermark: -1, logStart: -1}
	s.index[key] = p
	s.list = append(s.list, p)
}

func (s *Session) forget(key sessionKey) {
	p := s.index[key]
	if p == nil {
		return
	}
	delete(s.index, key)
	for i, q := range s.list {
		if q == p {
			s.list = append(s.list[:i], s.list[i+1:]...)
			return
		}
	}
}

func nextEpoch(epoch int32) int32 {
	if epoch == 1<<31-1 {
		return 1
	}
	return epoch + 1
}

// Close decides what of a fetch's results goes into the answer, and under which session id. keep reports, for the place
// of each partition in the plan, whether to answer it.
func (s *Sessions) Close(plan *Plan, results []wire.FetchResult) (sessionID int32, keep func(i int) bool) {
	if plan.full {
		if plan.create {
			sessionID = s.create(plan, results)
		}
		return sessionID, func(int) bool { return true }
	}
	return plan.session.id, plan.session.changed(plan, results)
}

// changed tells which results say something new, and moves partitions that were served to the end of the line.
func (s *Session) changed(plan *Plan, results []wire.FetchResult) func(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := make([]bool, len(results))
	served := map[*sessionPartition]bool{}
	for i := range results {
		p := s.index[keyOf(plan.Partitions[i], s.usesIDs)]
		keep[i] = p == nil || p.news(&results[i]) || plan.Partitions[i].lacks(&results[i])
		if p != nil && results[i].Records.Size > 0 {
			served[p] = true
		}
	}
	s.rotate(served)
	return func(i int) bool { return keep[i] }
}

// lacks reports whether a follower says of itself that it does not know what it was told before: it may have had no use for
// that answer.
func (f *FetchPartition) lacks(r *wire.FetchResult) bool {
	return f.Follows && (r.HighWatermark > f.Watermark || r.LogStart > f.LogStart)
}

func (s *Session) rotate(served map[*sessionPartition]bool) {
	if len(served) == 0 || len(served) == len(s.list) {
		return
	}
	front, back := make([]*sessionPartition, 0, len(s.list)), make([]*sessionPartition, 0, len(served))
	for _, p := range s.list {
		if served[p] {
			back = append(back, p)
		} else {
			front = append(front, p)
		}
	}
	s.list = append(front, back...)
}

// news reports whether a result has anything that the client does not know, and remembers what it is told.
func (p *sessionPartition) news(r *wire.FetchResult) bool {
	changed := r.Records.Size > 0 || !p.told || r.Error != kafka.None || r.DivergingEpoch >= 0 || r.PreferredReplica >= 0 ||
		p.watermark != r.HighWatermark || p.logStart != r.LogStart
	p.watermark, p.logStart, p.told = r.HighWatermark, r.LogStart, true
	if r.Error != kafka.None {
		// The client must hear of its end, too.
		p.told = false
	}
	return changed
}

// create begins a session, unless there is no room for one: then 0, and the client goes on without.
func (s *Sessions) create(plan *Plan, results []wire.FetchResult) int32 {
	if len(plan.Partitions) == 0 {
		return 0
	}
	now := s.rt.Now()
	session := &Session{sessions: s, epoch: 1, usesIDs: plan.usesIDs, index: make(map[sessionKey]*sessionPartition, len(plan.Partitions)), lastUsed: now}
	for i, f := range plan.Partitions {
		session.set(f)
		session.index[keyOf(f, plan.usesIDs)].news(&results[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= s.slots && !s.evict(now, len(session.list)) {
		return 0
	}
	for session.id == 0 || s.byID[session.id] != nil {
		session.id = 1 + s.rt.Rand().Int32N(1<<31-1)
	}
	s.byID[session.id] = session
	return session.id
}

// evict makes room by ending a session that has been idle for long, or a smaller one that has been idle for a while.
func (s *Sessions) evict(now time.Time, size int) bool {
	var oldest *Session
	for _, session := range s.byID { // any order
		if oldest == nil || session.older(oldest) {
			oldest = session
		}
	}
	if oldest == nil || now.Sub(oldest.lastUsedAt()) < sessionEviction && oldest.size() >= size {
		return false
	}
	delete(s.byID, oldest.id)
	return true
}

func (s *Session) lastUsedAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastUsed
}

func (s *Session) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// older orders by last use, and by id where that is equal.
func (s *Session) older(other *Session) bool {
	a, b := s.lastUsedAt(), other.lastUsedAt()
	return a.Before(b) || a.Equal(b) && s.id < other.id
}

func (s *Sessions) remove(id int32) {
	s.mu.Lock()
	delete(s.byID, id)
	s.mu.Unlock()
}
