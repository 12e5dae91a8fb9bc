package trial

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// groupShadow is what one group was promised.
type groupShadow struct {
	generation int32 // the highest that SyncGroup has confirmed: it is durable
	owners     map[string]string
	offsets    map[int32]*committed
}

// committed is a partition's offset as commits have left it. Every commit is for more than the one before.
type committed struct {
	acked int64 // at least this
	sent  int64 // at most this
}

func (s *shadow) group(name string) *groupShadow {
	g := s.groups[name]
	if g == nil {
		g = &groupShadow{owners: map[string]string{}, offsets: map[int32]*committed{}}
		s.groups[name] = g
	}
	return g
}

func (g *groupShadow) offset(partition int32) *committed {
	c := g.offsets[partition]
	if c == nil {
		c = &committed{acked: -1, sent: -1}
		g.offsets[partition] = c
	}
	return c
}

// owns notes who owns a partition in a generation, which only one may.
func (s *shadow) owns(group string, generation int32, member string, partition int32) {
	g := s.group(group)
	key := fmt.Sprint(generation, "/", partition)
	if old, ok := g.owners[key]; ok {
		s.t.expect(old == member, "group %s: partition %d is owned by %s and by %s in generation %d", group, partition, old, member, generation)
	}
	g.owners[key] = member
}

// fetched compares an offset that was read with what was committed: at least what had been acknowledged when it was asked
// for, and at most what has been sent by now.
func (s *shadow) fetched(group string, partition int32, atLeast, offset int64) {
	c := s.group(group).offset(partition)
	s.t.expect(offset >= atLeast && offset <= c.sent, "group %s: partition %d is committed at %d, and must be in [%d, %d]", group, partition, offset, atLeast, c.sent)
	c.acked = max(c.acked, offset) // whoever has read it relies on it
}

// solo commits offsets for a group that has no members, and reads them back.
type solo struct {
	*client
	group   string
	version int16
	busy    bool
}

func newSolo(t *trial) *solo {
	return &solo{client: newClient(t, "solo"), group: "solo", version: int16(2 + t.chance.IntN(8))}
}

func (s *solo) idle() bool { return !s.busy && s.t.shadow.grouped }

func (s *solo) start() {
	if !s.t.shadow.grouped {
		s.again(s.start)
		return
	}
	s.next()
}

func (s *solo) next() {
	s.busy = false
	if s.t.healing {
		return
	}
	s.t.after(s.t.between(0, 300*ms), func() {
		s.busy = true
		if s.t.chance.IntN(3) == 0 {
			s.fetchOffset(s.group, 0, func(int64) { s.next() })
		} else {
			s.commit()
		}
	})
}

func (s *solo) commit() {
	c := s.t.shadow.group(s.group).offset(0)
	c.sent++
	offset := c.sent
	request := commitOf(s.group, "plain", 0, offset)
	s.ask(s.t.coordinator(s.group), request, s.version, func(r kmsg.Response) {
		if response, ok := r.(*kmsg.OffsetCommitResponse); ok {
			if code := response.Topics[0].Partitions[0].ErrorCode; code == 0 {
				c.acked = max(c.acked, offset)
				s.t.done("offsets committed", 1)
			} else {
				s.must(code, "OffsetCommit")
			}
		}
		s.next()
	})
}

func commitOf(group, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation = group, -1
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Partition, part.Offset, part.LeaderEpoch = partition, offset, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, part)
	request.Topics = append(request.Topics, t)
	return request
}

