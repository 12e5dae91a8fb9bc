package trial

import (
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// trimmer deletes records from the beginning of a partition now and then.
type trimmer struct {
	*client
	busy bool
}

func newTrimmer(t *trial) *trimmer { return &trimmer{client: newClient(t, "trimmer")} }

func (a *trimmer) idle() bool { return !a.busy }

func (a *trimmer) start() {
	if a.busy = false; a.t.healing {
		return
	}
	a.t.after(a.t.between(0, 4000*ms), func() {
		part := a.t.shadow.part("small", 0)
		if end := part.end(); a.t.shadow.ready("small") && end > 0 && !a.t.healing {
			a.busy = true
			a.trim(part, part.start+a.t.chance.Int64N(end-part.start+1))
			return
		}
		a.start()
	})
}

func (a *trimmer) trim(p *part, to int64) {
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 5000
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = p.Partition, to
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = p.Topic, append(topic.Partitions, part)
	request.Topics = append(request.Topics, topic)
	a.ask(a.t.leader(p.TopicPartition), request, int16(a.t.chance.IntN(3)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.DeleteRecordsResponse)
		if ok {
			answer := response.Topics[0].Partitions[0]
			code := kafka.ErrorCode(answer.ErrorCode)
			switch {
			case code == kafka.None:
				a.t.expect(answer.LowWatermark >= to, "%s: deleted up to %d, and it begins at %d", p, to, answer.LowWatermark)
				p.trimmed = max(p.trimmed, answer.LowWatermark)
				a.t.logf("%s: host %d has deleted up to %d", p, a.from.life.host.number, answer.LowWatermark)
				a.t.done("deletions of records", 1)
			case code == kafka.OffsetOutOfRange: // the high watermark is on its way up after a start
			default:
				a.must(answer.ErrorCode, "DeleteRecords of %s up to %d", p, to)
			}
		}
		a.start()
	})
}

// builder creates and deletes topics, adds partitions and changes configs, one after another, and looks each time
// whether it is so.
type builder struct {
	*client
	count   int
	name    string
	id      kafka.TopicID
	parts   int
	setting string
	busy    bool
}

func newBuilder(t *trial) *builder { return &builder{client: newClient(t, "builder")} }

func (b *builder) idle() bool { return !b.busy }

func (b *builder) start() { b.pause(b.create) }

// pause goes on with f after a while. Nothing is begun any more when all heals.
func (b *builder) pause(f func()) {
	if b.busy = false; b.t.healing {
		return
	}
	b.t.after(b.t.between(0, 2000*ms), func() {
		if !b.t.healing {
			b.busy = true
			f()
		}
	})
}

func (b *builder) create() {
	b.count++
	b.name, b.parts, b.setting = fmt.Sprintf("short-lived-%d", b.count%3), 1+b.t.chance.IntN(3), ""
	b.createTopic(b.name, b.parts, nil, func(id kafka.TopicID) {
		_, used := b.t.shadow.deleted[id]
		b.t.expect(!used, "topic id %v is given a second time", id)
		b.id = id
		b.t.done("topics created", 1)
		b.pause(b.choose)
	})
}

func (b *builder) choose() {
	switch b.t.chance.IntN(4) {
	case 0:
		b.grow(b.parts + 1)
	case 1:
		b.configure(strconv.Itoa(60000 + b.t.chance.IntN(1000)))
	case 2:
		b.check(func() { b.pause(b.choose) })
	default:
		b.delete(b.t.clustered()) // a node that forwards the request may do so twice
	}
}

// check looks whether the topic is as it was made.
func (b *builder) check(then func()) {
	b.describe([]string{b.name}, func(topics []kmsg.MetadataResponseTopic) {
		t := topics[0]
		if !b.soon(t.ErrorCode == 0 && kafka.TopicID(t.TopicID) == b.id && len(t.Partitions) == b.parts, func() { b.check(then) },
			"topic %s was acknowledged with %d partitions and id %v, and there is %v, %d partitions, id %v", b.name, b.parts, b.id,
			kafka.ErrorCode(t.ErrorCode), len(t.Partitions), kafka.TopicID(t.TopicID)) {
			return
		}
		b.checkConfig(then)
	})
}

