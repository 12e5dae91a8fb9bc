// Package trial is whole clusters through their worst days, judged by what their clients were promised.
//
// One seed is one life story: one to seven nodes on disks in memory, clients that speak the protocol to them by frames, and
// faults: crashes, power cuts at any write, syncs that fail, full and slow disks, clocks that jump, connections that break,
// networks that are cut, slow and split, processes that pause. A shadow remembers what was acknowledged and what was read, and
// complains when a node contradicts it; at the end all replicas must be in sync and the same.
//
// It promises that a seed tells the same story each time, so that a failure is found again by its number; and that a
// complaint is about a promise that the node broke, never about one that it did not make.
// The command trial and tests run it. It needs the chance that etcd's raft draws from crypto/rand to be seeded by its
// caller. It does not know how the node works inside, except for the metadata image that it loads again.
package trial

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sort"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/sim"
)

// Options change what a seed says.
type Options struct {
	// Nodes is how many nodes there are; 0 for as many as the seed says.
	Nodes int
	// Faults is how many faults strike at most; negative is as many as the seed has.
	Faults int
	// Length is how long faults may strike, 0 for what the seed says.
	Length time.Duration
	// Mutant is a bug that is planted on purpose, nil for none.
	Mutant *Mutant
	// Script, if it is set, is lived instead of a story that the seed draws.
	Script *Script
	// Log is told what happens; it may be nil.
	Log func(line string)
}

// Result is what became of one seed.
type Result struct {
	Seed    uint64
	Failure string // what promise was broken; "" for none
	Events  uint64
	Trace   uint64
	Lived   time.Duration // simulated
	Faults  map[string]int
	Counts  map[string]int // what clients did
}

// epilogue is how long everything may take to be well again when the faults have stopped (invariant 38).
const epilogue = 30 * time.Second

// broken is the panic value of a broken promise.
type broken struct{ text string }

// trial is one run.
type trial struct {
	o      Options
	world  *sim.World
	chance *rand.Rand // of the workload and the faults; the world has its own
	// snapshots is how much metadata log makes a snapshot due.
	snapshots int64
	hosts     []*host
	lives     int // of all hosts
	shadow    *shadow

	cut     map[way]bool          // nothing arrives
	delayed map[way]time.Duration // everything takes so much longer
	newest  *metadata.Image       // that is committed, as far as was seen
	absent  *host                 // whose disk is being replaced; nil for none
	// handsOff says that nobody moves partitions by hand.
	handsOff bool
	rotten   *host // whose files are not what they were: until it has others nothing else strikes; nil for none

	actors  []actor
	nemesis *nemesis
	healing bool // no more faults, no more new work
	ended   bool
	faults  map[string]int
	counts  map[string]int
}

// actor is a simulated client program.
type actor interface {
	start()
	// idle reports whether everything it began has come to its end. It begins nothing new while the trial heals.
	idle() bool
	String() string
}

func newTrial(seed uint64, o Options) *trial {
	t := &trial{o: o, world: sim.New(seed), chance: rand.New(rand.NewPCG(seed, 0x74726961)),
		cut: map[way]bool{}, delayed: map[way]time.Duration{}, faults: map[string]int{}, counts: map[string]int{}}
	t.shadow = newShadow(t)
	return t
}

// Run lives one seed.
func Run(seed uint64, o Options) (r Result) {
	t := newTrial(seed, o)
	r.Seed = seed
	defer func() {
		if p := recover(); p != nil {
			r.Failure = explain(p)
			t.logf("BROKEN: %s", r.Failure)
		}
		r.Events, r.Trace, r.Lived = t.world.Steps(), t.world.Trace(), t.world.Now().Sub(sim.Epoch)
		r.Faults, r.Counts = t.faults, t.counts
	}()
	if o.Script != nil {
		t.gather(1)
		t.play(o.Script)
	} else {
		t.live()
	}
	return r
}

// explain says what a panic was about. What is not a broken promise is a broken node, and says where.
func explain(p any) string {
	if b, ok := p.(broken); ok {
		return b.text
	}
	return fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
}

