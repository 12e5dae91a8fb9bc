package controller

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

const (
	maxTopicName  = 249
	metadataTopic = "__cluster_metadata" // the name under which DescribeQuorum knows the quorum's log
)

// checkName says what is wrong with a topic's name.
func checkName(name string) *refusal {
	bad := func(text string, args ...any) *refusal { return refuse(kafka.InvalidTopicException, text, args...) }
	switch {
	case name == "":
		return bad("a topic's name must not be empty")
	case name == "." || name == "..":
		return bad("a topic's name must not be %q", name)
	case len(name) > maxTopicName:
		return bad("a topic's name must not be longer than %d characters, and this has %d", maxTopicName, len(name))
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return bad("a topic's name is made of letters, digits, '.', '_' and '-', which %q has others than", name)
		}
	}
	return nil
}

// CreateTopics creates topics, each of which is created or refused by itself.
func (c *Controller) CreateTopics(req *kmsg.CreateTopicsRequest, reply func(*kmsg.CreateTopicsResponse)) {
	c.CreateTopicsOnce([16]byte{}, req, reply)
}

// CreateTopicsOnce creates topics for a request that may come more than once, each time with the same token: the ids of its topics
// follow from that, so that a topic which it has created before is known by its id, and is answered as if it had been created now.
// Kafka's brokers send a request again as well, and answer TOPIC_ALREADY_EXISTS then.
func (c *Controller) CreateTopicsOnce(token [16]byte, req *kmsg.CreateTopicsRequest, reply func(*kmsg.CreateTopicsResponse)) {
	var plans []topicPlan
	c.decide(func(m *machine) (records []metadata.Record) {
		plans = m.planTopics(token, req)
		for _, plan := range plans {
			records = append(records, plan.records...)
		}
		return records
	}, func(err error) {
		resp := kmsg.NewPtrCreateTopicsResponse()
		resp.Version = req.Version
		if err != nil {
			plans = nil
			for _, t := range req.Topics {
				plans = append(plans, topicPlan{name: t.Topic, refusal: refusalOf(err)})
			}
		}
		for _, plan := range plans {
			resp.Topics = append(resp.Topics, plan.response())
		}
		reply(resp)
	})
}

// topicPlan is what becomes of one topic of a request.
type topicPlan struct {
	name       string
	refusal    *refusal
	id         kafka.TopicID // zero if it was only to be checked
	partitions int
	replicas   int
	configs    []kmsg.CreateTopicsResponseTopicConfig
	records    []metadata.Record
}

func (p *topicPlan) response() kmsg.CreateTopicsResponseTopic {
	t := kmsg.NewCreateTopicsResponseTopic()
	t.Topic = p.name
	p.refusal.on(&t.ErrorCode, &t.ErrorMessage)
	if p.refusal == nil {
		t.TopicID = p.id
		t.NumPartitions, t.ReplicationFactor, t.Configs = int32(p.partitions), int16(p.replicas), p.configs
	}
	return t
}

func (m *machine) planTopics(token [16]byte, req *kmsg.CreateTopicsRequest) []topicPlan {
	seen, planned, total := map[string]int{}, map[string]string{}, 0
	for _, t := range req.Topics {
		seen[t.Topic]++
	}
	var plans []topicPlan
	for i := range req.Topics {
		t := &req.Topics[i]
		plan := topicPlan{name: t.Topic}
		switch {
		case seen[t.Topic] > 1:
			plan.refusal = refuse(kafka.InvalidRequest, "topic %q is named %d times in the request", t.Topic, seen[t.Topic])
			seen[t.Topic] = -1
		case seen[t.Topic] < 0:
			continue
		default:
			plan.id = topicIDOf(token, t.Topic)
			m.planTopic(&plan, t, planned)
		}
		if total+len(plan.records) > maxRecords {
			plan = topicPlan{name: t.Topic, refusal: refuse(kafka.PolicyViolation, "the request asks for more than %d changes: send it in parts", maxRecords)}
		}
		total += len(plan.records)
		if plan.refusal == nil {
			planned[plainName(t.Topic)] = t.Topic
		}
		if req.ValidateOnly {
			plan.records, plan.id = nil, kafka.TopicID{}
		}
		plans = append(plans, plan)
	}
	return plans
}

