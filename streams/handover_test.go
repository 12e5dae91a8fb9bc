package streams_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/streams"
)

// configured is what a topic was created with, sorted.
func (c *cluster) configured(topic string) string {
	c.t.Helper()
	configs, err := c.admin.DescribeTopicConfigs(c.t.Context(), topic)
	if err != nil {
		c.t.Fatal(err)
	}
	var own []string
	for _, config := range configs[0].Configs {
		if config.Source == kmsg.ConfigSourceDynamicTopicConfig {
			own = append(own, config.Key+"="+config.MaybeValue())
		}
	}
	slices.Sort(own)
	return strings.Join(own, " ")
}

// likeJava is a balancer by the name of that of Kafka Streams.
type likeJava struct{ kgo.GroupBalancer }

func (likeJava) ProtocolName() string { return "stream" }

// Java's instances stay in their group when they stop, until their session has ended: a broker lets nobody in before that who shares
// the work in another way. The app that takes over waits for it.
func TestAnAppTakesOverFromInstancesThatStayInTheGroup(t *testing.T) {
	t.Parallel()
	c := startCluster(t, map[string]int32{"lines": 2, "counts": 1}, gregortest.With("group.min.session.timeout.ms", "1000"))
	assigned := make(chan struct{})
	before, err := kgo.NewClient(kgo.SeedBrokers(c.addr), kgo.ConsumerGroup("app"), kgo.ConsumeTopics("lines"), kgo.InstanceID("stays"),
		kgo.Balancers(likeJava{kgo.RangeBalancer()}), kgo.SessionTimeout(1500*time.Millisecond), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { close(assigned) }))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	select {
	case <-assigned:
	case <-time.After(20 * time.Second):
		t.Fatal("the one before did not get into its group")
	}
	before.Close()
	if groups, err := c.admin.DescribeGroups(t.Context(), "app"); err != nil || len(groups["app"].Members) != 1 {
		t.Fatalf("the one before left: %v %v", groups, err)
	}
	c.run(streams.Config{}, wordCount)
	c.send("lines", "k", "a b a", 1)
	c.flush()
	c.table("counts", map[string]string{"a": "2", "b": "1"})
}

// Versions are kept for as long as the store's history wants them, whenever the log cleaner comes.
func TestChangelogsOfVersionedStoresAreNotCompactedEarly(t *testing.T) {
	t.Parallel()
	c := startCluster(t, map[string]int32{"in": 1, "out": 1})
	c.run(streams.Config{}, func(b *streams.Builder) {
		streams.TableFrom(b, topicOf("in"), kv("rows").Versioned(time.Hour)).ToStream().To(topicOf("out"))
	})
	c.send("in", "k", "v", 1)
	c.flush()
	c.table("out", map[string]string{"k": "v"})
	want := "cleanup.policy=compact message.timestamp.type=CreateTime min.compaction.lag.ms=90000000"
	if got := c.configured("app-rows-changelog"); got != want {
		t.Errorf("the changelog has the configuration %s, want %s", got, want)
	}
}

// What was read is deleted from repartition topics when it is time, and not before.
func TestRepartitionTopicsArePurgedNowAndThen(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{-1, time.Millisecond} {
		c := startCluster(t, map[string]int32{"lines": 1, "counts": 1})
		r := c.run(streams.Config{PurgeInterval: every}, wordCount)
		for i := range 10 {
			c.send("lines", "k", "a", int64(i))
			c.flush()
			c.table("counts", map[string]string{"a": fmt.Sprint(i + 1)})
		}
		r.end()
		starts, err := c.admin.ListStartOffsets(t.Context(), "app-words-repartition")
		start, _ := starts.Lookup("app-words-repartition", 0)
		if err != nil || (start.Offset > 0) != (every > 0) {
			t.Errorf("purged every %v, the topic begins at %d: %v", every, start.Offset, err)
		}
	}
}