func (t *trial) live() {
	t.gather(t.drawNodes())
	t.configure(t.drawConfig())
	t.snapshots = 200 + t.chance.Int64N(5000)
	t.cast()
	t.assemble()
	for _, a := range t.actors {
		late := 2 * time.Second
		if t.chance.IntN(4) == 0 {
			late = 12 * time.Second
		}
		t.after(t.between(0, late), a.start)
	}
	length := t.between(8*time.Second, 25*time.Second)
	if t.o.Length > 0 {
		length = t.o.Length
	}
	t.nemesis = newNemesis(t)
	t.nemesis.start()
	t.growLater()
	t.runUntil(length, func() bool { return false })
	t.heal()
	t.wellAgain(t.quiet, "the last fault", t.restless)
	if t.clustered() {
		t.agree()
		t.shared()
	}
	t.lastRites()
}

// drawConfig makes segments and intervals so small that everything happens within seconds.
func (t *trial) drawConfig() config.Static {
	c := config.Static{
		"log.segment.bytes": fmt.Sprint(500 + t.chance.IntN(6000)), "log.roll.ms": fmt.Sprint(1500 + t.chance.IntN(20000)),
		"log.index.interval.bytes": fmt.Sprint(t.chance.IntN(1000)), "log.segment.delete.delay.ms": fmt.Sprint(t.chance.IntN(3000)),
		"offsets.topic.num.partitions": fmt.Sprint(1 + t.chance.IntN(3)), "offsets.topic.segment.bytes": fmt.Sprint(1000 + t.chance.IntN(10000)),
		"offsets.topic.replication.factor": "1", "group.initial.rebalance.delay.ms": fmt.Sprint(t.chance.IntN(500)),
		"log.retention.check.interval.ms": fmt.Sprint(500 + t.chance.IntN(5000)), "log.cleaner.backoff.ms": fmt.Sprint(500 + t.chance.IntN(5000)),
		"log.flush.offset.checkpoint.interval.ms": fmt.Sprint(500 + t.chance.IntN(10000)), "group.min.session.timeout.ms": "500",
		"log.cleaner.min.cleanable.ratio": "0.1", "auto.create.topics.enable": "false",
	}
	if t.clustered() {
		c["offsets.topic.replication.factor"] = fmt.Sprint(t.copies())
		c["min.insync.replicas"] = fmt.Sprint(1 + t.chance.IntN(2))
		c["replica.lag.time.max.ms"], c["broker.heartbeat.interval.ms"], c["broker.session.timeout.ms"] = "3000", "300", "2500"
		c["auto.replica.rebalance.delay.ms"] = fmt.Sprint(shareOutAfter.Milliseconds())
	}
	return c
}

// wellAgain waits until all is well again, and complains if it does not come to that (invariant 38).
func (t *trial) wellAgain(well func() bool, since string, restless func() string) {
	if t.runUntil(epilogue, well) {
		return
	}
	for _, name := range sorted(t.shadow.topics) {
		for _, tp := range t.partitions(name, int(t.shadow.topics[name].partitions)) {
			t.tell(tp)
		}
	}
	for n := range 4 {
		t.tell(kafka.TopicPartition{Topic: kafka.GroupMetadataTopic, Partition: int32(n)})
	}
	t.expect(false, "liveness: %s after %s: %s", epilogue, since, restless())
}

// drawNodes is how many nodes there are.
func (t *trial) drawNodes() int {
	if m := t.o.Mutant; m != nil {
		return m.Nodes
	}
	if t.o.Nodes > 0 {
		return t.o.Nodes
	}
	return []int{1, 3, 3, 3, 4, 5, 3, 7}[t.chance.IntN(8)]
}

// gather makes the hosts.
func (t *trial) gather(n int) {
	for i := range n {
		t.hosts = append(t.hosts, newHost(t, i))
	}
}

// clustered says that there is more than one node.
func (t *trial) clustered() bool { return len(t.hosts) > 1 }

// assemble starts the first node, and has the others join it.
func (t *trial) assemble() {
	t.hosts[0].start()
	for _, h := range t.hosts[1:] {
		t.after(t.between(0, time.Second), func() {
			if h.life == nil {
				h.start()
			}
		})
	}
	if t.clustered() {
		t.expect(t.runUntil(epilogue, t.serving), "liveness: %s after its start the cluster is not there: %s", epilogue, t.restless())
	}
}

// configure gives all hosts their configuration.
func (t *trial) configure(c config.Static) {
	for _, h := range t.hosts {
		h.config = t.o.Mutant.plant(maps.Clone(c))
		h.config["node.id"] = fmt.Sprint(h.number)
	}
}

