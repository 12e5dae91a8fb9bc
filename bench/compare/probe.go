package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// probe is a producer with its client's default settings that sends a record to each partition every few milliseconds, and
// notes when it is told that they are safe. What keeps that from coming is what a user sees of a failure.
type probe struct {
	client     *kgo.Client
	seeds      []string
	topic      string
	partitions int32
	stop       chan struct{}
	stopped    sync.WaitGroup

	mu      sync.Mutex
	last    []time.Time // of each partition: when a record was acknowledged last
	longest []time.Duration
	waits   []time.Duration // from produce to the acknowledgement
	acked   [][]bool        // of each partition: whether the record of each number was acknowledged
	failed  []error
}

const (
	probeEvery = 5 * time.Millisecond
	probeMagic = "probe" // what the values of its records begin with; then the number of the record, 8 bytes
	probeSize  = 100     // bytes of a value
)

func startProbe(f *fleet, topic string, partitions int32) (*probe, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	p := &probe{client: client, seeds: f.addrs(), topic: topic, partitions: partitions, stop: make(chan struct{}),
		last: make([]time.Time, partitions), longest: make([]time.Duration, partitions), acked: make([][]bool, partitions)}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for n := range partitions {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: n, Value: []byte("first")}).FirstErr(); err != nil {
			client.Close()
			return nil, err
		}
	}
	p.reset()
	p.stopped.Go(p.run)
	return p, nil
}

func (p *probe) run() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for number := uint64(0); ; number++ {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		value := make([]byte, probeSize)
		binary.BigEndian.PutUint64(value[copy(value, probeMagic):], number)
		for n := range p.partitions {
			sent := time.Now()
			p.client.Produce(context.Background(), &kgo.Record{Topic: p.topic, Partition: n, Value: value}, func(_ *kgo.Record, err error) { p.acknowledged(n, number, sent, err) })
		}
	}
}

func (p *probe) acknowledged(n int32, number uint64, sent time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = append(p.failed, fmt.Errorf("partition %d: %w", n, err))
		return
	}
	for uint64(len(p.acked[n])) <= number {
		p.acked[n] = append(p.acked[n], false)
	}
	p.acked[n][number] = true
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

// verdict is what became of the records of a probe.
type verdict struct{ acknowledged, lost, twice int }

// readBack reads all that is in the topic, once the probe is closed, and holds it against what was acknowledged.
func (p *probe) readBack() (v verdict, err error) {
	from := map[int32]kgo.Offset{}
	for n := range p.partitions {
		from[n] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.seeds...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.topic: from}))
	if err != nil {
		return v, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, p.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return v, err
	}
	seen := make([]map[uint64]bool, p.partitions)
	for n := range seen {
		seen[n] = map[uint64]bool{}
	}
	for left := int(p.partitions); left > 0; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return v, fmt.Errorf("reading %s back: %w", p.topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, _ := ends.Lookup(p.topic, r.Partition); r.Offset == end.Offset-1 {
				left--
			}
			if len(r.Value) != probeSize || string(r.Value[:len(probeMagic)]) != probeMagic {
				return
			}
			number := binary.BigEndian.Uint64(r.Value[len(probeMagic):])
			if seen[r.Partition][number] {
				v.twice++
			}
			seen[r.Partition][number] = true
		})
	}
	for n, acked := range p.acked {
		for number, ok := range acked {
			if ok {
				v.acknowledged++
				if !seen[n][uint64(number)] {
					v.lost++
				}
			}
		}
	}
	return v, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
