package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic     = "chaos"
	groupName = "chaos-group"
	// inFlight bounds what a producer has not been answered for, in each partition: one that is stuck does not hold up the others.
	inFlight = 64
	// franzProducers is how many producers are franz-go's: see produce.
	franzProducers = 3
)

// workload is the clients of one run.
type workload struct {
	history    *history
	partitions int32
	seeds      []string
	dial       dialer
	errors     errorCounts
	foreign    []*foreign

	producing, consuming sync.WaitGroup
	read                 atomic.Int64 // records, by all consumers
}

// errorCounts counts the errors that clients report to their users. They break no promise, but are worth a look.
type errorCounts struct {
	now    func() time.Duration // of the run
	mu     sync.Mutex
	counts map[string]errorCount
}

// errorCount is how often there was an error, and when first and last.
type errorCount struct {
	n           int
	first, last time.Duration
}

func (e *errorCounts) add(who string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.counts == nil {
		e.counts = map[string]errorCount{}
	}
	text, now := who+": "+err.Error(), e.now()
	c, known := e.counts[text]
	if !known && len(e.counts) >= 1000 {
		return
	}
	if !known {
		c.first = now
	}
	c.n, c.last = c.n+1, now
	e.counts[text] = c
}

// client connects as the clients of the run do, with less patience than the defaults: faults last seconds.
func (w *workload) client(id string, options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.ClientID(id), kgo.SeedBrokers(w.seeds...), kgo.Dialer(w.dial), kgo.DialTimeout(3 * time.Second),
		kgo.RequestTimeoutOverhead(5 * time.Second), kgo.MetadataMinAge(250 * time.Millisecond), kgo.DisableClientMetrics(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	}, options...)...)
}

// producer is one of three kinds: one that never gives up, one that does after a while and goes on with a new epoch, and one as whoever
// sets nothing has it.
func (w *workload) producer(id int32) (*kgo.Client, error) {
	name := fmt.Sprint("producer-", id)
	options := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(2 * time.Millisecond)}
	switch id % 3 {
	case 0:
		// A node that is killed can look like one that wants TLS.
		options = append(options, kgo.AlwaysRetryEOF(), kgo.ProduceRequestTimeout(5*time.Second))
	case 1:
		options = append(options, kgo.RecordDeliveryTimeout(8*time.Second), kgo.ProduceRequestTimeout(5*time.Second))
	case 2:
		return kgo.NewClient(append(options, kgo.ClientID(name), kgo.SeedBrokers(w.seeds...), kgo.Dialer(w.dial))...)
	}
	return w.client(name, options...)
}

// produce sends perSecond records, to all partitions in turn, until ctx ends; then it waits until it was answered, or settled ends.
func (w *workload) produce(ctx, settled context.Context, id int32, perSecond float64) error {
	client, err := w.producer(id)
	if err != nil {
		return err
	}
	w.producing.Add(1)
	go func() {
		defer w.producing.Done()
		defer client.Close()
		waiting := make([]atomic.Int32, w.partitions)
		next := make([]int64, w.partitions)
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
		defer tick.Stop()
		for partition := int32(0); ctx.Err() == nil; partition = (partition + 1) % w.partitions {
			select {
			case <-ctx.Done():
			case <-tick.C:
				if waiting[partition].Load() < inFlight {
					waiting[partition].Add(1)
					w.send(client, value{id, partition, next[partition]}, &waiting[partition])
					next[partition]++
				}
			}
		}
		_ = client.Flush(settled)
	}()
	return nil
}

func (w *workload) send(client *kgo.Client, v value, waiting *atomic.Int32) {
	one := &send{Value: v, Outcome: pending, Offset: -1, Began: w.history.now()}
	w.history.do(func() { w.history.Sends = append(w.history.Sends, one) })
	record := &kgo.Record{Topic: topic, Partition: v.Partition, Value: v.bytes()}
	client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
		waiting.Add(-1)
		w.history.do(func() {
			one.Ended = w.history.now()
			if err != nil {
				one.Outcome, one.Error = unknown, err.Error()
				return
			}
			one.Outcome, one.Offset = acked, record.Offset
		})
		if err != nil && !errors.Is(err, kgo.ErrClientClosed) {
			w.errors.add(fmt.Sprint("producer-", v.Producer), err)
		}
	})
}

// consume reads all partitions from their start until ctx ends.
func (w *workload) consume(ctx context.Context, name string) error {
	starts := map[int32]kgo.Offset{}
	for partition := range w.partitions {
		starts[partition] = kgo.NewOffset().AtStart()
	}
	client, err := w.client(name, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return err
	}
	into := &consumer{Name: name}
	w.history.do(func() { w.history.Consumers = append(w.history.Consumers, into) })
	w.consuming.Add(1)
	go func() {
		defer w.consuming.Done()
		defer client.Close()
		for ctx.Err() == nil {
			w.record(into, client.PollRecords(ctx, 1000), nil)
		}
	}()
	return nil
}

// record notes what was polled, and returns the last record of every partition. fresh holds when partitions that were not read since
// were assigned.
func (w *workload) record(into *consumer, fetches kgo.Fetches, fresh map[int32]time.Duration) []*kgo.Record {
	fetches.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, kgo.ErrClientClosed) {
			w.errors.add("consumer", err)
		}
	})
	var last []*kgo.Record
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			last = append(last, p.Records[len(p.Records)-1])
		}
	})
	w.history.do(func() {
		at := w.history.now()
		fetches.EachRecord(func(record *kgo.Record) {
			v, err := parseValue(record.Value)
			if err != nil {
				w.history.Strange = append(w.history.Strange, fmt.Sprintf("%s, offset %d of partition %d: %v", into.Name, record.Offset, record.Partition, err))
				return
			}
			w.history.readBy(into, read{Partition: record.Partition, Offset: record.Offset, Value: v, At: at}, fresh)
		})
	})
	w.read.Add(int64(fetches.NumRecords()))
	return last
}

