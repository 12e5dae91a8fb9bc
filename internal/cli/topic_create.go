package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/kafka"
)

type createdTopic struct {
	Topic       string `json:"topic"`
	Created     bool   `json:"created"` // false if it was there before
	Partitions  int32  `json:"partitions"`
	Replication int16  `json:"replication"`
	ID          string `json:"id"`
}

func topicCreate(r *remote) *cobra.Command {
	partitions, replication, ifNotExists := int32(-1), int16(-1), false
	var configs []string
	c := r.admin(&cobra.Command{
		Use:   "create TOPIC…",
		Short: "Create topics",
		Long: `Create topics. What is not said is the broker's default (num.partitions, default.replication.factor).

Fields of -o json, a list: topic, created, partitions, replication, id.`,
		Example: `  gregor topic create orders
  gregor topic create orders payments -p 6 -r 1
  gregor topic create latest-prices -c cleanup.policy=compact -c max.message.bytes=2000000
  gregor topic create orders --if-not-exists`,
		Args: atLeast(1, "the name of a topic"),
	}, func(q *call, args []string) error {
		if partitions == 0 || partitions < -1 {
			return wrongUsage("-p is at least 1, and not %d", partitions)
		}
		values, keys, err := settings(configs, "-c")
		if err != nil {
			return err
		}
		made := []createdTopic{}
		for _, topic := range args {
			t, err := q.createTopic(topic, partitions, replication, values, keys, ifNotExists)
			if err != nil {
				return err
			}
			made = append(made, t)
		}
		return q.print(made, func(w *strings.Builder) error {
			for _, t := range made {
				if t.Created {
					fmt.Fprintf(w, "created topic %s with %s\n", t.Topic, plural(t.Partitions, "partition"))
				} else {
					fmt.Fprintf(w, "there is a topic %s already, with %s\n", t.Topic, plural(t.Partitions, "partition"))
				}
			}
			return nil
		})
	})
	f := c.Flags()
	f.Int32VarP(&partitions, "partitions", "p", partitions, "`number` of partitions (default: the broker's num.partitions)")
	f.Int16VarP(&replication, "replication", "r", replication, "`number` of replicas of each partition (default: the broker's)")
	f.StringArrayVarP(&configs, "config", "c", nil, "`key=value` to set for the topic; may be given more than once")
	hideDefaults(f, "partitions", "replication")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "a topic that is there already is no error")
	return c
}

func (q *call) createTopic(topic string, partitions int32, replication int16, configs map[string]*string, keys []string, ifNotExists bool) (createdTopic, error) {
	answer, err := q.admin.CreateTopic(q.ctx, partitions, replication, configs, topic)
	switch {
	case err == nil:
		return createdTopic{topic, true, answer.NumPartitions, answer.ReplicationFactor, kafka.TopicID(answer.ID).String()}, nil
	case errors.Is(err, kerr.TopicAlreadyExists) && ifNotExists:
		topics, err := q.topics(topic)
		s := summarize(topics[topic])
		return createdTopic{topic, false, int32(s.Partitions), int16(s.Replication), s.ID}, err
	case errors.Is(err, kerr.TopicAlreadyExists):
		return createdTopic{}, fmt.Errorf("there is a topic %q already; --if-not-exists makes that no error", topic)
	case errors.Is(err, kerr.InvalidReplicationFactor):
		if brokers, e := q.admin.ListBrokers(q.ctx); e == nil && int(replication) > len(brokers) {
			return createdTopic{}, fmt.Errorf("topic %q cannot have %d replicas: the cluster has %s", topic, replication, plural(len(brokers), "broker"))
		}
	case errors.Is(err, kerr.InvalidConfig):
		return createdTopic{}, fmt.Errorf("create topic %q: %w%s", topic, because(err, answer.ErrMessage), meantTopicKey(keys, answer.ErrMessage))
	}
	return createdTopic{}, fmt.Errorf("create topic %q: %w", topic, because(err, answer.ErrMessage))
}
