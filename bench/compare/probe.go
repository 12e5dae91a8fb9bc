package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// probe is a producer with its client's default settings that sends a record to each partition every few milliseconds, and
// notes when it is told that they are safe. What keeps that from coming is what a user sees of a failure.
type probe struct {
	client     *kgo.Client
	topic      string
	partitions int32
	stop       chan struct{}
	stopped    sync.WaitGroup

	mu      sync.Mutex
	last    []time.Time // of each partition: when a record was acknowledged last
	longest []time.Duration
	waits   []time.Duration // from produce to the acknowledgement
	failed  []error
}

const probeEvery = 5 * time.Millisecond

func startProbe(f *fleet, topic string, partitions int32) (*probe, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	p := &probe{client: client, topic: topic, partitions: partitions, stop: make(chan struct{}),
		last: make([]time.Time, partitions), longest: make([]time.Duration, partitions)}
	for n := range partitions {
		if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Partition: n, Value: []byte("first")}).FirstErr(); err != nil {
			client.Close()
			return nil, err
		}
	}
	p.reset()
	p.stopped.Go(p.run)
	return p, nil
}

func (p *probe) run() {
	value := make([]byte, 100)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		for n := range p.partitions {
			sent := time.Now()
			p.client.Produce(context.Background(), &kgo.Record{Topic: p.topic, Partition: n, Value: value}, func(_ *kgo.Record, err error) { p.acknowledged(n, sent, err) })
		}
	}
}

func (p *probe) acknowledged(n int32, sent time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = append(p.failed, fmt.Errorf("partition %d: %w", n, err))
		return
	}
	now := time.Now()
	p.waits = append(p.waits, now.Sub(sent))
	p.longest[n] = max(p.longest[n], now.Sub(p.last[n]))
	p.last[n] = now
}

// reset forgets what was noted so far.
func (p *probe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := range p.last {
		p.last[n], p.longest[n] = time.Now(), 0
	}
	p.waits = p.waits[:0]
}

// acknowledgedSince waits until every partition has had an acknowledgement of a record that was sent after a time.
func (p *probe) acknowledgedSince(t time.Time, most time.Duration) error {
	for deadline := time.Now().Add(most); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		// Records of a partition are acknowledged in order, and one is sent every few milliseconds.
		late := slices.ContainsFunc(p.last, func(last time.Time) bool { return last.Before(t) })
		p.mu.Unlock()
		if !late {
			return nil
		}
	}
	return fmt.Errorf("a partition has no acknowledgement within %v", most)
}

// pause is the longest time that any partition went without an acknowledgement since the last reset.
func (p *probe) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := time.Duration(0)
	for n, longest := range p.longest {
		worst = max(worst, longest, time.Since(p.last[n]))
	}
	return worst
}

// percentile of the times from produce to acknowledgement, since the last reset.
func (p *probe) percentile(q float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waits) == 0 {
		return 0
	}
	slices.Sort(p.waits)
	return p.waits[min(int(q*float64(len(p.waits))), len(p.waits)-1)]
}

// close ends the producer, and says how many records failed, and why the first did.
func (p *probe) close() (failures int, first error) {
	close(p.stop)
	p.stopped.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = p.client.Flush(ctx)
	p.client.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) > 0 {
		first = p.failed[0]
	}
	return len(p.failed), first
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
