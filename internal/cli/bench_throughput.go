package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func benchProduce(r *remote) *cobra.Command {
	b := &benchOptions{}
	c := r.measure(b, &cobra.Command{
		Use:   "produce",
		Short: "Measure producing: records/s, MB/s, and how long acknowledgements take",
		Long: `Measure producing with one client, as fast as it can. Latency is from giving a record to the client to its
acknowledgement; at full speed that is mostly waiting in line, and bench latency says more.
` + benchFields,
		Example: `  gregor bench produce
  gregor bench produce --size 1024 --records 1000000 -z lz4
  gregor bench produce --acks 1 --topic orders`,
	}, func(ctx context.Context, q *call, topic string) (*measured, error) { return b.produce(ctx, q, topic) })
	c.Flags().Int64Var(&b.records, "records", 1_000_000, "how many `records`")
	return c
}

func (b *benchOptions) produce(ctx context.Context, q *call, topic string) (*measured, error) {
	client, err := q.remote.connect(ctx, append(b.clientOptions(topic), kgo.RecordDeliveryTimeout(max(q.remote.timeout, time.Second)))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p := newProgress(q.cmd.ErrOrStderr())
	values, m := b.values(), &measured{}
	var mu sync.Mutex
	latencies := make([]time.Duration, 0, b.records)
	p.start()
	defer p.end()
	for i := range b.records {
		if ctx.Err() != nil {
			break
		}
		given := time.Now()
		client.Produce(ctx, &kgo.Record{Value: values[i%int64(len(values))]}, func(r *kgo.Record, err error) {
			if err != nil {
				fail(err)
				return
			}
			took := time.Since(given)
			mu.Lock()
			latencies = append(latencies, took)
			mu.Unlock()
			p.add(1, int64(len(r.Value)))
		})
	}
	if err := client.Flush(ctx); err != nil || ctx.Err() != nil {
		return nil, stopped(ctx)
	}
	took := time.Since(p.began)
	mu.Lock()
	defer mu.Unlock()
	m.Records, m.Bytes = p.records.Load(), p.bytes.Load()
	m.finish(took, latencies)
	return m, nil
}

// stopped is why a measurement did not come to its end.
func stopped(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return because(cause, "")
	}
	return errors.New("interrupted")
}

func benchConsume(r *remote) *cobra.Command {
	b := &benchOptions{}
	c := r.measure(b, &cobra.Command{
		Use:   "consume",
		Short: "Measure consuming: records/s and MB/s",
		Long: `Measure consuming with one client, from the beginning of a topic. A topic that is made for it is filled first, which
is not measured.
` + benchFields,
		Example: `  gregor bench consume
  gregor bench consume --topic orders --records 1000000`,
	}, func(ctx context.Context, q *call, topic string) (*measured, error) {
		if b.topic == "" {
			if _, err := b.produce(ctx, q, topic); err != nil {
				return nil, fmt.Errorf("fill the topic: %w", err)
			}
		}
		return b.consume(ctx, q, topic)
	})
	c.Flags().Int64Var(&b.records, "records", 1_000_000, "how many `records`; of --topic, as many as there are if that is less")
	return c
}

func (b *benchOptions) consume(ctx context.Context, q *call, topic string) (*measured, error) {
	there, err := recordsIn(q, topic)
	if err != nil {
		return nil, err
	}
	wanted := min(b.records, there)
	if wanted == 0 {
		return nil, fmt.Errorf("topic %q has no records to consume", topic)
	}
	client, err := q.remote.connect(ctx, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	p := newProgress(q.cmd.ErrOrStderr())
	p.start()
	defer p.end()
	m := &measured{}
	for m.Records < wanted {
		poll, cancel := context.WithTimeout(ctx, q.remote.timeout)
		fetches := client.PollFetches(poll)
		late := poll.Err() != nil && ctx.Err() == nil
		cancel()
		if err := failureOf(fetches); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		if late && fetches.Empty() {
			return nil, fmt.Errorf("nothing came for %v, after %s of %s", q.remote.timeout, countText(m.Records), plural(wanted, "record"))
		}
		records, bytes := m.Records, m.Bytes
		fetches.EachRecord(func(r *kgo.Record) {
			m.Records++
			m.Bytes += int64(len(r.Key) + len(r.Value))
		})
		p.add(m.Records-records, m.Bytes-bytes)
	}
	m.finish(time.Since(p.began), nil)
	return m, nil
}

// recordsIn is how many offsets a topic has between its starts and ends.
func recordsIn(q *call, topic string) (n int64, err error) {
	starts, err := q.admin.ListStartOffsets(q.ctx, topic)
	if err != nil {
		return 0, err
	}
	ends, err := q.admin.ListEndOffsets(q.ctx, topic)
	if err != nil {
		return 0, err
	}
	for p, end := range ends[topic] { // any order
		if start, ok := starts.Lookup(topic, p); ok && end.Err == nil && start.Err == nil {
			n += end.Offset - start.Offset
		}
	}
	return n, nil
}
