// One round through what a program with sarama does: what comes back is compared with what was sent, to the record.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const records = 1000

var bootstrap []string

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

func config(version sarama.KafkaVersion) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = version
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	return c
}

func main() {
	bootstrap = os.Args[1:2]
	// The oldest version that Kafka 4 still speaks, what sarama takes by itself, and the newest that it knows.
	for _, version := range []sarama.KafkaVersion{sarama.V2_1_0_0, sarama.DefaultVersion, sarama.MaxVersion} {
		step("as version %s", version)
		round(config(version), "v"+version.String()+"-")
	}
	fmt.Println("all is well")
}

func round(c *sarama.Config, prefix string) {
	admin, err := sarama.NewClusterAdmin(bootstrap, c)
	must(err)
	defer admin.Close()
	topics(admin, prefix)
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		compressed(admin, *c, codec, prefix)
	}
	idempotent(admin, *c, prefix)
	byTime(admin, *c, prefix)
	group(admin, c, prefix)
}

func create(admin sarama.ClusterAdmin, topic string, partitions int32) {
	must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
}

func topics(admin sarama.ClusterAdmin, prefix string) {
	step("topics and their configurations")
	topic, value, large := prefix+"topics", "60000", "5000"
	must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &value}}, false))
	err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false)
	is(errors.Is(err, sarama.ErrTopicAlreadyExists), true, "a topic that is there")
	listed, err := admin.ListTopics()
	must(err)
	is(listed[topic].NumPartitions, 3, "partitions")
	is(*listed[topic].ConfigEntries["retention.ms"], value, "retention.ms")
	must(admin.CreatePartitions(topic, 5, nil, false))
	described, err := admin.DescribeTopics([]string{topic})
	must(err)
	is(len(described[0].Partitions), 5, "partitions")
	is(described[0].Partitions[0].Leader, 0, "leader")
	must(admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"max.message.bytes": &large}, false))
	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"max.message.bytes", "retention.ms"}})
	must(err)
	is(len(entries), 2, "configurations")
	for _, e := range entries {
		is(e.Value, map[string]string{"max.message.bytes": "5000", "retention.ms": "604800000"}[e.Name], e.Name)
	}
	brokers, controller, err := admin.DescribeCluster()
	must(err)
	is(len(brokers), 1, "brokers")
	is(controller, 0, "controller")
	dirs, err := admin.DescribeLogDirs([]int32{0})
	must(err)
	is(len(dirs[0]), 1, "log directories")
	must(admin.DeleteTopic(topic))
	listed, err = admin.ListTopics()
	must(err)
	_, there := listed[topic]
	is(there, false, "the topic is there")
}

func read(c sarama.Config, topic string, partitions, n int) []*sarama.ConsumerMessage {
	client, err := sarama.NewClient(bootstrap, &c)
	must(err)
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	must(err)
	defer consumer.Close()
	var all []*sarama.ConsumerMessage
	for p := range int32(partitions) {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		must(err)
		start, err := client.GetOffset(topic, p, sarama.OffsetOldest)
		must(err)
		pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		must(err)
		for range end - start {
			select {
			case m := <-pc.Messages():
				all = append(all, m)
			case <-time.After(20 * time.Second):
				panic("no record came")
			}
		}
		must(pc.Close())
	}
	is(len(all), n, "records of "+topic)
	return all
}

func send(c sarama.Config, messages []*sarama.ProducerMessage) {
	producer, err := sarama.NewAsyncProducer(bootstrap, &c)
	must(err)
	go func() {
		for _, m := range messages {
			producer.Input() <- m
		}
	}()
	for range messages {
		select {
		case <-producer.Successes():
		case err := <-producer.Errors():
			panic(err)
		}
	}
	must(producer.Close())
}

func compressed(admin sarama.ClusterAdmin, c sarama.Config, codec sarama.CompressionCodec, prefix string) {
	step("codec %s", codec)
	c.Producer.Compression = codec
	c.Producer.Flush.Frequency = 5 * time.Millisecond
	topic := prefix + "codec-" + codec.String()
	create(admin, topic, 3)
	var messages []*sarama.ProducerMessage
	for i := range records {
		messages = append(messages, &sarama.ProducerMessage{
			Topic: topic, Partition: int32(i % 3), Key: sarama.StringEncoder(fmt.Sprintf("k%d", i)), Value: sarama.StringEncoder(fmt.Sprintf("value %*d", i%50, i)),
			Timestamp: time.UnixMilli(int64(1000 + i)), Headers: []sarama.RecordHeader{{Key: []byte("n"), Value: fmt.Append(nil, i)}},
		})
	}
	send(c, messages)
	for _, m := range read(c, topic, 3, records) {
		i := int(m.Offset)*3 + int(m.Partition)
		is(string(m.Key), fmt.Sprintf("k%d", i), "key")
		is(string(m.Value), fmt.Sprintf("value %*d", i%50, i), "value")
		is(m.Timestamp.UnixMilli(), int64(1000+i), "timestamp")
		is(string(m.Headers[0].Value), fmt.Sprint(i), "header")
	}
}