// planTopic plans one topic. planned are those of the same request, by their plain names.
func (m *machine) planTopic(plan *topicPlan, t *kmsg.CreateTopicsRequestTopic, planned map[string]string) {
	if t.Topic == metadataTopic {
		plan.refusal = refuse(kafka.InvalidRequest, "%s is not a topic, and cannot be created", metadataTopic)
		return
	}
	if old := m.image().Topic(t.Topic); old != nil && old.ID == plan.id {
		plan.partitions, plan.replicas = len(old.Partitions), len(old.Partitions[0].Replicas)
		plan.configs = m.options.Configs.TopicConfigs(m.image(), m.image().Configs(metadata.TopicResource, t.Topic))
		return
	}
	if plan.refusal = m.checkNewName(t.Topic, planned); plan.refusal != nil {
		return
	}
	set, refusal := m.checkNewConfigs(t)
	if plan.refusal = refusal; refusal != nil {
		return
	}
	assignment, refusal := m.assignmentOf(t)
	if plan.refusal = refusal; refusal != nil {
		return
	}
	if plan.id == (kafka.TopicID{}) || m.image().TopicByID(plan.id) != nil {
		plan.id = m.newTopicID()
	}
	plan.records = append(plan.records, &metadata.TopicRecord{Name: t.Topic, ID: plan.id})
	resource := metadata.Resource{Type: metadata.TopicResource, Name: t.Topic}
	for key, value := range set.All {
		plan.records = append(plan.records, &metadata.ConfigRecord{Resource: resource, Key: key, Value: &value})
	}
	for number, replicas := range assignment {
		p, refusal := m.newPartition(int32(number), replicas)
		if refusal != nil {
			plan.refusal, plan.records = refusal, nil
			return
		}
		plan.records = append(plan.records, &metadata.PartitionRecord{Topic: plan.id, Partition: p})
	}
	plan.partitions, plan.replicas = len(assignment), len(assignment[0])
	plan.configs = m.options.Configs.TopicConfigs(m.image(), set)
}

func (m *machine) checkNewName(name string, planned map[string]string) *refusal {
	if m.image().Topic(name) != nil {
		return refuse(kafka.TopicAlreadyExists, "topic %q already exists", name)
	}
	if refusal := checkName(name); refusal != nil {
		return refusal
	}
	if strings.ContainsAny(name, "._") {
		for _, others := range []map[string]string{m.plain, planned} {
			if other := others[plainName(name)]; other != "" {
				return refuse(kafka.InvalidTopicException, "topic %q collides with topic %q: names that differ only in '.' and '_' have the same metrics", name, other)
			}
		}
	}
	return nil
}

// checkNewConfigs collects the configs of a new topic.
func (m *machine) checkNewConfigs(t *kmsg.CreateTopicsRequestTopic) (*metadata.Configs, *refusal) {
	var entries []metadata.ConfigEntry
	for _, c := range t.Configs {
		if c.Value == nil {
			return nil, refuse(kafka.InvalidConfig, "config %q has no value", c.Name)
		}
		if err := m.options.Configs.Check(metadata.TopicResource, t.Topic, c.Name, *c.Value); err != nil {
			return nil, refuse(kafka.InvalidConfig, "%v", err)
		}
		entries = append(entries, metadata.ConfigEntry{Key: c.Name, Value: *c.Value})
	}
	return metadata.NewConfigs(entries), nil
}

// assignmentOf is the replicas of a new topic's partitions, as the client wants them or as we place them.
func (m *machine) assignmentOf(t *kmsg.CreateTopicsRequestTopic) ([][]kafka.NodeID, *refusal) {
	if len(t.ReplicaAssignment) > 0 {
		return m.manualAssignment(t)
	}
	partitions, replicas := t.NumPartitions, t.ReplicationFactor
	if partitions == -1 {
		partitions = m.options.Configs.NumPartitions(m.image())
	}
	if replicas == -1 {
		replicas = m.options.Configs.ReplicationFactor(m.image())
	}
	switch {
	case partitions <= 0:
		return nil, refuse(kafka.InvalidPartitions, "a topic needs one partition or more, or -1 for the default, but %d were asked for", partitions)
	case replicas <= 0:
		return nil, refuse(kafka.InvalidReplicationFactor, "a replication factor is 1 or more, or -1 for the default, but %d was asked for", replicas)
	case partitions > maxRecords:
		return nil, refuse(kafka.PolicyViolation, "a request may create %d partitions, but %d were asked for", maxRecords, partitions)
	}
	return m.placeNew(int(partitions), int(replicas))
}

