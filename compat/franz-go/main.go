// One round through what a program with franz-go does: what comes back is compared with what was sent, to the record.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const records = 1000

var (
	bootstrap string
	ctx       = context.Background()
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

func client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, opts...)...)
	must(err)
	return c
}

func main() {
	bootstrap = os.Args[1]
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	ctx = limited
	adm := kadm.NewClient(client())
	defer adm.Close()
	topics(adm)
	for _, codec := range []struct {
		name  string
		codec kgo.CompressionCodec
	}{{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()}} {
		compressed(adm, codec.name, codec.codec)
	}
	byTime(adm)
	group(adm, "range", kgo.RangeBalancer())
	group(adm, "cooperative-sticky", kgo.CooperativeStickyBalancer())
	fmt.Println("all is well")
}

func create(adm *kadm.Client, topic string, partitions int32) {
	_, err := adm.CreateTopic(ctx, partitions, 1, nil, topic)
	must(err)
}

func topics(adm *kadm.Client) {
	step("topics and their configurations")
	value := "60000"
	made, err := adm.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": &value}, "topics")
	must(err)
	_, err = adm.CreateTopic(ctx, 3, 1, nil, "topics")
	is(errors.Is(err, kerr.TopicAlreadyExists), true, "a topic that is there")
	_, err = adm.CreateTopic(ctx, 3, 99, nil, "wide")
	is(errors.Is(err, kerr.InvalidReplicationFactor), true, "too many replicas")
	listed, err := adm.ListTopics(ctx)
	must(err)
	is(listed["topics"].ID, made.ID, "topic id")
	is(len(listed["topics"].Partitions), 3, "partitions")
	is(listed["topics"].Partitions[1].Leader, listed["topics"].Partitions[1].Replicas[0], "leader")
	_, err = adm.UpdatePartitions(ctx, 5, "topics")
	must(err)
	large := "5000"
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &large}, {Op: kadm.DeleteConfig, Name: "retention.ms"}}, "topics")
	must(err)
	must(altered[0].Err)
	// Kafka answers before a change is everywhere.
	until("the configuration", func() bool {
		described, err := adm.DescribeTopicConfigs(ctx, "topics")
		must(err)
		found := map[string]string{}
		for _, c := range described[0].Configs {
			found[c.Key] = c.MaybeValue() + " " + c.Source.String()
		}
		return found["max.message.bytes"] == large+" DYNAMIC_TOPIC_CONFIG" && found["retention.ms"] == "604800000 DEFAULT_CONFIG"
	})
	brokers, err := adm.DescribeBrokerConfigs(ctx, 0)
	must(err)
	is(len(brokers[0].Configs) > 50, true, "many configurations of the broker")
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	must(err)
	nodes, err := adm.ListBrokers(ctx)
	must(err)
	is(len(dirs), len(nodes), "log directories")
	_, err = adm.DeleteTopic(ctx, "topics")
	must(err)
	until("no topic is left", func() bool {
		listed, err = adm.ListTopics(ctx)
		must(err)
		return len(listed) == 0
	})
}

func consume(topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	c := client(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer c.Close()
	var all []*kgo.Record
	for len(all) < n {
		fetches := c.PollFetches(ctx)
		must(fetches.Err0())
		all = append(all, fetches.Records()...)
	}
	is(len(all), n, "records of "+topic)
	return all
}

func compressed(adm *kadm.Client, name string, codec kgo.CompressionCodec) {
	step("codec %s", name)
	topic := "codec-" + name
	create(adm, topic, 3)
	c := client(kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	defer c.Close()
	for i := range records {
		c.Produce(ctx, &kgo.Record{
			Topic: topic, Partition: int32(i % 3), Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "value %*d", i%50, i),
			Timestamp: time.UnixMilli(int64(1000 + i)), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Appendf(nil, "%d", i)}},
		}, func(r *kgo.Record, err error) {
			must(err)
			is(r.Offset, int64(i/3), "offset")
		})
	}
	must(c.Flush(ctx))
	for _, r := range consume(topic, records) {
		i := int(r.Offset)*3 + int(r.Partition)
		is(string(r.Key), fmt.Sprintf("k%d", i), "key")
		is(string(r.Value), fmt.Sprintf("value %*d", i%50, i), "value")
		is(r.Timestamp.UnixMilli(), int64(1000+i), "timestamp")
		is(string(r.Headers[0].Value), fmt.Sprint(i), "header")
	}
	producers, err := adm.DescribeProducers(ctx, kadm.TopicsSet{topic: {0: {}}})
	must(err)
	is(len(producers[topic].Partitions[0].ActiveProducers), 1, "idempotent producers")
}

