package group

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// syncGroup decides a SyncGroup.
func (m *Machine) syncGroup(d *decision, req *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) {
	g, ok := m.groups[req.Group].(*classicGroup)
	if !ok {
		answerSync(d, reply, refusedSync(kafka.UnknownMemberID))
		return
	}
	member, code := g.checkSync(req)
	if code != kafka.None {
		answerSync(d, reply, refusedSync(code))
		return
	}
	delete(g.unsynced, member.id)
	if g.phase == stable {
		g.touch(member, member.sessionTimeout)
		answerSync(d, reply, g.assignmentFor(member.assignment))
		return
	}
	member.synced(d, refusedSync(kafka.RebalanceInProgress)) // one that was left behind
	member.sync = reply
	if member.id == g.leader {
		g.assign(d, req.GroupAssignment)
	}
}

func (g *classicGroup) checkSync(req *kmsg.SyncGroupRequest) (*member, kafka.ErrorCode) {
	m, code := g.validate(req.MemberID, req.InstanceID)
	differs := func(named *string, is string) bool { return named != nil && is != "" && *named != is }
	switch {
	case code != kafka.None:
		return nil, code
	case req.Generation != g.generation:
		return nil, kafka.IllegalGeneration
	case differs(req.ProtocolType, g.protocolType) || differs(req.Protocol, g.protocol):
		return nil, kafka.InconsistentGroupProtocol
	case g.phase == empty:
		return nil, kafka.UnknownMemberID
	case g.phase == preparing:
		return nil, kafka.RebalanceInProgress
	}
	return m, kafka.None
}

// assign writes down what the leader has decided. The record's replay makes the group stable; everybody who waits is
// answered once it is committed. Those who ask later find the group stable, and wait for the same commit.
func (g *classicGroup) assign(d *decision, decided []kmsg.SyncGroupRequestGroupAssignment) {
	assignments := make(map[string][]byte, len(g.members))
	for _, m := range g.members {
		assignments[m.id] = g.nothing()
	}
	for _, a := range decided {
		if _, ok := assignments[a.MemberID]; ok {
			assignments[a.MemberID] = bytes.Clone(a.MemberAssignment)
		}
	}
	d.append(g.record(assignments))
	generation := g.generation
	d.answer(func(err error) {
		if err != nil {
			g.assignmentRefused(generation)
		}
	})
	for _, m := range g.members {
		if m.sync != nil {
			m.synced(d, g.assignmentFor(assignments[m.id]))
			g.touch(m, m.sessionTimeout)
		}
	}
}

// assignmentRefused begins anew where the log did not take an assignment, which only its size can cause: if the log is
// gone, so is the group.
func (g *classicGroup) assignmentRefused(generation int32) {
	g.machine.world.after(0, func(d *decision) {
		if g.phase == completing && g.generation == generation {
			g.prepare(d)
		}
	})
}

// nothing is what a member gets that the leader did not mention: for consumers an assignment without partitions, because
// some clients cannot read one of no bytes; otherwise no bytes, because nobody knows what they would mean.
func (g *classicGroup) nothing() []byte {
	if g.protocolType == consumerProtocol {
		return []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff} // version 0, no topics, no user data
	}
	return []byte{}
}

func (g *classicGroup) assignmentFor(assignment []byte) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ProtocolType, resp.Protocol = kmsg.StringPtr(g.protocolType), kmsg.StringPtr(g.protocol)
	resp.MemberAssignment = append([]byte{}, assignment...)
	return resp
}

// heartbeat decides a Heartbeat.
func (m *Machine) heartbeat(req *kmsg.HeartbeatRequest) kafka.ErrorCode {
	g, ok := m.groups[req.Group].(*classicGroup)
	if !ok {
		return kafka.UnknownMemberID
	}
	member, code := g.validate(req.MemberID, req.InstanceID)
	switch {
	case code != kafka.None:
		return code
	case req.Generation != g.generation:
		return kafka.IllegalGeneration
	case g.phase == empty:
		return kafka.UnknownMemberID
	}
	// Who is told to rejoin is alive. While the assignment is being made there is nothing to tell.
	g.touch(member, member.sessionTimeout)
	if g.phase == preparing {
		return kafka.RebalanceInProgress
	}
	return kafka.None
}
