package trial

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
)

// host is one machine: its disk, its clock, and what runs on it.
type host struct {
	t      *trial
	number int
	config config.Static
	memory *vfs.Memory
	disk   trouble
	life   *life
	skew   time.Duration // how far the wall clock is off
	slow   float64       // how many times slower the disk is than it should be
	joins  bool          // on an empty disk it joins the cluster, and does not found one
	late   bool          // it came to a cluster that had partitions
	// admitted says that it has served once, so that others may count on it.
	admitted bool
}

func newHost(t *trial, number int) *host {
	return &host{t: t, number: number, memory: vfs.NewMemory(), slow: 1, joins: number > 0}
}

// listens reports whether other nodes can connect.
func (h *host) listens() bool { return h.life != nil && h.life.node != nil && !h.life.dead }

// seeds are the other hosts.
func (h *host) seeds() (all []peer.Address) {
	for _, other := range h.t.hosts {
		if other != h {
			all = append(all, other.address())
		}
	}
	return all
}

// serves reports whether clients are served.
func (h *host) serves() bool { return h.life != nil && h.life.serving }

// dir is the node's data folder.
const dir = "/gregor"

// life is one process of the node, from its start to its end. When it is dead nothing of it runs any more, and nothing
// that is still on the stack reaches the disk or a client.
type life struct {
	t       *trial
	host    *host
	number  int
	node    *node.Node
	disk    vfs.FS
	network *network
	dead    bool
	ending  bool // a clean stop is under way
	serving bool
	skew    time.Duration
	current *lifeLoop
	links   []*link
	lines   []*line // to other nodes and from them
	loops   []*lifeLoop
	paused  bool      // the process is stopped, and may go on
	failure error     // why the node said it cannot go on
	unsound time.Time // when a sync of the logs failed in this life; zero for never
}

// start opens the data folder for a new life. Where that fails for a reason it is tried again.
func (h *host) start() {
	t := h.t
	t.lives++
	l := &life{t: t, host: h, number: t.lives, skew: h.skew}
	h.life = l
	h.disk.begin()
	l.disk = h.filesystem(l)
	l.network = &network{life: l, lines: map[lineKey]*line{}}
	if h.joins {
		formatted, err := node.Formatted(l.disk, dir)
		if err != nil {
			l.unopened(err)
			return
		}
		if !formatted {
			l.join()
			return
		}
	}
	l.open(nil)
}

// join asks the cluster to let the host in.
func (l *life) join() {
	l.t.logf("life %d wants to join", l.number)
	node.Join(node.JoinOptions{Runtime: l, FS: l.disk, Dir: dir, Peers: l.network, Seeds: l.host.seeds(), Config: l.host.config, Logger: l.logger()}, func(a node.Admission, err error) {
		if l.dead {
			return
		}
		if err != nil {
			l.unopened(err)
			return
		}
		l.open(&a)
	})
}

// unopened is a life that does not come to be.
func (l *life) unopened(err error) {
	t, h := l.t, l.host
	if l.dead {
		return // the power went meanwhile, and will come back
	}
	t.expect(h.disk.struck, "the data folder does not open in life %d: %v", l.number, err)
	t.logf("life %d does not begin: %v", l.number, err)
	l.end()
	h.restartIn(t.between(100*time.Millisecond, time.Second))
}

// open opens the data folder, and makes it if it is new.
func (l *life) open(admission *node.Admission) {
	t, h := l.t, l.host
	o := node.Options{Runtime: l, FS: l.disk, Dir: dir, Config: h.config, Logger: l.logger(), Failed: l.failed, SnapshotBytes: t.snapshots,
		Advertised: func(server.Peer) (string, int32) { return h.address().Host, int32(h.address().Port) }, Admission: admission}
	if len(t.hosts) > 1 {
		o.Peers, o.Seeds = l.network, h.seeds()
		o.Endpoints = []metadata.Endpoint{{Listener: "PLAINTEXT", Host: h.address().Host, Port: h.address().Port}}
	}
	n, err := node.Open(o)
	if err != nil || l.dead {
		l.unopened(err)
		return
	}
	l.node = n
	t.logf("life %d begins on host %d", l.number, h.number)
	n.Start(func() {
		if !l.dead {
			l.serving, h.admitted = true, true
			t.logf("life %d serves", l.number)
		}
	})
}

func (h *host) restartIn(d time.Duration) {
	h.t.after(d, func() {
		if h.life == nil && h.t.absent != h {
			h.start()
		}
	})
}

// end makes the life dead: its connections break, and its clients see that.
func (l *life) end() {
	if l.dead {
		return
	}
	l.dead, l.serving = true, false
	if l.node != nil {
		l.t.learn(l.node.Image())
	}
	if l.host.life == l {
		l.host.life = nil
	}
	for _, k := range l.links {
		k.breakOff(false)
	}
	for _, k := range l.lines {
		l.t.after(l.t.between(0, 20*time.Millisecond), k.breakOff)
	}
}

// kill ends the process as SIGKILL does: what it wrote stays, synced or not.
func (h *host) kill(format string, args ...any) {
	if h.life == nil {
		return
	}
	h.t.fault("kill", format, args...)
	h.life.end()
	h.restartIn(h.t.between(time.Millisecond, time.Second))
}

// powerCut ends the process and loses, of what was not synced, whatever chance says.
func (h *host) powerCut(format string, args ...any) {
	h.t.fault("power cut", format, args...)
	h.losePower()
	if h.life != nil {
		h.life.end()
	}
	h.restartIn(h.t.between(time.Millisecond, time.Second))
}

