package replica_test

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// line is one connection: what is on it arrives in order, and its end loses what has no answer.
type line struct {
	from, to *life
	session  server.Session
	arrival  time.Time
	waiting  []*call
	broken   bool
}

type call struct {
	line     *line
	request  kmsg.Request
	answered func(kmsg.Response, error)
	answer   []byte
	done     bool
}

// network is how one life reaches the others.
type network struct{ life *life }

func (n network) Call(to peer.Address, lane peer.Lane, request kmsg.Request, answered func(kmsg.Response, error)) {
	l, c := n.life, n.life.b.c
	key := [2]int{int(to.Port), int(lane)}
	k := l.lines[key]
	if k == nil || k.broken || k.to.dead {
		target := c.brokers[to.Port-1].life
		if target == nil || c.severed(l.b, target.b) {
			l.later(c.between(time.Millisecond, 100*time.Millisecond), func() { answered(nil, errLost) })
			return
		}
		k = &line{from: l, to: target, session: target.api.Open(server.Peer{Listener: "PLAINTEXT", RemoteHost: "broker", RemotePort: l.b.n})}
		l.lines[key] = k
	}
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, request, int32(len(k.waiting)))[4:]
	one := &call{line: k, request: request, answered: answered}
	k.waiting = append(k.waiting, one)
	k.arrive(c.between(50*time.Microsecond, 3*time.Millisecond), func() {
		if err := k.session.Request(frame, slotOf{one}); err != nil {
			c.t.Errorf("a request between brokers was refused: %v", err)
		}
		k.session.Drained()
	})
	if !c.calm && c.chance.IntN(300) == 0 {
		l.later(c.between(0, 20*time.Millisecond), k.breakOff)
	}
}

func (c *cluster) severed(a, b *broker) bool {
	return c.cut[[2]int{a.n, b.n}] || c.cut[[2]int{b.n, a.n}]
}

// arrive runs f at the other end, in order.
func (k *line) arrive(d time.Duration, f func()) {
	at := k.from.b.c.world.Now().Add(d)
	if at.Before(k.arrival) {
		at = k.arrival.Add(time.Nanosecond)
	}
	k.arrival = at
	k.from.b.c.world.Schedule(at.Sub(k.from.b.c.world.Now()), func() {
		switch {
		case k.broken:
		case k.to.dead || k.from.b.c.severed(k.from.b, k.to.b):
			k.breakOff()
		default:
			f()
		}
	})
}

func (k *line) breakOff() {
	if k.broken {
		return
	}
	k.broken = true
	if !k.to.dead {
		k.to.later(0, k.session.Closed)
	}
	for _, w := range k.waiting {
		k.from.later(time.Millisecond, func() { w.answered(nil, errLost) })
	}
	k.waiting = nil
}

// slotOf is where a call's answer goes.
type slotOf struct{ *call }

func (s slotOf) Buffer() []byte { return nil }
func (s slotOf) Silence()       { s.line.from.b.c.t.Error("a request between brokers has no answer") }
func (s slotOf) Abort()         { s.line.breakOff() }
func (s slotOf) Send(frame []byte, splices []wire.Splice) {
	at := 0
	for _, p := range splices {
		s.answer = append(s.answer, frame[at:p.At]...)
		at = p.At
		part := make([]byte, p.Size)
		if _, err := p.File.ReadAt(part, p.Position); err != nil {
			s.line.breakOff() // truncated under the reader, as a real connection would find
		}
		s.answer = append(s.answer, part...)
		p.Release()
	}
	s.answer = append(s.answer, frame[at:]...)
	s.done = true
	k := s.line
	for len(k.waiting) > 0 && k.waiting[0].done && !k.broken {
		one := k.waiting[0]
		k.waiting = k.waiting[1:]
		k.from.later(k.from.b.c.between(50*time.Microsecond, 3*time.Millisecond), func() {
			if k.broken {
				one.answered(nil, errLost)
				return
			}
			one.deliver()
		})
	}
}

func (o *call) deliver() {
	body := o.answer[8:]
	resp := o.request.ResponseKind()
	resp.SetVersion(o.request.GetVersion())
	if resp.IsFlexible() {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		o.line.from.b.c.t.Errorf("%T: %v", resp, err)
	}
	o.answered(resp, nil)
}
