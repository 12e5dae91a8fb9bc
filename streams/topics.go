package streams

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// misfit is a state of the cluster that the topology cannot run with, and that waiting does not mend.
type misfit struct{ error }

func (m misfit) Unwrap() error { return m.error }

// deployAll lays the topology out, and waits as long as its patterns match nothing at all.
func (a *App) deployAll(ctx context.Context) error {
	for {
		layout, err := deploy(ctx, a.admin, a.topology, a.config)
		if err != nil {
			return err
		}
		a.layout.Store(layout)
		if len(layout.sources) > 0 || !a.topology.hasPattern() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.config.MetadataMaxAge):
		}
	}
}

// watchTopics looks now and then whether the source topics are still those that the app knows: topics that match a pattern come and
// go, and topics get more partitions.
func (a *App) watchTopics(ctx context.Context) {
	misfits := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.look:
		case <-time.After(a.config.MetadataMaxAge):
		}
		err := a.lookAtTopics(ctx)
		if !errors.As(err, &misfit{}) {
			misfits = 0 // what else goes wrong is tried again at the next look
			continue
		}
		if misfits++; misfits == 1 {
			a.lookSoon() // a broker that has just started may not know every topic
			continue
		}
		a.mu.Lock()
		a.failed(err)
		a.mu.Unlock()
	}
}

// lookSoon asks for a look at the topics.
func (a *App) lookSoon() {
	select {
	case a.look <- struct{}{}:
	default:
	}
}

// lookAtTopics lays the topology out anew, and joins the group again if that changes what is read.
func (a *App) lookAtTopics(ctx context.Context) error {
	next, err := deploy(ctx, a.admin, a.topology, a.config)
	if err != nil {
		return err
	}
	before := a.layout.Load()
	if next.same(before) {
		return nil
	}
	a.layout.Store(next)
	a.mu.Lock()
	a.forgetTopics()
	a.startUnknown(ctx)
	a.mu.Unlock()
	if gone := without(before.sources, next.sources); len(gone) > 0 {
		a.client.PurgeTopicsFromConsuming(gone...)
	}
	a.client.AddConsumeTopics(without(next.sources, before.sources)...)
	a.client.ForceRebalance()
	return nil
}

// same reports whether the two read the same.
func (d *deployment) same(other *deployment) bool {
	return maps.Equal(d.counts, other.counts) && maps.Equal(d.ids, other.ids) && maps.Equal(d.of, other.of)
}

// without lists what is in all and not in some.
func without(all, some []string) (rest []string) {
	for _, s := range all {
		if !slices.Contains(some, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// forgetTopics takes away the inputs that there are no more. A task without any ends.
func (a *App) forgetTopics() {
	for id, t := range a.tasks {
		for p, q := range t.queues {
			if _, ok := a.layout.Load().taskOf(p); !ok {
				t.buffered -= len(q.waiting)
				a.resume(p)
				delete(t.queues, p)
			}
		}
		if len(t.queues) == 0 {
			a.failed(t.close())
			delete(a.tasks, id)
		}
	}
}

// startUnknown starts the tasks of partitions that the group gave us before we knew them.
func (a *App) startUnknown(ctx context.Context) {
	came := map[string][]int32{}
	for p := range a.unknown {
		if _, ok := a.layout.Load().taskOf(p); ok {
			delete(a.unknown, p)
			came[p.topic] = append(came[p.topic], p.number)
		}
	}
	a.startAll(ctx, came)
}

// extend gives a task inputs that it was assigned while it was at work.
func (a *App) extend(ctx context.Context, t *liveTask, fresh ...partition) {
	var added []partition
	for _, p := range fresh {
		if t.queues[p] == nil {
			t.queues[p] = newQueue()
			added = append(added, p)
		}
	}
	if len(added) == 0 {
		return
	}
	if err := a.position(ctx, t, added); err != nil {
		a.failed(err)
		return
	}
	a.hand(t)
}

// early is the records of an input whose task is being started.
type early struct {
	records []*kgo.Record
	paused  bool
	end     int64 // see queue
}

// keepEarly keeps a record for a task that is being started, and fetches no more of its input when there are many.
func (a *App) keepEarly(p partition, r *kgo.Record) {
	e := a.early[p]
	if e == nil {
		e = &early{}
		a.early[p] = e
	}
	e.records = append(e.records, r)
	if !e.paused && len(e.records) > mostWaiting {
		e.paused = true
		a.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.number}})
	}
}

// hand gives a task the records that came before it was ready.
func (a *App) hand(t *liveTask) {
	for p, q := range t.queues {
		e := a.early[p]
		if e == nil {
			continue
		}
		q.paused, q.end = e.paused, e.end
		for _, r := range e.records {
			t.take(p, r)
		}
		t.pauseOrResume(a, p)
		delete(a.early, p)
	}
}

// resume lets a partition that goes be fetched, by whoever has it next: a client keeps partitions paused that it has lost.
func (a *App) resume(p partition) {
	a.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.number}})
}
