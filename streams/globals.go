package streams

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// globals is the records of all global tables, for every task to take them in order. Of each key only the latest is kept for
// long.
type globals struct {
	client *kgo.Client
	done   chan struct{}

	mu     sync.Mutex
	log    []numbered
	keys   map[string]int64 // topic and key to the number of the latest record
	number int64
	err    error
}

type numbered struct {
	number int64
	m      Message
}

// startGlobals reads the topics of global tables to their present ends, and goes on reading them until it is closed.
func (a *App) startGlobals(ctx context.Context) (*globals, error) {
	g := &globals{keys: map[string]int64{}, done: make(chan struct{})}
	if len(a.layout.Load().globals) == 0 {
		close(g.done)
		return g, nil
	}
	ends, err := a.admin.ListEndOffsets(ctx, a.layout.Load().globals...)
	if err != nil {
		return nil, fmt.Errorf("streams: global tables: %w", err)
	}
	starts, err := a.admin.ListStartOffsets(ctx, a.layout.Load().globals...)
	if err != nil {
		return nil, fmt.Errorf("streams: global tables: %w", err)
	}
	from, left := map[string]map[int32]kgo.Offset{}, map[partition]int64{}
	for _, topic := range a.layout.Load().globals {
		from[topic] = map[int32]kgo.Offset{}
		for p := range a.layout.Load().counts[topic] {
			from[topic][p] = kgo.NewOffset().AtStart()
			start, _ := starts.Lookup(topic, p)
			if end, ok := ends.Lookup(topic, p); ok && end.Offset > start.Offset {
				left[partition{topic, p}] = end.Offset
			}
		}
	}
	if g.client, err = kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(a.config.Brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords()}, a.config.Client...)...); err != nil {
		return nil, err
	}
	for len(left) > 0 {
		if err := g.poll(ctx, left); err != nil {
			g.client.Close()
			return nil, err
		}
	}
	go g.follow(ctx)
	return g, nil
}

func (g *globals) follow(ctx context.Context) {
	defer close(g.done)
	for ctx.Err() == nil {
		if err := g.poll(ctx, nil); err != nil && ctx.Err() == nil {
			g.mu.Lock()
			g.err = err
			g.mu.Unlock()
			return
		}
	}
}

func (g *globals) poll(ctx context.Context, left map[partition]int64) error {
	fetches := g.client.PollFetches(ctx)
	if fetches.IsClientClosed() || ctx.Err() != nil {
		return context.Canceled
	}
	if err := fatal(fetches); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		if !r.Attrs.IsControl() {
			g.number++
			g.log = append(g.log, numbered{g.number, message(r)})
			g.keys[r.Topic+"\x00"+string(r.Key)] = g.number
		}
		if end, ok := left[partition{r.Topic, r.Partition}]; ok && r.Offset+1 >= end {
			delete(left, partition{r.Topic, r.Partition})
		}
	})
	g.compact()
	return nil
}

// compact drops what was overwritten, once that is more than half.
func (g *globals) compact() {
	if len(g.log) < 2*len(g.keys)+1024 {
		return
	}
	kept := make([]numbered, 0, len(g.keys))
	for _, n := range g.log {
		if g.keys[n.m.Topic+"\x00"+string(n.m.Key)] == n.number {
			kept = append(kept, n)
		}
	}
	g.log = kept
}

// feed gives a task what it has not seen.
func (g *globals) feed(t *liveTask) error {
	g.mu.Lock()
	if g.err != nil {
		defer g.mu.Unlock()
		return g.err
	}
	var fresh []Message
	for i := len(g.log) - 1; i >= 0 && g.log[i].number > t.seen; i-- {
		fresh = append(fresh, g.log[i].m)
	}
	t.seen = g.number
	g.mu.Unlock()
	for i := len(fresh) - 1; i >= 0; i-- {
		if err := t.Process(fresh[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *globals) close() {
	if g.client != nil {
		g.client.Close()
	}
	<-g.done
}