func byTime(adm *kadm.Client) {
	step("offsets by time, and records that are deleted")
	create(adm, "times", 1)
	c := client(kgo.DefaultProduceTopic("times"))
	defer c.Close()
	base := time.Now().UnixMilli() - 1_000_000
	for i := range records {
		c.Produce(ctx, &kgo.Record{Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(base + int64(10*i))}, func(_ *kgo.Record, err error) { must(err) })
	}
	must(c.Flush(ctx))
	for _, i := range []int{0, 1, 499, 999} {
		at, err := adm.ListOffsetsAfterMilli(ctx, base+int64(10*i)-5, "times")
		must(err)
		is(at["times"][0].Offset, int64(i), "offset by time")
		is(at["times"][0].Timestamp, base+int64(10*i), "its time")
	}
	newest, err := adm.ListMaxTimestampOffsets(ctx, "times")
	must(err)
	is(newest["times"][0].Offset, records-1, "offset of the newest")
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "times", Partition: 0, At: 10})
	deleted, err := adm.DeleteRecords(ctx, offsets)
	must(err)
	is(deleted["times"][0].LowWatermark, 10, "low watermark")
	is(string(consume("times", records-10)[0].Value), "10", "the first that is left")
}

// member is one of a group. It commits what it has read.
type member struct {
	client *kgo.Client
	mu     sync.Mutex
	has    map[int32]bool
	done   chan struct{}
}

func join(groupID, topic string, balancer kgo.GroupBalancer, seen *sync.Map) *member {
	m := &member{has: map[int32]bool{}, done: make(chan struct{})}
	change := func(have bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, p := range partitions[topic] {
				if have {
					m.has[p] = true
				} else {
					delete(m.has, p)
				}
			}
		}
	}
	revoked := change(false)
	m.client = client(kgo.ConsumerGroup(groupID), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked))
	go func() {
		defer close(m.done)
		for {
			fetches := m.client.PollFetches(ctx)
			if fetches.IsClientClosed() {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if _, twice := seen.LoadOrStore(string(r.Value), true); twice {
					panic("read twice: " + string(r.Value))
				}
			})
			if err := m.client.CommitUncommittedOffsets(ctx); err != nil && !errors.Is(err, kerr.RebalanceInProgress) {
				must(err)
			}
			m.client.AllowRebalance()
		}
	}()
	return m
}

func (m *member) owns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.has)
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

func group(adm *kadm.Client, name string, balancer kgo.GroupBalancer) {
	step("a group of two, %s", name)
	topic, id := "group-"+name, "g-"+name
	create(adm, topic, 4)
	p := client(kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	defer p.Close()
	send := func(from, to int) {
		for i := from; i < to; i++ {
			p.Produce(ctx, &kgo.Record{Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) { must(err) })
		}
		must(p.Flush(ctx))
	}
	var seen sync.Map
	one := join(id, topic, balancer, &seen)
	until("one has all", func() bool { return one.owns() == 4 })
	two := join(id, topic, balancer, &seen)
	until("each has half", func() bool { return one.owns() == 2 && two.owns() == 2 })
	send(0, records)
	until("all is read", func() bool { return count(&seen) == records })
	described, err := adm.DescribeGroups(ctx, id)
	must(err)
	is(described[id].State, "Stable", "state")
	is(described[id].Protocol, name, "protocol")
	is(len(described[id].Members), 2, "members")
	two.client.CloseAllowingRebalance()
	<-two.done
	until("one has all again", func() bool { return one.owns() == 4 })
	send(records, 2*records)
	until("all is read", func() bool { return count(&seen) == 2*records })
	until("all is committed", func() bool {
		lags, err := adm.Lag(ctx, id)
		must(err)
		return lags[id].Lag.Total() == 0
	})
	one.client.CloseAllowingRebalance()
	<-one.done
	offsets, err := adm.FetchOffsets(ctx, id)
	must(err)
	total := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { total += o.At })
	is(total, 2*records, "committed")
	gone, err := adm.DeleteGroup(ctx, id)
	must(err)
	must(gone.Err)
}
