package gregortest_test

import (
	"testing"

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
