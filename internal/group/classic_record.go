package group

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// record is the group as it survives. assignments, by member id, replace those that the members have; nil keeps them.
func (g *classicGroup) record(assignments map[string][]byte) Record {
	value := kmsg.NewGroupMetadataValue()
	value.Version, value.CurrentStateTimestamp = valueGroup, g.machine.nowMs()
	value.ProtocolType, value.Generation = g.protocolType, g.generation
	value.Protocol, value.Leader = kmsg.StringPtr(g.protocol), kmsg.StringPtr(g.leader)
	for _, m := range g.members {
		member := kmsg.NewGroupMetadataValueMember()
		member.MemberID, member.InstanceID, member.ClientID, member.ClientHost = m.id, m.instanceID, m.clientID, m.host
		member.RebalanceTimeoutMillis = int32(m.rebalanceTimeout.Milliseconds())
		member.SessionTimeoutMillis = int32(m.sessionTimeout.Milliseconds())
		member.Subscription, member.Assignment = m.metadata(g.protocol), m.assignment
		if assignments != nil {
			member.Assignment = assignments[m.id]
		}
		value.Members = append(value.Members, member)
	}
	return Record{Key: groupKey(g.id), Value: value.AppendTo(nil)}
}

// emptyRecord is the group's next generation, which nobody is in.
func (g *classicGroup) emptyRecord() Record {
	value := kmsg.NewGroupMetadataValue()
	value.Version, value.CurrentStateTimestamp = valueGroup, g.machine.nowMs()
	value.ProtocolType, value.Generation = g.protocolType, g.generation+1
	return Record{Key: groupKey(g.id), Value: value.AppendTo(nil)}
}

// replay applies what the log says of the group. While the log is read, that is all there is. Later the members are
// known better than the log knows them, and the record says only what was decided about them.
func (g *classicGroup) replay(v *kmsg.GroupMetadataValue) {
	g.generation, g.since, g.protocolType = v.Generation, v.CurrentStateTimestamp, v.ProtocolType
	g.protocol, g.leader = "", ""
	if v.Protocol != nil {
		g.protocol = *v.Protocol
	}
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	if !g.machine.leading {
		g.members = nil
		clear(g.byID)
		clear(g.static)
	}
	for i := range v.Members {
		if m := g.byID[v.Members[i].MemberID]; m != nil {
			m.assignment = append([]byte{}, v.Members[i].Assignment...)
		} else if !g.machine.leading {
			g.add(g.replayMember(&v.Members[i]), v.ProtocolType)
		}
	}
	g.phase = stable
	if len(v.Members) == 0 {
		g.phase, g.topics = empty, nil
	}
	g.readTopics()
}

func (g *classicGroup) replayMember(v *kmsg.GroupMetadataValueMember) *member {
	m := &member{
		id: v.MemberID, instanceID: v.InstanceID, clientID: v.ClientID, host: v.ClientHost,
		sessionTimeout: milliseconds(v.SessionTimeoutMillis), rebalanceTimeout: milliseconds(v.RebalanceTimeoutMillis),
		protocols:  []protocol{{name: g.protocol, metadata: append([]byte{}, v.Subscription...)}},
		assignment: bytes.Clone(v.Assignment),
	}
	if v.RebalanceTimeoutMillis < 0 {
		m.rebalanceTimeout = m.sessionTimeout
	}
	return m
}

// loaded gives every member that the log knows a fresh session, and sends away those that are too many.
func (g *classicGroup) loaded() {
	for _, m := range g.members {
		g.touch(m, m.sessionTimeout)
	}
	if len(g.members) > g.machine.config.MaxSize {
		g.prepare(new(decision)) // everybody is missing, so this only sets a timer
	}
}
