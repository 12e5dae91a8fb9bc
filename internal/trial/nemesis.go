package trial

import (
	"slices"
	"time"
)

// nemesis lets faults happen. Each seed draws which kinds it knows, so that some stories are about one thing only.
type nemesis struct {
	t       *trial
	kinds   []func(*nemesis)
	every   time.Duration
	left    int
	slowly  int // one connection in so many reads slowly, 0 for none
	stopped bool
}

// kinds of faults. The order is part of what a seed means.
var kinds = []func(*nemesis){
	(*nemesis).kill, (*nemesis).powerCut, (*nemesis).powerCutSoon, (*nemesis).restart, (*nemesis).failSync, (*nemesis).failWrite,
	(*nemesis).fullDisk, (*nemesis).slowDisk, (*nemesis).jump, (*nemesis).cutLinks, (*nemesis).powerCutInRecovery, (*nemesis).failRead,
	(*nemesis).killInSync,
}

// clusterKinds are those that need several nodes.
var clusterKinds = []func(*nemesis){
	(*nemesis).isolate, (*nemesis).cutOneWay, (*nemesis).split, (*nemesis).delay, (*nemesis).pause, (*nemesis).blackout, (*nemesis).isolate,
	(*nemesis).cutOneWay, (*nemesis).pause, (*nemesis).replace,
	(*nemesis).rot,
}

func newNemesis(t *trial) *nemesis {
	n := &nemesis{t: t, every: t.between(300*time.Millisecond, 4*time.Second), left: t.o.Faults}
	if n.left < 0 {
		n.left = 1 << 20
	}
	all := kinds
	if t.clustered() {
		all = append(slices.Clip(all), clusterKinds...)
	}
	for _, k := range all {
		if t.chance.IntN(2) == 0 {
			n.kinds = append(n.kinds, k)
		}
	}
	if len(n.kinds) == 0 {
		n.kinds = kinds[1:2]
	}
	if t.chance.IntN(3) == 0 {
		n.slowly = 2 + t.chance.IntN(8)
	}
	return n
}

func (n *nemesis) start() {
	if n.stopped || n.left <= 0 {
		return
	}
	n.t.after(n.t.between(n.every/4, 2*n.every), func() {
		if n.stopped {
			return
		}
		n.left--
		if strike := n.kinds[n.t.chance.IntN(len(n.kinds))]; n.t.rotten == nil {
			strike(n)
		}
		n.start()
	})
}

func (n *nemesis) stop() { n.stopped = true }

func (n *nemesis) slowReader() bool {
	if n.slowly == 0 || n.stopped || n.t.chance.IntN(n.slowly) > 0 {
		return false
	}
	n.t.faults["slow reader"]++
	return true
}

// one is the host that a fault strikes.
func (n *nemesis) one() *host { return n.t.hosts[n.t.chance.IntN(len(n.t.hosts))] }

func (n *nemesis) kill()     { n.one().kill("now") }
func (n *nemesis) powerCut() { n.one().powerCut("now") }
func (n *nemesis) restart()  { n.one().stop() }

// powerCutSoon takes the power away in the middle of something.
func (n *nemesis) powerCutSoon() { n.one().disk.powerAt = 1 + n.t.chance.IntN(40) }

// powerCutInRecovery takes the power away, and again while the node recovers from that.
func (n *nemesis) powerCutInRecovery() {
	h := n.one()
	h.powerCut("now")
	h.disk.powerAt = 1 + n.t.chance.IntN(60)
}

// killInSync kills the process while it waits for the disk, and takes the power away from the next one: what the first had
// written and not made durable, the second may have relied on.
func (n *nemesis) killInSync() {
	t, h := n.t, n.one()
	h.slow = 200
	t.after(t.between(10*time.Millisecond, 400*time.Millisecond), func() {
		h.kill("while the disk is slow")
		h.slow = 1
		t.after(t.between(time.Second, 2*time.Second), func() {
			if !n.stopped && t.rotten == nil {
				h.powerCut("after a kill")
			}
		})
	})
}

func (n *nemesis) folder() string {
	return []string{"/logs/", "/logs/", "/metadata/", "/"}[n.t.chance.IntN(4)]
}

