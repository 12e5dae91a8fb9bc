package streams

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// taskBalancer shares tasks among the members of a group: all partitions of a task go to one member, a task stays where it
// is as long as the shares are even, and a member goes on with the tasks that it keeps while others move (KIP-429).
type taskBalancer struct{ layout func() *deployment }

// ProtocolName tells our groups from Java's: the two cannot share one.
func (*taskBalancer) ProtocolName() string { return "gregor-streams" }

func (*taskBalancer) IsCooperative() bool { return true }

func (*taskBalancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics = topics
	meta.Generation = generation
	var names []string
	for topic := range owned {
		names = append(names, topic)
	}
	slices.Sort(names)
	for _, topic := range names {
		p := kmsg.NewConsumerMemberMetadataOwnedPartition()
		p.Topic, p.Partitions = topic, owned[topic]
		meta.OwnedPartitions = append(meta.OwnedPartitions, p)
	}
	return meta.AppendTo(nil)
}

func (*taskBalancer) ParseSyncAssignment(b []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(b)
}

func (t *taskBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(t, members)
	if err != nil {
		return nil, nil, err
	}
	return b, b.MemberTopics(), nil
}

// Balance implements kgo.ConsumerBalancerBalance.
func (t *taskBalancer) Balance(b *kgo.ConsumerBalancer, _ map[string]int32) kgo.IntoSyncAssignment {
	layout := t.layout()
	var members []kmsg.JoinGroupResponseMember
	owners := map[TaskID]int{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		for _, o := range meta.OwnedPartitions {
			for _, p := range o.Partitions {
				if id, ok := layout.taskOf(partition{o.Topic, p}); ok {
					owners[id] = len(members)
				}
			}
		}
		members = append(members, *m)
	})
	plan := b.NewPlan()
	for id, member := range share(layout.tasks(), owners, len(members)) {
		for _, p := range layout.partitionsOf(id) {
			plan.AddPartition(&members[member], p.topic, p.number)
		}
	}
	plan.AdjustCooperative(b)
	return plan
}

// share gives each task to a member. Nobody gets more than an even share; who had a task keeps it within that.
func share(tasks []TaskID, owners map[TaskID]int, members int) map[TaskID]int {
	of, load := map[TaskID]int{}, make([]int, members)
	least, extra := len(tasks)/members, len(tasks)%members
	var homeless []TaskID
	for _, id := range tasks {
		owner, owned := owners[id]
		switch {
		case owned && load[owner] < least:
		case owned && load[owner] == least && extra > 0:
			extra--
		default:
			homeless = append(homeless, id)
			continue
		}
		of[id] = owner
		load[owner]++
	}
	for _, id := range homeless {
		lightest := 0
		for m, n := range load {
			if n < load[lightest] {
				lightest = m
			}
		}
		of[id] = lightest
		load[lightest]++
	}
	return of
}
