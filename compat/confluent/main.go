// One round through what a program with confluent-kafka-go does: what comes back is compared with what was sent.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const records = 1000

var (
	bootstrap string
	ctx       = context.Background()
	admin     *kafka.AdminClient
)

func step(format string, args ...any) { fmt.Printf("--- "+format+"\n", args...) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func is[T comparable](got, want T, what string) {
	if got != want {
		panic(fmt.Sprintf("%s: %v and not %v", what, got, want))
	}
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		is(time.Now().Before(deadline), true, what)
	}
}

func conf(pairs ...any) *kafka.ConfigMap {
	m := kafka.ConfigMap{"bootstrap.servers": bootstrap}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return &m
}

func main() {
	bootstrap = os.Args[1]
	var err error
	admin, err = kafka.NewAdminClient(conf())
	must(err)
	defer admin.Close()
	topics()
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		compressed(codec)
	}
	byTime()
	group("range")
	group("cooperative-sticky")
	fmt.Println("all is well")
}

func create(topic string, partitions int, config map[string]string) kafka.ErrorCode {
	made, err := admin.CreateTopics(ctx, []kafka.TopicSpecification{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, Config: config}})
	must(err)
	return made[0].Error.Code()
}

func topics() {
	step("topics and their configurations")
	is(create("topics", 3, map[string]string{"retention.ms": "60000"}), kafka.ErrNoError, "creating")
	is(create("topics", 3, nil), kafka.ErrTopicAlreadyExists, "a topic that is there")
	_, err := admin.CreatePartitions(ctx, []kafka.PartitionsSpecification{{Topic: "topics", IncreaseTo: 5}})
	must(err)
	name := "topics"
	until("five partitions", func() bool {
		meta, err := admin.GetMetadata(&name, false, 5000)
		must(err)
		return len(meta.Topics[name].Partitions) == 5
	})
	resource := kafka.ConfigResource{Type: kafka.ResourceTopic, Name: name}
	altered := resource
	altered.Config = []kafka.ConfigEntry{{Name: "max.message.bytes", Value: "5000", IncrementalOperation: kafka.AlterConfigOpTypeSet}}
	_, err = admin.IncrementalAlterConfigs(ctx, []kafka.ConfigResource{altered})
	must(err)
	until("the configuration", func() bool {
		described, err := admin.DescribeConfigs(ctx, []kafka.ConfigResource{resource})
		must(err)
		return described[0].Config["max.message.bytes"].Value == "5000" && described[0].Config["retention.ms"].Value == "60000"
	})
	_, err = admin.DeleteTopics(ctx, []string{name})
	must(err)
}

func send(topic string, messages []*kafka.Message, pairs ...any) {
	p, err := kafka.NewProducer(conf(pairs...))
	must(err)
	defer p.Close()
	go func() {
		for _, m := range messages {
			m.TopicPartition.Topic = &topic
			p.ProduceChannel() <- m
		}
	}()
	for range messages {
		must((<-p.Events()).(*kafka.Message).TopicPartition.Error)
	}
}

func value(partition, i int) *kafka.Message {
	return &kafka.Message{TopicPartition: kafka.TopicPartition{Partition: int32(partition)}, Value: fmt.Append(nil, i)}
}

func read(topic string, partitions, n int) (all []*kafka.Message) {
	c, err := kafka.NewConsumer(conf("group.id", "unused", "enable.partition.eof", true))
	must(err)
	defer c.Close()
	var tps []kafka.TopicPartition
	for p := range int32(partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: &topic, Partition: p, Offset: kafka.OffsetBeginning})
	}
	must(c.Assign(tps))
	for ends := 0; ends < partitions; {
		switch e := c.Poll(20000).(type) {
		case *kafka.Message:
			all = append(all, e)
		case kafka.PartitionEOF:
			ends++
		case nil:
			panic("no record came")
		}
	}
	is(len(all), n, "records of "+topic)
	return all
}

func compressed(codec string) {
	step("codec %s, idempotent", codec)
	topic := "codec-" + codec
	is(create(topic, 3, nil), kafka.ErrNoError, "creating")
	var messages []*kafka.Message
	for i := range records {
		messages = append(messages, &kafka.Message{
			TopicPartition: kafka.TopicPartition{Partition: int32(i % 3)}, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "value %*d", i%50, i),
			Timestamp: time.UnixMilli(int64(1000 + i)), Headers: []kafka.Header{{Key: "n", Value: fmt.Append(nil, i)}},
		})
	}
	send(topic, messages, "compression.type", codec, "enable.idempotence", true)
	for _, m := range read(topic, 3, records) {
		i := int(m.TopicPartition.Offset)*3 + int(m.TopicPartition.Partition)
		is(string(m.Key), fmt.Sprintf("k%d", i), "key")
		is(string(m.Value), fmt.Sprintf("value %*d", i%50, i), "value")
		is(m.Timestamp.UnixMilli(), int64(1000+i), "timestamp")
		is(string(m.Headers[0].Value), fmt.Sprint(i), "header")
	}
}

