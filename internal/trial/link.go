package trial

import (
	"time"

	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// link is one connection: what net and the server are in production, with seeded delays.
type link struct {
	t       *trial
	life    *life
	session server.Session
	slow    bool // the client reads slowly
	broken  bool // the client can no longer use it
	closed  bool // the server knows

	flying   [][]byte // frames on their way to the server, in order
	arrival  time.Time
	waking   bool
	slots    []*slot // requests that the server has, in order
	flushing bool
	inbound  [][]byte  // answers on their way to the client, in order
	landing  time.Time // of the last of them
	owner    *client
	pending  []*call // requests that the client has sent and has no answer to, in order
}

// dial connects to the node, nil where nobody listens.
func (h *host) dial(owner *client) *link {
	l, t := h.life, h.t
	if !h.serves() {
		return nil
	}
	k := &link{t: t, life: l, owner: owner, slow: t.nemesis != nil && t.nemesis.slowReader()}
	k.session = l.node.API.Open(server.Peer{Listener: "PLAINTEXT", LocalHost: "127.0.0.1", LocalPort: 9092, RemoteHost: "127.0.0.1", RemotePort: 1024 + len(l.links)})
	l.links = append(l.links, k)
	return k
}

func (t *trial) latency() time.Duration {
	if t.chance.IntN(200) == 0 {
		return t.between(time.Millisecond, 300*time.Millisecond) // a straggler
	}
	return t.between(20*time.Microsecond, 800*time.Microsecond)
}

// send puts a frame, with its size prefix, on its way.
func (k *link) send(frame []byte) {
	if k.broken {
		return
	}
	k.flying = append(k.flying, frame[4:])
	at := k.t.world.Now().Add(k.t.latency())
	if at.Before(k.arrival) {
		at = k.arrival
	}
	k.arrival = at
	k.wakeAt(at)
}

// wakeAt lets the server read at some time: everything that has arrived by then at once.
func (k *link) wakeAt(at time.Time) {
	if k.waking {
		return
	}
	k.waking = true
	k.t.after(at.Sub(k.t.world.Now()), func() {
		k.waking = false
		if k.life.paused {
			k.wakeAt(k.t.world.Now().Add(20 * time.Millisecond))
			return
		}
		if !k.broken {
			k.deliver(len(k.flying))
		}
	})
}

// deliver gives the server the next frames, in one wakeup.
func (k *link) deliver(n int) {
	if k.life.dead || k.closed || n == 0 {
		return
	}
	frames := k.flying[:n]
	k.flying = k.flying[n:]
	var err error
	for _, frame := range frames {
		s := &slot{life: k.life, done: k.answered}
		k.slots = append(k.slots, s)
		if err = k.session.Request(frame, s); err != nil {
			break
		}
	}
	k.session.Drained()
	for _, frame := range frames {
		clear(frame) // the frame is the server's no more; whoever kept a part of it is found out
	}
	k.t.expect(err == nil, "a well-formed request was refused: %v", err)
}

// breakOff ends the connection, and may let some of what is on its way arrive first. The client learns of it at once,
// the server sooner or later.
func (k *link) breakOff(orderly bool) {
	if k.broken {
		return
	}
	if !k.life.dead && !orderly {
		k.deliver(k.t.chance.IntN(len(k.flying) + 1))
	}
	k.broken, k.flying = true, nil
	if orderly {
		k.close()
	} else {
		k.t.after(k.t.between(0, 2*time.Second), k.close)
	}
	k.t.after(k.t.latency(), func() { k.owner.lost(k) })
}

// close tells the server.
func (k *link) close() {
	if k.closed || k.life.dead {
		return
	}
	k.closed = true
	k.session.Closed()
	k.flush()
}

// slot is the place of one answer.
type slot struct {
	life     *life
	done     func() // told when it is answered
	answered bool
	silent   bool
	abort    bool
	frame    []byte
	splices  []wire.Splice
}

func (s *slot) Buffer() []byte { return nil }

func (s *slot) Send(frame []byte, splices []wire.Splice) {
	s.answer()
	s.frame, s.splices = frame, splices
	s.done()
}
func (s *slot) Silence() { s.answer(); s.silent = true; s.done() }
func (s *slot) Abort()   { s.answer(); s.abort = true; s.done() }

func (s *slot) answer() {
	s.life.t.expect(!s.answered || s.life.dead, "a request was answered twice")
	s.answered = true
}

// answered hears that a slot is.
func (k *link) answered() {
	if k.flushing || k.life.dead {
		return
	}
	k.flushing = true
	wait := k.t.between(0, 50*time.Microsecond)
	if k.slow && !k.t.healing {
		wait = k.t.between(0, 2*time.Second)
	}
	k.t.after(wait, func() { k.flushing = false; k.flush() })
}

// flush sends the answers that are ready, in the order of the requests.
func (k *link) flush() {
	for len(k.slots) > 0 && k.slots[0].answered && !k.life.dead {
		s := k.slots[0]
		k.slots = k.slots[1:]
		frame, err := s.assemble()
		switch {
		case k.broken || s.silent:
		case err != nil || s.abort:
			k.breakOff(false)
		default:
			k.land(frame)
		}
	}
}

// assemble is the answer's bytes, with what it takes from files.
func (s *slot) assemble() (frame []byte, err error) {
	at := 0
	for _, p := range s.splices {
		frame = append(frame, s.frame[at:p.At]...)
		at = p.At
		part := make([]byte, p.Size)
		if n, bad := p.File.ReadAt(part, p.Position); n < p.Size && err == nil {
			err = bad
		}
		frame = append(frame, part...)
		p.Release()
	}
	return append(frame, s.frame[at:]...), err
}

// land brings an answer to the client.
func (k *link) land(frame []byte) {
	at := k.t.world.Now().Add(k.t.latency())
	if at.Before(k.landing) {
		at = k.landing
	}
	k.landing = at
	k.arriveAt(at, frame)
}

func (k *link) arriveAt(at time.Time, frame []byte) {
	k.inbound = append(k.inbound, frame)
	k.t.after(at.Sub(k.t.world.Now()), func() {
		if k.broken {
			return
		}
		next := k.inbound[0]
		k.inbound = k.inbound[1:]
		k.owner.received(k, next)
	})
}
