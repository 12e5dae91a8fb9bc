package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// assigned starts the tasks whose partitions came to us. Their state is read from the changelogs beside the work: the tasks
// that we have go on.
func (a *App) assigned(ctx context.Context, _ *kgo.Client, came map[string][]int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for topic, numbers := range came {
		for _, n := range numbers {
			id, ok := a.layout.taskOf(partition{topic, n})
			if !ok || a.tasks[id] != nil || a.starting[id] != nil {
				continue
			}
			starting, cancel := context.WithCancel(ctx)
			a.starting[id] = cancel
			go a.start(starting, id)
		}
	}
}

// start makes a task and gives it its state.
func (a *App) start(ctx context.Context, id TaskID) {
	t, err := a.newTask(ctx, id)
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if ctx.Err() == nil && a.failure == nil {
			a.failure = err
		}
		return
	}
	select {
	case a.ready <- t:
	case <-ctx.Done():
	}
}

func (a *App) newTask(ctx context.Context, id TaskID) (*liveTask, error) {
	begun := time.Now()
	out := &outbox{client: a.client}
	task, err := a.topology.NewTask(TaskConfig{AppID: a.config.AppID, Partition: id.Partition, Now: time.Now(), EmitEvery: a.config.EmitEvery,
		Errors: a.config.Errors, Partitions: a.partitionsOf}, out, append([]int{id.Group}, a.topology.globalGroups()...)...)
	if err != nil {
		return nil, err
	}
	t := &liveTask{Task: task, wanted: ctx, out: out, queues: map[partition]*queue{}}
	for _, p := range a.layout.partitionsOf(id) {
		t.queues[p] = &queue{next: -1, committed: -1}
	}
	restored, err := a.restore(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("streams: task %s: restoring its state: %w", id, err)
	}
	if err := a.position(ctx, t); err != nil {
		return nil, fmt.Errorf("streams: task %s: reading its committed offsets: %w", id, err)
	}
	if a.config.OnRestored != nil {
		a.config.OnRestored(id, restored, time.Since(begun))
	}
	return t, nil
}

// partitionsOf is how many partitions a topic has, for sinks that choose one.
func (a *App) partitionsOf(topic string) int {
	details, err := a.admin.ListTopics(context.Background(), topic)
	must(err)
	must(details.Error())
	return len(details[topic].Partitions)
}

// restore reads the changelogs of a task from their beginnings to their ends.
func (a *App) restore(ctx context.Context, t *liveTask) (records int, err error) {
	left := map[string]int64{} // changelogs that are not read yet, and their ends
	from := map[string]map[int32]kgo.Offset{}
	topics := t.Changelogs()
	if len(topics) == 0 {
		return 0, nil
	}
	ends, err := a.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return 0, err
	}
	starts, err := a.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return 0, err
	}
	for _, topic := range topics {
		end, ok := ends.Lookup(topic, t.id.Partition)
		if !ok || end.Err != nil {
			return 0, fmt.Errorf("no end of %s-%d: %w", topic, t.id.Partition, end.Err)
		}
		if start, ok := starts.Lookup(topic, t.id.Partition); ok && start.Offset < end.Offset {
			left[topic] = end.Offset
			from[topic] = map[int32]kgo.Offset{t.id.Partition: kgo.NewOffset().At(start.Offset)}
		}
	}
	if len(left) == 0 {
		return 0, nil
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(a.config.Brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords()}, a.config.Client...)...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return records, ctx.Err()
		}
		if err := fatal(fetches); err != nil {
			return records, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() && r.Offset < left[r.Topic] && err == nil {
				err = t.Restore(message(r))
				records++
			}
			if r.Offset+1 >= left[r.Topic] {
				delete(left, r.Topic)
			}
		})
		if err != nil {
			return records, err
		}
	}
	return records, nil
}

// position finds out where the task's inputs were committed, and what time it was there.
func (a *App) position(ctx context.Context, t *liveTask) error {
	var topics []string
	for p := range t.queues {
		topics = append(topics, p.topic)
	}
	committed, err := a.admin.FetchOffsetsForTopics(ctx, a.config.AppID, topics...)
	if err != nil {
		return err
	}
	starts, err := a.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	for p, q := range t.queues {
		o, ok := committed.Lookup(p.topic, p.number)
		if !ok || o.At < 0 {
			start, _ := starts.Lookup(p.topic, p.number)
			q.fetched = max(0, start.Offset)
			continue
		}
		q.committed = o.At
		t.Resume(p.topic, o.Metadata)
	}
	return nil
}

// globalGroups are the sub-topologies of global tables; every task has them.
func (t *Topology) globalGroups() (groups []int) {
	for i, g := range t.groups {
		if g.global {
			groups = append(groups, i)
		}
	}
	return groups
}