// fetchOffset reads a committed offset until there is an answer.
func (c *client) fetchOffset(group string, partition int32, done func(offset int64)) {
	again := func() { c.again(func() { c.fetchOffset(group, partition, done) }) }
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group = group
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "plain", []int32{partition}
	request.Topics = append(request.Topics, topic)
	atLeast := c.t.shadow.group(group).offset(partition).acked
	c.ask(c.t.coordinator(group), request, int16(1+c.t.chance.IntN(7)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.OffsetFetchResponse)
		if !ok {
			again()
			return
		}
		code := response.ErrorCode
		if len(response.Topics) > 0 && len(response.Topics[0].Partitions) > 0 && code == 0 {
			code = response.Topics[0].Partitions[0].ErrorCode
		}
		if code != 0 {
			c.must(code, "OffsetFetch")
			again()
			return
		}
		if !c.t.coordinates(c.from.life, group) {
			again()
			return
		}
		c.t.shadow.fetched(group, partition, atLeast, response.Topics[0].Partitions[0].Offset)
		done(response.Topics[0].Partitions[0].Offset)
	})
}

// member is a member of a classic group: it joins, is given partitions, commits for them, and sometimes leaves.
type member struct {
	*client
	group      string
	instance   *string // of a static member
	id         string
	generation int32
	owned      []int32
	partitions int
	state      string
}

func newMember(t *trial, name, group string, partitions int, static bool) *member {
	m := &member{client: newClient(t, name), group: group, partitions: partitions, state: "out"}
	if static {
		m.instance = kmsg.StringPtr(name)
	}
	return m
}

func (m *member) String() string { return m.name + " (" + m.state + ")" }

// idle is being settled in a generation or being out.
func (m *member) idle() bool { return m.state == "in" || m.state == "out" }

func (m *member) start() {
	if !m.t.shadow.grouped {
		m.again(m.start)
		return
	}
	m.join()
}

func (m *member) join() {
	if m.t.healing && m.state == "out" {
		return
	}
	m.state = "joining"
	request := kmsg.NewPtrJoinGroupRequest()
	request.Group, request.MemberID, request.InstanceID = m.group, m.id, m.instance
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = 3000, 4000
	request.ProtocolType = "trial"
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "split", []byte("x")
	request.Protocols = append(request.Protocols, protocol)
	confirmed := m.t.shadow.group(m.group).generation // before this is asked
	version := int16(m.t.chance.IntN(10))
	if m.instance != nil {
		version = max(version, 5)
	}
	m.ask(m.t.coordinator(m.group), request, version, func(r kmsg.Response) { m.joined(r, confirmed) })
}

func (m *member) joined(r kmsg.Response, confirmed int32) {
	response, ok := r.(*kmsg.JoinGroupResponse)
	if !ok {
		m.again(m.join)
		return
	}
	switch code := kafka.ErrorCode(response.ErrorCode); code {
	case kafka.None:
		m.id, m.generation = response.MemberID, response.Generation
		m.t.expect(m.generation >= confirmed || !m.t.coordinates(m.from.life, m.group), "group %s: %s joins generation %d, and %d was confirmed", m.group, m.name, m.generation, confirmed)
		m.sync(response)
	case kafka.MemberIDRequired:
		m.id = response.MemberID
		m.join()
	default:
		m.out(code, "JoinGroup")
	}
}

// out deals with errors that mean joining again.
func (m *member) out(code kafka.ErrorCode, what string) {
	switch code {
	case kafka.UnknownMemberID, kafka.FencedInstanceID:
		m.id = ""
	case kafka.IllegalGeneration, kafka.RebalanceInProgress:
	default:
		m.must(code.Code(), "%s", what)
	}
	m.owned = nil
	m.state = "rejoining"
	m.again(m.join)
}

