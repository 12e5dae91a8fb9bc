package node_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// town is nodes in one world, over a network that is late, that loses connections, and that can be cut.
type town struct {
	t      *testing.T
	world  *sim.World
	chance *rand.Rand
	houses []*house
	loss   int           // of 1000 requests, with their connections
	cut    map[int]bool  // houses that nobody reaches
	far    int           // the house that what other nodes send reaches late; 0 for none
	config config.Static // of every node
}

// house is where a node lives: its address, its disk, and the node, if it runs.
type house struct {
	town    *town
	number  int
	disk    *vfs.Memory
	faulty  *vfs.Faulty // the disk as this life has it
	life    *life
	refused error // why it was not let in
	thief   bool  // and that is as it should be
	seeds   []peer.Address
}

// life is one process of a node. Nothing of it runs when it is dead.
type life struct {
	house   *house
	node    *node.Node
	dead    bool
	serving bool
	conns   []*conn
	failure error
	frozen  bool
	backlog []func() // what has come meanwhile
}

// run runs f now, or when the process goes on; never where it is dead.
func (l *life) run(f func()) {
	switch {
	case l.dead:
	case l.frozen:
		l.backlog = append(l.backlog, f)
	default:
		f()
	}
}

func newTown(t *testing.T, seed uint64) *town {
	cryptotest.SetGlobalRandom(t, seed) // raft draws how long it waits for elections from there
	return &town{t: t, world: sim.New(seed), chance: rand.New(rand.NewPCG(seed, 6)), cut: map[int]bool{}, config: config.Static{}}
}

func (w *town) address(number int) peer.Address {
	return peer.Address{Host: fmt.Sprintf("10.0.0.%d", number), Port: 9092}
}

// build makes a house with an empty disk.
func (w *town) build() *house {
	h := &house{town: w, number: len(w.houses) + 1, disk: vfs.NewMemory()}
	w.houses = append(w.houses, h)
	return h
}

// found starts the node that founds the cluster.
func (w *town) found() *house {
	h := w.build()
	h.open(nil, nil)
	w.until("the founder serves", h.serves)
	return h
}

// join builds a house and joins the cluster from it.
func (w *town) join(seeds ...*house) *house {
	h := w.build()
	h.join(nil, seeds...)
	return h
}

func (h *house) String() string { return fmt.Sprintf("house %d", h.number) }

func (h *house) serves() bool { return h.life != nil && h.life.serving }

// join asks to be let in, and starts the node when it is.
func (h *house) join(static config.Static, seeds ...*house) {
	l := h.begin()
	var addresses []peer.Address
	for _, s := range seeds {
		addresses = append(addresses, h.town.address(s.number))
	}
	node.Join(node.JoinOptions{Runtime: l, FS: h.disk, Dir: "/gregor", Peers: &wires{l}, Seeds: addresses, Config: static, Logger: l.logger()}, func(a node.Admission, err error) {
		if err != nil {
			h.refused = err
			h.kill()
			return
		}
		h.openAs(l, &a, static)
	})
}

func (h *house) begin() *life {
	h.life = &life{house: h}
	h.refused = nil
	return h.life
}

func (h *house) open(admission *node.Admission, static config.Static) {
	h.openAs(h.begin(), admission, static)
}

// start starts the node of a house that has one on its disk.
func (h *house) start() { h.open(nil, nil) }

func (h *house) openAs(l *life, admission *node.Admission, static config.Static) {
	t := h.town
	address := t.address(h.number)
	all := config.Static{"offsets.topic.num.partitions": "3", "broker.session.timeout.ms": "6000"}
	for _, some := range []config.Static{t.config, static} {
		for key, value := range some { // any order
			all[key] = value
		}
	}
	h.faulty = vfs.NewFaulty(h.disk)
	n, err := node.Open(node.Options{Runtime: l, FS: h.faulty, Dir: "/gregor", Config: all, Logger: l.logger(), Peers: &wires{l}, Admission: admission, Seeds: h.seeds,
		Endpoints:  []metadata.Endpoint{{Listener: "PLAINTEXT", Host: address.Host, Port: address.Port}},
		Advertised: func(server.Peer) (string, int32) { return address.Host, int32(address.Port) },
		Failed:     func(err error) { l.failure = err }})
	if err != nil {
		t.t.Fatalf("%v: %v", h, err)
	}
	l.node = n
	n.Start(func() { l.serving = true })
}

