package controller

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// Registration begins a life of a broker. Of the broker, Epoch, Fenced and ShuttingDown are the controller's to say.
type Registration struct {
	Broker  metadata.Broker
	Cluster string // the cluster that the broker believes to be in
}

// RegisterBroker answers with the broker's new epoch. The broker is fenced until its heartbeats say that it has caught up.
// A process that is not answered asks again with the same boot sequence and the same incarnation; with another one it would be
// taken for a second process on the same directories. The error has a kafka.ErrorCode in its chain.
func (c *Controller) RegisterBroker(r Registration, reply func(epoch int64, err error)) {
	var refused *refusal
	var state *machine
	c.decide(func(m *machine) []metadata.Record {
		state = m
		var records []metadata.Record
		records, refused = m.register(r)
		return records
	}, func(err error) {
		if err == nil && refused != nil {
			err = refused
		}
		if err != nil {
			reply(-1, err)
			return
		}
		b := state.image().Broker(r.Broker.ID)
		if b == nil || b.Incarnation != r.Broker.Incarnation {
			reply(-1, refuse(kafka.StaleBrokerEpoch, "the registration of broker %d was superseded by a later one", r.Broker.ID))
			return
		}
		reply(b.Epoch, nil)
	})
}

func (m *machine) register(r Registration) ([]metadata.Record, *refusal) {
	b := r.Broker
	image := m.image()
	if r.Cluster != image.ClusterID() {
		return nil, refuse(kafka.InconsistentClusterID, "broker %d believes to be in cluster %q, but this is cluster %q", b.ID, r.Cluster, image.ClusterID())
	}
	if refusal := m.checkFeatures(&b); refusal != nil {
		return nil, refusal
	}
	var records []metadata.Record
	if old := image.Broker(b.ID); old != nil {
		switch {
		case b.BootSequence == old.BootSequence && b.Incarnation == old.Incarnation:
			m.session(old)
			return nil, nil // asked again
		case b.BootSequence == old.BootSequence && sameDirectories(&b, old):
			return nil, refuse(kafka.DuplicateBrokerRegistration, "another process runs as broker %d on a copy of the same directories", b.ID)
		case m.alive(old) && !sameDirectories(&b, old):
			return nil, refuse(kafka.DuplicateBrokerRegistration, "another process runs as broker %d: give one of them another node.id, or wait until it has been silent for %v", b.ID, m.options.SessionTimeout)
		case b.BootSequence < old.BootSequence && sameDirectories(&b, old):
			return nil, refuse(kafka.DuplicateBrokerRegistration, "broker %d was started again since: this is start %d, and %d has registered", b.ID, b.BootSequence, old.BootSequence)
		}
		records = m.retire(b.ID)
		b.Barred, b.Newcomer = old.Barred, old.Newcomer
		if !sameDirectories(&b, old) {
			// Its disk is another: what the old one had is gone.
			if refused := m.checkLoss(b.ID); refused != nil {
				return nil, refused
			}
			records = m.forget(b.ID)
		}
	} else {
		b.Newcomer = m.comesLate(b.ID)
	}
	b.Epoch, b.Fenced, b.ShuttingDown = -1, true, false
	delete(m.brokers, b.ID)
	delete(m.reserved, b.ID)
	return append(records, &metadata.RegisterBroker{Broker: b}), nil
}

func sameDirectories(a, b *metadata.Broker) bool { return slices.Equal(a.Directories, b.Directories) }

// checkFeatures refuses a broker whose software cannot do what the cluster has finalized.
func (m *machine) checkFeatures(b *metadata.Broker) (refused *refusal) {
	m.image().Features(func(name string, level int16) bool {
		for _, f := range b.Features {
			if f.Name == name && f.Min <= level && level <= f.Max {
				return true
			}
		}
		refused = refuse(kafka.UnsupportedVersion, "broker %d does not support level %d of feature %q, which the cluster uses", b.ID, level, name)
		return false
	})
	return refused
}

// session is what is known of a broker's life. One that is new to this controller is taken to have been heard just now.
func (m *machine) session(b *metadata.Broker) *session {
	s := m.brokers[b.ID]
	if s == nil || s.epoch != b.Epoch {
		now := m.options.Runtime.Now()
		s = &session{epoch: b.Epoch, heard: now, began: now, shutdown: -1}
		m.brokers[b.ID] = s
	}
	return s
}

