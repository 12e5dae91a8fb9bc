package node

import (
	"errors"
	"time"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
)

// registrar keeps the node registered as a broker: it registers when there is a controller, and says in heartbeats that
// it lives. Everything happens on its loop.
type registrar struct {
	node    *Node
	loop    loop.Loop
	every   time.Duration
	epoch   int64
	begun   bool
	serving bool
	stopped bool
	ready   func()
	cancel  func()
	// incarnation names this life of the broker. It stays the same from try to try, because one whose answer was lost may
	// have been heard.
	incarnation [16]byte
}

const (
	notRegistered = -1
	// eagerly is how long the registrar waits for what takes a moment only.
	eagerly = 5 * time.Millisecond
)

func newRegistrar(n *Node) *registrar {
	r := &registrar{node: n, loop: n.o.Runtime.Loop("register"), every: ms(n.layers.of(metadata.Empty(), "").Int("broker.heartbeat.interval.ms")), epoch: notRegistered}
	for i := range r.incarnation {
		r.incarnation[i] = byte(n.o.Runtime.Rand().Uint32())
	}
	return r
}

// begin registers this life of the broker.
func (r *registrar) begin() {
	r.loop.Do(func() {
		if r.begun || r.stopped {
			return
		}
		r.begun = true
		r.registerNow()
	})
}

func (r *registrar) registerNow() {
	meta := r.node.directory.Meta()
	broker := metadata.Broker{ID: r.node.id, BootSequence: uint64(meta.BootSeq), Incarnation: r.incarnation, Endpoints: r.node.o.Endpoints,
		Rack: r.node.layers.of(metadata.Empty(), "").String("broker.rack"), Directories: []metadata.DirectoryID{metadata.DirectoryID(meta.DirectoryID)},
		Features: api.SupportedFeatures()}
	r.node.Controller.RegisterBroker(controller.Registration{Broker: broker, Cluster: r.node.ClusterID()}, func(epoch int64, err error) {
		r.loop.Do(func() { r.registered(epoch, err) })
	})
}

func (r *registrar) registered(epoch int64, err error) {
	if r.stopped {
		return
	}
	switch {
	case errors.Is(err, kafka.NotController), errors.Is(err, kafka.CoordinatorLoadInProgress):
		r.after(eagerly, r.registerNow) // it is still loading its log
		return
	case err != nil:
		r.node.logger.Warn("cannot register with the controller; trying again", "error", err)
		r.after(time.Second, r.registerNow)
		return
	}
	r.epoch = epoch
	r.node.publisher.afterApplied(func() { r.loop.Do(r.beat) })
}

func (r *registrar) after(d time.Duration, f func()) {
	r.cancel = r.loop.After(d, func() {
		if !r.stopped {
			f()
		}
	})
}

func (r *registrar) beat() {
	if r.stopped {
		return
	}
	h := controller.Heartbeat{Broker: r.node.id, Epoch: r.epoch, Applied: r.node.publisher.Image().Offset()}
	r.node.Controller.Heartbeat(h, func(reply controller.HeartbeatReply, err error) {
		r.loop.Do(func() { r.beaten(reply, err) })
	})
}

func (r *registrar) beaten(reply controller.HeartbeatReply, err error) {
	if r.stopped {
		return
	}
	switch {
	case err == kafka.StaleBrokerEpoch || err == kafka.BrokerIDNotRegistered:
		// A later life of this broker is registered, or none: begin another one.
		r.registerNow()
		return
	case err != nil:
		r.node.logger.Warn("a heartbeat to the controller failed", "error", err)
	case !reply.Fenced && !r.serving:
		r.serving = true
		r.node.publisher.afterApplied(r.tellReady)
	}
	pause := r.every
	if !r.serving {
		pause = eagerly
	}
	r.after(pause, r.beat)
}

func (r *registrar) tellReady() {
	if r.ready != nil {
		r.ready()
	}
}

func (r *registrar) stop() {
	r.loop.Do(func() {
		r.stopped = true
		if r.cancel != nil {
			r.cancel()
		}
	})
}

// allocateProducerIDs asks the controller for a block of producer ids.
func (r *registrar) allocateProducerIDs(reply func(first int64, count int32, err error)) {
	r.loop.Do(func() { r.node.Controller.AllocateProducerIDs(r.node.id, r.epoch, reply) })
}
