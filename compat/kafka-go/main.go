// One round through what a program with kafka-go does: what comes back is compared with what was sent, to the record.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

const records = 1000

var (
	bootstrap string
	client    *kafka.Client
	ctx       context.Context
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

func main() {
	bootstrap = os.Args[1]
	client = &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 10 * time.Second}
	limited, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx = limited
	topics()
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		compressed(codec)
	}
	byTime()
	group()
	fmt.Println("all is well")
}

func create(topic string, partitions int) error {
	resp, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}})
	must(err)
	return resp.Errors[topic]
}

func topics() {
	step("topics and their configurations")
	must(create("topics", 3))
	is(errors.Is(create("topics", 3), kafka.TopicAlreadyExists), true, "a topic that is there")
	conn, err := kafka.Dial("tcp", bootstrap)
	must(err)
	defer conn.Close()
	partitions, err := conn.ReadPartitions("topics")
	must(err)
	is(len(partitions), 3, "partitions")
	is(partitions[0].Leader.ID, 0, "leader")
	_, err = client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: "topics", Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "max.message.bytes", Value: "5000", ConfigOperation: kafka.ConfigOperationSet}},
	}}})
	must(err)
	until("the configuration", func() bool {
		described, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: "topics", ConfigNames: []string{"max.message.bytes"},
		}}})
		must(err)
		return described.Resources[0].ConfigEntries[0].ConfigValue == "5000"
	})
	_, err = client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{"topics"}})
	must(err)
}

func read(topic string, partitions, n int) []kafka.Message {
	var all []kafka.Message
	for p := range partitions {
		conn, err := kafka.DialLeader(ctx, "tcp", bootstrap, topic, p)
		must(err)
		first, last, err := conn.ReadOffsets()
		must(err)
		must(conn.Close())
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, Partition: p, MaxWait: 100 * time.Millisecond})
		for range last - first {
			m, err := r.ReadMessage(ctx)
			must(err)
			all = append(all, m)
		}
		must(r.Close())
	}
	is(len(all), n, "records of "+topic)
	return all
}

func write(topic string, codec kafka.Compression, messages []kafka.Message) {
	w := &kafka.Writer{
		Addr: kafka.TCP(bootstrap), Topic: topic, Compression: codec, RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond,
		Balancer: kafka.BalancerFunc(func(m kafka.Message, partitions ...int) int { return m.WriterData.(int) % len(partitions) }),
	}
	// Once a topic is new, kafka-go may not know of it yet.
	until("writing", func() bool {
		err := w.WriteMessages(ctx, messages...)
		if errors.Is(err, kafka.UnknownTopicOrPartition) {
			return false
		}
		must(err)
		return true
	})
	must(w.Close())
}

func compressed(codec kafka.Compression) {
	name := codec.String()
	step("codec %s", name)
	topic := "codec-" + name
	must(create(topic, 3))
	var messages []kafka.Message
	for i := range records {
		messages = append(messages, kafka.Message{
			Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "value %*d", i%50, i), Time: time.UnixMilli(int64(1000 + i)),
			Headers: []kafka.Header{{Key: "n", Value: fmt.Append(nil, i)}}, WriterData: i,
		})
	}
	write(topic, codec, messages)
	for _, m := range read(topic, 3, records) {
		i := int(m.Offset)*3 + m.Partition
		is(string(m.Key), fmt.Sprintf("k%d", i), "key")
		is(string(m.Value), fmt.Sprintf("value %*d", i%50, i), "value")
		is(m.Time.UnixMilli(), int64(1000+i), "timestamp")
		is(string(m.Headers[0].Value), fmt.Sprint(i), "header")
	}
}

func byTime() {
	step("offsets by time")
	must(create("times", 1))
	base := time.Now().UnixMilli() - 1_000_000
	var messages []kafka.Message
	for i := range records {
		messages = append(messages, kafka.Message{Value: fmt.Append(nil, i), Time: time.UnixMilli(base + int64(10*i)), WriterData: 0})
	}
	write("times", kafka.Gzip, messages)
	for _, i := range []int{0, 1, 499, 999} {
		resp, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{"times": {kafka.TimeOffsetOf(0, time.UnixMilli(base+int64(10*i)-5))}}})
		must(err)
		for offset := range resp.Topics["times"][0].Offsets {
			is(offset, int64(i), "offset by time")
		}
	}
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

func group() {
	step("a group of two")
	must(create("group", 4))
	values := func(from, to int) (messages []kafka.Message) {
		for i := from; i < to; i++ {
			messages = append(messages, kafka.Message{Value: fmt.Append(nil, i), WriterData: i})
		}
		return messages
	}
	var seen sync.Map
	join := func() (*kafka.Reader, *sync.Map) {
		r := kafka.NewReader(kafka.ReaderConfig{
			Brokers: []string{bootstrap}, GroupID: "g", Topic: "group", MaxWait: 100 * time.Millisecond, HeartbeatInterval: 300 * time.Millisecond,
			SessionTimeout: 10 * time.Second, StartOffset: kafka.FirstOffset,
		})
		var partitions sync.Map
		go func() {
			for {
				m, err := r.FetchMessage(context.Background())
				if err != nil {
					return
				}
				seen.Store(string(m.Value), true)
				partitions.Store(m.Partition, true)
				if err := r.CommitMessages(context.Background(), m); err != nil {
					return
				}
			}
		}()
		return r, &partitions
	}
	members := func(n int) func() bool {
		return func() bool {
			described, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{"g"}})
			must(err)
			return described.Groups[0].GroupState == "Stable" && len(described.Groups[0].Members) == n
		}
	}
	one, _ := join()
	until("one member", members(1))
	two, partitions := join()
	until("two members", members(2))
	write("group", kafka.Snappy, values(0, records))
	until("all is read", func() bool { return count(&seen) == records })
	is(count(partitions), 2, "partitions of the second")
	must(two.Close())
	until("one member", members(1))
	write("group", kafka.Lz4, values(records, 2*records))
	until("all is read", func() bool { return count(&seen) == 2*records })
	total := func() (n int64) {
		offsets, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: "g", Topics: map[string][]int{"group": {0, 1, 2, 3}}})
		must(err)
		for _, p := range offsets.Topics["group"] {
			n += p.CommittedOffset
		}
		return n
	}
	until("all is committed", func() bool { return total() == 2*records })
	must(one.Close())
	deleted, err := client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{"g"}})
	must(err)
	must(deleted.Errors["g"])
}