// alive reports whether a broker that is not fenced was heard of within its session.
func (m *machine) alive(b *metadata.Broker) bool {
	return !b.Fenced && m.options.Runtime.Now().Sub(m.session(b).heard) < m.options.SessionTimeout
}

// Heartbeat is what a broker says while it lives.
type Heartbeat struct {
	Broker       kafka.NodeID
	Epoch        int64 // of its registration
	Applied      int64 // the metadata offset that it has applied
	WantFence    bool  // it is not ready to serve, or not any more
	WantShutdown bool  // it wants to leave in good order
	Full         bool  // its disk is full: it reads and deletes, but cannot append
}

// HeartbeatReply is what the controller makes of a heartbeat.
type HeartbeatReply struct {
	CaughtUp       bool // it has applied its own registration
	Fenced         bool
	ShouldShutDown bool // nothing rests on it any more
}

// Heartbeat keeps a broker's session, unfences it when it is ready, and lets it go when it wants to. The error is a
// kafka.ErrorCode.
func (c *Controller) Heartbeat(h Heartbeat, reply func(HeartbeatReply, error)) {
	var refused *refusal
	var state *machine
	c.decide(func(m *machine) []metadata.Record {
		state = m
		var records []metadata.Record
		records, refused = m.heartbeat(h)
		return records
	}, func(err error) {
		if err == nil && refused != nil {
			err = refused.code
		}
		if err != nil {
			reply(HeartbeatReply{}, err)
			return
		}
		b := state.image().Broker(h.Broker)
		if b == nil || b.Epoch != h.Epoch {
			reply(HeartbeatReply{}, kafka.StaleBrokerEpoch)
			return
		}
		reply(HeartbeatReply{CaughtUp: h.Applied >= h.Epoch, Fenced: b.Fenced, ShouldShutDown: h.WantShutdown && state.mayGo(b)}, nil)
	})
}

func (m *machine) heartbeat(h Heartbeat) ([]metadata.Record, *refusal) {
	b := m.image().Broker(h.Broker)
	if b == nil {
		return nil, refuse(kafka.BrokerIDNotRegistered, "broker %d is not registered", h.Broker)
	}
	if b.Epoch != h.Epoch {
		return nil, refuse(kafka.StaleBrokerEpoch, "broker %d is registered with epoch %d, and not %d", h.Broker, b.Epoch, h.Epoch)
	}
	s := m.session(b)
	now := m.options.Runtime.Now()
	s.between += (now.Sub(s.heard) - s.between) / 8
	s.heard, s.applied, s.full = now, h.Applied, h.Full
	switch {
	case h.WantShutdown && !b.Fenced && !b.ShuttingDown:
		return append(m.retire(b.ID), &metadata.BrokerChange{ID: b.ID, Epoch: b.Epoch, ShuttingDown: metadata.Set}), nil
	case h.WantShutdown:
		return nil, nil
	case h.WantFence && !b.Fenced:
		return m.fence(b), nil
	case !h.WantFence && b.Fenced && h.Applied >= b.Epoch:
		unfenced := &metadata.BrokerChange{ID: b.ID, Epoch: b.Epoch, Fenced: metadata.Cleared}
		return append([]metadata.Record{unfenced}, m.revive(b.ID)...), nil
	case h.Full && b.Active():
		return m.unburden(b.ID), nil
	}
	return nil, nil
}

// full reports whether a broker's disk was full when it was heard last.
func (m *machine) full(id kafka.NodeID) bool {
	b := m.image().Broker(id)
	return b != nil && m.session(b).full
}

// unburden has others lead what a broker leads that cannot append, where anybody in sync can. It stays in sync until who
// leads puts it out; and it leads again when there is space, as the replica that is preferred.
func (m *machine) unburden(id kafka.NodeID) (records []metadata.Record) {
	live := func(other kafka.NodeID) bool { return other != id && m.active(other) && !m.full(other) }
	m.image().Topics(func(t *metadata.Topic) bool {
		var h heirs
		for _, p := range t.Partitions {
			if p.Leader != id || len(records) == mostMoves {
				continue
			}
			o := outcomeOf(p)
			o.leader = m.choose(&h, p, o, live)
			if c := change(t.ID, p, o); c != nil {
				records = append(records, c)
			}
		}
		return len(records) < mostMoves
	})
	if len(records) > 0 {
		m.options.Log.Warn("a broker's disk is full, and others lead what it led", "broker", id, "partitions", len(records))
	}
	return records
}

