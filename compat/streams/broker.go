package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is the cluster that both sides run on.
type broker struct {
	addr   string
	client *kgo.Client
	admin  *kadm.Client
}

func dial(addr string) (*broker, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.UnknownTopicRetries(-1)) // Kafka's topics are known a moment after they are made
	if err != nil {
		return nil, err
	}
	return &broker{addr, client, kadm.NewClient(client)}, nil
}

// create makes the topics that an application reads and writes.
func (b *broker) create(ctx context.Context, app string, spec Spec) error {
	var topics []string
	for i := range spec.Inputs {
		topics = append(topics, fmt.Sprintf("%s.in%d", app, i))
	}
	for _, n := range spec.Nodes {
		if n.Op == "to" {
			topics = append(topics, app+"."+n.Args[0])
		}
	}
	made, err := b.admin.CreateTopics(ctx, int32(spec.Partitions), 1, nil, topics...)
	if err != nil {
		return err
	}
	return made.Error()
}

// send writes the input of a phase to an application's topics.
func (b *broker) send(ctx context.Context, app string, records []*kgo.Record) error {
	var copies []*kgo.Record
	for _, r := range records {
		copies = append(copies, &kgo.Record{Topic: app + "." + r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp})
	}
	return b.client.ProduceSync(ctx, copies...).FirstErr()
}

// topics are those of an application, with their partitions: its inputs and outputs, and the internal ones. The client must not
// answer from memory here, as it would an admin.ListTopics.
func (b *broker) topics(ctx context.Context, app string) (map[string]int, error) {
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, b.client)
	if err != nil {
		return nil, err
	}
	mine := map[string]int{}
	for _, t := range resp.Topics {
		if strings.HasPrefix(*t.Topic, app+".") || strings.HasPrefix(*t.Topic, app+"-") {
			mine[*t.Topic] = len(t.Partitions)
		}
	}
	return mine, nil
}

// settled reports whether an application has committed all that it reads, and what is missing if not. Global tables are read
// without a group.
func (b *broker) settled(ctx context.Context, app string, spec Spec) (missing string, err error) {
	all, err := b.topics(ctx, app)
	if err != nil {
		return "", err
	}
	var read []string
	for _, n := range spec.Nodes {
		if n.Op == "stream" || n.Op == "table" {
			read = append(read, app+"."+n.Args[0])
		}
	}
	for t := range all {
		if inner(t) {
			read = append(read, t)
		}
	}
	ends, err := b.admin.ListEndOffsets(ctx, read...)
	if err != nil {
		return "", err
	}
	committed, err := b.admin.FetchOffsets(ctx, app)
	if err != nil {
		return "", err
	}
	ends.Each(func(end kadm.ListedOffset) {
		at, _ := committed.Lookup(end.Topic, end.Partition)
		if end.Err != nil || end.Offset > 0 && at.At < end.Offset {
			missing = fmt.Sprintf("%s-%d is committed up to %d of %d", end.Topic, end.Partition, at.At, end.Offset)
		}
	})
	return missing, nil
}

// inner reports whether a topic takes records from one part of a topology to another.
func inner(topic string) bool {
	return strings.HasSuffix(topic, "-repartition") || strings.HasSuffix(topic, "-topic") && strings.Contains(topic, "FK-JOIN-SUBSCRIPTION")
}

// settle waits until an application has nothing left to do. Only after all of a topic's writers are done is its end the last, so
// that has to be so several times in a row.
func (b *broker) settle(ctx context.Context, app string, spec Spec, alive func() error) error {
	missing, times := "", 0
	for times <= len(spec.Nodes)/2 {
		if err := alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not come to an end: %s", missing)
		case <-time.After(150 * time.Millisecond):
		}
		var err error
		if missing, err = b.settled(ctx, app, spec); kerr.IsRetriable(err) {
			missing = err.Error() // a new cluster makes its coordinator's topic only now
		} else if err != nil && ctx.Err() == nil {
			return err
		}
		if times++; missing != "" {
			times = 0
		}
	}
	return nil
}

