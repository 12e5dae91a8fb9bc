package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
)

// registrar keeps the node registered as a broker: it registers when there is a controller, says in heartbeats that it lives,
// and takes leave. Everything happens on its loop.
type registrar struct {
	node    *Node
	loop    loop.Loop
	every   time.Duration
	epoch   int64
	begun   bool
	serving bool
	stopped bool
	refused time.Time // since when the controller has refused the node for good; zero for not
	leaving func()
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
	// soonEvery is the longest time between two heartbeats of a node that is not alone. It is less than the controller gives a
	// broker whose connection has ended; and who shuts down waits until all others have said how much metadata they have.
	soonEvery = 100 * time.Millisecond
	// refusedFor is how long a refusal stands before the node believes it: whoever has its id may be dying.
	refusedFor = 20 * time.Second
	// leaveEvery and leaveLimit are for taking leave.
	leaveEvery = 20 * time.Millisecond
	leaveLimit = 5 * time.Second
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
		Features: api.SupportedFeatures(), RaftID: r.node.quorum.ID()}
	request := controller.RegistrationRequest(controller.Registration{Broker: broker, Cluster: r.node.ClusterID()})
	r.node.callController(request, func(response kmsg.Response, err error) {
		r.loop.Do(func() {
			if err != nil {
				r.registered(notRegistered, err)
				return
			}
			r.registered(controller.RegistrationReply(response.(*kmsg.BrokerRegistrationResponse)))
		})
	})
}

func (r *registrar) registered(epoch int64, err error) {
	if r.stopped {
		return
	}
	if err == nil {
		r.epoch, r.refused = epoch, time.Time{}
		// It may be some time until this node has the metadata with its registration.
		r.node.publisher.afterOffset(epoch, func() { r.loop.Do(r.beat) })
		return
	}
	now := r.node.o.Runtime.Now()
	final := errors.Is(err, kafka.DuplicateBrokerRegistration) || errors.Is(err, kafka.InvalidRegistration) || errors.Is(err, kafka.InconsistentClusterID) || errors.Is(err, kafka.UnsupportedVersion)
	switch {
	case errors.Is(err, kafka.NotController):
		r.after(eagerly, r.registerNow)
		return
	case !final:
		r.refused = time.Time{}
	case r.refused.IsZero():
		r.refused = now
	case now.Sub(r.refused) > refusedFor && !r.serving:
		r.node.fail(fmt.Errorf("the cluster refuses this node: %w", err))
		return
	}
	r.node.logger.Warn("cannot register with the controller; trying again", "error", err)
	r.after(time.Second, r.registerNow)
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
	request := kmsg.NewPtrBrokerHeartbeatRequest()
	request.BrokerID, request.BrokerEpoch = int32(r.node.id), r.epoch
	request.CurrentMetadataOffset = r.node.publisher.Image().Offset()
	request.WantShutdown = r.leaving != nil
	if d := r.node.directory; d.Full() {
		// KIP-858 says so of a directory that is gone for good. This one is back when there is space.
		request.Version, request.OfflineLogDirs = 1, [][16]byte{d.Meta().DirectoryID}
	}
	r.node.callController(request, func(response kmsg.Response, err error) {
		r.loop.Do(func() { r.beaten(response, err) })
	})
}

func (r *registrar) beaten(response kmsg.Response, err error) {
	if r.stopped {
		return
	}
	reply, _ := response.(*kmsg.BrokerHeartbeatResponse)
	if err == nil && reply.ErrorCode != 0 {
		err = kafka.ErrorCode(reply.ErrorCode)
	}
	switch {
	case r.leaving != nil && (err != nil || reply.ShouldShutdown):
		r.left()
		return
	case err == kafka.StaleBrokerEpoch || err == kafka.BrokerIDNotRegistered:
		// A later life of this broker is registered, or none: begin another one.
		r.registerNow()
		return
	case err != nil:
		r.node.logger.Warn("a heartbeat to the controller failed", "error", err)
	case !reply.IsFenced && !r.serving:
		r.serving = true
		r.node.publisher.afterApplied(r.tellReady)
	}
	r.after(r.pause(), r.beat)
}

// pause is how long it is until the next heartbeat.
func (r *registrar) pause() time.Duration {
	switch {
	case r.leaving != nil:
		return leaveEvery
	case !r.serving:
		return eagerly
	case r.node.Clustered():
		return min(r.every, soonEvery)
	}
	return r.every
}

func (r *registrar) tellReady() {
	r.node.serving.Store(true)
	if r.ready != nil {
		r.ready()
	}
}

// leave asks the controller to move everything away that this node leads, and calls done when that is so, or when it takes too
// long. A node that is alone has nobody to move anything to.
func (r *registrar) leave(done func()) {
	r.loop.Do(func() {
		others := 0
		r.node.Image().Brokers(func(b *metadata.Broker) bool {
			if b.ID != r.node.id && b.Active() {
				others++
			}
			return true
		})
		if r.stopped || !r.serving || others == 0 || r.leaving != nil {
			done()
			return
		}
		r.leaving = done
		if r.cancel != nil {
			r.cancel()
		}
		r.beat()
		r.loop.After(leaveLimit, r.left)
	})
}

func (r *registrar) left() {
	if done := r.leaving; done != nil && !r.stopped {
		r.stopped = true
		done()
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
	r.loop.Do(func() {
		request := kmsg.NewPtrAllocateProducerIDsRequest()
		request.BrokerID, request.BrokerEpoch = int32(r.node.id), r.epoch
		r.node.callController(request, func(response kmsg.Response, err error) {
			resp, _ := response.(*kmsg.AllocateProducerIDsResponse)
			if err == nil && resp.ErrorCode != 0 {
				err = kafka.ErrorCode(resp.ErrorCode)
			}
			if err != nil {
				reply(0, 0, err)
				return
			}
			reply(resp.ProducerIDStart, resp.ProducerIDLen, nil)
		})
	})
}
