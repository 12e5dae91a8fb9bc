package api

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// patience is how long a request that says no time itself may wait for an active controller.
	patience = 30 * time.Second
	// forwardPause is how long to wait before the active controller is looked for again.
	forwardPause = 20 * time.Millisecond
)

// decision is a request that only the active controller can answer. Here that is whoever is active, on whatever node: if it is
// not this one, the whole request goes there as the client has sent it, and the answer comes back the same way. A client
// never hears NOT_CONTROLLER. Where nobody is active the request waits, until its time is up. A controller that is lost may have
// carried a request out without anybody having heard of it: a token says that the next one is asked the same.
type decision struct {
	api      *API
	request  *request
	row      *row
	deadline time.Time
}

// decide begins a decision.
func (a *API) decide(r *request, row *row) {
	wait := patience
	if row.patience != 0 {
		wait = row.patience
	}
	if t, ok := r.body.(kmsg.TimeoutRequest); ok && t.Timeout() > 0 {
		wait = min(wait, time.Duration(t.Timeout())*time.Millisecond)
	}
	if r.token == ([16]byte{}) {
		binary.BigEndian.PutUint64(r.token[:8], a.Runtime.Rand().Uint64())
		binary.BigEndian.PutUint64(r.token[8:], a.Runtime.Rand().Uint64())
	}
	d := &decision{api: a, request: r, row: row, deadline: a.Runtime.Now().Add(wait)}
	d.try()
}

func (d *decision) try() {
	a := d.api
	if a.Cluster == nil || a.Controller.Active() || d.request.session.forwarded {
		d.here()
		return
	}
	d.there()
}

// here lets this node's controller decide.
func (d *decision) here() {
	r := *d.request
	r.intercept = func(resp kmsg.Response) {
		switch {
		case !hasError(resp, kafka.NotController):
			d.request.reply(resp)
		case d.request.session.forwarded:
			d.request.slot.Abort() // whoever has sent it here looks for another
		default:
			d.again()
		}
	}
	d.row.handle(d.api, &r)
}

// there has the active controller of another node decide, and answers when this node has applied what it has decided.
func (d *decision) there() {
	a, r := d.api, d.request
	left := d.deadline.Sub(a.Runtime.Now())
	req := &wire.ForwardRequest{Listener: r.session.peer.Listener, RemoteHost: r.session.peer.RemoteHost, TimeoutMillis: int32(left.Milliseconds()), Frame: r.frame, Token: r.token}
	a.Cluster.Forward(req, func(resp *wire.ForwardResponse, err error) {
		if err != nil || resp.ErrorCode != 0 {
			d.again()
			return
		}
		frame := append(r.slot.Buffer(), resp.Frame...)
		a.afterOffset(resp.Offset, d.deadline, func(bool) { r.slot.Send(frame, nil) })
	})
}

// again tries again after a moment, or gives up.
func (d *decision) again() {
	a := d.api
	if a.Runtime.Now().Add(forwardPause).Before(d.deadline) {
		a.timers.After(forwardPause, d.try)
		return
	}
	r := *d.request
	r.intercept = func(resp kmsg.Response) {
		replaceError(resp, kafka.NotController, kafka.RequestTimedOut, "the cluster has no active controller just now")
		d.request.reply(resp)
	}
	d.row.handle(a, &r)
}

// afterOffset runs f when this node has applied the metadata up to an offset; or, with false, when the time is up.
func (a *API) afterOffset(offset int64, deadline time.Time, f func(applied bool)) {
	done, stop := false, func() {}
	once := func(applied bool) {
		if !done {
			done = true
			stop()
			f(applied)
		}
	}
	a.timers.Do(func() {
		a.Cluster.AfterOffset(offset, func() { a.timers.Do(func() { once(true) }) })
		stop = a.timers.After(deadline.Sub(a.Runtime.Now()), func() { once(false) })
	})
}

// handleForward answers a request that came to another node. It is dispatched as if it had come here, in a session of its
// own that never forwards.
func handleForward(a *API, r *request) {
	req := r.body.(*wire.ForwardRequest)
	refuse := func() { r.reply(&wire.ForwardResponse{ErrorCode: kafka.NotController.Code()}) }
	h, err := wire.ParseHeader(req.Frame)
	if err != nil || !a.Controller.Active() {
		refuse()
		return
	}
	if row := a.row(h.Key); row == nil || !row.decided && h.Key != keyFindCoordinator {
		refuse()
		return
	}
	s := &session{api: a, peer: server.Peer{Listener: req.Listener, RemoteHost: req.RemoteHost}, drain: a.Replicas.NewDrain(), forwarded: true, token: req.Token}
	slot := &relay{answered: func(frame []byte) {
		if frame == nil {
			refuse()
			return
		}
		// What the answer rests on is in this node's image already: it would not be answered otherwise.
		r.reply(&wire.ForwardResponse{Offset: a.Image().Offset(), Frame: frame})
	}}
	if err := s.Request(req.Frame, slot); err != nil {
		refuse()
	}
}

// relay is the place of an answer that goes to another node, or nowhere.
type relay struct{ answered func(frame []byte) }

func (s *relay) Buffer() []byte                           { return nil }
func (s *relay) Send(frame []byte, splices []wire.Splice) { s.answered(bytes.Clone(frame)) }
func (s *relay) Silence()                                 { s.answered(nil) }
func (s *relay) Abort()                                   { s.answered(nil) }