func byTime() {
	step("offsets by time, and records that are deleted")
	topic := "times"
	is(create(topic, 1, nil), kafka.ErrNoError, "creating")
	base := time.Now().UnixMilli() - 1_000_000
	var messages []*kafka.Message
	for i := range records {
		m := value(0, i)
		m.Timestamp = time.UnixMilli(base + int64(10*i))
		messages = append(messages, m)
	}
	send(topic, messages)
	tp := kafka.TopicPartition{Topic: &topic}
	for _, i := range []int{0, 1, 499, 999} {
		at, err := admin.ListOffsets(ctx, map[kafka.TopicPartition]kafka.OffsetSpec{tp: kafka.NewOffsetSpecForTimestamp(base + int64(10*i) - 5)})
		must(err)
		for _, r := range at.ResultInfos {
			must(errorOf(r.Error))
			is(int(r.Offset), i, "offset by time")
		}
	}
	tp.Offset = 10
	_, err := admin.DeleteRecords(ctx, []kafka.TopicPartition{tp})
	must(err)
	is(string(read(topic, 1, records-10)[0].Value), "10", "the first that is left")
}

func errorOf(e kafka.Error) error {
	if e.Code() == kafka.ErrNoError {
		return nil
	}
	return e
}

type member struct {
	*kafka.Consumer
	stop, done chan struct{}
}

func join(id, topic, strategy string, seen *sync.Map) *member {
	c, err := kafka.NewConsumer(conf("group.id", id, "auto.offset.reset", "earliest", "enable.auto.commit", false,
		"partition.assignment.strategy", strategy, "heartbeat.interval.ms", 300))
	must(err)
	must(c.Subscribe(topic, nil))
	m := &member{c, make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			select {
			case <-m.stop:
				must(c.Close())
				return
			default:
			}
			if e, ok := c.Poll(100).(*kafka.Message); ok {
				if _, twice := seen.LoadOrStore(string(e.Value), true); twice {
					panic("read twice: " + string(e.Value))
				}
				_, err := c.CommitMessage(e)
				must(err)
			}
		}
	}()
	return m
}

func (m *member) owns() int {
	tps, err := m.Assignment()
	must(err)
	return len(tps)
}

func (m *member) end() {
	close(m.stop)
	<-m.done
}

func count(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

func group(strategy string) {
	step("a group of two, %s", strategy)
	topic, id := "group-"+strategy, "g-"+strategy
	is(create(topic, 4, nil), kafka.ErrNoError, "creating")
	values := func(from, to int) (messages []*kafka.Message) {
		for i := from; i < to; i++ {
			messages = append(messages, value(i%4, i))
		}
		return messages
	}
	var seen sync.Map
	one := join(id, topic, strategy, &seen)
	until("one has all", func() bool { return one.owns() == 4 })
	two := join(id, topic, strategy, &seen)
	until("each has half", func() bool { return one.owns() == 2 && two.owns() == 2 })
	send(topic, values(0, records))
	until("all is read", func() bool { return count(&seen) == records })
	described, err := admin.DescribeConsumerGroups(ctx, []string{id})
	must(err)
	is(described.ConsumerGroupDescriptions[0].State, kafka.ConsumerGroupStateStable, "state")
	is(len(described.ConsumerGroupDescriptions[0].Members), 2, "members")
	two.end()
	until("one has all again", func() bool { return one.owns() == 4 })
	send(topic, values(records, 2*records))
	until("all is read", func() bool { return count(&seen) == 2*records })
	one.end()
	offsets, err := admin.ListConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{{Group: id}})
	must(err)
	total := 0
	for _, tp := range offsets.ConsumerGroupsTopicPartitions[0].Partitions {
		total += int(tp.Offset)
	}
	is(total, 2*records, "committed")
	deleted, err := admin.DeleteConsumerGroups(ctx, []string{id})
	must(err)
	must(errorOf(deleted.ConsumerGroupResults[0].Error))
}
