package trial

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// founder creates the topics that stay, one after another.
type founder struct {
	*client
	names  []string
	counts map[string]int
}

func newFounder(t *trial, counts map[string]int) *founder {
	return &founder{client: newClient(t, "founder"), names: sorted(counts), counts: counts}
}

// policies are what may go from each topic, and how it is configured.
var policies = map[string]struct {
	policy  policy
	configs map[string]string
}{
	"plain": {keeps, nil},
	"small": {trims, map[string]string{"retention.bytes": "3000"}},
	"keyed": {compacts, map[string]string{"cleanup.policy": "compact"}},
}

func (f *founder) idle() bool { return f.t.shadow.grouped }

func (f *founder) start() {
	if len(f.names) == 0 {
		f.findCoordinator()
		return
	}
	name := f.names[0]
	f.createTopic(name, f.counts[name], policies[name].configs, func(id kafka.TopicID) {
		f.t.shadow.topics[name] = &topic{name: name, id: id, partitions: int32(f.counts[name]), ready: true}
		f.names = f.names[1:]
		f.start()
	})
}

// findCoordinator makes the node make the topic of group offsets, and waits until it can be used.
func (f *founder) findCoordinator() {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.CoordinatorKey = "team"
	f.call(request, int16(f.t.chance.IntN(4)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.FindCoordinatorResponse)
		if ok && response.ErrorCode == 0 {
			f.t.shadow.grouped = true
			return
		}
		if ok {
			f.must(response.ErrorCode, "FindCoordinator")
		}
		f.again(f.findCoordinator)
	})
}

// createTopic creates a topic, trying until it is there for sure.
func (c *client) createTopic(name string, partitions int, configs map[string]string, done func(id kafka.TopicID)) {
	// A node that forwards a request may do so twice, as a broker of Kafka's: the topic may be there by this very request.
	c.tryCreate(name, partitions, configs, c.t.clustered(), done)
}

func (c *client) tryCreate(name string, partitions int, configs map[string]string, maybe bool, done func(id kafka.TopicID)) {
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 5000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, int32(partitions), int16(c.t.copies())
	for _, key := range sorted(configs) {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, kmsg.StringPtr(configs[key])
		topic.Configs = append(topic.Configs, config)
	}
	request.Topics = append(request.Topics, topic)
	c.call(request, int16(2+c.t.chance.IntN(6)), func(r kmsg.Response) {
		retry := func(maybe bool) { c.again(func() { c.tryCreate(name, partitions, configs, maybe, done) }) }
		response, ok := r.(*kmsg.CreateTopicsResponse)
		if !ok {
			retry(true)
			return
		}
		switch code := kafka.ErrorCode(response.Topics[0].ErrorCode); {
		case code == kafka.None, code == kafka.TopicAlreadyExists && maybe:
			c.topicID(name, partitions, done)
		case code == kafka.RequestTimedOut:
			retry(true)
		default:
			c.must(code.Code(), "CreateTopics of %s", name)
			retry(maybe)
		}
	})
}

// topicID looks for a topic that is acknowledged to be there.
func (c *client) topicID(name string, partitions int, done func(id kafka.TopicID)) {
	c.describe([]string{name}, func(topics []kmsg.MetadataResponseTopic) {
		t := topics[0]
		if c.soon(t.ErrorCode == 0 && len(t.Partitions) == partitions, func() { c.topicID(name, partitions, done) },
			"%s: topic %s was created with %d partitions, and there is %s", c.name, name, partitions, fmt.Sprintf("error %d, %d partitions", t.ErrorCode, len(t.Partitions))) {
			done(t.TopicID)
		}
	})
}

// describe asks for topics until there is an answer; with none named, for all.
func (c *client) describe(names []string, done func([]kmsg.MetadataResponseTopic)) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	if len(names) == 0 {
		request.Topics = nil
	}
	c.call(request, int16(10+c.t.chance.IntN(4)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.MetadataResponse)
		if !ok {
			c.again(func() { c.describe(names, done) })
			return
		}
		done(response.Topics)
	})
}
