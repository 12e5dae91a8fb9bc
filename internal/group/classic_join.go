package group

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// joinGroup decides a JoinGroup.
func (m *Machine) joinGroup(d *decision, c Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
	refuse := func(memberID string, code kafka.ErrorCode) {
		answerJoin(d, memberID, reply, refusedJoin(memberID, code))
	}
	g, isClassic := m.groups[req.Group].(*classicGroup)
	switch {
	case !isClassic && m.groups[req.Group] != nil:
		refuse(req.MemberID, kafka.InconsistentGroupProtocol)
		return
	case !isClassic && req.MemberID != "":
		refuse(req.MemberID, kafka.UnknownMemberID)
		return
	case !isClassic:
		g = newClassicGroup(m, req.Group)
		m.groups[g.id] = g
		defer m.forgetIfUnused(g)
	}
	switch {
	case !g.hasRoomFor(req.MemberID):
		if old := g.byID[req.MemberID]; old != nil {
			g.drop(d, old)
		}
		g.unexpect(req.MemberID)
		refuse("", kafka.GroupMaxSizeReached)
	case !g.supports(req.ProtocolType, req.Protocols):
		refuse(req.MemberID, kafka.InconsistentGroupProtocol)
	case req.MemberID == "":
		g.joinNew(d, c, req, reply)
	case g.unexpect(req.MemberID):
		g.join(d, strings.Clone(req.MemberID), c, req, reply)
	default:
		g.joinAgain(d, c, req, reply)
	}
}

// hasRoomFor applies group.max.size. While preparing, those who have come back first have their place.
func (g *classicGroup) hasRoomFor(memberID string) bool {
	limit := g.machine.config.MaxSize
	m := g.byID[memberID]
	switch g.phase {
	case empty:
		return true
	case preparing:
		return m != nil && m.join != nil || g.waiting() < limit
	}
	return m != nil || len(g.members) < limit
}

// waiting is how many members wait in JoinGroup.
func (g *classicGroup) waiting() (n int) {
	for _, m := range g.members {
		if m.join != nil {
			n++
		}
	}
	return n
}

// joinNew lets somebody in who has no member id yet.
func (g *classicGroup) joinNew(d *decision, c Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
	if req.InstanceID != nil {
		id := *req.InstanceID + "-" + g.machine.world.uuid()
		if old, ok := g.static[*req.InstanceID]; ok {
			g.replaceStatic(d, g.byID[old], id, c, req, reply)
		} else {
			g.join(d, id, c, req, reply)
		}
		return
	}
	id := c.ID + "-" + g.machine.world.uuid()
	if req.Version < 4 {
		g.join(d, id, c, req, reply)
		return
	}
	// KIP-394: who joins and dies before it knows its id must not hold up the group.
	g.expect(id, milliseconds(req.SessionTimeoutMillis))
	answerJoin(d, id, reply, refusedJoin(id, kafka.MemberIDRequired))
}

// join adds a member.
func (g *classicGroup) join(
	d *decision, id string, c Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse),
) {
	m := &member{id: id, isNew: true}
	if req.InstanceID != nil {
		instance := strings.Clone(*req.InstanceID)
		m.instanceID = &instance
	}
	m.update(c, req)
	if g.phase == preparing && g.initial {
		g.newcomers = true
	}
	g.add(m, req.ProtocolType)
	m.wait(d, reply)
	g.touch(m, newMemberTimeout)
	g.rebalance(d)
}

// joinAgain lets a member into the next generation, or tells it of this one if that has not changed for it.
func (g *classicGroup) joinAgain(
	d *decision, c Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse),
) {
	m, code := g.validate(req.MemberID, req.InstanceID)
	if code == kafka.None && g.phase == empty {
		code = kafka.UnknownMemberID
	}
	if code != kafka.None {
		answerJoin(d, req.MemberID, reply, refusedJoin(req.MemberID, code))
		return
	}
	// A member whose answer was lost gets it again. The leader of a stable group joins to make the group rebalance.
	if m.matches(req.Protocols) && (g.phase == completing || g.phase == stable && g.leader != m.id) {
		answerJoin(d, m.id, reply, g.generationFor(m))
		return
	}
	m.update(c, req)
	m.wait(d, reply)
	g.rebalance(d)
}

// generationFor tells a member of the current generation. The leader learns who is in it.
func (g *classicGroup) generationFor(m *member) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Generation, resp.MemberID, resp.LeaderID = g.generation, m.id, g.leader
	resp.ProtocolType, resp.Protocol = kmsg.StringPtr(g.protocolType), kmsg.StringPtr(g.protocol)
	if m.id == g.leader {
		resp.Members = g.roster()
	}
	return resp
}

func (g *classicGroup) roster() []kmsg.JoinGroupResponseMember {
	members := make([]kmsg.JoinGroupResponseMember, 0, len(g.members))
	for _, m := range g.members {
		member := kmsg.NewJoinGroupResponseMember()
		member.MemberID, member.InstanceID, member.ProtocolMetadata = m.id, m.instanceID, m.metadata(g.protocol)
		members = append(members, member)
	}
	return members
}