func (m *machine) fence(b *metadata.Broker) []metadata.Record {
	return append(m.retire(b.ID), &metadata.BrokerChange{ID: b.ID, Epoch: b.Epoch, Fenced: metadata.Set})
}

// mayGo reports whether every other broker knows that a broker that shuts down leads nothing any more.
func (m *machine) mayGo(b *metadata.Broker) bool {
	if b.Fenced {
		return true
	}
	s := m.session(b)
	if s.shutdown < 0 {
		s.shutdown = m.image().Offset()
	}
	known := true
	m.image().Brokers(func(other *metadata.Broker) bool {
		if other.ID != b.ID && other.Active() && m.session(other).applied < s.shutdown {
			known = false
		}
		return known
	})
	return known
}

// watchSessions fences brokers that have been silent for too long, for as long as the shard leads.
func watchSessions(s *shard, m *machine) {
	m.image().Brokers(func(b *metadata.Broker) bool {
		// Nobody could be heard while there was no controller: who went then would otherwise have a session and an election.
		known := m.session(b)
		known.began = time.Time{} // whenever that was
		known.heard = known.heard.Add(-m.options.SessionTimeout / 8)
		return true
	})
	var watch func()
	watch = func() {
		s.After(m.untilSilent(), func(m *machine) []metadata.Record {
			watch()
			return m.fenceSilent()
		})
	}
	watch()
}

// untilSilent is how long it is until the first broker's session may be over, within bounds.
func (m *machine) untilSilent() time.Duration {
	least, most := 10*time.Millisecond, max(m.options.SessionTimeout/8, 10*time.Millisecond)
	m.image().Brokers(func(b *metadata.Broker) bool {
		if !b.Fenced {
			most = min(most, m.session(b).heard.Add(m.options.SessionTimeout).Sub(m.options.Runtime.Now()))
		}
		return true
	})
	return max(least, most)
}

// fenceSilent fences one broker that is silent, so that a decision stays small; the next turn finds the next one.
func (m *machine) fenceSilent() (records []metadata.Record) {
	m.image().Brokers(func(b *metadata.Broker) bool {
		if !b.Fenced && !m.alive(b) {
			m.options.Log.Warn("a broker is silent, and is fenced", "broker", b.ID, "epoch", b.Epoch)
			records = m.fence(b)
			return false
		}
		return true
	})
	return records
}

// UnregisterBroker removes a broker for good. One that still runs will register again.
func (c *Controller) UnregisterBroker(req *kmsg.UnregisterBrokerRequest, reply func(*kmsg.UnregisterBrokerResponse)) {
	id := kafka.NodeID(req.BrokerID)
	var refused *refusal
	c.decide(func(m *machine) []metadata.Record {
		b := m.image().Broker(id)
		if b == nil {
			refused = refuse(kafka.BrokerIDNotRegistered, "broker %d is not registered", id)
			return nil
		}
		records := append(m.forget(id), m.abandon(id)...)
		return append(records, &metadata.UnregisterBroker{ID: id, Epoch: b.Epoch})
	}, func(err error) {
		if err != nil {
			refused = refusalOf(err)
		}
		resp := kmsg.NewPtrUnregisterBrokerResponse()
		resp.Version = req.Version
		refused.on(&resp.ErrorCode, &resp.ErrorMessage)
		reply(resp)
	})
}

// producerIDBlock is how many producer ids a broker gets at once.
const producerIDBlock = 1000

// AllocateProducerIDs gives a broker a block of producer ids that nobody else ever gets: first and the count-1 after it.
func (c *Controller) AllocateProducerIDs(broker kafka.NodeID, epoch int64, reply func(first int64, count int32, err error)) {
	var first int64
	var refused error
	c.decide(func(m *machine) []metadata.Record {
		b := m.image().Broker(broker)
		if b == nil || b.Epoch != epoch {
			refused = refuse(kafka.StaleBrokerEpoch, "broker %d is not registered with epoch %d", broker, epoch)
			return nil
		}
		if first = m.image().NextProducerID(); first > 1<<62 {
			refused = refuse(kafka.UnknownServerError, "there are no producer ids left")
			return nil
		}
		return []metadata.Record{&metadata.ProducerIDs{Broker: broker, Epoch: epoch, Next: first + producerIDBlock}}
	}, func(err error) {
		if err == nil {
			err = refused
		}
		if err != nil {
			reply(0, 0, err)
			return
		}
		reply(first, producerIDBlock, nil)
	})
}
