package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// describedTopic is all there is to know about a topic.
type describedTopic struct {
	topicSummary
	Size       *int64               `json:"size"` // of all replicas; null where brokers do not tell
	Configs    []configEntry        `json:"configs"`
	Partitions []describedPartition `json:"partition_list"`
}

type describedPartition struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Offline     []int32 `json:"offline"`
	Start       *int64  `json:"start"`
	End         *int64  `json:"end"`
	Size        *int64  `json:"size"`
	Error       string  `json:"error,omitempty"`
}

func topicDescribe(r *remote) *cobra.Command {
	return r.admin(&cobra.Command{
		Use:   "describe TOPIC…",
		Short: "Show partitions, leaders, replicas, offsets, sizes and changed settings of topics",
		Long: `Show partitions, leaders, replicas, offsets, sizes and changed settings of topics.

START is the first offset that can be read, END the one after the last; SIZE is on disk, of all replicas together.

Fields of -o json, a list: topic, id, internal, partitions, replication, size, configs (key, value, source, default),
partition_list (partition, leader, leader_epoch, replicas, isr, offline, start, end, size, error).`,
		Example: `  gregor topic describe orders
  gregor topic describe orders -o json | jq '.[0].partition_list[].end'`,
		Args:              atLeast(1, "the name of a topic"),
		ValidArgsFunction: r.completeTopics,
	}, func(q *call, args []string) error {
		topics, err := q.topics(args...)
		if err != nil {
			return err
		}
		list := []describedTopic{}
		for _, name := range args {
			list = append(list, q.describeTopic(topics[name]))
		}
		return q.print(list, func(w *strings.Builder) error {
			for i, t := range list {
				if i > 0 {
					w.WriteString("\n")
				}
				if err := t.write(w); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// describeTopic asks for each part by itself: what a broker does not tell is left out.
func (q *call) describeTopic(topic kadm.TopicDetail) describedTopic {
	d := describedTopic{topicSummary: summarize(topic), Configs: []configEntry{}}
	starts, _ := q.admin.ListStartOffsets(q.ctx, topic.Topic)
	ends, _ := q.admin.ListEndOffsets(q.ctx, topic.Topic)
	sizes := q.sizes(topic)
	for _, p := range topic.Partitions.Sorted() {
		one := describedPartition{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: append([]int32{}, p.Replicas...), ISR: append([]int32{}, p.ISR...),
			Offline: append([]int32{}, p.OfflineReplicas...), Start: offsetOf(starts, p), End: offsetOf(ends, p)}
		if p.Err != nil {
			one.Error = because(p.Err, "").Error()
		}
		if size, ok := sizes[p.Partition]; ok {
			one.Size = &size
			total := size
			if d.Size != nil {
				total += *d.Size
			}
			d.Size = &total
		}
		d.Partitions = append(d.Partitions, one)
	}
	entries, err := q.describeConfigs(resource{kindTopic, topic.Topic})
	if err == nil {
		for _, e := range entries {
			if e.Source == "topic" {
				d.Configs = append(d.Configs, e)
			}
		}
	}
	return d
}

func offsetOf(offsets kadm.ListedOffsets, p kadm.PartitionDetail) *int64 {
	o, ok := offsets.Lookup(p.Topic, p.Partition)
	if !ok || o.Err != nil {
		return nil
	}
	return &o.Offset
}

// sizes are the bytes on disk of a topic's partitions, of all replicas together.
func (q *call) sizes(topic kadm.TopicDetail) map[int32]int64 {
	set := kadm.TopicsSet{}
	for p := range topic.Partitions { // any order
		set.Add(topic.Topic, p)
	}
	sizes := map[int32]int64{}
	described, _ := q.admin.DescribeAllLogDirs(q.ctx, set)
	described.Each(func(dir kadm.DescribedLogDir) {
		dir.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if !p.IsFuture {
				sizes[p.Partition] += p.Size
			}
		})
	})
	return sizes
}

func (d describedTopic) write(w *strings.Builder) error {
	fmt.Fprintf(w, "topic        %s\nid           %s\npartitions   %d\nreplication  %d\n", d.Topic, d.ID, len(d.Partitions), d.Replication)
	if d.Size != nil {
		fmt.Fprintf(w, "size         %s\n", bytesText(*d.Size))
	}
	for i, e := range d.Configs {
		fmt.Fprintf(w, "%-13s%s=%s\n", map[bool]string{true: "configs"}[i == 0], e.Key, e.text())
	}
	w.WriteString("\n")
	t := newTable("PARTITION", "LEADER", "REPLICAS", "ISR", "START", "END", "SIZE")
	for _, p := range d.Partitions {
		size := "-"
		if p.Size != nil {
			size = bytesText(*p.Size)
		}
		leader := any(p.Leader)
		if p.Leader < 0 {
			leader = "none"
		}
		t.add(p.Partition, leader, p.Replicas, p.ISR, p.Start, p.End, size)
	}
	return t.write(w)
}
