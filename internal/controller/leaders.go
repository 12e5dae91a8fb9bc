package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// Kinds of election (KIP-460).
const (
	electPreferred int8 = 0
	electAnyLive   int8 = 1
)

// ElectLeaders moves leaders to the replicas that are preferred, or lets an operator choose availability over records.
func (c *Controller) ElectLeaders(req *kmsg.ElectLeadersRequest, reply func(*kmsg.ElectLeadersResponse)) {
	resp := kmsg.NewPtrElectLeadersResponse()
	resp.Version = req.Version
	c.decide(func(m *machine) []metadata.Record {
		if req.Topics != nil {
			return m.electNamed(req, resp)
		}
		return m.electAll(req, resp)
	}, func(err error) {
		if err != nil {
			resp.Topics = nil
			resp.ErrorCode = refusalOf(err).code.Code()
		}
		reply(resp)
	})
}

func (m *machine) electNamed(req *kmsg.ElectLeadersRequest, resp *kmsg.ElectLeadersResponse) (records []metadata.Record) {
	decided := map[metadata.PartitionID]bool{}
	for _, t := range req.Topics {
		result := kmsg.NewElectLeadersResponseTopic()
		result.Topic = t.Topic
		topic := m.image().Topic(t.Topic)
		for _, number := range t.Partitions {
			var record *metadata.PartitionChange
			refusal := refuse(kafka.UnknownTopicOrPartition, "there is no partition %d of topic %q", number, t.Topic)
			if p := topic.Partition(number); p != nil {
				id := metadata.PartitionID{Topic: topic.ID, Partition: number}
				record, refusal = m.electOne(req.ElectionType, topic, p)
				if record != nil && !decided[id] {
					decided[id] = true
					records = append(records, record)
				}
			}
			result.Partitions = append(result.Partitions, electionResult(number, refusal))
		}
		resp.Topics = append(resp.Topics, result)
	}
	return records
}

// electAll tells only of partitions where there was something to do.
func (m *machine) electAll(req *kmsg.ElectLeadersRequest, resp *kmsg.ElectLeadersResponse) (records []metadata.Record) {
	m.image().Topics(func(t *metadata.Topic) bool {
		result := kmsg.NewElectLeadersResponseTopic()
		result.Topic = t.Name
		for _, p := range t.Partitions {
			record, refusal := m.electOne(req.ElectionType, t, p)
			if refusal != nil && refusal.code == kafka.ElectionNotNeeded {
				continue
			}
			if record != nil {
				records = append(records, record)
			}
			result.Partitions = append(result.Partitions, electionResult(p.Number, refusal))
		}
		if len(result.Partitions) > 0 {
			resp.Topics = append(resp.Topics, result)
		}
		return len(records) < maxRecords // the rest next time
	})
	return records
}

func electionResult(number int32, refusal *refusal) kmsg.ElectLeadersResponseTopicPartition {
	r := kmsg.NewElectLeadersResponseTopicPartition()
	r.Partition = number
	refusal.on(&r.ErrorCode, &r.ErrorMessage)
	return r
}

func (m *machine) electOne(kind int8, t *metadata.Topic, p *metadata.Partition) (*metadata.PartitionChange, *refusal) {
	switch kind {
	case electPreferred:
		preferred := p.Replicas[0]
		if p.Leader == preferred {
			return nil, refuse(kafka.ElectionNotNeeded, "broker %d leads already", preferred)
		}
		o := outcomeOf(p)
		if !m.active(preferred) || !slices.Contains(p.ISR, preferred) {
			return nil, refuse(kafka.PreferredLeaderNotAvailable, "broker %d, which is preferred, is not live and in sync", preferred)
		}
		o.leader = preferred
		return change(t.ID, p, o), nil
	case electAnyLive:
		if p.Leader != kafka.NoNode {
			return nil, refuse(kafka.ElectionNotNeeded, "broker %d leads already", p.Leader)
		}
		min := effectiveMin(p, m.options.Configs.MinISR(m.image(), t.Name))
		if o := elect(p, outcomeOf(p), min, m.active); o.leader != kafka.NoNode {
			return change(t.ID, p, o), nil // nothing is lost after all
		}
		o, ok := electUnclean(p, m.active)
		if !ok {
			return nil, refuse(kafka.EligibleLeadersNotAvailable, "none of the replicas %v is live", p.Replicas)
		}
		m.options.Log.Warn("a leader is elected that may lack committed records, as an operator has asked",
			"topic", t.Name, "partition", p.Number, "leader", o.leader, "isr", p.ISR, "elr", p.ELR)
		return change(t.ID, p, o), nil
	}
	return nil, refuse(kafka.InvalidRequest, "there is no election of type %d", kind)
}

