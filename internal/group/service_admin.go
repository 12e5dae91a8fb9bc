package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// DescribeGroups shows groups with their members.
func (s *Service) DescribeGroups(req *kmsg.DescribeGroupsRequest, reply func(*kmsg.DescribeGroupsResponse)) {
	gather(len(req.Groups), func(i int, done func(kmsg.DescribeGroupsResponseGroup)) {
		id := req.Groups[i]
		refuse := func(code kafka.ErrorCode) { done(describeFailed(req.Version, id, code)) }
		if id == "" {
			refuse(kafka.InvalidGroupID)
			return
		}
		s.decide(id, func(m *Machine, d *decision) {
			resp := m.describe(req.Version, id)
			d.answer(func(err error) {
				if err != nil {
					refuse(codeOf(err))
					return
				}
				done(resp)
			})
		}, refuse)
	}, func(all []kmsg.DescribeGroupsResponseGroup) {
		resp := kmsg.NewPtrDescribeGroupsResponse()
		resp.Version, resp.Groups = req.Version, all
		reply(resp)
	})
}

// DeleteGroups deletes groups that have no members.
func (s *Service) DeleteGroups(req *kmsg.DeleteGroupsRequest, reply func(*kmsg.DeleteGroupsResponse)) {
	gather(len(req.Groups), func(i int, done func(kmsg.DeleteGroupsResponseGroup)) {
		id := req.Groups[i]
		answer := func(code kafka.ErrorCode) {
			resp := kmsg.NewDeleteGroupsResponseGroup()
			resp.Group, resp.ErrorCode = id, code.Code()
			done(resp)
		}
		if id == "" {
			answer(kafka.InvalidGroupID)
			return
		}
		s.decide(id, func(m *Machine, d *decision) {
			code := m.deleteGroup(d, id)
			d.answer(func(err error) {
				if err != nil {
					code = codeOf(err)
				}
				answer(code)
			})
		}, answer)
	}, func(all []kmsg.DeleteGroupsResponseGroup) {
		resp := kmsg.NewPtrDeleteGroupsResponse()
		resp.Version, resp.Groups = req.Version, all
		reply(resp)
	})
}

// ListGroups lists the groups that this node coordinates. If some of them are not known yet, the answer is an error and
// whoever asks asks again.
func (s *Service) ListGroups(req *kmsg.ListGroupsRequest, reply func(*kmsg.ListGroupsResponse)) {
	type listed struct {
		groups []kmsg.ListGroupsResponseGroup
		code   kafka.ErrorCode
	}
	led := s.led()
	gather(len(led), func(i int, done func(listed)) {
		led[i].decide(func(m *Machine, d *decision) {
			groups := m.list(req.StatesFilter, req.TypesFilter)
			d.answer(func(err error) { done(listed{groups, codeOf(err)}) })
		}, func(code kafka.ErrorCode) { done(listed{code: code}) })
	}, func(all []listed) {
		resp := kmsg.NewPtrListGroupsResponse()
		resp.Version = req.Version
		for _, l := range all {
			switch l.code {
			case kafka.None:
				resp.Groups = append(resp.Groups, l.groups...)
			case kafka.NotCoordinator: // lost meanwhile: another node lists them
			default:
				resp.ErrorCode = l.code.Code()
			}
		}
		if resp.ErrorCode != kafka.None.Code() {
			resp.Groups = nil
		}
		reply(resp)
	})
}
