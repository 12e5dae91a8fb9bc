package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// describe answers for one group of a DescribeGroups.
func (m *Machine) describe(version int16, id string) kmsg.DescribeGroupsResponseGroup {
	g, ok := m.groups[id].(*classicGroup)
	if !ok {
		return describeFailed(version, id, kafka.GroupIDNotFound)
	}
	resp := kmsg.NewDescribeGroupsResponseGroup()
	resp.Group, resp.State, resp.ProtocolType = g.id, g.phase.String(), g.protocolType
	if g.phase == stable {
		resp.Protocol = g.protocol
	}
	for _, member := range g.members {
		described := kmsg.NewDescribeGroupsResponseGroupMember()
		described.MemberID, described.InstanceID = member.id, member.instanceID
		described.ClientID, described.ClientHost = member.clientID, member.host
		described.ProtocolMetadata, described.MemberAssignment = []byte{}, []byte{}
		if g.phase == stable { // before, there is nothing that all have agreed on
			described.ProtocolMetadata = member.metadata(g.protocol)
			described.MemberAssignment = append([]byte{}, member.assignment...)
		}
		resp.Members = append(resp.Members, described)
	}
	return resp
}

// describeFailed answers for a group that cannot be described. A group that does not exist is an error only since v6
// (KIP-1043); before, it is dead.
func describeFailed(version int16, id string, code kafka.ErrorCode) kmsg.DescribeGroupsResponseGroup {
	resp := kmsg.NewDescribeGroupsResponseGroup()
	resp.Group = strings.Clone(id)
	if code != kafka.GroupIDNotFound {
		resp.ErrorCode = code.Code()
		return resp
	}
	resp.State = "Dead"
	if version >= 6 {
		resp.ErrorCode, resp.ErrorMessage = code.Code(), kmsg.StringPtr("The group does not exist.")
	}
	return resp
}

// list answers a ListGroups. Empty filters let everything through; they do not mind case.
func (m *Machine) list(states, kinds []string) []kmsg.ListGroupsResponseGroup {
	allows := func(filter []string, value string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(s string) bool { return strings.EqualFold(s, value) })
	}
	var listed []kmsg.ListGroupsResponseGroup
	for _, id := range m.groupIDs() {
		shown := m.groups[id].listing()
		if allows(states, shown.state) && allows(kinds, shown.kind) {
			resp := kmsg.NewListGroupsResponseGroup()
			resp.Group, resp.ProtocolType, resp.GroupState, resp.GroupType = id, shown.protocolType, shown.state, shown.kind
			listed = append(listed, resp)
		}
	}
	return listed
}

// deleteGroup decides to delete a group with all its offsets.
func (m *Machine) deleteGroup(d *decision, id string) kafka.ErrorCode {
	g := m.groups[id]
	if g == nil {
		return kafka.GroupIDNotFound
	}
	if code := g.checkDelete(); code != kafka.None {
		return code
	}
	for topic, partitions := range m.offsets[id] { // any order: sorted below
		for number := range partitions { // any order: sorted below
			d.append(offsetTombstone(id, kafka.TopicPartition{Topic: topic, Partition: number}))
		}
	}
	slices.SortFunc(d.records, func(a, b Record) int { return slices.Compare(a.Key, b.Key) })
	d.append(g.tombstone())
	return kafka.None
}
