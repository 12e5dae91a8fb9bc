package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// checker reads the results all the time.
type checker struct {
	mu      sync.Mutex
	sent    []time.Time // by number
	seen    map[string]map[int]int
	sets    map[string][]byte
	delays  []time.Duration // from when an input was sent to its first copy
	failure error
}

func newChecker() *checker {
	return &checker{seen: map[string]map[int]int{copies.Name(): {}, joined.Name(): {}}, sets: map[string][]byte{}}
}

// send notes that an input was sent, and returns its number.
func (c *checker) send() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, time.Now())
	return len(c.sent) - 1
}

func (c *checker) read(ctx context.Context, broker string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(copies.Name(), joined.Name(), sets.Name()))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading results: %w", err)
		}
		c.mu.Lock()
		fetches.EachRecord(c.take)
		c.mu.Unlock()
	}
}

func (c *checker) take(r *kgo.Record) {
	if r.Topic == sets.Name() {
		c.sets[string(r.Key)] = r.Value
		return
	}
	n, name, _ := strings.Cut(string(r.Value), " ")
	if r.Topic == joined.Name() && name != nameOf(string(r.Key)) {
		c.failure = fmt.Errorf("%s was joined with %q", n, name)
	}
	i := atoi(n)
	if c.seen[r.Topic][i]++; r.Topic == copies.Name() && c.seen[r.Topic][i] == 1 {
		c.delays = append(c.delays, time.Since(c.sent[i]))
	}
}

// missing counts the inputs that are not in each of the results, and names one.
func (c *checker) missing() (count int, example string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.sent {
		for topic, seen := range c.seen {
			if seen[i] == 0 {
				count++
				example = fmt.Sprintf("%d is not in %s", i, topic)
			}
		}
		if set := c.sets[fmt.Sprint(i%groups)]; !has(set, i/groups) {
			count++
			example = fmt.Sprintf("%d is not in its set", i)
		}
	}
	return count, example, c.failure
}

// summary says how often inputs were processed again, and how long the longest waited.
func (c *checker) summary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := 0
	for _, times := range c.seen[copies.Name()] {
		again += times - 1
	}
	slices.Sort(c.delays)
	at := func(q float64) time.Duration {
		return c.delays[int(float64(len(c.delays)-1)*q)].Round(10 * time.Millisecond)
	}
	return fmt.Sprintf("%d inputs, each reflected in all results; %d were processed again. From input to result: median %v, 99%% within %v, longest %v",
		len(c.sent), again, at(0.5), at(0.99), at(1))
}
