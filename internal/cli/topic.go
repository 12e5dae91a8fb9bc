package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gregorhq/gregor/internal/kafka"
)

func topicCommand() *cobra.Command {
	r := &remote{}
	c := family(&cobra.Command{
		Use:   "topic",
		Short: "Create, list, describe, alter and delete topics",
		Example: `  gregor topic create orders -p 6 -c retention.ms=86400000
  gregor topic list
  gregor topic describe orders`,
	}, topicCreate(r), topicList(r), topicDescribe(r), topicAlter(r), topicDelete(r))
	r.flags(c.PersistentFlags())
	return c
}

// settings reads key=value words.
func settings(words []string, flag string) (map[string]*string, []string, error) {
	values, order := map[string]*string{}, []string(nil)
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return nil, nil, wrongUsage("%s is key=value, and not %q", flag, word)
		}
		if _, twice := values[key]; twice {
			return nil, nil, wrongUsage("%s sets %q twice", flag, key)
		}
		values[key] = &value
		order = append(order, key)
	}
	return values, order, nil
}

// topicSummary is a topic in one line.
type topicSummary struct {
	Topic       string `json:"topic"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication"`
	Internal    bool   `json:"internal"`
	ID          string `json:"id"`
}

func summarize(t kadm.TopicDetail) topicSummary {
	s := topicSummary{Topic: t.Topic, Partitions: len(t.Partitions), Internal: t.IsInternal, ID: kafka.TopicID(t.ID).String()}
	for _, p := range t.Partitions { // any order
		s.Replication = max(s.Replication, len(p.Replicas))
	}
	return s
}

func topicList(r *remote) *cobra.Command {
	internal := false
	c := r.admin(&cobra.Command{
		Use:     "list [NAME_PART]",
		Aliases: []string{"ls"},
		Short:   "List topics",
		Long: `List topics, or those whose names contain NAME_PART.

Fields of -o json, a list: topic, partitions, replication, internal, id.`,
		Example: `  gregor topic list
  gregor topic list order -o json
  gregor topic list --internal`,
		Args: cobra.MaximumNArgs(1),
	}, func(q *call, args []string) error {
		topics, err := q.topics()
		if err != nil {
			return err
		}
		list := []topicSummary{}
		for _, t := range topics.Sorted() {
			if (internal || !t.IsInternal) && (len(args) == 0 || strings.Contains(t.Topic, args[0])) {
				list = append(list, summarize(t))
			}
		}
		return q.print(list, func(w *strings.Builder) error {
			if len(list) == 0 {
				return nil
			}
			t := newTable("TOPIC", "PARTITIONS", "REPLICATION")
			for _, s := range list {
				t.add(s.Topic, s.Partitions, s.Replication)
			}
			return t.write(w)
		})
	})
	c.Flags().BoolVar(&internal, "internal", false, "also list the topics that Kafka keeps for itself")
	return c
}

func topicDelete(r *remote) *cobra.Command {
	missingOK := false
	c := r.admin(&cobra.Command{
		Use:     "delete TOPIC…",
		Aliases: []string{"rm"},
		Short:   "Delete topics, with all their records",
		Long: `Delete topics, with all their records. There is no way back.

Fields of -o json, a list: topic, deleted.`,
		Example: `  gregor topic delete orders
  gregor topic delete orders payments --if-exists`,
		Args:              atLeast(1, "the name of a topic"),
		ValidArgsFunction: r.completeTopics,
	}, func(q *call, args []string) error {
		type outcome struct {
			Topic   string `json:"topic"`
			Deleted bool   `json:"deleted"`
		}
		topics, err := q.admin.ListTopicsWithInternal(q.ctx, args...)
		if err != nil {
			return err
		}
		var outcomes []outcome
		for _, name := range args {
			there := topics.Has(name) && topics[name].Err == nil
			if !there && !missingOK {
				return q.noTopicBut(name, "--if-exists makes that no error")
			}
			outcomes = append(outcomes, outcome{name, there})
		}
		present := slices.DeleteFunc(slices.Clone(outcomes), func(o outcome) bool { return !o.Deleted })
		for _, o := range present {
			answer, err := q.admin.DeleteTopic(q.ctx, o.Topic)
			if err != nil {
				return fmt.Errorf("delete topic %q: %w", o.Topic, because(err, answer.ErrMessage))
			}
		}
		return q.print(outcomes, func(w *strings.Builder) error {
			for _, o := range outcomes {
				fmt.Fprintf(w, "%s topic %s\n", map[bool]string{true: "deleted", false: "there is no"}[o.Deleted], o.Topic)
			}
			return nil
		})
	})
	c.Flags().BoolVar(&missingOK, "if-exists", false, "a topic that is not there is no error")
	return c
}
