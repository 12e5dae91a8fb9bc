package controller

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker that leads ten thousand partitions is started again: it is fenced, registered, and elected everywhere.
func BenchmarkABrokerWithTenThousandTopicsIsStartedAgain(b *testing.B) {
	c := newCluster(b, 1)
	for n := range 10 {
		var topics []kmsg.CreateTopicsRequestTopic
		for k := range 1000 {
			topics = append(topics, topic(fmt.Sprintf("topic-%d-%d", n, k), 1, 1))
		}
		c.created(topics...)
	}
	for b.Loop() {
		c.boot(1)
	}
}

func BenchmarkCreateATopicAmongTenThousand(b *testing.B) {
	c := newCluster(b, 1)
	for n := range 10 {
		var topics []kmsg.CreateTopicsRequestTopic
		for k := range 1000 {
			topics = append(topics, topic(fmt.Sprintf("topic.%d.%d", n, k), 1, 1))
		}
		c.created(topics...)
	}
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 {
			if _, err := c.heartbeat(Heartbeat{Broker: 1}); err != nil {
				b.Fatal(err)
			}
		}
		c.created(topic(fmt.Sprintf("more.%d", n), 1, 1))
	}
}