// AlterPartitionReassignments moves partitions to other replicas (KIP-455).
func (c *Controller) AlterPartitionReassignments(req *kmsg.AlterPartitionAssignmentsRequest, reply func(*kmsg.AlterPartitionAssignmentsResponse)) {
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.Version, resp.AllowReplicationFactorChange = req.Version, req.AllowReplicationFactorChange
	c.decide(func(m *machine) (records []metadata.Record) {
		decided := map[metadata.PartitionID]bool{}
		for _, t := range req.Topics {
			result := kmsg.NewAlterPartitionAssignmentsResponseTopic()
			result.Topic = t.Topic
			topic := m.image().Topic(t.Topic)
			for _, a := range t.Partitions {
				r := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
				r.Partition = a.Partition
				record, refusal := m.reassign(t.Topic, topic, a, req)
				if record != nil {
					id := metadata.PartitionID{Topic: topic.ID, Partition: a.Partition}
					switch {
					case decided[id]:
						refusal = refuse(kafka.InvalidRequest, "partition %d of %q is named more than once in the request", a.Partition, t.Topic)
					case len(records) == maxRecords:
						refusal = refuse(kafka.PolicyViolation, "the request asks for more than %d changes: send it in parts", maxRecords)
					default:
						records = append(records, record)
					}
					decided[id] = true
				}
				refusal.on(&r.ErrorCode, &r.ErrorMessage)
				result.Partitions = append(result.Partitions, r)
			}
			resp.Topics = append(resp.Topics, result)
		}
		if len(records) > 0 {
			records = append(records, m.leaveNewcomers("replicas are moved by hand")...)
		}
		return records
	}, func(err error) {
		if err != nil {
			resp.Topics = nil
			refusalOf(err).on(&resp.ErrorCode, &resp.ErrorMessage)
		}
		reply(resp)
	})
}

func (m *machine) reassign(name string, t *metadata.Topic, a kmsg.AlterPartitionAssignmentsRequestTopicPartition,
	req *kmsg.AlterPartitionAssignmentsRequest,
) (*metadata.PartitionChange, *refusal) {
	p := t.Partition(a.Partition)
	if p == nil {
		return nil, refuse(kafka.UnknownTopicOrPartition, "there is no partition %d of topic %q", a.Partition, name)
	}
	min := effectiveMin(p, m.options.Configs.MinISR(m.image(), name))
	var target []kafka.NodeID
	if a.Replicas == nil {
		if !p.Reassigning() {
			return nil, refuse(kafka.NoReassignmentInProgress, "partition %d of %q is not being reassigned", a.Partition, name)
		}
		target = originalReplicas(p)
	} else {
		target = nodeIDs(a.Replicas)
		if refusal := m.checkAssignment(int(a.Partition), target); refusal != nil {
			return nil, refusal
		}
		if original := originalReplicas(p); req.Version >= 1 && !req.AllowReplicationFactorChange && len(target) != len(original) {
			return nil, refuse(kafka.InvalidReplicationFactor, "partition %d of %q has %d replicas, and the request, which asks for %d, does not allow to change that", a.Partition, name, len(original), len(target))
		}
	}
	o, done := completed(p, target, min, m.active)
	switch {
	case done:
		return m.reassigned(t.ID, p, target, o), nil
	case a.Replicas == nil:
		return nil, refuse(kafka.InvalidReplicaAssignment, "too few of the replicas %v, to which partition %d of %q would return, are in sync", target, a.Partition, name)
	}
	return m.reassigning(t.ID, p, target, min), nil
}

// originalReplicas are those before the reassignment in progress.
func originalReplicas(p *metadata.Partition) []kafka.NodeID {
	return slices.DeleteFunc(slices.Clone(p.Replicas), func(id kafka.NodeID) bool { return slices.Contains(p.Adding, id) })
}

// completed is the outcome of a reassignment to replicas that are in sync already, enough of them; false if some are not.
func completed(p *metadata.Partition, target []kafka.NodeID, min int, live func(kafka.NodeID) bool) (outcome, bool) {
	o := outcomeOf(p)
	for _, id := range target {
		if !slices.Contains(p.ISR, id) && !slices.Contains(originalReplicas(p), id) {
			return o, false
		}
	}
	o.isr, o.elr = among(p.ISR, target), among(p.ELR, target)
	if len(o.isr) < len(p.ISR) && (len(o.isr) == 0 || len(o.isr) < min) || len(o.isr)+len(o.elr) == 0 {
		return o, false // what is committed would rest on too few
	}
	moved := *p
	moved.Replicas = target
	return elect(&moved, o, min, live), true
}

