package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func benchLatency(r *remote) *cobra.Command {
	b := &benchOptions{records: 1}
	rate, duration := 1000, 10*time.Second
	return r.latencyFlags(b, &rate, &duration, r.measure(b, &cobra.Command{
		Use:   "latency",
		Short: "Measure how long records take from a producer to a consumer",
		Long: `Measure how long records take from a producer, through the broker, to a consumer, at a steady rate. Time is taken from
when a record was due, so that a stall counts for all the records that it held up.
` + benchFields,
		Example: `  gregor bench latency
  gregor bench latency --rate 20000 --duration 1m --size 1024`,
	}, func(ctx context.Context, q *call, topic string) (*measured, error) {
		return b.latency(ctx, q, topic, rate, duration)
	}))
}

func (r *remote) latencyFlags(b *benchOptions, rate *int, duration *time.Duration, c *cobra.Command) *cobra.Command {
	c.Flags().IntVar(rate, "rate", *rate, "`records` a second")
	c.Flags().DurationVar(duration, "duration", *duration, "how long")
	return c
}

const latencyStamp = 8 // a record begins with the ns at which it was due

func (b *benchOptions) latency(ctx context.Context, q *call, topic string, rate int, duration time.Duration) (*measured, error) {
	count := int64(float64(rate) * duration.Seconds())
	if rate < 1 || count < 1 {
		return nil, wrongUsage("--rate and --duration come to no record")
	}
	ends, err := q.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	from := map[string]map[int32]kgo.Offset{topic: {}}
	for p, end := range ends[topic] { // any order
		from[topic][p] = kgo.NewOffset().At(end.Offset)
	}
	consumer, err := q.remote.connect(ctx, kgo.ConsumePartitions(from), kgo.FetchMinBytes(1))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	producer, err := q.remote.connect(ctx, append(b.clientOptions(topic), kgo.ProducerLinger(0))...)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p := newProgress(q.cmd.ErrOrStderr())
	p.start()
	defer p.end()
	begin := time.Now().Add(100 * time.Millisecond) // the consumer is to wait by then
	go b.steady(ctx, producer, begin, rate, count, fail)
	latencies, m, err := b.receive(ctx, q, consumer, p, begin, count)
	if err != nil {
		return nil, err
	}
	m.finish(time.Since(begin), latencies)
	return m, nil
}

// steady produces records when they are due.
func (b *benchOptions) steady(ctx context.Context, producer *kgo.Client, begin time.Time, rate int, count int64, fail func(error)) {
	values := b.values()
	for i := range count {
		due := begin.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
		value := make([]byte, max(b.size, latencyStamp))
		copy(value, values[i%int64(len(values))])
		binary.BigEndian.PutUint64(value, uint64(due.Sub(begin)))
		producer.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				fail(err)
			}
		})
	}
}

func (b *benchOptions) receive(ctx context.Context, q *call, consumer *kgo.Client, p *progress, begin time.Time, count int64) ([]time.Duration, *measured, error) {
	latencies, m := make([]time.Duration, 0, count), &measured{}
	for m.Records < count {
		poll, cancel := context.WithTimeout(ctx, q.remote.timeout)
		fetches := consumer.PollFetches(poll)
		late := poll.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return nil, nil, stopped(ctx)
		}
		if err := failureOf(fetches); err != nil {
			return nil, nil, err
		}
		if late && fetches.Empty() {
			return nil, nil, fmt.Errorf("nothing came for %v, after %s of %s", q.remote.timeout, countText(m.Records), plural(count, "record"))
		}
		now := time.Since(begin)
		var err error
		fetches.EachRecord(func(r *kgo.Record) {
			if len(r.Value) < latencyStamp {
				err = errors.New("the topic has another producer: its records cannot be told from those of the measurement")
				return
			}
			latencies = append(latencies, now-time.Duration(binary.BigEndian.Uint64(r.Value)))
			m.Records++
			m.Bytes += int64(len(r.Value))
			p.add(1, int64(len(r.Value)))
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return latencies, m, nil
}
