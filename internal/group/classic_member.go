package group

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// member is one member of a classic group.
type member struct {
	id               string
	instanceID       *string // of a static member (KIP-345)
	clientID, host   string
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []protocol // in the member's order of preference
	assignment       []byte

	// isNew until its first generation: only then can its session end while it waits in JoinGroup.
	isNew bool
	join  func(*kmsg.JoinGroupResponse) // answers the member's JoinGroup, if it waits in one
	sync  func(*kmsg.SyncGroupResponse) // answers the member's SyncGroup, if it waits in one

	// The session ends at the deadline. Heartbeats only move the deadline; the timer, set for armed, finds that out when
	// it fires and is set again, so that a heartbeat costs no timer.
	deadline, armed time.Time
	stop            func()
}

type protocol struct {
	name     string
	metadata []byte // opaque, never nil
}

// update takes what a JoinGroup says about its sender. Nothing of the request is kept.
func (m *member) update(c Client, req *kmsg.JoinGroupRequest) {
	m.clientID, m.host = strings.Clone(c.ID), strings.Clone(c.Host)
	m.sessionTimeout = milliseconds(req.SessionTimeoutMillis)
	m.rebalanceTimeout = milliseconds(req.RebalanceTimeoutMillis)
	if req.Version < 1 || req.RebalanceTimeoutMillis < 0 {
		m.rebalanceTimeout = m.sessionTimeout
	}
	m.protocols = make([]protocol, len(req.Protocols))
	for i, p := range req.Protocols {
		m.protocols[i] = protocol{name: strings.Clone(p.Name), metadata: append([]byte{}, p.Metadata...)}
	}
}

func milliseconds(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// metadata is what the member says under a protocol, nil where it does not support it.
func (m *member) metadata(name string) []byte {
	for _, p := range m.protocols {
		if p.name == name {
			return p.metadata
		}
	}
	return nil
}

// matches reports whether a JoinGroup repeats what is known of the member.
func (m *member) matches(protocols []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(p protocol, q kmsg.JoinGroupRequestProtocol) bool {
		return p.name == q.Name && bytes.Equal(p.metadata, q.Metadata)
	})
}

// wait parks a JoinGroup. One that the member left behind, by asking again, is sent away to ask again.
func (m *member) wait(d *decision, reply func(*kmsg.JoinGroupResponse)) {
	m.joinFailed(d, kafka.RebalanceInProgress)
	m.join = reply
}

// joined answers the member's JoinGroup.
func (m *member) joined(d *decision, resp *kmsg.JoinGroupResponse) {
	if m.join != nil {
		answerJoin(d, m.id, m.join, resp)
		m.join = nil
	}
}

func (m *member) joinFailed(d *decision, code kafka.ErrorCode) {
	m.joined(d, refusedJoin(m.id, code))
}

// answerJoin answers once everything decided so far is committed.
func answerJoin(d *decision, memberID string, reply func(*kmsg.JoinGroupResponse), resp *kmsg.JoinGroupResponse) {
	d.answer(func(err error) {
		if err != nil {
			resp = refusedJoin(memberID, codeOf(err))
		}
		reply(resp)
	})
}

func refusedJoin(memberID string, code kafka.ErrorCode) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode, resp.MemberID, resp.Generation = code.Code(), strings.Clone(memberID), -1
	return resp
}

// synced answers the member's SyncGroup.
func (m *member) synced(d *decision, resp *kmsg.SyncGroupResponse) {
	if m.sync != nil {
		answerSync(d, m.sync, resp)
		m.sync = nil
	}
}

func answerSync(d *decision, reply func(*kmsg.SyncGroupResponse), resp *kmsg.SyncGroupResponse) {
	d.answer(func(err error) {
		if err != nil {
			resp = refusedSync(codeOf(err))
		}
		reply(resp)
	})
}

func refusedSync(code kafka.ErrorCode) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = code.Code()
	resp.MemberAssignment = []byte{}
	return resp
}

// answerNow answers whatever the member waits for, when there is no decision to tie the answer to.
func (m *member) answerNow(code kafka.ErrorCode) {
	join, sync := m.join, m.sync
	m.join, m.sync = nil, nil
	if join != nil {
		join(refusedJoin(m.id, code))
	}
	if sync != nil {
		sync(refusedSync(code))
	}
}

// touch gives the member until timeout from now to show that it is alive.
func (g *classicGroup) touch(m *member, timeout time.Duration) {
	m.deadline = g.machine.world.now().Add(timeout)
	if m.stop != nil && !m.deadline.Before(m.armed) {
		return
	}
	m.stopSession()
	g.arm(m)
}

func (g *classicGroup) arm(m *member) {
	m.armed = m.deadline
	m.stop = g.machine.world.after(m.deadline.Sub(g.machine.world.now()), func(d *decision) {
		m.stop = nil
		if g.machine.world.now().Before(m.deadline) {
			g.arm(m)
			return
		}
		g.sessionOver(d, m)
	})
}

func (m *member) stopSession() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

// sessionOver drops a member that has not shown itself. Who waits for us is alive: its session begins again when it is
// answered.
func (g *classicGroup) sessionOver(d *decision, m *member) {
	if g.byID[m.id] != m || !m.isNew && (m.join != nil || m.sync != nil) {
		return
	}
	g.drop(d, m)
	g.afterLoss(d)
}

// add makes a member. The first one leads, and gives the group its protocol type.
func (g *classicGroup) add(m *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = strings.Clone(protocolType)
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instanceID != nil {
		g.static[*m.instanceID] = m.id
	}
}

// drop removes a member. Whatever it waits for is answered UNKNOWN_MEMBER_ID.
func (g *classicGroup) drop(d *decision, m *member) {
	m.stopSession()
	m.joinFailed(d, kafka.UnknownMemberID)
	m.synced(d, refusedSync(kafka.UnknownMemberID))
	delete(g.byID, m.id)
	delete(g.unsynced, m.id)
	if m.instanceID != nil && g.static[*m.instanceID] == m.id {
		delete(g.static, *m.instanceID)
	}
	g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// expect remembers an id that was given out, until its session time is over.
func (g *classicGroup) expect(id string, timeout time.Duration) {
	g.pending[id] = g.machine.world.after(timeout, func(d *decision) {
		delete(g.pending, id)
		g.completeIfAllJoined(d)
		g.machine.forgetIfUnused(g)
	})
}

// unexpect forgets such an id, and reports whether there was one.
func (g *classicGroup) unexpect(id string) bool {
	stop, ok := g.pending[id]
	if ok {
		stop()
		delete(g.pending, id)
	}
	return ok
}

// afterLoss goes on without somebody who is no longer there.
func (g *classicGroup) afterLoss(d *decision) {
	switch g.phase {
	case stable, completing:
		g.prepare(d)
	case preparing:
		g.completeIfAllJoined(d)
	}
}
