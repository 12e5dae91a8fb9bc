package gregortest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/gregortest"
)

func TestAClusterServesWhenOneOfItsBrokersStops(t *testing.T) {
	cluster := gregortest.StartCluster(t, 3, gregortest.With("num.partitions", "1"))
	if seeds := cluster.Seeds(); len(seeds) != 3 {
		t.Fatalf("the brokers are %v", seeds)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(cluster.Seeds()...), kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	produce(t, c, "t", 10)
	topics, err := kadm.NewClient(c).ListTopics(soon(t), "t")
	if err != nil {
		t.Fatal(err)
	}
	if replicas := topics["t"].Partitions[0].Replicas; len(replicas) != 3 {
		t.Errorf("the topic's replicas are %v", replicas)
	}
	cluster.Brokers[topics["t"].Partitions[0].Leader].Stop()
	consume(t, c, 10)
	if seeds := cluster.Seeds(); len(seeds) != 2 {
		t.Errorf("the brokers that run are %v", seeds)
	}
}

func TestABrokerThatJoinsIsGivenItsShare(t *testing.T) {
	keys := []gregortest.Option{gregortest.With("auto.replica.rebalance.delay.ms", "100"), gregortest.With("num.partitions", "12")}
	cluster := gregortest.StartCluster(t, 2, keys...)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Seeds()...), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce(t, client, "orders", 500)
	gregortest.Start(t, append(keys, gregortest.With("join", cluster.Addrs()))...)
	admin, ctx := kadm.NewClient(client), soon(t)
	for {
		replicas, leads, inSync := map[int32]int{}, map[int32]int{}, true
		topics, err := admin.ListTopics(ctx, "orders")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range topics["orders"].Partitions { // any order
			leads[p.Leader]++
			inSync = inSync && len(p.ISR) == len(p.Replicas)
			for _, id := range p.Replicas {
				replicas[id]++
			}
		}
		if inSync && fmt.Sprint(replicas, leads) == "map[0:8 1:8 2:8] map[0:4 1:4 2:4]" {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("brokers have %v replicas and lead %v", replicas, leads)
		}
		time.Sleep(20 * time.Millisecond)
	}
	ends, err := admin.ListEndOffsets(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	if sum != 500 {
		t.Errorf("there are %d records of 500", sum)
	}
}