func (m *machine) manualAssignment(t *kmsg.CreateTopicsRequestTopic) ([][]kafka.NodeID, *refusal) {
	if t.ReplicationFactor != -1 {
		return nil, refuse(kafka.InvalidRequest, "the replication factor must be -1 where replicas are assigned, and is %d", t.ReplicationFactor)
	}
	if t.NumPartitions != -1 {
		return nil, refuse(kafka.InvalidRequest, "the number of partitions must be -1 where replicas are assigned, and is %d", t.NumPartitions)
	}
	assignment := make([][]kafka.NodeID, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(assignment) || assignment[a.Partition] != nil {
			return nil, refuse(kafka.InvalidReplicaAssignment, "partitions have to be assigned from 0 to %d, each once, which partition %d is not", len(assignment)-1, a.Partition)
		}
		replicas := nodeIDs(a.Replicas)
		if refusal := m.checkAssignment(int(a.Partition), replicas); refusal != nil {
			return nil, refusal
		}
		assignment[a.Partition] = replicas
	}
	for number, replicas := range assignment {
		if len(replicas) != len(assignment[0]) {
			return nil, refuse(kafka.InvalidReplicaAssignment, "partition 0 is assigned %d replicas, but partition %d has %d", len(assignment[0]), number, len(replicas))
		}
	}
	return assignment, nil
}

// TopicSpec is a topic that the cluster itself needs.
type TopicSpec struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16 // lowered to the number of live brokers
	Configs           []metadata.ConfigEntry
}

// EnsureTopic creates a topic that the cluster itself needs, unless it exists.
func (c *Controller) EnsureTopic(spec TopicSpec, reply func(error)) {
	var refused *refusal
	c.decide(func(m *machine) []metadata.Record {
		if m.image().Topic(spec.Name) != nil {
			return nil
		}
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions = spec.Name, spec.Partitions
		t.ReplicationFactor = max(1, min(spec.ReplicationFactor, int16(len(m.placeable()))))
		for _, e := range spec.Configs {
			config := kmsg.NewCreateTopicsRequestTopicConfig()
			config.Name, config.Value = e.Key, &e.Value
			t.Configs = append(t.Configs, config)
		}
		plan := topicPlan{name: spec.Name}
		m.planTopic(&plan, &t, nil)
		if refused = plan.refusal; refused == nil && t.ReplicationFactor < spec.ReplicationFactor {
			plan.records = append(plan.records, m.markComing()...)
		}
		return plan.records
	}, func(err error) {
		if err == nil && refused != nil {
			err = refused
		}
		reply(err)
	})
}

// markComing marks brokers as newcomers that do not serve while a topic is made with fewer replicas than it should have: when they do they
// are given the ones it lacks.
func (m *machine) markComing() (records []metadata.Record) {
	m.image().Brokers(func(b *metadata.Broker) bool {
		if !b.Active() && !b.Newcomer {
			records = append(records, &metadata.BrokerChange{ID: b.ID, Epoch: b.Epoch, Newcomer: metadata.Set})
		}
		return true
	})
	return records
}

// DeleteTopics deletes topics by name, or by id (KIP-516).
func (c *Controller) DeleteTopics(req *kmsg.DeleteTopicsRequest, reply func(*kmsg.DeleteTopicsResponse)) {
	topics := req.Topics
	if req.Version < 6 {
		topics = nil
		for _, name := range req.TopicNames {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &name
			topics = append(topics, t)
		}
	}
	results := make([]kmsg.DeleteTopicsResponseTopic, len(topics))
	answer := func(n int, name *string, id kafka.TopicID, refusal *refusal) {
		results[n] = kmsg.NewDeleteTopicsResponseTopic()
		results[n].Topic, results[n].TopicID = name, id
		refusal.on(&results[n].ErrorCode, &results[n].ErrorMessage)
	}
	c.decide(func(m *machine) []metadata.Record {
		found := make([]*metadata.Topic, len(topics))
		times := map[kafka.TopicID]int{}
		for n, t := range topics {
			if found[n] = m.image().TopicByID(t.TopicID); t.Topic != nil {
				found[n] = m.image().Topic(*t.Topic)
			}
			if found[n] != nil {
				times[found[n].ID]++
			}
		}
		var records []metadata.Record
		for n, t := range topics {
			var refusal *refusal
			id := kafka.TopicID(t.TopicID)
			switch topic := found[n]; {
			case t.Topic != nil && !id.IsZero():
				refusal = refuse(kafka.InvalidRequest, "a topic is named by its name or by its id, not by both")
			case t.Topic == nil && id.IsZero():
				refusal = refuse(kafka.InvalidRequest, "a topic is named neither by its name nor by its id")
			case topic == nil && t.Topic != nil:
				refusal = refuse(kafka.UnknownTopicOrPartition, "there is no topic %q", *t.Topic)
			case topic == nil:
				refusal = refuse(kafka.UnknownTopicID, "there is no topic with the id %s", id)
			case times[topic.ID] > 1:
				refusal = refuse(kafka.InvalidRequest, "topic %q is named %d times in the request", topic.Name, times[topic.ID])
			default:
				records = append(records, &metadata.RemoveTopic{ID: topic.ID})
				answer(n, &topic.Name, topic.ID, nil)
				continue
			}
			answer(n, t.Topic, id, refusal)
		}
		return records
	}, func(err error) {
		if err != nil {
			for n, t := range topics {
				answer(n, t.Topic, t.TopicID, refusalOf(err))
			}
		}
		resp := kmsg.NewPtrDeleteTopicsResponse()
		resp.Version, resp.Topics = req.Version, results
		reply(resp)
	})
}

