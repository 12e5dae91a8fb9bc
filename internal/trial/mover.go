package trial

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// mover moves partitions to other nodes, changes its mind, has leaders elected, and says who may vote on the metadata, as
// operators do.
type mover struct {
	*client
	busy bool
}

func newMover(t *trial) *mover { return &mover{client: newClient(t, "mover")} }

func (m *mover) idle() bool { return !m.busy }

func (m *mover) start() {
	if m.busy = false; m.t.healing {
		return
	}
	m.t.after(m.t.between(0, 4000*ms), func() {
		topic := m.t.shadow.topics[[]string{"plain", "plain", "small", "keyed", kafka.GroupMetadataTopic}[m.t.chance.IntN(5)]]
		if topic == nil || !topic.ready || m.t.healing || m.t.handsOff {
			m.start()
			return
		}
		m.busy = true
		tp := kafka.TopicPartition{Topic: topic.name, Partition: int32(m.t.chance.IntN(int(topic.partitions)))}
		switch m.t.chance.IntN(6) {
		case 0:
			m.elect(tp)
		case 2:
			if m.t.rotten != nil {
				m.start() // nobody may be the only one with the metadata while a disk rots
				return
			}
			m.bar(int32(m.t.chance.IntN(len(m.t.hosts))))
		case 3:
			m.unbar(int32(m.t.chance.IntN(len(m.t.hosts))))
		case 1:
			m.reassign(tp, nil) // back to where it was
		default:
			m.reassign(tp, m.somewhere())
		}
	})
}

// somewhere is as many nodes as a partition has replicas.
func (m *mover) somewhere() []int32 {
	all := m.t.members()
	m.t.chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return slices.Clip(all[:m.t.copies()])
}

func (m *mover) reassign(tp kafka.TopicPartition, to []int32) {
	request := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	request.TimeoutMillis = 3000
	part := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	part.Partition, part.Replicas = tp.Partition, to
	topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	topic.Topic, topic.Partitions = tp.Topic, append(topic.Partitions, part)
	request.Topics = append(request.Topics, topic)
	m.call(request, 0, func(r kmsg.Response) {
		if response, ok := r.(*kmsg.AlterPartitionAssignmentsResponse); ok && response.ErrorCode == 0 {
			switch code := kafka.ErrorCode(response.Topics[0].Partitions[0].ErrorCode); {
			case code == kafka.None:
				m.t.done("partitions moved", 1)
			case to == nil && (code == kafka.NoReassignmentInProgress || code == kafka.InvalidReplicaAssignment):
			default:
				m.must(code.Code(), "a reassignment of %s to %v", tp, to)
			}
		}
		m.start()
	})
}

func (m *mover) elect(tp kafka.TopicPartition) {
	request := kmsg.NewPtrElectLeadersRequest()
	request.TimeoutMillis = 3000
	topic := kmsg.NewElectLeadersRequestTopic()
	topic.Topic, topic.Partitions = tp.Topic, []int32{tp.Partition}
	request.Topics = append(request.Topics, topic)
	m.call(request, 2, func(r kmsg.Response) {
		if response, ok := r.(*kmsg.ElectLeadersResponse); ok && response.ErrorCode == 0 {
			switch code := kafka.ErrorCode(response.Topics[0].Partitions[0].ErrorCode); code {
			case kafka.None:
				m.t.done("leaders elected", 1)
			case kafka.ElectionNotNeeded, kafka.PreferredLeaderNotAvailable:
			default:
				m.must(code.Code(), "an election for %s", tp)
			}
		}
		m.start()
	})
}

// bar takes a node out of the quorum, which another replaces, or two where the number would be even.
func (m *mover) bar(node int32) {
	request := kmsg.NewPtrRemoveRaftVoterRequest()
	request.VoterID = node
	m.call(request, 0, func(r kmsg.Response) {
		if response, ok := r.(*kmsg.RemoveRaftVoterResponse); ok {
			switch code := kafka.ErrorCode(response.ErrorCode); code {
			case kafka.None:
				m.t.done("voters removed", 1)
			case kafka.VoterNotFound, kafka.InvalidRequest: // it does not vote, or is the only one that could
			default:
				m.must(code.Code(), "the removal of voter %d", node)
			}
		}
		m.start()
	})
}

// unbar lets a node be a voter again.
func (m *mover) unbar(node int32) {
	request := kmsg.NewPtrAddRaftVoterRequest()
	request.VoterID = node
	m.call(request, 0, func(r kmsg.Response) {
		if response, ok := r.(*kmsg.AddRaftVoterResponse); ok {
			switch code := kafka.ErrorCode(response.ErrorCode); code {
			case kafka.None:
				m.t.done("voters let in", 1)
			case kafka.DuplicateVoter, kafka.VoterNotFound: // it votes; or it is not there yet
			default:
				m.must(code.Code(), "the admission of voter %d", node)
			}
		}
		m.start()
	})
}