func (b *builder) grow(to int) {
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.TimeoutMillis = 5000
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = b.name, int32(to)
	request.Topics = append(request.Topics, topic)
	b.call(request, int16(b.t.chance.IntN(4)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.CreatePartitionsResponse)
		if ok {
			code := kafka.ErrorCode(response.Topics[0].ErrorCode)
			// Having that many already is the answer to a request that was heard and whose answer was lost.
			if code == kafka.None || code == kafka.InvalidPartitions {
				b.parts = to
				b.check(func() { b.pause(b.choose) })
				return
			}
			b.must(code.Code(), "CreatePartitions of %s", b.name)
		}
		b.again(func() { b.grow(to) })
	})
}

func (b *builder) configure(value string) {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, b.name
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Op, config.Value = "retention.ms", kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr(value)
	resource.Configs = append(resource.Configs, config)
	request.Resources = append(request.Resources, resource)
	b.call(request, int16(b.t.chance.IntN(2)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.IncrementalAlterConfigsResponse)
		if ok && response.Resources[0].ErrorCode == 0 {
			b.setting = value
			b.t.done("configs set", 1)
			b.check(func() { b.pause(b.choose) })
			return
		}
		if ok {
			b.must(response.Resources[0].ErrorCode, "IncrementalAlterConfigs of %s", b.name)
		}
		b.again(func() { b.configure(value) })
	})
}

func (b *builder) checkConfig(then func()) {
	if b.setting == "" {
		then()
		return
	}
	request := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, b.name, []string{"retention.ms"}
	request.Resources = append(request.Resources, resource)
	b.call(request, int16(1+b.t.chance.IntN(4)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.DescribeConfigsResponse)
		if !ok {
			b.again(func() { b.checkConfig(then) })
			return
		}
		again := func() { b.checkConfig(then) }
		if !b.soon(response.Resources[0].ErrorCode == 0 && len(response.Resources[0].Configs) == 1, again,
			"DescribeConfigs of %s: %v", b.name, kafka.ErrorCode(response.Resources[0].ErrorCode)) {
			return
		}
		got := response.Resources[0].Configs[0].Value
		if b.soon(got != nil && *got == b.setting, again, "retention.ms of %s was set to %s, and is something else", b.name, b.setting) {
			then()
		}
	})
}

func (b *builder) delete(maybe bool) {
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis, request.TopicNames = 5000, []string{b.name}
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(b.name)
	request.Topics = append(request.Topics, topic)
	b.call(request, int16(1+b.t.chance.IntN(6)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.DeleteTopicsResponse)
		if !ok {
			b.again(func() { b.delete(true) })
			return
		}
		code := kafka.ErrorCode(response.Topics[0].ErrorCode)
		if code == kafka.None || code == kafka.UnknownTopicOrPartition && maybe {
			b.t.shadow.deleted[b.id] = b.name
			b.t.done("topics deleted", 1)
			b.gone()
			return
		}
		// The active controller decides, whoever is asked: it knows.
		b.t.expect(code != kafka.UnknownTopicOrPartition, "topic %s was acknowledged, and cannot be deleted: it is not known", b.name)
		b.must(code.Code(), "DeleteTopics of %s", b.name)
		b.again(func() { b.delete(maybe || code == kafka.RequestTimedOut) })
	})
}

// gone looks whether what was deleted is not there, nor anything that was deleted before.
func (b *builder) gone() {
	known := sorted(b.t.shadow.topics)
	b.describe(nil, func(topics []kmsg.MetadataResponseTopic) {
		wrong := b.t.shadow.listed(known, topics)
		if b.soon(wrong == "", b.gone, "%s", wrong) {
			b.pause(b.create)
		}
	})
}

// listed compares all topics that a node knows with what was promised, and says what is wrong. known are the topics that were there
// when it was asked: others may have been created since, and an answer may be read late.
func (s *shadow) listed(known []string, topics []kmsg.MetadataResponseTopic) string {
	there := map[kafka.TopicID]bool{}
	for _, t := range topics {
		if name, was := s.deleted[t.TopicID]; was {
			return fmt.Sprintf("topic %s was deleted, and is there", name)
		}
		there[t.TopicID] = true
	}
	for _, name := range known {
		if !there[s.topics[name].id] {
			return fmt.Sprintf("topic %s was created, and is not there", name)
		}
	}
	return ""
}