func (n *nemesis) failSync() {
	op := []string{"sync", "sync", "sync", "syncdir"}[n.t.chance.IntN(4)]
	h := n.one()
	h.disk.failing = append(h.disk.failing, failing{op: op, folder: n.folder(), after: n.t.chance.IntN(10), err: errIO})
}

func (n *nemesis) failWrite() {
	op := []string{"write", "write", "truncate", "create", "rename", "remove"}[n.t.chance.IntN(6)]
	h := n.one()
	h.disk.failing = append(h.disk.failing, failing{op: op, folder: n.folder(), after: n.t.chance.IntN(10), err: errIO})
}

func (n *nemesis) failRead() {
	h := n.one()
	h.disk.failing = append(h.disk.failing, failing{op: "read", folder: n.folder(), after: n.t.chance.IntN(30), err: errIO})
}

func (n *nemesis) fullDisk() {
	h := n.one()
	h.disk.full = n.folder()
	n.t.fault("full disk", "%s", h.disk.full)
	n.t.after(n.t.between(50*time.Millisecond, 4*time.Second), func() { h.disk.full = "" })
}

func (n *nemesis) slowDisk() {
	if n.t.healing {
		return
	}
	h := n.one()
	h.slow = float64(10 + n.t.chance.IntN(300))
	n.t.fault("slow disk", "%v times", h.slow)
	n.t.after(n.t.between(100*time.Millisecond, 4*time.Second), func() { h.slow = 1 })
}

// jump sets the wall clock wrong.
func (n *nemesis) jump() {
	h := n.one()
	h.skew += n.t.between(-2*time.Minute, 2*time.Minute)
	n.t.fault("clock jump", "to %v", h.skew)
}

// cutLinks breaks some connections.
func (n *nemesis) cutLinks() {
	l := n.one().life
	if l == nil {
		return
	}
	n.t.fault("connections cut", "")
	all := n.t.chance.IntN(2) == 0
	for _, k := range l.links {
		if all || n.t.chance.IntN(3) == 0 {
			k.breakOff(false)
		}
	}
}

// cut cuts ways for a while.
func (n *nemesis) cut(kind string, ways ...way) {
	t := n.t
	for _, w := range ways {
		t.cut[w] = true
	}
	t.fault(kind, "%d ways", len(ways))
	t.after(t.between(100*time.Millisecond, 8*time.Second), func() {
		for _, w := range ways {
			delete(t.cut, w)
		}
	})
}

// isolate cuts a host off from all others.
func (n *nemesis) isolate() {
	h := n.one()
	var ways []way
	for _, other := range n.t.hosts {
		if other != h {
			ways = append(ways, way{h, other}, way{other, h})
		}
	}
	n.cut("host cut off", ways...)
}

// cutOneWay lets one host hear another no more, while the other hears the one.
func (n *nemesis) cutOneWay() {
	from := n.one()
	to := n.t.hosts[(from.number+1+n.t.chance.IntN(len(n.t.hosts)-1))%len(n.t.hosts)]
	n.cut("way cut", way{from, to})
}

// split divides the hosts into two halves.
func (n *nemesis) split() {
	var ways []way
	at := 1 + n.t.chance.IntN(len(n.t.hosts)-1)
	for _, a := range n.t.hosts[:at] {
		for _, b := range n.t.hosts[at:] {
			ways = append(ways, way{a, b}, way{b, a})
		}
	}
	n.cut("network split", ways...)
}

// delay makes everything slower that goes one way.
func (n *nemesis) delay() {
	from := n.one()
	to := n.t.hosts[(from.number+1+n.t.chance.IntN(len(n.t.hosts)-1))%len(n.t.hosts)]
	w := way{from, to}
	n.t.delayed[w] = n.t.between(5*time.Millisecond, time.Second)
	n.t.fault("slow network", "%v", n.t.delayed[w])
	n.t.after(n.t.between(100*time.Millisecond, 8*time.Second), func() { delete(n.t.delayed, w) })
}

// pause stops a process for a while, as SIGSTOP does.
func (n *nemesis) pause() {
	if l := n.one().life; l != nil && !l.paused {
		n.t.fault("pause", "")
		l.pause(n.t.between(50*time.Millisecond, 6*time.Second))
	}
}

// blackout takes the power from all hosts at once.
func (n *nemesis) blackout() {
	for _, h := range n.t.hosts {
		h.powerCut("of all hosts")
	}
}
