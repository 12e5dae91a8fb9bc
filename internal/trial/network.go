package trial

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// The network between nodes. A line is a connection: what is on it arrives in order, or not at all once it is broken. While
// the way from one host to another is cut, whatever goes that way is held, as TCP would send it again and again, and either
// arrives late or ends with its line.

// address is where a host is reached by others.
func (h *host) address() peer.Address {
	return peer.Address{Host: fmt.Sprint("host", h.number), Port: 9092}
}

func (t *trial) hostAt(a peer.Address) *host {
	for _, h := range t.hosts {
		if h.address() == a {
			return h
		}
	}
	return nil
}

// errCut is why a call has no answer.
var errCut = fmt.Errorf("%w: the network", peer.ErrUnreachable)

const (
	// dialPatience and callPatience are how long nodes wait for connections and for answers, beyond what a request itself allows.
	dialPatience = time.Second
	callPatience = 5 * time.Second
)

// network is how one life reaches other nodes.
type network struct {
	life  *life
	lines map[lineKey]*line
}

type lineKey struct {
	to   peer.Address
	lane peer.Lane
}

// line is one connection between two lives.
type line struct {
	from, to *life
	session  server.Session
	there    direction
	back     direction
	pending  []*crossing // without an answer, in order
	slots    []*crossing // that the other side has, in order
	broken   bool
}

// crossing is one request between nodes and its answer.
type crossing struct {
	line     *line
	request  kmsg.Request
	answered func(kmsg.Response, error)
	slot     *slot
	over     bool
}

// Call sends a request.
func (n *network) Call(to peer.Address, lane peer.Lane, request kmsg.Request, answered func(kmsg.Response, error)) {
	l := n.life
	key := lineKey{to, lane}
	k := n.lines[key]
	if k == nil || k.broken {
		if k = n.dial(to); k == nil {
			l.after(l.t.between(time.Millisecond, dialPatience), func() { answered(nil, errCut) })
			return
		}
		n.lines[key] = k
	}
	if m := n.life.t.o.Mutant; m != nil && m.Between != nil {
		m.Between(request)
	}
	c := &crossing{line: k, request: request, answered: answered}
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, request, int32(len(k.pending)))[4:]
	k.pending = append(k.pending, c)
	k.there.cross(func() { k.arrive(c, frame) })
	l.after(callPatience+waitOf(request), func() {
		if !c.over {
			k.breakOff()
		}
	})
}

// waitOf is how long a request asks to wait.
func waitOf(request kmsg.Request) time.Duration {
	if r, ok := request.(*kmsg.FetchRequest); ok {
		return time.Duration(r.MaxWaitMillis) * time.Millisecond
	}
	return 0
}

func (n *network) dial(to peer.Address) *line {
	h := n.life.t.hostAt(to)
	if h == nil || !h.listens() || n.life.t.cut[way{n.life.host, h}] || n.life.t.cut[way{h, n.life.host}] {
		return nil
	}
	k := &line{from: n.life, to: h.life}
	k.there, k.back = direction{line: k, from: n.life, to: h.life}, direction{line: k, from: h.life, to: n.life}
	k.session = h.life.node.API.Open(server.Peer{Listener: "PLAINTEXT", LocalHost: to.Host, LocalPort: int(to.Port), RemoteHost: n.life.host.address().Host, RemotePort: 1024})
	h.life.lines = append(h.life.lines, k)
	n.life.lines = append(n.life.lines, k)
	return k
}

// way is from one host to another.
type way struct{ from, to *host }

// direction is one half of a line: what is on its way, in order.
type direction struct {
	line     *line
	from, to *life
	flying   []message
	moving   bool
}

type message struct {
	at time.Time // when it arrives, if nothing holds it
	f  func()
}

// cross brings something to the other side.
func (d *direction) cross(f func()) {
	t := d.from.t
	d.flying = append(d.flying, message{t.world.Now().Add(t.crossing(d.from.host, d.to.host)), f})
	d.move()
}

// move lets the next message arrive in its time.
func (d *direction) move() {
	if d.moving || len(d.flying) == 0 {
		return
	}
	d.moving = true
	t := d.from.t
	t.after(d.flying[0].at.Sub(t.world.Now()), d.pass)
}

// pass lets a message through, or holds it while the way is cut or the other side does not run.
func (d *direction) pass() {
	t, k := d.from.t, d.line
	d.moving = false
	cut := t.cut[way{d.from.host, d.to.host}]
	switch {
	case k.broken:
		return
	case d.to.dead, cut && t.chance.IntN(200) == 0:
		k.breakOff()
		return
	case cut || d.to.paused:
		d.moving = true
		t.after(20*time.Millisecond, d.pass)
		return
	}
	next := d.flying[0]
	d.flying = d.flying[1:]
	next.f()
	d.move()
}

// crossing is how long a message takes.
func (t *trial) crossing(from, to *host) time.Duration {
	d := t.between(20*time.Microsecond, 800*time.Microsecond)
	if extra := t.delayed[way{from, to}]; extra > 0 {
		d += t.between(extra/2, extra)
	}
	return d
}

// arrive gives a request to the other node.
func (k *line) arrive(c *crossing, frame []byte) {
	c.slot = &slot{life: k.to, done: func() { k.flush() }}
	k.slots = append(k.slots, c)
	err := k.session.Request(frame, c.slot)
	k.session.Drained()
	if errors.Is(err, server.ErrTooEarly) {
		k.breakOff() // the node has only just been started
		return
	}
	k.from.t.expect(err == nil, "a request between nodes was refused: %v", err)
}

// flush sends the answers that are ready, in the order of the requests.
func (k *line) flush() {
	for len(k.slots) > 0 && k.slots[0].slot.answered && !k.to.dead && !k.broken {
		c := k.slots[0]
		k.slots = k.slots[1:]
		frame, err := c.slot.assemble()
		if err != nil || c.slot.abort || c.slot.silent {
			k.breakOff()
			return
		}
		k.back.cross(func() { k.land(c, frame) })
	}
}

// land brings an answer back.
func (k *line) land(c *crossing, frame []byte) {
	t := k.from.t
	if len(k.pending) == 0 || k.pending[0] != c {
		t.expect(false, "answers between nodes come out of order")
	}
	k.pending = k.pending[1:]
	c.over = true
	response := c.request.ResponseKind()
	response.SetVersion(c.request.GetVersion())
	body := frame[8:]
	if response.IsFlexible() && response.Key() != wire.KeyAPIVersions {
		body = body[1:]
	}
	err := response.ReadFrom(body)
	t.expect(err == nil, "an answer between nodes does not parse: %T: %v", response, err)
	if !k.from.dead {
		c.answered(response, nil)
	}
}

// breakOff ends the line: whoever waits for an answer has none.
func (k *line) breakOff() {
	if k.broken {
		return
	}
	k.broken = true
	if !k.to.dead {
		k.to.after(k.from.t.between(0, 50*time.Millisecond), k.session.Closed)
	}
	pending := k.pending
	k.pending = nil
	for _, c := range pending {
		c.over = true
		k.from.after(k.from.t.between(0, 10*time.Millisecond), func() { c.answered(nil, errCut) })
	}
}
