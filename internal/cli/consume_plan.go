package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// position is where reading begins.
type position struct {
	kind string // beginning, end, offset, tail, timestamp
	n    int64
}

func parsePosition(text string, now time.Time) (position, error) {
	switch text {
	case "beginning", "start", "earliest":
		return position{kind: "beginning"}, nil
	case "end", "latest":
		return position{kind: "end"}, nil
	}
	if len(text) > 0 && text[0] == '@' {
		ms, err := parseTime(text[1:], now)
		return position{"timestamp", ms}, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return position{}, fmt.Errorf("--offset is beginning, end, N, -N or @TIME, and not %q%s", text, meant([]string{text}, []string{"beginning", "end"}))
	}
	if text[0] == '-' {
		return position{"tail", -n}, nil
	}
	return position{"offset", n}, nil
}

// plan finds out where partitions begin and end, and says to the client what to read.
func (c *consumption) plan(ctx context.Context, cmd *cobra.Command) ([]kgo.Opt, error) {
	client, err := c.o.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, c.o.timeout)
	defer cancel()
	q := &call{ctx: ctx, cmd: cmd, remote: &c.o.remote, client: client, admin: kadm.NewClient(client)}
	topics, err := q.topics(c.topics...)
	if err != nil {
		return nil, err
	}
	l, err := c.limits(q)
	if err != nil {
		return nil, err
	}
	from := map[string]map[int32]kgo.Offset{}
	for _, t := range topics.Sorted() {
		for _, p := range c.o.chosen {
			if _, ok := t.Partitions[p]; !ok {
				return nil, fmt.Errorf("topic %q has no partition %d: it has %s", t.Topic, p, plural(len(t.Partitions), "partition"))
			}
		}
		from[t.Topic] = map[int32]kgo.Offset{}
		for _, p := range t.Partitions.Sorted() {
			if c.o.chosen != nil && !slices.Contains(c.o.chosen, p.Partition) {
				continue
			}
			at, end, err := l.begin(c.o.where, p)
			if err != nil {
				return nil, err
			}
			from[t.Topic][p.Partition] = kgo.NewOffset().At(at)
			c.bound(p, at, end)
		}
	}
	if c.o.group != "" {
		return c.join(), nil
	}
	return []kgo.Opt{kgo.ConsumePartitions(from)}, nil
}

// bound notes where a partition ends, if there is anything before that.
func (c *consumption) bound(p kadm.PartitionDetail, at, upTo int64) {
	if c.o.exitAtEnd && (at < upTo || c.o.group != "" && upTo > 0) {
		c.ends[topicPartition{p.Topic, p.Partition}] = end{upTo, p.Leader}
	}
}

// join is what the client is told for a group.
func (c *consumption) join() []kgo.Opt {
	reset := kgo.NewOffset().AtStart()
	if c.o.where.kind == "end" {
		reset = kgo.NewOffset().AtEnd()
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(c.o.group), kgo.ConsumeTopics(c.topics...), kgo.ConsumeResetOffset(reset), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.idle = len(assigned) == 0
		}),
		kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) { _ = c.commit(true) }),
	}
}

// limits are the offsets that partitions begin and end at.
type limits struct{ starts, ends, times kadm.ListedOffsets }

func (c *consumption) limits(q *call) (l limits, err error) {
	if l.starts, err = q.admin.ListStartOffsets(q.ctx, c.topics...); err != nil {
		return l, err
	}
	list := q.admin.ListEndOffsets
	if c.o.isolation == "committed" {
		list = q.admin.ListCommittedOffsets
	}
	if l.ends, err = list(q.ctx, c.topics...); err != nil {
		return l, err
	}
	if c.o.where.kind == "timestamp" {
		l.times, err = q.admin.ListOffsetsAfterMilli(q.ctx, c.o.where.n, c.topics...)
	}
	return l, err
}

// begin is where reading a partition begins, and where it ends now.
func (l limits) begin(where position, p kadm.PartitionDetail) (at, upTo int64, err error) {
	start, end := offsetOf(l.starts, p), offsetOf(l.ends, p)
	if start == nil || end == nil {
		return 0, 0, fmt.Errorf("%s-%d cannot be read now: %s", p.Topic, p.Partition, notListed(l, p))
	}
	switch where.kind {
	case "beginning":
		at = *start
	case "end":
		at = *end
	case "offset":
		at = where.n
	case "tail":
		at = *end - where.n
	case "timestamp":
		at = *end
		if o := offsetOf(l.times, p); o != nil && *o >= 0 {
			at = *o
		}
	}
	return min(max(at, *start), *end), *end, nil
}

func notListed(l limits, p kadm.PartitionDetail) string {
	for _, offsets := range []kadm.ListedOffsets{l.starts, l.ends} {
		if o, ok := offsets.Lookup(p.Topic, p.Partition); ok && o.Err != nil {
			return because(o.Err, "").Error()
		}
	}
	return "its leader does not answer"
}
