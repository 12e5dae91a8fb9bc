package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// link is what the network does to packets on one way from one place to another.
type link struct {
	cut             bool
	delay, jitter   time.Duration
	loss, duplicate float64 // chances
}

// links is a network that can be hurt. Places are the nodes' ids; clients is what the clients' place is called.
type links interface {
	set(from, to int, l link)
	heal()
	clients() int
}

// fault is one that was.
type fault struct {
	kind         string
	began, ended time.Duration
}

// nemesis hurts a cluster. What it does next depends on its chance alone; how far it gets, on the machine.
type nemesis struct {
	cluster *cluster
	links   links // nil: there is no network to hurt
	chance  *rand.Rand
	now     func() time.Duration
	out     io.Writer
	kinds   []string
	bag     []string // the kinds that have not struck since every one had
	faults  []fault
}

var processFaults = []string{"kill", "pause", "restart", "all", "replace"}
var networkFaults = []string{"cut", "one-way", "slow"}

// run hurts and heals until ctx ends. It leaves the network healed and every node running.
func (n *nemesis) run(ctx context.Context) error {
	for {
		if !n.wait(ctx, time.Second, 5*time.Second) {
			break
		}
		if err := n.strike(ctx, n.draw()); err != nil {
			return err
		}
	}
	if n.links != nil {
		n.links.heal()
	}
	return n.cluster.heal()
}

// draw takes kinds of faults like cards: every one strikes before any does again, or short runs would not know some.
func (n *nemesis) draw() string {
	if len(n.bag) == 0 {
		n.bag = slices.Clone(n.kinds)
	}
	i := n.chance.IntN(len(n.bag))
	kind := n.bag[i]
	n.bag = slices.Delete(n.bag, i, i+1)
	return kind
}

// wait says false when ctx ended meanwhile.
func (n *nemesis) wait(ctx context.Context, least, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(least + time.Duration(n.chance.Int64N(int64(most-least)))):
		return true
	}
}

func (n *nemesis) say(format string, args ...any) {
	fmt.Fprintf(n.out, "%7.1fs  %s\n", n.now().Seconds(), fmt.Sprintf(format, args...))
}

func (n *nemesis) victim() *node { return n.cluster.nodes[n.chance.IntN(len(n.cluster.nodes))] }

func (n *nemesis) strike(ctx context.Context, kind string) error {
	began := n.now()
	err := n.inflict(ctx, kind)
	if kind != "restart" { // which is one of every node
		n.faults = append(n.faults, fault{kind, began, n.now()})
	}
	return err
}

func (n *nemesis) inflict(ctx context.Context, kind string) error {
	switch kind {
	case "kill":
		victim := n.victim()
		n.say("kill -9 of node %d", victim.id)
		n.cluster.kill(victim)
		n.wait(ctx, 100*time.Millisecond, 8*time.Second)
		return n.cluster.start(victim, false)
	case "pause":
		victim := n.victim()
		n.say("node %d stands still", victim.id)
		n.cluster.pause(victim)
		n.wait(ctx, 500*time.Millisecond, 14*time.Second)
		n.cluster.resume(victim)
	case "restart":
		n.say("rolling restart")
		return n.rollingRestart(ctx)
	case "all":
		n.say("kill -9 of all nodes")
		n.cluster.killAll()
		n.wait(ctx, 100*time.Millisecond, 2*time.Second)
		return n.cluster.heal()
	case "replace":
		return n.replace(ctx)
	case "cut", "one-way", "slow":
		return n.hurtNetwork(ctx, kind)
	default:
		return n.hurtDisk(ctx, kind)
	}
	return nil
}

