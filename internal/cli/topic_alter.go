package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func topicAlter(r *remote) *cobra.Command {
	partitions := 0
	var set, unset []string
	c := r.admin(&cobra.Command{
		Use:   "alter TOPIC",
		Short: "Give a topic more partitions, or other settings",
		Long: `Give a topic more partitions, or other settings. Partitions cannot become fewer; with more of them, keys go to other
partitions than before.

Fields of -o json: topic, partitions (as it is now), set (the keys that were set), unset (those that were given back their defaults).`,
		Example: `  gregor topic alter orders -p 12
  gregor topic alter orders -c retention.ms=3600000 -c min.insync.replicas=2
  gregor topic alter orders --unset retention.ms`,
		Args:              exactly(1, "the name of one topic"),
		ValidArgsFunction: r.completeTopics,
	}, func(q *call, args []string) error {
		changes, err := readChanges(set, unset, "-c")
		if err != nil {
			return err
		}
		if partitions == 0 && len(changes) == 0 {
			return wrongUsage("nothing to change: give -p, -c or --unset")
		}
		topics, err := q.topics(args[0])
		if err != nil {
			return err
		}
		now := len(topics[args[0]].Partitions)
		if partitions != 0 && partitions <= now {
			return fmt.Errorf("topic %q has %s; they can only become more", args[0], plural(now, "partition"))
		}
		if err := q.alterConfigs(resource{kindTopic, args[0]}, changes, false); err != nil {
			return err
		}
		if partitions != 0 {
			answers, err := q.admin.UpdatePartitions(q.ctx, partitions, args[0])
			if err == nil {
				err = because(answers[args[0]].Err, answers[args[0]].ErrMessage)
			}
			if err != nil {
				return fmt.Errorf("give topic %q %d partitions: %w", args[0], partitions, err)
			}
			now = partitions
		}
		return q.printAlteredTopic(args[0], now, partitions != 0, changes)
	})
	f := c.Flags()
	f.IntVarP(&partitions, "partitions", "p", 0, "`number` of partitions that the topic has from now on")
	f.StringArrayVarP(&set, "config", "c", nil, "`key=value` to set; may be given more than once")
	f.StringArrayVar(&unset, "unset", nil, "`key` to give back its default; may be given more than once")
	return c
}

func (q *call) printAlteredTopic(topic string, partitions int, more bool, changes []configChange) error {
	type altered struct {
		Topic      string   `json:"topic"`
		Partitions int      `json:"partitions"`
		Set        []string `json:"set"`
		Unset      []string `json:"unset"`
	}
	a := altered{topic, partitions, []string{}, []string{}}
	for _, c := range changes {
		if c.value == nil {
			a.Unset = append(a.Unset, c.key)
		} else {
			a.Set = append(a.Set, c.key)
		}
	}
	return q.print(a, func(w *strings.Builder) error {
		if more {
			fmt.Fprintf(w, "topic %s has %s\n", topic, plural(partitions, "partition"))
		}
		writeChanges(w, resource{kindTopic, topic}, changes)
		return nil
	})
}
