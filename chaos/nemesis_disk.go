package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fullFaults are of disks that have a size, deviceKinds of those that are on a device.
var fullFaults = []string{"full"}
var deviceKinds = []string{"power", "power-all", "eio", "slow-disk", "flip"}

func (n *nemesis) hurtDisk(ctx context.Context, kind string) error {
	victim := n.victim()
	switch kind {
	case "full":
		return n.fullDisk(ctx, victim)
	case "power":
		n.say("node %d loses power", victim.id)
		return n.powerLoss(ctx, []*node{victim}, 5*time.Second)
	case "power-all":
		n.say("all nodes lose power")
		return n.powerLoss(ctx, n.cluster.nodes, 2*time.Second)
	case "eio":
		return n.failDisk(ctx, victim)
	case "flip":
		return n.spoilDisk(ctx, victim)
	}
	slow := time.Duration(10+n.chance.IntN(1990)) * time.Millisecond
	n.say("the disk of node %d takes %v longer for a flush", victim.id, slow)
	device := n.cluster.disks.device(victim.id)
	device.set(deviceFaults{slow: slow})
	defer device.set(deviceFaults{})
	if n.chance.IntN(3) == 0 {
		if also := n.also(); also != "" && n.wait(ctx, time.Second, 4*time.Second) {
			return n.strike(ctx, also)
		}
	}
	n.wait(ctx, time.Second, 15*time.Second)
	return nil
}

// fullDisk takes all space. The node goes on: what it cannot keep it refuses, what it has it serves.
func (n *nemesis) fullDisk(ctx context.Context, victim *node) error {
	n.say("the disk of node %d is full", victim.id)
	err := n.cluster.disks.fill(victim.id)
	if err == nil {
		n.wait(ctx, 3*time.Second, 20*time.Second)
		err = n.cluster.disks.free(victim.id)
	}
	return err
}

// powerLoss kills nodes, loses of what their disks had not flushed some, most or all, and starts them again.
func (n *nemesis) powerLoss(ctx context.Context, victims []*node, most time.Duration) error {
	for _, victim := range victims {
		n.cluster.kill(victim)
	}
	for _, victim := range victims {
		if err := n.cluster.disks.powerLoss(victim.id, n.chance, n.loss()); err != nil {
			return err
		}
	}
	n.wait(ctx, 100*time.Millisecond, most)
	return n.cluster.heal()
}

func (n *nemesis) loss() float64 { return []float64{0.5, 0.9, 1}[n.chance.IntN(3)] }

// failDisk has a disk report errors. The node is to end: it cannot know what it has on disk. With the disk changed for one that has what
// the old one had flushed it comes again.
func (n *nemesis) failDisk(ctx context.Context, victim *node) error {
	faults := []deviceFaults{{failFlushes: true}, {failWrites: true}, {failWrites: true, failFlushes: true}, {failReads: true, failWrites: true, failFlushes: true}}
	fault := faults[n.chance.IntN(len(faults))]
	n.say("the disk of node %d fails: reads %t, writes %t, flushes %t", victim.id, fault.failReads, fault.failWrites, fault.failFlushes)
	if victim.runs() {
		n.cluster.expectEnd(victim)
	}
	n.cluster.disks.device(victim.id).set(fault)
	if victim.runs() {
		select {
		case <-victim.ended:
		case <-ctx.Done():
		case <-time.After(15 * time.Second):
			n.say("node %d still runs", victim.id)
		}
	}
	return n.powerLoss(ctx, []*node{victim}, 3*time.Second)
}

// spoilDisk turns bits over in what a node has, when all others have it too. What it then does is its affair, as long as nobody is told
// what is not so: it may serve what is whole, or not start. At last it gets an empty disk.
func (n *nemesis) spoilDisk(ctx context.Context, victim *node) error {
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	err := n.cluster.inSync(waiting)
	cancel()
	if err != nil {
		n.say("node %d keeps its bits: %v", victim.id, err)
		return nil
	}
	n.cluster.kill(victim)
	files := n.pickFiles(victim.data)
	n.say("node %d finds bits turned over in %s", victim.id, strings.ReplaceAll(strings.Join(files, ", "), victim.data+"/", ""))
	if err := n.cluster.disks.spoil(victim.id, n.chance, files); err != nil {
		return err
	}
	if err := n.cluster.start(victim, false); err != nil {
		return err
	}
	n.cluster.expectEnd(victim)
	n.wait(ctx, 3*time.Second, 10*time.Second)
	return n.emptyDisk(ctx, victim)
}

// pickFiles draws some files that hold something, of any kind that a node keeps.
func (n *nemesis) pickFiles(folder string) (some []string) {
	byKind := map[string][]string{}
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Size() > 0 {
			kind := filepath.Ext(path)
			if strings.Contains(path, "/"+topic+"-") {
				kind += " of the topic"
			}
			byKind[kind] = append(byKind[kind], path)
		}
		return nil
	})
	kinds := sortedKeys(byKind)
	for range 1 + n.chance.IntN(6) {
		if len(kinds) > 0 {
			files := byKind[kinds[n.chance.IntN(len(kinds))]]
			some = append(some, files[n.chance.IntN(len(files))])
		}
	}
	return some
}

// emptyDisk kills a node, empties its disk, and waits until it has everything again.
func (n *nemesis) emptyDisk(ctx context.Context, victim *node) error {
	n.say("kill -9 of node %d, and an empty disk", victim.id)
	n.cluster.kill(victim)
	if err := os.RemoveAll(victim.data); err != nil {
		return err
	}
	n.wait(ctx, 100*time.Millisecond, 3*time.Second)
	if err := n.cluster.start(victim, false); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := n.cluster.inSync(waiting); err != nil && ctx.Err() == nil {
		n.cluster.problem("not-replaced", "node %d, a minute after it was started with an empty disk: %v", victim.id, err)
	}
	return nil
}