// rollingRestart goes on to the next node when the last is in sync, as whoever upgrades a cluster would.
func (n *nemesis) rollingRestart(ctx context.Context) error {
	for _, victim := range n.cluster.nodes {
		began := n.now()
		n.cluster.stop(victim)
		err := n.cluster.start(victim, false)
		n.faults = append(n.faults, fault{"restart", began, n.now()})
		if err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, 20*time.Second)
		err = n.cluster.inSync(waiting)
		cancel()
		if err != nil {
			return nil // another fault is in the way: that one is to end first
		}
	}
	return nil
}

// replace gives a node an empty disk, when all others have what it had, and waits until it has everything again: until then the loss of
// another disk could be one too many.
func (n *nemesis) replace(ctx context.Context) error {
	victim := n.victim()
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	err := n.cluster.inSync(waiting)
	cancel()
	if err != nil {
		n.say("node %d keeps its disk: %v", victim.id, err)
		return nil
	}
	return n.emptyDisk(ctx, victim)
}

// hurtNetwork does it for some seconds. Once in three times a process fault comes on top.
func (n *nemesis) hurtNetwork(ctx context.Context, kind string) error {
	clients := n.links.clients()
	victim := n.victim().id
	var others []int
	for _, other := range n.cluster.nodes {
		if other.id != victim {
			others = append(others, other.id)
		}
	}
	switch kind {
	case "cut":
		whom := "the others"
		if n.chance.IntN(2) == 0 {
			whom, others = "the others and the clients", append(others, clients)
		}
		n.say("node %d is cut from %s", victim, whom)
		for _, other := range others {
			n.links.set(victim, other, link{cut: true})
			n.links.set(other, victim, link{cut: true})
		}
	case "one-way":
		whom := "the others and the clients"
		switch n.chance.IntN(3) {
		case 0:
			others = append(others, clients)
		case 1:
			whom = "the others"
		case 2:
			others = others[n.chance.IntN(len(others)):][:1]
			whom = fmt.Sprint("node ", others[0])
		}
		out := n.chance.IntN(2) == 0
		n.say("the way between node %d and %s is cut, %s", victim, whom, map[bool]string{true: "from it", false: "to it"}[out])
		for _, other := range others {
			if out {
				n.links.set(victim, other, link{cut: true})
			} else {
				n.links.set(other, victim, link{cut: true})
			}
		}
	case "slow":
		l := link{delay: time.Duration(1+n.chance.IntN(100)) * time.Millisecond, loss: float64(n.chance.IntN(60)) / 1000, duplicate: 0.01}
		l.jitter = l.delay / 2
		n.say("every way: delay %v to %v, %.1f %% lost, 1 %% doubled", l.delay, l.delay+l.jitter, l.loss*100)
		for from := range clients + 1 {
			for to := range clients + 1 {
				n.links.set(from, to, l)
			}
		}
	}
	defer n.links.heal()
	if n.chance.IntN(3) == 0 {
		if also := n.also(); also != "" && n.wait(ctx, time.Second, 4*time.Second) {
			return n.strike(ctx, also)
		}
		return nil
	}
	n.wait(ctx, time.Second, 15*time.Second)
	return nil
}

// also draws a process fault that comes on top of one of the network.
func (n *nemesis) also() string {
	var all []string
	for _, kind := range processFaults {
		if kind != "replace" && slices.Contains(n.kinds, kind) {
			all = append(all, kind)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return all[n.chance.IntN(len(all))]
}

// faultKinds takes a list with commas, or all that there are with this network and these disks.
func faultKinds(list string, network bool, d disks) ([]string, error) {
	known := slices.Clone(processFaults)
	if network {
		known = append(known, networkFaults...)
	}
	if d != nil {
		known = append(known, fullFaults...)
		if d.device(0) != nil {
			known = append(known, deviceKinds...)
		}
	}
	if list == "" {
		return known, nil
	}
	kinds := strings.Split(list, ",")
	for _, kind := range kinds {
		if !slices.Contains(known, kind) {
			return nil, fmt.Errorf("there is no fault %q here; there are %s", kind, strings.Join(known, ", "))
		}
	}
	return kinds, nil
}
