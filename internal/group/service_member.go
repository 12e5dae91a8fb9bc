package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// JoinGroup answers when the next generation begins, which may take as long as a rebalance.
func (s *Service) JoinGroup(c Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
	answer := func(resp *kmsg.JoinGroupResponse) {
		resp.Version = req.Version
		reply(resp)
	}
	refuse := func(code kafka.ErrorCode) { answer(refusedJoin(req.MemberID, code)) }
	session := milliseconds(req.SessionTimeoutMillis)
	switch {
	case req.Group == "":
		refuse(kafka.InvalidGroupID)
	case session < s.config.MinSessionTimeout || session > s.config.MaxSessionTimeout:
		refuse(kafka.InvalidSessionTimeout)
	default:
		s.decide(req.Group, func(m *Machine, d *decision) { m.joinGroup(d, c, req, answer) }, refuse)
	}
}

// SyncGroup answers when the leader of the generation has sent its assignment.
func (s *Service) SyncGroup(req *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) {
	answer := func(resp *kmsg.SyncGroupResponse) {
		resp.Version = req.Version
		reply(resp)
	}
	refuse := func(code kafka.ErrorCode) { answer(refusedSync(code)) }
	switch {
	case req.Group == "":
		refuse(kafka.InvalidGroupID)
	case req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil):
		refuse(kafka.InconsistentGroupProtocol)
	default:
		s.decide(req.Group, func(m *Machine, d *decision) { m.syncGroup(d, req, answer) }, refuse)
	}
}

// Heartbeat keeps a member's session alive. While the group is being loaded every member is believed.
func (s *Service) Heartbeat(req *kmsg.HeartbeatRequest, reply func(*kmsg.HeartbeatResponse)) {
	answer := func(code kafka.ErrorCode) {
		resp := kmsg.NewPtrHeartbeatResponse()
		resp.Version, resp.ErrorCode = req.Version, code.Code()
		reply(resp)
	}
	if req.Group == "" {
		answer(kafka.InvalidGroupID)
		return
	}
	s.decide(req.Group, func(m *Machine, d *decision) {
		code := m.heartbeat(req)
		d.answer(func(err error) {
			if err != nil {
				code = codeOf(err)
			}
			answer(code)
		})
	}, func(code kafka.ErrorCode) {
		if code == kafka.CoordinatorLoadInProgress {
			code = kafka.None
		}
		answer(code)
	})
}

// LeaveGroup removes members.
func (s *Service) LeaveGroup(req *kmsg.LeaveGroupRequest, reply func(*kmsg.LeaveGroupResponse)) {
	refuse := func(code kafka.ErrorCode) {
		resp := kmsg.NewPtrLeaveGroupResponse()
		resp.Version, resp.ErrorCode = req.Version, code.Code()
		reply(resp)
	}
	if req.Group == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	s.decide(req.Group, func(m *Machine, d *decision) { m.leaveGroup(d, req, reply) }, refuse)
}