func (h *host) losePower() {
	h.memory = h.memory.Crash(h.t.chance)
	h.t.shadow.powerLost()
}

// stop ends the life in good order.
func (h *host) stop() {
	l, t := h.life, h.t
	if l == nil || l.ending {
		return
	}
	t.fault("clean restart", "")
	l.ending, l.serving = true, false
	for _, k := range l.links {
		k.breakOff(true)
	}
	stopped := func() {
		l.end()
		h.restartIn(t.between(time.Millisecond, 500*time.Millisecond))
	}
	if l.node == nil {
		stopped() // it is still asking to be let in
		return
	}
	troubled := h.disk.struck
	l.node.Stop(func(err error) {
		if l.dead {
			return
		}
		t.expect(err == nil || troubled || h.disk.struck || l.failure != nil, "life %d does not stop cleanly: %v", l.number, err)
		t.logf("life %d has stopped: %v", l.number, err)
		stopped()
	})
}

// failed is the node saying that it cannot go on: its process ends, and with it what the system did not keep.
func (l *life) failed(err error) {
	if l.dead {
		return
	}
	t, h := l.t, l.host
	l.failure = err
	t.expect(h.disk.struck, "life %d cannot go on, and there is no reason: %v", l.number, err)
	t.fault("node gave up", "%v", err)
	if t.chance.IntN(2) == 0 {
		h.losePower()
	}
	l.end()
	h.restartIn(t.between(10*time.Millisecond, time.Second))
}

// Now is the wall clock of the node, which may be wrong. While a process runs, Go measures differences of times by a clock
// that does not jump, so that a life keeps the wrong time that it began with.
func (l *life) Now() time.Time   { return l.t.world.Now().Add(l.skew) }
func (l *life) Rand() *rand.Rand { return l.t.world.Rand() }
func (l *life) Loop(name string) loop.Loop {
	loop := &lifeLoop{life: l, name: name, disk: strings.HasPrefix(name, "flush ") || name == "raft disk"}
	l.loops = append(l.loops, loop)
	return loop
}

// after runs f once, d from now, if the life still lasts.
func (l *life) after(d time.Duration, f func()) {
	l.t.after(d, func() {
		if !l.dead {
			f()
		}
	})
}

// pause stops the process as SIGSTOP does: its connections stay open, and nothing of it runs.
func (l *life) pause(d time.Duration) {
	l.paused = true
	l.after(d, l.resume)
}

func (l *life) resume() {
	l.paused = false
	for _, loop := range l.loops {
		loop.arm()
	}
}

// lifeLoop is an event loop of one life. Each turn comes a little after the one before, as if it had taken some time.
type lifeLoop struct {
	life  *life
	name  string
	disk  bool // it waits for syncs
	queue []func()
	armed bool
	busy  bool
}

func (l *lifeLoop) Do(f func()) {
	l.queue = append(l.queue, f)
	l.arm()
}

func (l *lifeLoop) arm() {
	if l.armed || l.busy || len(l.queue) == 0 || l.life.dead || l.life.paused {
		return
	}
	l.armed = true
	l.life.t.world.Schedule(time.Duration(l.life.t.chance.Int64N(int64(50*time.Microsecond))), l.turn)
}

func (l *lifeLoop) turn() {
	l.armed = false
	if l.life.dead {
		l.queue = nil
		return
	}
	if l.life.paused {
		return // resume goes on with it
	}
	f := l.queue[0]
	l.queue = l.queue[1:]
	before := l.life.current
	l.busy, l.life.current = true, l
	f()
	l.busy, l.life.current = false, before
	l.arm()
}

func (l *lifeLoop) After(d time.Duration, f func()) (stop func()) {
	stopped := false
	cancel := l.life.t.world.Schedule(d, func() {
		if stopped || l.life.dead {
			return
		}
		l.Do(func() {
			if !stopped {
				f()
			}
		})
	})
	return func() { stopped = true; cancel() }
}

// wait is a sync taking its time: the caller's loop is held up, and everything else goes on.
func (l *life) wait() {
	t := l.t
	if l.dead || l.current == nil || !l.current.disk {
		return
	}
	over := false
	t.world.Schedule(time.Duration(l.host.slow*float64(t.between(50*time.Microsecond, 2*time.Millisecond))), func() { over = true })
	held := l.current
	for !over && !l.dead && !t.ended {
		l.current = nil
		t.world.Step()
	}
	l.current = held
}

// logger passes on what the node says.
func (l *life) logger() *slog.Logger {
	if l.t.o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(lines{l}, &slog.HandlerOptions{Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
}

type lines struct{ life *life }

func (w lines) Write(p []byte) (int, error) {
	if !w.life.dead {
		w.life.t.logf("host %d life %d: %s", w.life.host.number, w.life.number, strings.TrimRight(string(p), "\n"))
	}
	return len(p), nil
}

// image loads the node's metadata again from a snapshot, which must make the same (invariant 32).
func (h *host) image(when string) {
	t := h.t
	if h.life == nil || h.life.node == nil {
		return
	}
	first, second, err := reload(h.life.node.Image())
	t.expect(err == nil, "the snapshot of the metadata %s does not load: %v", when, err)
	t.expect(first == second, "the snapshot of the metadata %s loads as something else: %s", when, fmt.Sprintf("%q instead of %q", second, first))
}
