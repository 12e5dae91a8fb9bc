package group

import (
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
)

// rebalance calls everybody back, or, if that has been done, goes on if everybody has come.
func (g *classicGroup) rebalance(d *decision) {
	if g.phase == preparing {
		g.completeIfAllJoined(d)
		return
	}
	g.prepare(d)
}

// prepare begins to gather the members of the next generation.
func (g *classicGroup) prepare(d *decision) {
	if g.phase == completing {
		g.failSyncs(d, kafka.RebalanceInProgress)
	}
	g.stopTimers()
	clear(g.unsynced)
	g.initial = g.phase == empty
	g.enter(preparing)
	if g.initial {
		delay := g.machine.config.InitialRebalanceDelay
		g.gather(delay, max(g.rebalanceTimeout()-delay, 0))
		return
	}
	g.stopJoin = g.machine.world.after(g.rebalanceTimeout(), g.joinTimeOver)
	g.completeIfAllJoined(d)
}

// gather waits for more members of a group that was empty, so that a hundred consumers which start together make one
// generation and not a hundred (KIP-134). While some keep coming it waits again, for at most left in all.
func (g *classicGroup) gather(delay, left time.Duration) {
	g.stopJoin = g.machine.world.after(delay, func(d *decision) {
		if g.newcomers && left > 0 {
			g.newcomers = false
			g.gather(min(g.machine.config.InitialRebalanceDelay, left), max(left-delay, 0))
			return
		}
		g.joinTimeOver(d)
	})
}

// completeIfAllJoined begins the generation if nobody is missing.
func (g *classicGroup) completeIfAllJoined(d *decision) {
	if g.phase == preparing && !g.initial && len(g.pending) == 0 && g.waiting() == len(g.members) {
		g.completeJoin(d)
	}
}

// joinTimeOver begins the generation without those who have not come. Static members may still come back, and keep
// their place until their session ends.
func (g *classicGroup) joinTimeOver(d *decision) {
	g.stopJoin = nil
	for _, m := range append([]*member(nil), g.members...) {
		if m.join == nil && m.instanceID == nil {
			g.drop(d, m)
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		// Only static members, and none of them is here: nobody could lead. Wait on, also where they asked for no time at all.
		g.stopJoin = g.machine.world.after(max(g.rebalanceTimeout(), retryDelay), g.joinTimeOver)
		return
	}
	g.completeJoin(d)
}

// electLeader makes sure that the leader is somebody who has joined, and reports whether there is one.
func (g *classicGroup) electLeader() bool {
	if leader := g.byID[g.leader]; leader != nil && leader.join != nil {
		return true
	}
	for _, m := range g.members {
		if m.join != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

// completeJoin begins the next generation: everybody who waits in JoinGroup is answered.
func (g *classicGroup) completeJoin(d *decision) {
	g.stopTimers()
	g.initial, g.newcomers = false, false
	if len(g.members) == 0 {
		d.append(g.emptyRecord()) // its replay makes the group empty
		return
	}
	g.generation++
	g.protocol = g.vote()
	g.readTopics()
	g.enter(completing)
	clear(g.unsynced)
	for _, m := range g.members {
		m.joined(d, g.generationFor(m))
		m.isNew = false
		g.touch(m, m.sessionTimeout)
		g.unsynced[m.id] = true
	}
	g.stopSync = g.machine.world.after(g.rebalanceTimeout(), g.syncTimeOver)
}

// syncTimeOver drops members that joined the generation and never asked for their assignment.
func (g *classicGroup) syncTimeOver(d *decision) {
	g.stopSync = nil
	if len(g.unsynced) == 0 || g.phase != completing && g.phase != stable {
		return
	}
	for _, m := range append([]*member(nil), g.members...) {
		if g.unsynced[m.id] {
			g.drop(d, m)
		}
	}
	g.prepare(d)
}

// failSyncs sends away everybody who waits for an assignment that will not come.
func (g *classicGroup) failSyncs(d *decision, code kafka.ErrorCode) {
	for _, m := range g.members {
		m.assignment = nil
		if m.sync != nil {
			m.synced(d, refusedSync(code))
			g.touch(m, m.sessionTimeout)
		}
	}
}
