package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// replaceStatic lets a static member back in that has restarted (KIP-345): its instance id is known, so it takes over
// the place of its former member id, which is fenced from now on.
//
// Where the group is stable and would choose the same protocol, there is no rebalance: the member keeps its assignment,
// and the new id is written down so that the next coordinator knows it too.
func (g *classicGroup) replaceStatic(
	d *decision, m *member, id string, c Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse),
) {
	formerID, formerLeader := m.id, g.leader
	m.joinFailed(d, kafka.FencedInstanceID)
	m.synced(d, refusedSync(kafka.FencedInstanceID))
	delete(g.byID, formerID)
	m.id = id
	g.byID[id], g.static[*m.instanceID] = m, id
	if g.unsynced[formerID] {
		delete(g.unsynced, formerID)
		g.unsynced[id] = true
	}
	if g.leader == formerID {
		g.leader = id
	}
	m.update(c, req)
	g.touch(m, m.sessionTimeout)
	if g.phase != stable || g.vote() != g.protocol {
		m.wait(d, reply)
		g.rebalance(d)
		return
	}
	g.readTopics()
	d.append(g.record(nil))
	resp := g.generationFor(m)
	switch {
	case req.Version >= 9:
		// KIP-814: the leader learns that it leads and that it need not assign.
		resp.SkipAssignment = m.id == g.leader
	default:
		// It must not take itself for the leader, or it would send a new assignment that nobody waits for.
		resp.LeaderID, resp.Members = formerLeader, nil
	}
	answerJoin(d, m.id, reply, resp)
}