func among(list, all []kafka.NodeID) []kafka.NodeID {
	return slices.DeleteFunc(slices.Clone(list), func(id kafka.NodeID) bool { return !slices.Contains(all, id) })
}

// reassigned is the record of a reassignment that is complete. It always begins a new leader epoch, so that nobody takes an
// old replica for one of this assignment.
func (m *machine) reassigned(topic kafka.TopicID, p *metadata.Partition, target []kafka.NodeID, o outcome) *metadata.PartitionChange {
	c := change(topic, p, o)
	if slices.Equal(p.Replicas, target) && !p.Reassigning() {
		return c
	}
	if c == nil {
		c = &metadata.PartitionChange{Topic: topic, Partition: p.Number}
	}
	c.Leader = metadata.LeaderIs(o.leader)
	c.Replicas, c.Directories = target, m.directoriesOf(p, target)
	c.Adding, c.Removing = []kafka.NodeID{}, []kafka.NodeID{}
	return c
}

// reassigning is the record that begins a reassignment: the replicas that are to come are added, and those that are to go stay
// until the others are in sync. Replicas that only an earlier, unfinished reassignment wanted go at once.
func (m *machine) reassigning(topic kafka.TopicID, p *metadata.Partition, target []kafka.NodeID, min int) *metadata.PartitionChange {
	original := originalReplicas(p)
	adding, removing, all := []kafka.NodeID{}, []kafka.NodeID{}, slices.Clone(target)
	for _, id := range target {
		if !slices.Contains(original, id) {
			adding = append(adding, id)
		}
	}
	for _, id := range original {
		if !slices.Contains(target, id) {
			removing = append(removing, id)
			all = append(all, id)
		}
	}
	moved := *p
	moved.Replicas = all
	o := outcomeOf(p)
	o.isr, o.elr = among(p.ISR, all), among(p.ELR, all)
	c := change(topic, p, elect(&moved, o, min, m.active))
	if c == nil {
		c = &metadata.PartitionChange{Topic: topic, Partition: p.Number}
	}
	c.Replicas, c.Directories, c.Adding, c.Removing = all, m.directoriesOf(p, all), adding, removing
	return c
}

// directoriesOf keeps the directories of replicas that stay.
func (m *machine) directoriesOf(p *metadata.Partition, replicas []kafka.NodeID) []metadata.DirectoryID {
	directories := m.newDirectories(replicas)
	for n, id := range replicas {
		if at := slices.Index(p.Replicas, id); at >= 0 && at < len(p.Directories) {
			directories[n] = p.Directories[at]
		}
	}
	return directories
}

// ListPartitionReassignments lists partitions whose replicas are being moved; with no topics named, all of them.
func (c *Controller) ListPartitionReassignments(req *kmsg.ListPartitionReassignmentsRequest, reply func(*kmsg.ListPartitionReassignmentsResponse)) {
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	resp.Version = req.Version
	c.decide(func(m *machine) []metadata.Record {
		list := func(t *metadata.Topic, partitions []*metadata.Partition) {
			result := kmsg.NewListPartitionReassignmentsResponseTopic()
			result.Topic = t.Name
			for _, p := range partitions {
				if p != nil && p.Reassigning() {
					r := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
					r.Partition = p.Number
					r.Replicas, r.AddingReplicas, r.RemovingReplicas = numbers(p.Replicas), numbers(p.Adding), numbers(p.Removing)
					result.Partitions = append(result.Partitions, r)
				}
			}
			if len(result.Partitions) > 0 {
				resp.Topics = append(resp.Topics, result)
			}
		}
		if req.Topics == nil {
			m.image().Topics(func(t *metadata.Topic) bool {
				list(t, t.Partitions)
				return true
			})
		}
		for _, named := range req.Topics {
			if t := m.image().Topic(named.Topic); t != nil {
				var partitions []*metadata.Partition
				for _, number := range named.Partitions {
					partitions = append(partitions, t.Partition(number))
				}
				list(t, partitions)
			}
		}
		return nil
	}, func(err error) {
		if err != nil {
			resp.Topics = nil
			refusalOf(err).on(&resp.ErrorCode, &resp.ErrorMessage)
		}
		reply(resp)
	})
}

func numbers(ids []kafka.NodeID) []int32 {
	list := make([]int32, len(ids))
	for n, id := range ids {
		list[n] = int32(id)
	}
	return list
}