func idempotent(admin sarama.ClusterAdmin, c sarama.Config, prefix string) {
	step("idempotent producer")
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	create(admin, prefix+"once", 1)
	var messages []*sarama.ProducerMessage
	for i := range 5 * records {
		messages = append(messages, &sarama.ProducerMessage{Topic: prefix + "once", Value: sarama.StringEncoder(fmt.Sprint(i))})
	}
	send(c, messages)
	for i, m := range read(c, prefix+"once", 1, 5*records) {
		is(string(m.Value), fmt.Sprint(i), "order")
	}
}

func byTime(admin sarama.ClusterAdmin, c sarama.Config, prefix string) {
	step("offsets by time, and records that are deleted")
	topic := prefix + "times"
	create(admin, topic, 1)
	base := time.Now().UnixMilli() - 1_000_000
	var messages []*sarama.ProducerMessage
	for i := range records {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i)), Timestamp: time.UnixMilli(base + int64(10*i))})
	}
	c.Producer.Compression = sarama.CompressionGZIP
	send(c, messages)
	client, err := sarama.NewClient(bootstrap, &c)
	must(err)
	defer client.Close()
	for _, i := range []int{0, 1, 499, 999} {
		offset, err := client.GetOffset(topic, 0, base+int64(10*i)-5)
		must(err)
		is(offset, int64(i), "offset by time")
	}
	must(admin.DeleteRecords(topic, map[int32]int64{0: 10}))
	is(string(read(c, topic, 1, records-10)[0].Value), "10", "the first that is left")
}

type member struct {
	sarama.ConsumerGroup
	mu   sync.Mutex
	has  int
	seen *sync.Map
}

func (m *member) set(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.has = n
}

func (m *member) owns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.has
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	for _, partitions := range s.Claims() {
		m.set(len(partitions))
	}
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.set(0)
	return nil
}

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			if _, twice := m.seen.LoadOrStore(string(message.Value), true); twice {
				panic("read twice: " + string(message.Value))
			}
			s.MarkMessage(message, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

func join(c *sarama.Config, id, topic string, seen *sync.Map) *member {
	g, err := sarama.NewConsumerGroup(bootstrap, id, c)
	must(err)
	m := &member{ConsumerGroup: g, seen: seen}
	go func() {
		for {
			if err := g.Consume(context.Background(), []string{topic}, m); errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return
			} else {
				must(err)
			}
		}
	}()
	return m
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		is(time.Now().Before(deadline), true, what)
	}
}

func count(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

func group(admin sarama.ClusterAdmin, c *sarama.Config, prefix string) {
	step("a group of two")
	topic, id := prefix+"group", prefix+"g"
	create(admin, topic, 4)
	values := func(from, to int) (messages []*sarama.ProducerMessage) {
		for i := from; i < to; i++ {
			messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: int32(i % 4), Value: sarama.StringEncoder(fmt.Sprint(i))})
		}
		return messages
	}
	var seen sync.Map
	one := join(c, id, topic, &seen)
	until("one has all", func() bool { return one.owns() == 4 })
	two := join(c, id, topic, &seen)
	until("each has half", func() bool { return one.owns() == 2 && two.owns() == 2 })
	send(*c, values(0, records))
	until("all is read", func() bool { return count(&seen) == records })
	described, err := admin.DescribeConsumerGroups([]string{id})
	must(err)
	is(described[0].State, "Stable", "state")
	is(len(described[0].Members), 2, "members")
	must(two.Close())
	until("one has all again", func() bool { return one.owns() == 4 })
	send(*c, values(records, 2*records))
	until("all is read", func() bool { return count(&seen) == 2*records })
	must(one.Close())
	offsets, err := admin.ListConsumerGroupOffsets(id, map[string][]int32{topic: {0, 1, 2, 3}})
	must(err)
	for p := range int32(4) {
		is(offsets.GetBlock(topic, p).Offset, records/2, "committed")
	}
	groups, err := admin.ListConsumerGroups()
	must(err)
	is(groups[id], "consumer", "protocol type")
	must(admin.DeleteConsumerGroup(id))
}
