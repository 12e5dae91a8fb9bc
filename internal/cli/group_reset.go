package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

type resetOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    *int64 `json:"before"` // null where nothing was committed
	After     int64  `json:"after"`
	Change    int64  `json:"change"`

	epoch int32
}

func groupReset(r *remote) *cobra.Command {
	var topics []string
	to, dryRun := "", false
	c := r.admin(&cobra.Command{
		Use:   "reset GROUP --to WHERE",
		Short: "Set the offsets that a consumer group goes on from",
		Long: `Set the offsets that a consumer group goes on from, in the topics named with --topic, or in all in which it has
committed offsets. The group must have no members. --dry-run shows what would be done and does nothing.

WHERE is one of
  earliest         the first record there is
  latest           the end: only what comes from now on
  N                the record with offset N
  +N, -N           N records further on, or back, than now
  @TIME            the first record that is not older: @1700000000000 (ms), @2024-01-31, @2024-01-31T12:00:00Z, or @-1h (an hour ago)

An offset that is not in the partition is moved to its start or end. A topic that has no records after @TIME goes to its end.

Fields of -o json, a list: topic, partition, before (null: nothing was committed), after, change.`,
		Example: `  gregor group reset billing --to earliest --dry-run
  gregor group reset billing --topic orders --to @-1h
  gregor group reset billing --topic orders:0,2 --to -100`,
		Args:              exactly(1, "the name of one group"),
		ValidArgsFunction: r.completeGroups,
	}, func(q *call, args []string) error {
		goal, err := parseGoal(to, time.Now())
		if err != nil {
			return usageError{err}
		}
		chosen, err := parseTopicPartitions(topics)
		if err != nil {
			return usageError{err}
		}
		plan, err := q.planReset(args[0], chosen, goal)
		if err != nil {
			return err
		}
		if !dryRun {
			if err := q.reset(args[0], plan); err != nil {
				return err
			}
		}
		return q.print(plan, func(w *strings.Builder) error {
			t := newTable("TOPIC", "PARTITION", "BEFORE", "AFTER", "CHANGE")
			for _, p := range plan {
				t.add(p.Topic, p.Partition, p.Before, strconv.FormatInt(p.After, 10), fmt.Sprintf("%+d", p.Change))
			}
			if err := t.write(w); err != nil {
				return err
			}
			if dryRun {
				w.WriteString("nothing was changed (--dry-run)\n")
			}
			return nil
		})
	})
	f := c.Flags()
	f.StringVar(&to, "to", "", "`WHERE` to go: earliest, latest, N, +N, -N or @TIME")
	f.StringArrayVar(&topics, "topic", nil, "`TOPIC[:PARTITION,…]` to reset; may be given more than once (default: all that the group has offsets in)")
	f.BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	_ = c.RegisterFlagCompletionFunc("topic", r.completeTopics)
	return c
}

// goal is where a group's offsets shall go.
type goal struct {
	kind string // earliest, latest, offset, shift, timestamp
	n    int64
}

// parseGoal reads WHERE. Kafka's words "offset N", "shift N" and "timestamp T" are understood, too.
func parseGoal(text string, now time.Time) (goal, error) {
	words := strings.Fields(strings.NewReplacer("=", " ", "offset:", "offset ", "shift:", "shift ").Replace(text))
	if len(words) == 2 {
		switch words[0] {
		case "offset":
			text = words[1]
		case "shift":
			text = words[1]
			if text[0] != '-' && text[0] != '+' {
				text = "+" + text
			}
		case "timestamp":
			text = "@" + strings.TrimPrefix(words[1], "@")
		}
	}
	switch {
	case text == "":
		return goal{}, errors.New("say where to go with --to: earliest, latest, N, +N, -N or @TIME")
	case text == "earliest" || text == "latest":
		return goal{kind: text}, nil
	case text[0] == '@':
		ms, err := parseTime(text[1:], now)
		return goal{"timestamp", ms}, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return goal{}, fmt.Errorf("--to is earliest, latest, N, +N, -N or @TIME, and not %q", text)
	}
	if text[0] == '+' || text[0] == '-' {
		return goal{"shift", n}, nil
	}
	return goal{"offset", n}, nil
}

// parseTopicPartitions reads TOPIC[:PARTITION,…]; no partitions stand for all.
func parseTopicPartitions(words []string) (map[string][]int32, error) {
	chosen := map[string][]int32{}
	for _, word := range words {
		topic, list, some := strings.Cut(word, ":")
		if _, twice := chosen[topic]; topic == "" || twice {
			return nil, fmt.Errorf("--topic is TOPIC[:PARTITION,…], each topic once, and not %q", word)
		}
		chosen[topic] = nil
		if some {
			partitions, err := parsePartitions(list)
			if err != nil {
				return nil, fmt.Errorf("--topic is TOPIC[:PARTITION,…], and not %q", word)
			}
			chosen[topic] = partitions
		}
	}
	return chosen, nil
}