// ask has the active controller carry out a request of this node's own, as a client of the same peer would send it. here
// carries it out if that is this node.
func (a *API) ask(peer server.Peer, request kmsg.Request, here, done func()) {
	a.askUntil(peer, wire.AppendRequest(nil, 0, "", request)[4:], a.Runtime.Now().Add(patience), here, func(bool) { done() })
}

// currentPatience is how long a node may take to find out what the active controller knows. Without one it has to do with what it has.
const currentPatience = 250 * time.Millisecond

// whenCurrent runs f when this node has applied what the active controller had applied when it was asked, and so everything that
// any node had answered to any client before; or, with sure false, when that takes too long. A controller has a majority say that it
// is the active one first: one that was cut off believes for a while that it is. Kafka's brokers answer from what they have: a
// client that creates a topic by way of one broker and asks another for it may hear that it does not exist.
func (a *API) whenCurrent(peer server.Peer, f func(sure bool)) {
	if a.Cluster == nil {
		f(true)
		return
	}
	done, stop := false, func() {}
	once := func(sure bool) {
		a.timers.Do(func() {
			if !done {
				done = true
				stop()
				f(sure)
			}
		})
	}
	// The answer does not matter, but the offset that comes with it: of what the controller's node had applied.
	request := kmsg.NewPtrListPartitionReassignmentsRequest()
	request.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{}
	frame := wire.AppendRequest(nil, 0, "", request)[4:]
	deadline := a.Runtime.Now().Add(currentPatience)
	var try func()
	try = func() {
		a.askUntil(peer, frame, deadline, func() {
			a.Cluster.Confirm(func(leads bool) {
				if leads {
					once(true)
					return
				}
				a.timers.After(forwardPause, func() {
					if !done {
						try()
					}
				})
			})
		}, once)
	}
	a.timers.Do(func() {
		stop = a.timers.After(currentPatience, func() { once(false) })
		try()
	})
}

// askUntil brings a request to the active controller, on this node by here, and runs done when this node has applied what the other
// had when it answered; or, with done false, when the time is up.
func (a *API) askUntil(peer server.Peer, frame []byte, deadline time.Time, here func(), done func(bool)) {
	if a.Cluster == nil || a.Controller.Active() {
		here()
		return
	}
	now := a.Runtime.Now()
	if !now.Before(deadline) {
		done(false)
		return
	}
	req := &wire.ForwardRequest{Listener: peer.Listener, RemoteHost: peer.RemoteHost, TimeoutMillis: int32(deadline.Sub(now).Milliseconds()), Frame: frame}
	a.Cluster.Forward(req, func(resp *wire.ForwardResponse, err error) {
		if err != nil || resp.ErrorCode != 0 {
			a.timers.After(forwardPause, func() { a.askUntil(peer, frame, deadline, here, done) })
			return
		}
		a.afterOffset(resp.Offset, deadline, done)
	})
}

// whenActive runs f with whether a majority says that this node's controller is the active one.
func (a *API) whenActive(f func(active bool)) {
	switch {
	case !a.Controller.Active():
		f(false)
	case a.Cluster == nil:
		f(true)
	default:
		a.Cluster.Confirm(func(leads bool) { f(leads && a.Controller.Active()) })
	}
}

// errorsIn visits the errors of an answer of the controller.
func errorsIn(resp kmsg.Response, visit func(code *int16, text **string)) {
	none := new(string)
	switch r := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		for i := range r.Topics {
			visit(&r.Topics[i].ErrorCode, &r.Topics[i].ErrorMessage)
		}
	case *kmsg.DeleteTopicsResponse:
		for i := range r.Topics {
			visit(&r.Topics[i].ErrorCode, &r.Topics[i].ErrorMessage)
		}
	case *kmsg.CreatePartitionsResponse:
		for i := range r.Topics {
			visit(&r.Topics[i].ErrorCode, &r.Topics[i].ErrorMessage)
		}
	case *kmsg.AlterConfigsResponse:
		for i := range r.Resources {
			visit(&r.Resources[i].ErrorCode, &r.Resources[i].ErrorMessage)
		}
	case *kmsg.IncrementalAlterConfigsResponse:
		for i := range r.Resources {
			visit(&r.Resources[i].ErrorCode, &r.Resources[i].ErrorMessage)
		}
	case *kmsg.ElectLeadersResponse:
		visit(&r.ErrorCode, &none)
	case *kmsg.AlterPartitionAssignmentsResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	case *kmsg.ListPartitionReassignmentsResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	case *kmsg.UpdateFeaturesResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	case *kmsg.UnregisterBrokerResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	case *kmsg.AddRaftVoterResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	case *kmsg.RemoveRaftVoterResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	case *kmsg.DescribeQuorumResponse:
		visit(&r.ErrorCode, &r.ErrorMessage)
	}
}

func hasError(resp kmsg.Response, code kafka.ErrorCode) (has bool) {
	errorsIn(resp, func(c *int16, _ **string) { has = has || *c == code.Code() })
	return has
}

func replaceError(resp kmsg.Response, code, by kafka.ErrorCode, why string) {
	errorsIn(resp, func(c *int16, text **string) {
		if *c == code.Code() {
			*c, *text = by.Code(), &why
		}
	})
}