// CreatePartitions adds partitions to topics.
func (c *Controller) CreatePartitions(req *kmsg.CreatePartitionsRequest, reply func(*kmsg.CreatePartitionsResponse)) {
	var results []kmsg.CreatePartitionsResponseTopic
	answer := func(topic string, refusal *refusal) {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = topic
		refusal.on(&t.ErrorCode, &t.ErrorMessage)
		results = append(results, t)
	}
	c.decide(func(m *machine) (records []metadata.Record) {
		seen := map[string]int{}
		for _, t := range req.Topics {
			seen[t.Topic]++
		}
		for i := range req.Topics {
			t := &req.Topics[i]
			if seen[t.Topic] > 1 {
				answer(t.Topic, refuse(kafka.InvalidRequest, "topic %q is named %d times in the request", t.Topic, seen[t.Topic]))
				seen[t.Topic] = -1
				continue
			}
			if seen[t.Topic] < 0 {
				continue
			}
			added, refusal := m.addPartitions(t, maxRecords-len(records))
			answer(t.Topic, refusal)
			if !req.ValidateOnly {
				records = append(records, added...)
			}
		}
		return records
	}, func(err error) {
		if err != nil {
			results = nil
			for _, t := range req.Topics {
				answer(t.Topic, refusalOf(err))
			}
		}
		resp := kmsg.NewPtrCreatePartitionsResponse()
		resp.Version, resp.Topics = req.Version, results
		reply(resp)
	})
}

func (m *machine) addPartitions(t *kmsg.CreatePartitionsRequestTopic, limit int) ([]metadata.Record, *refusal) {
	topic := m.image().Topic(t.Topic)
	if topic == nil {
		return nil, refuse(kafka.UnknownTopicOrPartition, "there is no topic %q", t.Topic)
	}
	has := len(topic.Partitions)
	added := int(t.Count) - has
	switch {
	case added == 0:
		return nil, refuse(kafka.InvalidPartitions, "topic %q has %d partitions already", t.Topic, has)
	case added < 0:
		return nil, refuse(kafka.InvalidPartitions, "topic %q has %d partitions, and cannot have fewer, as %d are", t.Topic, has, t.Count)
	case added > limit:
		return nil, refuse(kafka.PolicyViolation, "the request asks for more than %d changes: send it in parts", maxRecords)
	}
	replicas := len(topic.Partitions[0].Replicas)
	var assignment [][]kafka.NodeID
	if t.Assignment == nil {
		var refusal *refusal
		if assignment, refusal = m.placeNew(added, replicas); refusal != nil {
			return nil, refusal
		}
	} else if len(t.Assignment) != added {
		return nil, refuse(kafka.InvalidReplicaAssignment, "%d partitions are to be added, but replicas are assigned to %d", added, len(t.Assignment))
	}
	for n, a := range t.Assignment {
		list := nodeIDs(a.Replicas)
		if refusal := m.checkAssignment(has+n, list); refusal != nil {
			return nil, refusal
		}
		if len(list) != replicas {
			return nil, refuse(kafka.InvalidReplicaAssignment, "partitions of %q have %d replicas, but partition %d is assigned %d", t.Topic, replicas, has+n, len(list))
		}
		assignment = append(assignment, list)
	}
	var records []metadata.Record
	for n, list := range assignment {
		p, refusal := m.newPartition(int32(has+n), list)
		if refusal != nil {
			return nil, refusal
		}
		records = append(records, &metadata.PartitionRecord{Topic: topic.ID, Partition: p})
	}
	return records, nil
}