// kill ends the process, and the power of its disk.
func (h *house) kill() {
	l := h.life
	h.life, l.dead, l.serving = nil, true, false
	for _, c := range slices.Clone(l.conns) {
		c.close()
	}
	h.disk = h.disk.Crash(h.town.chance)
}

// freeze lets the process stand still, as SIGSTOP does: its connections stay. thaw lets it go on.
func (h *house) freeze() { h.life.frozen = true }

func (h *house) thaw() {
	l := h.life
	backlog := l.backlog
	l.frozen, l.backlog = false, nil
	for _, f := range backlog {
		l.run(f)
	}
}

// stop ends the process in good order.
func (h *house) stop() {
	l, done := h.life, false
	l.node.Stop(func(err error) {
		if done = true; err != nil {
			h.town.t.Errorf("%v: %v", h, err)
		}
	})
	began := h.town.world.Now()
	h.town.until(h.String()+" stops", func() bool { return done })
	if took := h.town.world.Now().Sub(began); took > 500*time.Millisecond {
		h.town.t.Errorf("%v takes %v to stop", h, took)
	}
	h.kill()
}

func (l *life) Now() time.Time   { return l.house.town.world.Now() }
func (l *life) Rand() *rand.Rand { return l.house.town.world.Rand() }
func (l *life) Loop(name string) loop.Loop {
	return &lifeLoop{l, l.house.town.world.Loop(fmt.Sprint(l.house.number, name))}
}

func (l *life) logger() *slog.Logger {
	out := io.Discard
	if os.Getenv("GREGOR_TEST_LOG") != "" {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, nil)).With("house", l.house.number, "at", l.house.town.world.Now().Sub(sim.Epoch))
}

type lifeLoop struct {
	life *life
	loop loop.Loop
}

func (l *lifeLoop) alive(f func()) func()                  { return func() { l.life.run(f) } }
func (l *lifeLoop) Do(f func())                            { l.loop.Do(l.alive(f)) }
func (l *lifeLoop) After(d time.Duration, f func()) func() { return l.loop.After(d, l.alive(f)) }

// wires is the network as one life has it.
type wires struct{ life *life }

// conn is a connection between two lives; or, where from is nil, of a client.
type conn struct {
	town     *town
	from, to *life
	port     peer.Address
	lane     peer.Lane
	session  server.Session
	arrival  time.Time // of the last request
	landing  time.Time // of the last answer
	slots    []*slot
	pending  []*call
	closed   bool
}

type call struct {
	correlation int32
	request     kmsg.Request
	answered    func(kmsg.Response, error)
}

func (w *wires) Call(to peer.Address, lane peer.Lane, request kmsg.Request, answered func(kmsg.Response, error)) {
	t := w.life.house.town
	if w.life.dead {
		return
	}
	var c *conn
	for _, one := range w.life.conns {
		if one.from == w.life && one.port == to && one.lane == lane {
			c = one
		}
	}
	if c == nil {
		c = t.dial(w.life, to, lane)
	}
	if c == nil {
		t.world.Schedule(t.delay(), func() { w.life.run(func() { answered(nil, fmt.Errorf("%s: %w", to, peer.ErrUnreachable)) }) })
		return
	}
	c.send(request, answered)
}

func (t *town) delay() time.Duration { return time.Duration(50+t.chance.IntN(1500)) * time.Microsecond }

func (t *town) at(a peer.Address) *house {
	for _, h := range t.houses {
		if t.address(h.number) == a {
			return h
		}
	}
	return nil
}

// dial connects; nil where nobody is, or nobody is reached.
func (t *town) dial(from *life, to peer.Address, lane peer.Lane) *conn {
	h := t.at(to)
	if h == nil || h.life == nil || h.life.node == nil || t.cut[h.number] || from != nil && t.cut[from.house.number] {
		return nil
	}
	c := &conn{town: t, from: from, to: h.life, port: to, lane: lane}
	c.session = h.life.node.API.Open(server.Peer{Listener: "PLAINTEXT", LocalHost: to.Host, LocalPort: int(to.Port), RemoteHost: "10.0.0.99", RemotePort: 5000})
	h.life.conns = append(h.life.conns, c)
	if from != nil {
		from.conns = append(from.conns, c)
	}
	return c
}