func (m *member) sync(joined *kmsg.JoinGroupResponse) {
	m.state = "syncing"
	request := kmsg.NewPtrSyncGroupRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.group, m.id, m.instance, m.generation
	for i, other := range joined.Members {
		var mine []string
		for p := i; p < m.partitions; p += len(joined.Members) {
			mine = append(mine, fmt.Sprint(p))
		}
		assignment := kmsg.NewSyncGroupRequestGroupAssignment()
		assignment.MemberID, assignment.MemberAssignment = other.MemberID, []byte(strings.Join(mine, ","))
		request.GroupAssignment = append(request.GroupAssignment, assignment)
	}
	generation := m.generation
	m.ask(m.t.coordinator(m.group), request, int16(3+m.t.chance.IntN(2)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.SyncGroupResponse)
		if !ok {
			m.again(m.join)
			return
		}
		if response.ErrorCode != 0 {
			m.out(kafka.ErrorCode(response.ErrorCode), "SyncGroup")
			return
		}
		g := m.t.shadow.group(m.group)
		g.generation = max(g.generation, generation)
		m.owned = nil
		for _, text := range strings.Split(string(response.MemberAssignment), ",") {
			var p int32
			if n, _ := fmt.Sscan(text, &p); n == 1 {
				m.owned = append(m.owned, p)
				m.t.shadow.owns(m.group, generation, m.owner(), p)
			}
		}
		m.t.done("generations joined", 1)
		m.look(m.owned)
	})
}

// look reads where the partitions that it was given stand.
func (m *member) look(left []int32) {
	if len(left) == 0 {
		m.state = "in"
		m.live()
		return
	}
	m.fetchOffset(m.group, left[0], func(int64) { m.look(left[1:]) })
}

// live is the next thing a member does in its generation.
func (m *member) live() {
	generation := m.generation
	m.t.after(m.t.between(50*ms, 800*ms), func() {
		if m.generation != generation || m.state != "in" {
			return
		}
		switch dice := m.t.chance.IntN(20); {
		case dice == 0 && !m.t.healing:
			m.leave()
		case dice == 1 && !m.t.healing:
			m.hangUp() // and go on: a session is more than a connection
			m.live()
		case dice < 10 && len(m.owned) > 0 && !m.t.healing:
			m.commit(m.owned[m.t.chance.IntN(len(m.owned))])
		default:
			m.heartbeat()
		}
	})
}

func (m *member) heartbeat() {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.group, m.id, m.instance, m.generation
	m.ask(m.t.coordinator(m.group), request, int16(3+m.t.chance.IntN(2)), func(r kmsg.Response) {
		if response, ok := r.(*kmsg.HeartbeatResponse); ok && response.ErrorCode != 0 && !passing(kafka.ErrorCode(response.ErrorCode)) {
			m.out(kafka.ErrorCode(response.ErrorCode), "Heartbeat")
			return
		}
		m.live()
	})
}

func (m *member) commit(partition int32) {
	g := m.t.shadow.group(m.group)
	c := g.offset(partition)
	newest := g.generation
	stale := m.generation < newest
	offset := c.sent + 1
	if !stale {
		c.sent = offset
	}
	request := commitOf(m.group, "plain", partition, offset)
	request.Generation, request.MemberID, request.InstanceID = m.generation, m.id, m.instance
	m.ask(m.t.coordinator(m.group), request, int16(7+m.t.chance.IntN(3)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.OffsetCommitResponse)
		if !ok {
			m.live()
			return
		}
		code := kafka.ErrorCode(response.Topics[0].Partitions[0].ErrorCode)
		switch {
		case code == kafka.None:
			m.t.expect(!stale, "group %s: %s commits in generation %d, and %d was confirmed to somebody before", m.group, m.name, request.Generation, newest)
			c.acked = max(c.acked, offset)
			m.t.done("offsets committed", 1)
			m.live()
		case passing(code):
			m.live()
		default:
			m.out(code, "OffsetCommit")
		}
	})
}

func (m *member) leave() {
	m.state = "leaving"
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group, request.MemberID = m.group, m.id
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID, one.InstanceID = m.id, m.instance
	request.Members = append(request.Members, one)
	version := int16(m.t.chance.IntN(6))
	if m.instance != nil {
		version = max(version, 3)
	}
	m.ask(m.t.coordinator(m.group), request, version, func(kmsg.Response) {
		m.id, m.owned, m.state = "", nil, "out"
		m.t.after(m.t.between(10*ms, 3000*ms), m.join)
	})
}

// owner is who owns what the member was given: a static member is the same with every id it is given (KIP-345).
func (m *member) owner() string {
	if m.instance != nil {
		return *m.instance
	}
	return m.id
}
