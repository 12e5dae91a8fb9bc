package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

type topicPartition struct {
	topic     string
	partition int32
}

// end is where a partition ended when the command began, and who led it.
type end struct {
	offset int64
	leader int32
}

// consumption is a running consume command.
type consumption struct {
	o        *consumeOptions
	out      *bufio.Writer
	client   *kgo.Client
	topics   []string
	progress *progress
	written  int64
	line     []byte

	ends    map[topicPartition]end // with -e: the partitions that are not read to their ends yet
	fetches *fetchCounter
	idle    bool // as a member of a group that has no partition for it

	mu        sync.Mutex // guards what a rebalance needs, too
	pending   map[topicPartition]*kgo.Record
	committed time.Time
}

// run reads until what was asked for is there.
func (c *consumption) run(ctx context.Context, cmd *cobra.Command) error {
	options, err := c.plan(ctx, cmd)
	if err != nil {
		return err
	}
	if c.o.exitAtEnd && len(c.ends) == 0 {
		return nil
	}
	patience, wait := time.Duration(0), 500*time.Millisecond
	if c.o.exitAtEnd {
		patience, wait = c.o.timeout, 100*time.Millisecond
	}
	c.fetches = newFetchCounter()
	options = append(options, kgo.WithHooks(newWatcher(cmd.ErrOrStderr(), patience), c.fetches), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(wait), kgo.FetchMaxPartitionBytes(4<<20))
	if c.o.isolation == "committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if c.client, err = c.o.connect(ctx, options...); err != nil {
		return err
	}
	defer c.client.CloseAllowingRebalance()
	c.progress.start()
	defer c.progress.end()
	err = c.read(ctx, wait)
	if flushed := c.out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write: %w", flushed)
	}
	if committed := c.commit(err == nil || ctx.Err() != nil); err == nil {
		err = committed
	}
	if err == nil && ctx.Err() == nil {
		c.progress.summary("consumed")
	}
	return err
}

// read polls and writes until the end that was asked for, or that of the context.
func (c *consumption) read(ctx context.Context, wait time.Duration) error {
	progressed := time.Now()
	for {
		poll, cancel := context.WithTimeout(ctx, 2*wait)
		fetches := c.client.PollFetches(poll)
		cancel()
		if err := failureOf(fetches); err != nil || ctx.Err() != nil {
			return err
		}
		finished, err := c.write(fetches)
		if err != nil {
			return err
		}
		if finished || c.o.exitAtEnd && c.atEnd(fetches) {
			return nil
		}
		if err := c.out.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if err := c.commit(false); err != nil {
			return err
		}
		c.client.AllowRebalance()
		if !fetches.Empty() {
			progressed = time.Now()
		}
		if c.o.exitAtEnd && time.Since(progressed) > c.o.timeout {
			return fmt.Errorf("nothing came for %v, and %s had more to read; %s were read", c.o.timeout, plural(len(c.ends), "partition"), plural(c.written, "record"))
		}
	}
}

// failureOf is an error that reading does not get over. The client tries again what can be tried again.
func failureOf(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			continue
		}
		if e.Topic == "" {
			return e.Err
		}
		return fmt.Errorf("%s-%d: %w", e.Topic, e.Partition, because(e.Err, ""))
	}
	return nil
}

// write writes what a poll has brought, and reports whether that is all that was asked for.
func (c *consumption) write(fetches kgo.Fetches) (finished bool, err error) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if finished || err != nil || len(p.Records) == 0 {
			return
		}
		tp := topicPartition{p.Topic, p.Partition}
		upTo := int64(1<<63 - 1)
		if c.o.exitAtEnd {
			upTo = c.ends[tp].offset // 0 for what is finished
		}
		var last *kgo.Record
		last, finished, err = c.writeRecords(p.Records, upTo)
		if c.o.exitAtEnd && p.Records[len(p.Records)-1].Offset >= upTo-1 {
			delete(c.ends, tp)
			c.client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
		}
		if c.o.group != "" && last != nil {
			c.mu.Lock()
			c.pending[tp] = last
			c.mu.Unlock()
		}
	})
	return finished, err
}

// writeRecords writes a partition's records below an offset, and returns the last one that it is done with.
func (c *consumption) writeRecords(records []*kgo.Record, upTo int64) (last *kgo.Record, finished bool, err error) {
	size, before := 0, c.written
	defer func() { c.progress.add(c.written-before, int64(size)) }()
	for _, r := range records {
		if r.Offset >= upTo {
			break
		}
		if last = r; r.Attrs.IsControl() {
			continue
		}
		c.line = c.o.print(c.line[:0], r)
		if _, err := c.out.Write(c.line); err != nil {
			return nil, false, fmt.Errorf("write: %w", err)
		}
		c.written++
		size += len(r.Key) + len(r.Value)
		if c.o.count > 0 && c.written == c.o.count {
			return last, true, nil
		}
	}
	return last, false, nil
}

// commit commits, for a group, what was written: now and then, or now.
func (c *consumption) commit(now bool) error {
	c.mu.Lock()
	if len(c.pending) == 0 || !now && time.Since(c.committed) < time.Second {
		c.mu.Unlock()
		return nil
	}
	var records []*kgo.Record
	for _, r := range c.pending { // any order
		records = append(records, r)
	}
	clear(c.pending)
	c.committed = time.Now()
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), min(c.o.timeout, 10*time.Second))
	defer cancel()
	if err := c.client.CommitRecords(ctx, records...); err != nil {
		return fmt.Errorf("commit offsets of group %q: %w", c.o.group, because(err, ""))
	}
	return nil
}

// atEnd reports whether every partition was read to its end. Where compaction has taken the last records, or another member
// of the group has read them, no record says so: it is seen from answers to fetches that brought nothing.
func (c *consumption) atEnd(fetches kgo.Fetches) bool {
	if len(c.ends) == 0 {
		return true
	}
	if !fetches.Empty() {
		c.fetches.restart()
		return false
	}
	if c.o.group != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.idle || c.fetches.quietEverywhere()
	}
	for _, e := range c.ends { // any order
		if !c.fetches.quietAt(e.leader) {
			return false
		}
	}
	return true
}

// fetchCounter counts the answers to fetches that brought nothing at all, by broker.
type fetchCounter struct {
	mu    sync.Mutex
	quiet map[int32]int
}

func newFetchCounter() *fetchCounter { return &fetchCounter{quiet: map[int32]int{}} }

const (
	fetchKey = 1
	// quietBytes is the most that an answer of a fetch session has that says nothing of any partition, neither records
	// nor an error (KIP-227).
	quietBytes = 40
	// quietAnswers in a row mean that there is nothing to fetch.
	quietAnswers = 3
)

// OnBrokerRead is called by the client for everything that it has read.
func (f *fetchCounter) OnBrokerRead(broker kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, err error) {
	if key != fetchKey {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || bytes > quietBytes {
		f.quiet[broker.NodeID] = 0
	} else {
		f.quiet[broker.NodeID]++
	}
}

func (f *fetchCounter) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.quiet { // any order
		f.quiet[id] = 0
	}
}

func (f *fetchCounter) quietAt(broker int32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.quiet[broker] >= quietAnswers
}

// quietEverywhere is about the brokers that are fetched from.
func (f *fetchCounter) quietEverywhere() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.quiet { // any order
		if n < quietAnswers {
			return false
		}
	}
	return len(f.quiet) > 0
}
