package group

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// join A: the client A joins under the member id it has, if any. Options: v, group, instance, type, protocols, meta,
// topics (a consumer's subscription in place of meta), session, rebalance, client, id (a member id, or "none").
func (s *story) join(c command) {
	client := c.word(0)
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = int16(c.number("v", 9))
	req.Group = c.text("group", "g")
	req.MemberID = s.idOf(c.text("id", client))
	req.InstanceID = c.optional("instance")
	req.ProtocolType = c.text("type", "consumer")
	req.SessionTimeoutMillis = int32(c.number("session", 10_000))
	req.RebalanceTimeoutMillis = int32(c.number("rebalance", 60_000))
	for _, name := range c.list("protocols", "range") {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, []byte(c.text("meta", ""))
		if topics := c.list("topics", ""); topics != nil {
			subscription := kmsg.NewConsumerMemberMetadata()
			subscription.Topics = topics
			p.Metadata = subscription.AppendTo(nil)
		}
		req.Protocols = append(req.Protocols, p)
	}
	from := Client{ID: c.text("client", client), Host: "/1.2.3.4"}
	s.service.JoinGroup(from, req, func(resp *kmsg.JoinGroupResponse) {
		s.name(client, resp.MemberID)
		if resp.ErrorCode == 0 || resp.ErrorCode == kafka.MemberIDRequired.Code() {
			s.learn(client, resp.MemberID, resp.Generation)
		}
		text := fmt.Sprintf("%s joined: %s", client, code(resp.ErrorCode))
		if resp.MemberID != "" {
			text += " as " + resp.MemberID
		}
		if resp.ErrorCode == 0 {
			text += fmt.Sprintf(" generation %d %s %s leader %s", resp.Generation, show(resp.ProtocolType), show(resp.Protocol), resp.LeaderID)
		}
		if resp.SkipAssignment {
			text += " skip-assignment"
		}
		for _, m := range resp.Members {
			text += fmt.Sprintf(" [%s %s %q]", m.MemberID, show(m.InstanceID), m.ProtocolMetadata)
		}
		s.say("%s", text)
	})
}

// sync A: the client A asks for its assignment; assign=A:x,B:y gives assignments. Options: v, group, gen, id, instance,
// type, protocol.
func (s *story) sync(c command) {
	client := c.word(0)
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version = int16(c.number("v", 5))
	req.Group = c.text("group", "g")
	req.Generation = int32(c.number("gen", int(s.gens[client])))
	req.MemberID = s.idOf(c.text("id", client))
	req.InstanceID = c.optional("instance")
	req.ProtocolType, req.Protocol = kmsg.StringPtr(c.text("type", "consumer")), kmsg.StringPtr(c.text("protocol", "range"))
	if c.text("protocol", "") == "null" {
		req.Protocol = nil
	}
	for _, given := range c.list("assign", "") {
		who, what, _ := strings.Cut(given, ":")
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = s.idOf(who), []byte(what)
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	s.service.SyncGroup(req, func(resp *kmsg.SyncGroupResponse) {
		text := fmt.Sprintf("%s synced: %s", client, code(resp.ErrorCode))
		if resp.ErrorCode == 0 {
			text += fmt.Sprintf(" %s %s %q", show(resp.ProtocolType), show(resp.Protocol), resp.MemberAssignment)
		}
		s.say("%s", text)
	})
}

// heartbeat A: options v, group, gen, id, instance.
func (s *story) heartbeat(c command) {
	client := c.word(0)
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version = int16(c.number("v", 4))
	req.Group = c.text("group", "g")
	req.Generation = int32(c.number("gen", int(s.gens[client])))
	req.MemberID = s.idOf(c.text("id", client))
	req.InstanceID = c.optional("instance")
	s.service.Heartbeat(req, func(resp *kmsg.HeartbeatResponse) {
		s.say("%s: %s", client, code(resp.ErrorCode))
	})
}

// stay A 3h: the client A sends a heartbeat every ten minutes for so long.
func (s *story) stay(c command) {
	d, err := time.ParseDuration(c.word(1))
	if err != nil {
		s.t.Fatal(err)
	}
	for end := s.world.Now().Add(d); s.world.Now().Before(end); {
		before := len(s.said)
		s.heartbeat(c)
		s.world.Run(10 * time.Minute)
		if said := s.said[before:]; len(said) == 1 && strings.HasSuffix(said[0], ": NONE") {
			s.said = s.said[:before]
		}
	}
}

// leave A B: clients leave in one request. Options: v, group, id (instead of clients' own), instances=i,j by instance.
func (s *story) leave(c command) {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version = int16(c.number("v", 5))
	req.Group = c.text("group", "g")
	for _, client := range c.words {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.InstanceID = s.idOf(client), c.optional("instance")
		req.Members = append(req.Members, m)
		if req.Version < 3 {
			req.MemberID, req.Members = m.MemberID, nil
		}
	}
	for _, instance := range c.list("instances", "") {
		m := kmsg.NewLeaveGroupRequestMember()
		m.InstanceID = &instance
		req.Members = append(req.Members, m)
	}
	s.service.LeaveGroup(req, func(resp *kmsg.LeaveGroupResponse) {
		text := "left: " + code(resp.ErrorCode)
		for _, m := range resp.Members {
			text += fmt.Sprintf(" [%s %s %s]", m.MemberID, show(m.InstanceID), code(m.ErrorCode))
		}
		s.say("%s", text)
	})
}

// partitionsOf reads t/0 or t/0:42, in order, grouped by topic.
func partitionsOf(words []string, visit func(topic string, partition int32, offset int64)) {
	for _, word := range words {
		topic, rest, ok := strings.Cut(word, "/")
		if !ok {
			continue
		}
		number, at, _ := strings.Cut(rest, ":")
		p, _ := strconv.Atoi(number)
		o, _ := strconv.ParseInt(at, 10, 64)
		visit(topic, int32(p), o)
	}
}

// commit A t/0:42: the client A commits offset 42; "commit - t/0:42" commits without being a member. Options: v, group,
// gen, id, instance, meta, retention.
func (s *story) commit(c command) {
	client := c.word(0)
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version = int16(c.number("v", 9))
	req.Group = c.text("group", "g")
	req.Generation = int32(c.number("gen", int(s.gens[client])))
	if client == "-" {
		req.Generation = int32(c.number("gen", -1))
	}
	req.MemberID = s.idOf(c.text("id", client))
	req.InstanceID = c.optional("instance")
	req.RetentionTimeMillis = int64(c.number("retention", -1))
	partitionsOf(c.words, func(topic string, number int32, offset int64) {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, s.IDOf(topic)
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = number, offset, 7, c.optional("meta")
		if long := c.number("long", 0); long > 0 {
			rp.Metadata = kmsg.StringPtr(strings.Repeat("ä", long))
		}
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	})
	s.service.OffsetCommit(req, func(resp *kmsg.OffsetCommitResponse) {
		text := "committed:"
		for i, t := range resp.Topics {
			for _, p := range t.Partitions {
				text += fmt.Sprintf(" %s/%d %s", req.Topics[i].Topic, p.Partition, code(p.ErrorCode))
			}
		}
		s.say("%s", text)
	})
}

// fetch t/0 t/1: offsets are read; "fetch all" reads all there are. Options: v, groups (several since v8).
func (s *story) fetch(c command) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = int16(c.number("v", 9))
	req.RequireStable = true
	for _, group := range c.list("groups", "g") {
		rg := kmsg.NewOffsetFetchRequestGroup()
		rg.Group, req.Group = group, group
		partitionsOf(c.words, func(topic string, number int32, _ int64) {
			rt := kmsg.NewOffsetFetchRequestGroupTopic()
			rt.Topic, rt.TopicID, rt.Partitions = topic, s.IDOf(topic), []int32{number}
			rg.Topics = append(rg.Topics, rt)
			old := kmsg.NewOffsetFetchRequestTopic()
			old.Topic, old.Partitions = topic, []int32{number}
			req.Topics = append(req.Topics, old)
		})
		req.Groups = append(req.Groups, rg)
	}
	s.service.OffsetFetch(req, func(resp *kmsg.OffsetFetchResponse) { s.fetched(req, resp) })
}