func (c *conn) send(request kmsg.Request, answered func(kmsg.Response, error)) {
	t := c.town
	one := &call{int32(len(c.pending)) + t.chance.Int32N(1000), request, answered}
	c.pending = append(c.pending, one)
	frame := wire.AppendRequest(nil, one.correlation, "node", request)[4:]
	delay := t.delay()
	if c.from != nil && c.to.house.number == t.far {
		delay += 30 * time.Millisecond
	}
	c.arrival = later(c.arrival.Add(1), t.world.Now().Add(delay))
	lost := c.from != nil && t.chance.IntN(1000) < t.loss
	t.world.Schedule(c.arrival.Sub(t.world.Now()), func() {
		switch {
		case c.closed:
		case lost || c.isCut():
			c.close()
		default:
			c.to.run(func() { c.dispatch(frame) })
		}
	})
	if c.from != nil {
		t.world.Schedule(peer.Limit(request), func() {
			if slices.Contains(c.pending, one) {
				c.close()
			}
		})
	}
}

func (c *conn) dispatch(frame []byte) {
	if c.closed {
		return
	}
	s := &slot{conn: c}
	c.slots = append(c.slots, s)
	if err := c.session.Request(frame, s); err != nil {
		c.close()
		return
	}
	c.session.Drained()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (c *conn) isCut() bool {
	return c.town.cut[c.to.house.number] || c.from != nil && c.town.cut[c.from.house.number]
}

// slot is the place of an answer.
type slot struct {
	conn  *conn
	frame []byte
	ready bool
}

func (s *slot) Buffer() []byte { return nil }
func (s *slot) Send(frame []byte, splices []wire.Splice) {
	s.frame, s.ready = nil, true
	sent := 0
	for _, splice := range splices {
		s.frame = append(s.frame, frame[sent:splice.At]...)
		sent = splice.At
		part := make([]byte, splice.Size)
		if n, err := splice.File.ReadAt(part, splice.Position); n < len(part) {
			s.conn.town.t.Errorf("read %d of %d bytes of a segment: %v", n, len(part), err)
		}
		s.frame = append(s.frame, part...)
		splice.Release()
	}
	s.frame = append(s.frame, frame[sent:]...)
	s.conn.flush()
}
func (s *slot) Silence() { s.conn.close() }
func (s *slot) Abort()   { s.conn.close() }

// flush lets the answers travel that are due.
func (c *conn) flush() {
	for len(c.slots) > 0 && c.slots[0].ready {
		frame := c.slots[0].frame
		c.slots = c.slots[1:]
		c.landing = later(c.landing.Add(1), c.town.world.Now().Add(c.town.delay()))
		c.town.world.Schedule(c.landing.Sub(c.town.world.Now()), func() {
			if c.closed || len(c.pending) == 0 {
				return
			}
			if c.isCut() {
				c.close()
				return
			}
			one := c.pending[0]
			c.pending = c.pending[1:]
			response := one.request.ResponseKind()
			if err := wire.ReadResponse(frame[4:], one.correlation, response); err != nil {
				c.town.t.Errorf("the answer to %T: %v", one.request, err)
			}
			c.caller(func() { one.answered(response, nil) })
		})
	}
}

// caller runs f where the calls come from: in a life, or in the test.
func (c *conn) caller(f func()) {
	if c.from == nil {
		f()
		return
	}
	c.from.run(f)
}

// close ends the connection: each end that lives sees it, a little later.
func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	for _, l := range []*life{c.from, c.to} {
		if l != nil {
			l.conns = slices.DeleteFunc(l.conns, func(one *conn) bool { return one == c })
		}
	}
	c.town.world.Schedule(c.town.delay(), func() { c.to.run(c.session.Closed) })
	pending := c.pending
	c.pending = nil
	c.town.world.Schedule(c.town.delay(), func() {
		c.caller(func() {
			for _, one := range pending {
				one.answered(nil, peer.ErrUnreachable)
			}
		})
	})
}