// copies is how many replicas partitions have.
func (t *trial) copies() int { return min(len(t.hosts), 3) }

// heal ends all faults and lets the clients finish what they began.
func (t *trial) heal() {
	t.logf("healing")
	t.healing = true
	clear(t.cut)
	clear(t.delayed)
	for _, h := range t.hosts {
		h.slow = 1
		if h.life != nil && h.life.paused {
			h.life.resume()
		}
		h.disk.heal()
		if h.disk.unread && !t.clustered() {
			h.stop()
		}
	}
	t.after(epilogue/2, t.bringBack)
	if t.nemesis != nil {
		t.nemesis.stop()
	}
}

// bringBack restarts nodes on which partitions are still offline since a read failed: nobody else has what is committed.
func (t *trial) bringBack() {
	for _, h := range t.hosts {
		if !h.disk.unread || !h.serves() {
			continue
		}
		offline := false
		h.life.node.Replicas.Partitions(func(p *replica.Partition) { offline = offline || p.Log() != nil && p.Log().Offline() })
		if offline {
			t.done("replicas that nobody else could make anew", 1)
			h.stop()
		}
	}
}

// quiet reports whether the node serves and every client has come to its end.
func (t *trial) quiet() bool {
	if !t.serving() || t.rotten != nil || t.outOfSync() != "" || t.waiting() != "" {
		return false
	}
	for _, a := range t.actors {
		if !a.idle() {
			return false
		}
	}
	return true
}

// serving reports whether every node serves.
func (t *trial) serving() bool {
	for _, h := range t.hosts {
		if !h.serves() {
			return false
		}
	}
	return true
}

func (t *trial) restless() string {
	var names []string
	for n, h := range t.hosts {
		if !h.serves() {
			names = append(names, fmt.Sprintf("node %d does not serve", n))
		}
	}
	if which := t.outOfSync(); which != "" {
		names = append(names, "the replicas of "+which+" are not in sync")
	}
	if t.rotten != nil {
		names = append(names, fmt.Sprintf("host %d has a rotten disk", t.rotten.number))
	}
	if which := t.waiting(); which != "" {
		names = append(names, which+" has joined, and waits for its share of the replicas")
	}
	for _, a := range t.actors {
		if !a.idle() {
			names = append(names, a.String())
		}
	}
	return fmt.Sprint(names)
}

// lastRites crashes the node a last time and reads everything there is.
func (t *trial) lastRites() {
	power := t.chance.IntN(2) == 0
	for _, h := range t.hosts {
		h.image("before the last crash")
		if power {
			h.powerCut("at the end")
		} else {
			h.kill("at the end")
		}
	}
	reader := newAuditor(t)
	reader.start()
	t.wellAgain(reader.idle, "the last crash", reader.String)
	t.shadow.final()
	t.ended = true
	for _, h := range t.hosts {
		h.image("after the last crash")
		if h.life != nil {
			h.life.dead = true
		}
	}
}

// after runs f once, d from now.
func (t *trial) after(d time.Duration, f func()) (stop func()) {
	return t.world.Schedule(d, func() {
		if !t.ended {
			f()
		}
	})
}

// runUntil lets time pass until done holds, for at most d.
func (t *trial) runUntil(d time.Duration, done func() bool) bool {
	over := false
	stop := t.world.Schedule(d, func() { over = true })
	for !over && !done() {
		t.world.Step()
	}
	stop()
	return done()
}

func (t *trial) between(from, to time.Duration) time.Duration {
	return from + time.Duration(t.chance.Int64N(int64(to-from)))
}

// expect complains unless a promise was kept.
func (t *trial) expect(kept bool, format string, args ...any) {
	if !kept {
		panic(broken{fmt.Sprintf(format, args...)})
	}
}

func (t *trial) logf(format string, args ...any) {
	if t.o.Log != nil {
		t.o.Log(fmt.Sprintf("%12s %s", t.world.Now().Sub(sim.Epoch).Round(time.Microsecond), fmt.Sprintf(format, args...)))
	}
}

// fault counts a fault and says so.
func (t *trial) fault(kind, format string, args ...any) {
	t.faults[kind]++
	t.world.Note(kind)
	t.logf("FAULT %s %s", kind, fmt.Sprintf(format, args...))
}

// done counts something that clients did.
func (t *trial) done(what string, n int) { t.counts[what] += n }

// sorted lists the keys of a map in order.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m { // any order
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
