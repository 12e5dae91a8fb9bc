package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func benchCommand() *cobra.Command {
	r := &remote{}
	c := family(&cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a cluster takes and gives records",
		Long: `Measure how fast a cluster takes and gives records. Client and broker share the machine if they are on the same one.

Without --topic, a topic is made for the measurement and deleted after it.`,
		Example: `  gregor bench produce --size 100 --records 5000000
  gregor bench consume --records 5000000
  gregor bench latency --rate 1000 --duration 30s`,
	}, benchProduce(r), benchConsume(r), benchLatency(r))
	r.flags(c.PersistentFlags())
	return c
}

// benchOptions are the flags that the measurements have in common.
type benchOptions struct {
	topic       string
	partitions  int32
	replication int16
	size        int
	records     int64
	codec, acks string
	random      bool
}

func (b *benchOptions) flags(c *cobra.Command, r *remote) {
	f := c.Flags()
	f.StringVar(&b.topic, "topic", "", "use this `topic`, and keep it")
	f.Int32Var(&b.partitions, "partitions", 6, "partitions of the topic that is made")
	f.Int16Var(&b.replication, "replication", -1, "replicas of the topic that is made (default: the broker's)")
	hideDefaults(f, "replication")
	f.IntVar(&b.size, "size", 100, "`bytes` of a record's value")
	f.StringVarP(&b.codec, "compress", "z", "none", "`codec`: none, gzip, snappy, lz4 or zstd")
	f.StringVar(&b.acks, "acks", "all", "what a record has to wait for: all, 1 or 0")
	f.BoolVar(&b.random, "random", false, "values that cannot be compressed, rather than text")
	_ = c.RegisterFlagCompletionFunc("topic", r.completeTopics)
}

// measured is the result of a measurement.
type measured struct {
	Records   int64    `json:"records"`
	Bytes     int64    `json:"bytes"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"records_per_second"`
	MBPerS    float64  `json:"mb_per_second"` // a MB is 1,000,000 bytes
	Latency   *latency `json:"latency_ms"`    // null where it was not measured
}

type latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

const benchFields = `
Fields of -o json: records, bytes, seconds, records_per_second, mb_per_second, latency_ms (mean, p50, p99, p99_9, max; or null).`

func (b *benchOptions) check() error {
	switch {
	case b.size < 0 || b.size > greatestBatch:
		return wrongUsage("--size is up to %d, and not %d", greatestBatch, b.size)
	case b.records < 1:
		return wrongUsage("--records is at least 1, and not %d", b.records)
	}
	_, err := producing(b.codec, b.acks)
	if err != nil {
		return usageError{err}
	}
	return nil
}

// prepare makes a topic, or finds the one that was named. cleanup deletes what was made.
func (b *benchOptions) prepare(q *call) (topic string, cleanup func(), err error) {
	if b.topic != "" {
		_, err := q.topics(b.topic)
		return b.topic, func() {}, err
	}
	topic = "gregor-bench-" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	size := strconv.Itoa(max(leastBatch, b.size+1024))
	if _, err := q.createTopic(topic, b.partitions, b.replication, map[string]*string{"max.message.bytes": &size}, nil, false); err != nil {
		return "", nil, err
	}
	return topic, func() {
		ctx, cancel := context.WithTimeout(context.Background(), q.remote.timeout)
		defer cancel()
		if _, err := q.admin.DeleteTopic(ctx, topic); err != nil {
			q.notice("topic %s was not deleted: %v", topic, because(err, ""))
		}
	}, nil
}

// measure gives a measurement a topic and a context without the deadline that commands otherwise have.
func (r *remote) measure(b *benchOptions, c *cobra.Command, run func(ctx context.Context, q *call, topic string) (*measured, error)) *cobra.Command {
	b.flags(c, r)
	c.Args = noArguments
	c.Flags().StringVarP(&r.output, "output", "o", "table", "table or json")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if r.output != "table" && r.output != "json" {
			return wrongUsage("-o is table or json, and not %q", r.output)
		}
		if err := b.check(); err != nil {
			return err
		}
		ctx, stop := signalled(cmd.Context())
		defer stop()
		client, err := r.connect(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		q := &call{ctx: ctx, cmd: cmd, remote: r, client: client, admin: kadm.NewClient(client)}
		topic, cleanup, err := b.prepare(q)
		if err != nil {
			return r.explain(err)
		}
		defer cleanup()
		m, err := run(ctx, q, topic)
		if err != nil {
			return r.explain(err)
		}
		return q.print(m, m.write)
	}
	return c
}

func (m *measured) finish(took time.Duration, latencies []time.Duration) {
	m.Seconds = took.Seconds()
	m.PerSecond = float64(m.Records) / m.Seconds
	m.MBPerS = float64(m.Bytes) / m.Seconds / 1e6
	if len(latencies) == 0 {
		return
	}
	slices.Sort(latencies)
	var sum time.Duration
	for _, l := range latencies {
		sum += l
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	at := func(share float64) float64 {
		return ms(latencies[min(len(latencies)-1, int(share*float64(len(latencies))))])
	}
	m.Latency = &latency{ms(sum / time.Duration(len(latencies))), at(0.5), at(0.99), at(0.999), ms(latencies[len(latencies)-1])}
}

func (m *measured) write(w *strings.Builder) error {
	fmt.Fprintf(w, "records     %s\nseconds     %.2f\nrecords/s   %s\nMB/s        %.1f\n", countText(m.Records), m.Seconds, countText(int64(m.PerSecond)), m.MBPerS)
	if l := m.Latency; l != nil {
		fmt.Fprintf(w, "latency ms  mean %.2f  p50 %.2f  p99 %.2f  p99.9 %.2f  max %.2f\n", l.Mean, l.P50, l.P99, l.P999, l.Max)
	}
	return nil
}

// values are what records have in them: text that compresses about as well as logs do, or noise.
func (b *benchOptions) values() [][]byte {
	random := rand.New(rand.NewPCG(1, 1))
	words := strings.Fields("broker topic partition offset leader replica segment index batch record key value header group member lag commit fetch produce")
	all := make([][]byte, 64)
	for i := range all {
		v := make([]byte, 0, b.size+16)
		for len(v) < b.size {
			if b.random {
				v = append(v, byte(random.Uint32()))
			} else {
				v = append(append(v, words[random.IntN(len(words))]...), ' ')
			}
		}
		all[i] = v[:b.size:b.size]
	}
	return all
}

// clientOptions are those of a measurement that produces.
func (b *benchOptions) clientOptions(topic string) []kgo.Opt {
	options, _ := producing(b.codec, b.acks) // was checked
	return append(options, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(int32(max(leastBatch, b.size+1024))))
}