func (s *story) fetched(req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse) {
	showOffset := func(topic string, number int32, offset int64, epoch int32, metadata *string, e int16) string {
		return fmt.Sprintf(" %s/%d=%d epoch %d %q %s", topic, number, offset, epoch, show(metadata), code(e))
	}
	if req.Version < 8 {
		text := "fetched: " + code(resp.ErrorCode)
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				text += showOffset(t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode)
			}
		}
		s.say("%s", text)
	}
	for _, g := range resp.Groups {
		text := fmt.Sprintf("fetched %s: %s", g.Group, code(g.ErrorCode))
		for _, t := range g.Topics {
			name := t.Topic
			if req.Version >= 10 {
				name = nameIn(t.TopicID)
			}
			for _, p := range t.Partitions {
				text += showOffset(name, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode)
			}
		}
		s.say("%s", text)
	}
}

// offset-delete t/0: option group.
func (s *story) offsetDelete(c command) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = c.text("group", "g")
	partitionsOf(c.words, func(topic string, number int32, _ int64) {
		rt := kmsg.NewOffsetDeleteRequestTopic()
		rp := kmsg.NewOffsetDeleteRequestTopicPartition()
		rt.Topic, rp.Partition = topic, number
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	})
	s.service.OffsetDelete(req, func(resp *kmsg.OffsetDeleteResponse) {
		text := "offsets deleted: " + code(resp.ErrorCode)
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				text += fmt.Sprintf(" %s/%d %s", t.Topic, p.Partition, code(p.ErrorCode))
			}
		}
		s.say("%s", text)
	})
}

// delete g h: groups are deleted.
func (s *story) delete(c command) {
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version, req.Groups = 2, c.words
	s.service.DeleteGroups(req, func(resp *kmsg.DeleteGroupsResponse) {
		for _, g := range resp.Groups {
			s.say("deleted %s: %s", g.Group, code(g.ErrorCode))
		}
	})
}

// describe g h: option v.
func (s *story) describe(c command) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = int16(c.number("v", 6)), c.words
	s.service.DescribeGroups(req, func(resp *kmsg.DescribeGroupsResponse) {
		for _, g := range resp.Groups {
			text := fmt.Sprintf("%s: %s %s type %q protocol %q", g.Group, code(g.ErrorCode), g.State, g.ProtocolType, g.Protocol)
			for _, m := range g.Members {
				text += fmt.Sprintf(" [%s %s %s%s %q %q]", m.MemberID, show(m.InstanceID), m.ClientID, m.ClientHost,
					m.ProtocolMetadata, m.MemberAssignment)
			}
			s.say("%s", text)
		}
	})
}

// list: options states, types.
func (s *story) list(c command) {
	req := kmsg.NewPtrListGroupsRequest()
	req.Version, req.StatesFilter, req.TypesFilter = 5, c.list("states", ""), c.list("types", "")
	s.service.ListGroups(req, func(resp *kmsg.ListGroupsResponse) {
		text := "listed: " + code(resp.ErrorCode)
		for _, g := range resp.Groups {
			text += fmt.Sprintf(" [%s %q %s %s]", g.Group, g.ProtocolType, g.GroupState, g.GroupType)
		}
		s.say("%s", text)
	})
}