// join lives as members of the group, one after another, until ctx ends: every one leaves after some time, and the group rebalances.
func (w *workload) join(ctx context.Context, slot int, chance *rand.Rand) {
	w.consuming.Add(1)
	go func() {
		defer w.consuming.Done()
		for life := 0; ctx.Err() == nil; life++ {
			living, cancel := context.WithTimeout(ctx, time.Duration(20+chance.IntN(40))*time.Second)
			if err := w.member(living, fmt.Sprintf("member-%d.%d", slot, life)); err != nil {
				w.errors.add("member", err)
			}
			cancel()
		}
	}()
}

func (w *workload) member(ctx context.Context, name string) error {
	fresh := map[int32]time.Duration{} // under the history's lock
	into := &consumer{Name: name, Group: groupName}
	ended := func(lost bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			w.history.do(func() {
				for _, partition := range gone[topic] {
					w.history.gone(name, partition, w.history.now(), lost)
				}
			})
		}
	}
	client, err := w.client(name, kgo.ConsumerGroup(groupName), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(15*time.Second),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			w.history.do(func() {
				for _, partition := range assigned[topic] {
					fresh[partition] = w.history.now()
					w.history.assigned(groupName, name, partition, fresh[partition])
				}
			})
		}),
		kgo.OnPartitionsRevoked(ended(false)), kgo.OnPartitionsLost(ended(true)))
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	w.history.do(func() { w.history.Consumers = append(w.history.Consumers, into) })
	for ctx.Err() == nil {
		polling, cancel := context.WithTimeout(ctx, time.Second)
		last := w.record(into, client.PollRecords(polling, 1000), fresh)
		cancel()
		if len(last) > 0 {
			w.commit(client, name, last)
		}
		client.AllowRebalance()
	}
	return nil
}

func (w *workload) commit(client *kgo.Client, member string, last []*kgo.Record) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var commits []*commit
	w.history.do(func() {
		for _, record := range last {
			commits = append(commits, &commit{Group: groupName, Member: member, Partition: record.Partition, Offset: record.Offset + 1, Began: w.history.now()})
		}
		w.history.Commits = append(w.history.Commits, commits...)
	})
	err := client.CommitRecords(ctx, last...)
	w.history.do(func() {
		for _, one := range commits {
			one.Acked, one.Ended = err == nil, w.history.now()
		}
	})
	if err != nil {
		w.errors.add("commit", err)
	}
}

// caughtUp waits until every consumer, and the group, has read the last record of every partition of the log.
func (w *workload) caughtUp(ctx context.Context) error {
	for {
		var behind string
		w.history.do(func() { behind = w.behind() })
		if behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New(behind)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (w *workload) behind() string {
	furthest := map[string]map[int32]int64{}
	for _, c := range w.history.Consumers {
		name := cmp.Or(c.Group, c.Name)
		if furthest[name] == nil {
			furthest[name] = map[int32]int64{}
		}
		for _, r := range c.Reads {
			furthest[name][r.Partition] = max(furthest[name][r.Partition], r.Offset)
		}
	}
	for _, name := range sortedKeys(furthest) {
		for partition, log := range w.history.Log {
			if len(log) > 0 && furthest[name][partition] < log[len(log)-1].Offset {
				return fmt.Sprintf("%s has read partition %d to offset %d of %d", name, partition, furthest[name][partition], log[len(log)-1].Offset)
			}
		}
	}
	return ""
}

// readCommitted reads what every group has committed into the history.
func (w *workload) readCommitted(ctx context.Context, admin *kadm.Client) error {
	for _, c := range w.history.Consumers {
		if c.Group == "" || w.history.Committed[c.Group] != nil {
			continue
		}
		committed, err := admin.FetchOffsets(ctx, c.Group)
		if err == nil {
			err = committed.Error()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Group, err)
		}
		offsets := map[int32]int64{}
		committed.Each(func(o kadm.OffsetResponse) {
			if o.Topic == topic {
				offsets[o.Partition] = o.At
			}
		})
		w.history.Committed[c.Group] = offsets
	}
	return nil
}

// readLog reads every partition from its start to its end into the history.
func (w *workload) readLog(ctx context.Context) error {
	starts := map[int32]kgo.Offset{}
	for partition := range w.partitions {
		starts[partition] = kgo.NewOffset().AtStart()
	}
	client, err := w.client("reader", kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("list the end offsets: %w", err)
	}
	left := 0
	next := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		w.history.Log[o.Partition] = nil
		if o.Offset > 0 {
			left++
		}
	})
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("read the log to its end: %w; it was read to %v", ctx.Err(), next)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			v, err := parseValue(record.Value)
			if err != nil {
				w.history.Strange = append(w.history.Strange, fmt.Sprintf("the log, offset %d of partition %d: %v", record.Offset, record.Partition, err))
			}
			w.history.Log[record.Partition] = append(w.history.Log[record.Partition], entry{record.Offset, v})
			next[record.Partition] = record.Offset + 1
			if end, _ := ends.Lookup(topic, record.Partition); record.Offset == end.Offset-1 {
				left--
			}
		})
	}
	return nil
}
