package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/streams/internal/store"
)

// assigned starts the tasks whose partitions came to us. Their state is read from the changelogs beside the work: the tasks
// that we have go on.
func (a *App) assigned(ctx context.Context, client *kgo.Client, came map[string][]int32) {
	a.use(client)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = time.Time{}
	a.counts.rebalances++
	a.startAll(ctx, came)
}

func (a *App) startAll(ctx context.Context, came map[string][]int32) {
	for topic, numbers := range came {
		for _, n := range numbers {
			p := partition{topic, n}
			id, ok := a.layout.Load().taskOf(p)
			if !ok || n >= a.layout.Load().counts[topic] { // the group's leader knows more of the topics than we do
				a.unknown[p] = true
				a.lookSoon()
				continue
			}
			if t := a.tasks[id]; t != nil {
				a.extend(ctx, t, p)
				continue
			}
			if a.starting[id] != nil {
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
	release, err := a.folder(ctx, id)
	if err != nil {
		return
	}
	t, err := a.newTask(ctx, id)
	if err != nil {
		release()
		a.mu.Lock()
		defer a.mu.Unlock()
		if ctx.Err() == nil {
			a.failed(err)
		}
		return
	}
	t.release = release
	select {
	case a.ready <- t:
	case <-ctx.Done():
		err := t.close()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failed(err)
	}
}

// failed ends the app, unless it is ending already.
func (a *App) failed(err error) {
	if a.failure == nil {
		a.failure = err
	}
}

// folder waits until nobody has the task's state folder: a task that was taken away and comes back may not be closed yet.
func (a *App) folder(ctx context.Context, id TaskID) (release func(), err error) {
	a.mu.Lock()
	free := a.folders[id]
	if free == nil {
		free = make(chan struct{}, 1)
		a.folders[id] = free
	}
	a.mu.Unlock()
	select {
	case free <- struct{}{}:
		return func() { <-free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stateDir is the folder of a task, as Java has it.
func (a *App) stateDir(id TaskID) string {
	if a.config.StateDir == "" {
		return ""
	}
	return filepath.Join(a.config.StateDir, a.config.AppID, id.String())
}

// CleanUp deletes the state folders of this instance, so that its tasks read their whole changelogs when they start (Java's
// KafkaStreams.cleanUp). The app must not be running.
func (a *App) CleanUp() error {
	if a.config.StateDir == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(a.config.StateDir, a.config.AppID))
}

func (a *App) newTask(ctx context.Context, id TaskID) (*liveTask, error) {
	begun := time.Now()
	t, err := a.openTask(id)
	if errors.Is(err, store.ErrOtherFormat) {
		t, err = a.openAnew(id)
	}
	if err != nil {
		return nil, err
	}
	restored, err := a.restore(ctx, t)
	if errors.Is(err, errStale) {
		if err = t.Close(); err != nil {
			return nil, err
		}
		if t, err = a.openAnew(id); err != nil {
			return nil, err
		}
		restored, err = a.restore(ctx, t)
	}
	if err != nil {
		err = fmt.Errorf("streams: task %s: restoring its state: %w", id, err)
	} else if err = a.position(ctx, t, slices.Collect(maps.Keys(t.queues))); err != nil {
		err = fmt.Errorf("streams: task %s: reading its committed offsets: %w", id, err)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.wanted = ctx
	t.restoredRecords, t.restoreTook = int64(restored), time.Since(begun)
	if a.config.OnRestored != nil {
		a.config.OnRestored(id, restored, time.Since(begun))
	}
	return t, nil
}

// openAnew opens a task whose folder is of no use: all of its rows come from the changelogs.
func (a *App) openAnew(id TaskID) (*liveTask, error) {
	if err := os.RemoveAll(a.stateDir(id)); err != nil {
		return nil, err
	}
	return a.openTask(id)
}

func (a *App) openTask(id TaskID) (*liveTask, error) {
	out := &outbox{client: a.client, logged: map[string]*atomic.Int64{}}
	task, err := a.topology.NewTask(TaskConfig{AppID: a.config.AppID, Partition: id.Partition, Now: time.Now(), EmitEvery: a.config.EmitEvery,
		Errors: a.config.Errors, Partitions: a.partitionsOf, StateDir: a.stateDir(id), cache: a.cache},
		out, append([]int{id.Group}, a.topology.globalGroups()...)...)
	if err != nil {
		return nil, err
	}
	for topic := range task.onDisk {
		out.logged[topic] = &atomic.Int64{}
		out.logged[topic].Store(-1)
	}
	t := &liveTask{Task: task, out: out, queues: map[partition]*queue{}}
	for _, p := range a.layout.Load().partitionsOf(id) {
		t.queues[p] = newQueue()
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

// position finds out where inputs of a task were committed, and what time it was there.
func (a *App) position(ctx context.Context, t *liveTask, inputs []partition) error {
	var topics []string
	for _, p := range inputs {
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
	for _, p := range inputs {
		q := t.queues[p]
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