// emptied waits until a group has no members, which those of the other side would not let in.
func (b *broker) emptied(ctx context.Context, group string) error {
	for {
		described, err := b.admin.DescribeGroups(ctx, group)
		if err != nil {
			return err
		}
		if len(described[group].Members) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("its group does not become empty")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// contents is what an application has left on the cluster: records by topic and partition, configurations and offsets.
type contents struct {
	records map[string][][]*kgo.Record
	configs map[string]string
	offsets map[string]string
}

func (b *broker) read(ctx context.Context, app string) (*contents, error) {
	counts, err := b.topics(ctx, app)
	if err != nil {
		return nil, err
	}
	c := &contents{map[string][][]*kgo.Record{}, map[string]string{}, map[string]string{}}
	topics := slices.Sorted(maps.Keys(counts))
	from, left := map[string]map[int32]kgo.Offset{}, map[string]int64{}
	ends, err := b.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	for _, t := range topics {
		c.records[t] = make([][]*kgo.Record, counts[t])
		from[t] = map[int32]kgo.Offset{}
	}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			from[end.Topic][end.Partition] = kgo.NewOffset().At(0)
			left[fmt.Sprint(end.Topic, end.Partition)] = end.Offset
		}
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumePartitions(from), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		for _, e := range fetches.Errors() {
			return nil, fmt.Errorf("reading %s-%d: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c.records[r.Topic][r.Partition] = append(c.records[r.Topic][r.Partition], r)
			if p := fmt.Sprint(r.Topic, r.Partition); r.Offset+1 >= left[p] {
				delete(left, p)
			}
		})
	}
	return c, b.describe(ctx, app, topics, c)
}

// describe adds the configurations that internal topics were made with, and the offsets of the group with what is committed with
// them.
func (b *broker) describe(ctx context.Context, app string, topics []string, c *contents) error {
	configs, err := b.admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return err
	}
	for _, topic := range configs {
		var own []string
		for _, config := range topic.Configs {
			if config.Source == kmsg.ConfigSourceDynamicTopicConfig {
				own = append(own, config.Key+"="+config.MaybeValue())
			}
		}
		slices.Sort(own)
		c.configs[topic.Name] = strings.Join(own, " ")
	}
	offsets, err := b.admin.FetchOffsets(ctx, app)
	if err != nil {
		return err
	}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.At > 0 { // Java commits that it is at the beginning, too
			c.offsets[fmt.Sprintf("%s-%d", o.Topic, o.Partition)] = fmt.Sprintf("%d %s", o.At, progress(o.Metadata))
		}
	})
	return nil
}

// progress is what is committed with an offset (TopicPartitionMetadata): the partition's time, and the stores whose windows have
// been sent. Until when they were is left out: Java commits that with whatever topic of the task had records just then, and
// not at all while no further window has closed.
func progress(metadata string) string {
	b, err := base64.StdEncoding.DecodeString(metadata)
	if err != nil || len(b) < 9 || b[0] != 2 {
		return fmt.Sprintf("unknown metadata %q", metadata)
	}
	said := fmt.Sprint("time ", int64(binary.BigEndian.Uint64(b[1:])))
	if b = b[9:]; len(b) < 4 {
		return said
	}
	var stores []string
	for n := binary.BigEndian.Uint32(b); n > 0; n-- {
		if b = b[4:]; len(b) < 4 {
			return fmt.Sprintf("broken metadata %q", metadata)
		}
		size := int(binary.BigEndian.Uint32(b))
		if len(b) < 4+size+8 {
			return fmt.Sprintf("broken metadata %q", metadata)
		}
		stores = append(stores, string(b[4:4+size]))
		b = b[size+8:]
	}
	slices.Sort(stores)
	return said + " windows of " + strings.Join(stores, ", ")
}