func (t *town) until(what string, done func() bool) {
	t.t.Helper()
	if !t.world.RunUntil(2*time.Minute, done) {
		for _, h := range t.houses {
			if h.life != nil && h.life.node != nil {
				t.t.Logf("%v: serves %v, active %v, image at %d, failed %v, refused %v", h, h.life.serving, h.life.node.Controller.Active(), h.life.node.Image().Offset(), h.life.failure, h.refused)
			} else {
				t.t.Logf("%v: has no node; refused %v", h, h.refused)
			}
		}
		t.t.Fatalf("it does not come to be: %s", what)
	}
}

// ask sends a client's request to a house and waits for the answer; nil where the connection broke.
func (t *town) ask(h *house, request kmsg.Request) kmsg.Response {
	t.t.Helper()
	c := t.dial(nil, t.address(h.number), 0)
	if c == nil {
		return nil
	}
	var response kmsg.Response
	done := false
	c.send(request, func(r kmsg.Response, err error) { response, done = r, true })
	t.until(fmt.Sprintf("an answer of %v to %T", h, request), func() bool { return done })
	c.close()
	return response
}

// active is the house whose node is the active controller.
func (t *town) active() *house {
	for _, h := range t.houses {
		if h.life != nil && h.life.node != nil && !h.life.frozen && h.life.node.Controller.Active() && !t.cut[h.number] {
			return h
		}
	}
	return nil
}

func (t *town) createTopic(h *house, name string, replicas int16) kafka.ErrorCode {
	t.t.Helper()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Version, request.TimeoutMillis = 7, 20_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 3, replicas
	request.Topics = append(request.Topics, topic)
	response, ok := t.ask(h, request).(*kmsg.CreateTopicsResponse)
	if !ok {
		return kafka.NetworkException
	}
	code := kafka.ErrorCode(response.Topics[0].ErrorCode)
	if code == kafka.None && h.life != nil && h.life.node.Image().Topic(name) == nil {
		t.t.Errorf("%v has answered that %s is created, and does not have it", h, name)
	}
	if code == kafka.NotController {
		t.t.Errorf("%v answers NOT_CONTROLLER", h)
	}
	return code
}

// quorum is who votes and who watches, as DescribeQuorum tells it.
func (t *town) quorum(h *house) (voters, observers []int32, leader int32) {
	request := kmsg.NewPtrDescribeQuorumRequest()
	request.Version = 2
	topic, partition := kmsg.NewDescribeQuorumRequestTopic(), kmsg.NewDescribeQuorumRequestTopicPartition()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	response, ok := t.ask(h, request).(*kmsg.DescribeQuorumResponse)
	if !ok {
		return nil, nil, -1
	}
	p := response.Topics[0].Partitions[0]
	for _, v := range p.CurrentVoters {
		voters = append(voters, v.ReplicaID)
	}
	for _, o := range p.Observers {
		observers = append(observers, o.ReplicaID)
	}
	slices.Sort(voters)
	slices.Sort(observers)
	return voters, observers, p.LeaderID
}

// votersAre waits for a quorum.
func (t *town) votersAre(want ...int32) {
	t.t.Helper()
	var got []int32
	for range 100 {
		h := t.active()
		if h != nil && h.serves() {
			if got, _, _ = t.quorum(h); slices.Equal(got, want) {
				return
			}
		}
		t.world.Run(200 * time.Millisecond)
	}
	t.t.Fatalf("the voters are %v and not %v", got, want)
}

// agree waits until all that run serve and have the same metadata.
func (t *town) agree() {
	t.t.Helper()
	t.until("all nodes serve and have the same metadata", func() bool {
		active := t.active()
		if active == nil {
			return false
		}
		for _, h := range t.houses {
			if h.life != nil && (!h.serves() || h.life.node.Image().Offset() != active.life.node.Image().Offset()) {
				return false
			}
		}
		return true
	})
	want := dump(t.active().life.node.Image())
	for _, h := range t.houses {
		if h.refused != nil && !h.thief {
			t.t.Fatalf("%v was refused: %v", h, h.refused)
		}
		if h.life != nil && dump(h.life.node.Image()) != want {
			t.t.Fatalf("%v has another image than the active controller", h)
		}
	}
}

func dump(i *metadata.Image) (all string) {
	_ = i.Snapshot(0, func(b []byte) error { all += string(b); return nil })
	return all
}

func (h *house) id() kafka.NodeID { return h.life.node.ID() }