func parsePartitions(list string) ([]int32, error) {
	var partitions []int32
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%q is not the number of a partition", word)
		}
		partitions = append(partitions, int32(n))
	}
	return partitions, nil
}

// planReset says what a reset would do, and fails where it must not be done.
func (q *call) planReset(group string, chosen map[string][]int32, to goal) ([]resetOffset, error) {
	lags, err := q.admin.Lag(q.ctx, group)
	if err != nil {
		return nil, err
	}
	g := lags[group]
	if g.Error() != nil && !errors.Is(g.Error(), kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("group %q: %w", group, because(g.Error(), ""))
	}
	if len(g.Members) > 0 {
		return nil, fmt.Errorf("group %q is in use: %s; stop them before its offsets are reset", group, members(g))
	}
	if len(chosen) == 0 {
		if len(g.Lag) == 0 {
			return nil, fmt.Errorf("group %q has committed no offsets: name the topics with --topic", group)
		}
		chosen = map[string][]int32{}
		for topic, partitions := range g.Lag { // any order
			for p := range partitions { // any order
				chosen[topic] = append(chosen[topic], p)
			}
		}
	}
	var names []string
	for topic := range chosen { // any order
		names = append(names, topic)
	}
	topics, err := q.topics(names...)
	if err != nil {
		return nil, err
	}
	return q.plan(topics, chosen, g.Lag, to)
}

// plan looks offsets up; the answer is by topic and partition.
func (q *call) plan(topics kadm.TopicDetails, chosen map[string][]int32, committed kadm.GroupLag, to goal) ([]resetOffset, error) {
	starts, err := q.admin.ListStartOffsets(q.ctx, topics.Names()...)
	if err != nil {
		return nil, err
	}
	ends, err := q.admin.ListEndOffsets(q.ctx, topics.Names()...)
	if err != nil {
		return nil, err
	}
	var times kadm.ListedOffsets
	if to.kind == "timestamp" {
		if times, err = q.admin.ListOffsetsAfterMilli(q.ctx, to.n, topics.Names()...); err != nil {
			return nil, err
		}
	}
	plan := []resetOffset{}
	for _, t := range topics.Sorted() {
		for _, p := range chosen[t.Topic] {
			if _, ok := t.Partitions[p]; !ok {
				return nil, fmt.Errorf("topic %q has no partition %d: it has %s", t.Topic, p, plural(len(t.Partitions), "partition"))
			}
		}
		for _, p := range t.Partitions.Sorted() {
			if len(chosen[t.Topic]) > 0 && !slices.Contains(chosen[t.Topic], p.Partition) {
				continue
			}
			one := resetOffset{Topic: t.Topic, Partition: p.Partition, epoch: -1}
			if l, ok := committed.Lookup(t.Topic, p.Partition); ok && l.Commit.At >= 0 {
				one.Before = &l.Commit.At
			}
			start, end := offsetOf(starts, p), offsetOf(ends, p)
			if start == nil || end == nil {
				return nil, fmt.Errorf("the offsets of %s-%d are not known now: its leader does not answer", t.Topic, p.Partition)
			}
			one.aim(to, *start, *end, offsetOf(times, p))
			plan = append(plan, one)
		}
	}
	return plan, nil
}

func (o *resetOffset) aim(to goal, start, end int64, atTime *int64) {
	before := start
	if o.Before != nil {
		before = *o.Before
	}
	switch to.kind {
	case "earliest":
		o.After = start
	case "latest":
		o.After = end
	case "offset":
		o.After = to.n
	case "shift":
		o.After = before + to.n
	case "timestamp":
		o.After = end
		if atTime != nil && *atTime >= 0 {
			o.After = *atTime
		}
	}
	o.After = min(max(o.After, start), end)
	o.Change = o.After - before
}

func (q *call) reset(group string, plan []resetOffset) error {
	offsets := kadm.Offsets{}
	for _, p := range plan {
		offsets.AddOffset(p.Topic, p.Partition, p.After, p.epoch)
	}
	err := q.admin.CommitAllOffsets(q.ctx, group, offsets)
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) {
		return fmt.Errorf("group %q is in use: a member has joined it; stop it before its offsets are reset", group)
	}
	if err != nil {
		return fmt.Errorf("reset group %q: %w", group, because(err, ""))
	}
	return nil
}
