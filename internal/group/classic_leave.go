package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// leaveGroup decides a LeaveGroup, which since KIP-345 an administrator may send for several members at once.
func (m *Machine) leaveGroup(d *decision, req *kmsg.LeaveGroupRequest, reply func(*kmsg.LeaveGroupResponse)) {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.Version = req.Version
	if g, ok := m.groups[req.Group].(*classicGroup); !ok {
		resp.ErrorCode = kafka.UnknownMemberID.Code()
	} else {
		g.leaveAll(d, req, resp)
	}
	d.answer(func(err error) {
		if err != nil {
			resp.ErrorCode, resp.Members = codeOf(err).Code(), nil
		}
		reply(resp)
	})
}

func (g *classicGroup) leaveAll(d *decision, req *kmsg.LeaveGroupRequest, resp *kmsg.LeaveGroupResponse) {
	before := len(g.members)
	if req.Version < 3 {
		resp.ErrorCode = g.leave(d, req.MemberID, nil).Code()
	}
	for _, leaving := range req.Members {
		left := kmsg.NewLeaveGroupResponseMember()
		left.MemberID, left.InstanceID = leaving.MemberID, leaving.InstanceID
		left.ErrorCode = g.leave(d, leaving.MemberID, leaving.InstanceID).Code()
		resp.Members = append(resp.Members, left)
	}
	if len(g.members) < before {
		g.afterLoss(d)
	} else {
		g.completeIfAllJoined(d) // an id that nobody joined with may have been all that was missing
	}
}

// leave lets one member go. A static member may be named by its instance alone.
func (g *classicGroup) leave(d *decision, memberID string, instanceID *string) kafka.ErrorCode {
	if memberID == "" && instanceID != nil {
		memberID = g.static[*instanceID]
	} else if g.unexpect(memberID) {
		return kafka.None
	}
	m, code := g.validate(memberID, instanceID)
	if code == kafka.None {
		g.drop(d, m)
	}
	return code
}
