package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// produceOptions is what a produce command line says.
type produceOptions struct {
	remote
	key, keyDelimiter, format, null string
	headers                         []string
	json, tombstones, create        bool
	codec, acks                     string
	partition                       int32
}

func produceCommand() *cobra.Command {
	o := &produceOptions{}
	c := &cobra.Command{
		Use:   "produce TOPIC [FILE…]",
		Short: "Write records to a topic, from a pipe or from files",
		Long: `Write records to a topic, from standard input or from files. Each line is the value of a record, unless the input is
said to be otherwise:

  --key-delimiter D   what stands before the first D in a line is the key
  -f FORMAT           records look as the format says
  --json              records are JSON objects, as gregor consume -o json writes them; a key or value that is an object is
                      its JSON text

In a format,
` + formatHelp + `
A verb reads up to the text behind it; %K and %V read how long the key and value after them are. %t and %o are read and
ignored. A format that does not end in text ends at \n.

The command ends when all records are acknowledged. If one is refused it fails, and says how many were acknowledged.`,
		Example: `  gregor produce words < /usr/share/dict/words
  echo 'ann,{"age":7}' | gregor produce people --key-delimiter ,
  gregor produce people -f '%k\t%h\t%v\n' people.tsv
  gregor produce people --json -z zstd < people.json
  gregor consume old -e -o json | gregor produce new --json
  echo ann | gregor produce people -f '%k' -Z                 # deletes ann from a compacted topic`,
		Args: atLeast(1, "the name of a topic"),
		RunE: o.run,
	}
	o.flags(c.Flags())
	f := c.Flags()
	f.StringVarP(&o.key, "key", "k", "", "`key` of all records that bring none of their own")
	f.StringVar(&o.keyDelimiter, "key-delimiter", "", "`text` between the key and the value of a line; \\t is a tab")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "`key=value` header for all records; may be given more than once")
	f.StringVarP(&o.format, "format", "f", "", "`FORMAT` of the input, such as '%k\\t%v\\n'")
	f.BoolVar(&o.json, "json", false, "the input is JSON")
	f.StringVarP(&o.codec, "compress", "z", "none", "`codec`: none, gzip, snappy, lz4 or zstd")
	f.StringVar(&o.acks, "acks", "all", "what a record has to wait for: all, 1 (the leader) or 0 (nothing)")
	f.Int32VarP(&o.partition, "partition", "p", -1, "`partition` for all records (default: by key, and spread where there is none)")
	hideDefaults(f, "partition")
	f.BoolVarP(&o.tombstones, "tombstones", "Z", false, "an empty value is null, which deletes the key in a compacted topic")
	f.StringVar(&o.null, "null-value", "", "a key or value that is this `text` is null")
	f.BoolVar(&o.create, "create", false, "create the topic if it is not there")
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return o.completeTopics(cmd, args, toComplete)
	}
	return c
}

func (o *produceOptions) run(cmd *cobra.Command, args []string) error {
	ctx, stop := signalled(cmd.Context())
	defer stop()
	options, err := o.options(cmd)
	if err != nil {
		return usageError{err}
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	in, closeFiles, err := input(reading, cmd, args[1:])
	if err != nil {
		return err
	}
	defer closeFiles()
	limit, err := o.prepare(ctx, cmd, args[0])
	if err != nil {
		return err
	}
	source, err := o.source(in, limit)
	if err != nil {
		return usageError{err}
	}
	options = append(options, kgo.DefaultProduceTopic(args[0]), kgo.ProducerBatchMaxBytes(int32(limit)),
		kgo.WithHooks(newWatcher(cmd.ErrOrStderr(), o.timeout)))
	client, err := o.connect(ctx, options...)
	if err != nil {
		return err
	}
	defer client.Close()
	p := &production{o: o, client: client, progress: newProgress(cmd.ErrOrStderr()), limit: limit, stopReading: stopReading, tombstones: o.tombstones,
		nulls: cmd.Flags().Changed("null-value"), keyed: cmd.Flags().Changed("key")}
	return p.run(ctx, source)
}

var codecs = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

var codecNames = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// producing are the client options of everything here that produces.
func producing(codec, acks string) ([]kgo.Opt, error) {
	c, ok := codecs[codec]
	if !ok {
		return nil, fmt.Errorf("-z is none, gzip, snappy, lz4 or zstd, and not %q%s", codec, meant([]string{codec}, codecNames))
	}
	options := []kgo.Opt{kgo.ProducerBatchCompression(c), kgo.MaxBufferedRecords(1 << 18), kgo.MaxBufferedBytes(64 << 20)}
	switch acks {
	case "all", "-1":
		return append(options, kgo.RequiredAcks(kgo.AllISRAcks())), nil
	case "1":
		return append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()), nil
	case "0":
		return append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()), nil
	}
	return nil, fmt.Errorf("--acks is all, 1 or 0, and not %q", acks)
}

func (o *produceOptions) options(cmd *cobra.Command) ([]kgo.Opt, error) {
	options, err := producing(o.codec, o.acks)
	if err != nil {
		return nil, err
	}
	ways := 0
	for _, flag := range []string{"json", "format", "key-delimiter"} {
		if cmd.Flags().Changed(flag) {
			ways++
		}
	}
	if ways > 1 {
		return nil, errors.New("the input is either --json, or -f FORMAT, or lines with --key-delimiter")
	}
	for _, h := range o.headers {
		if key, _, ok := strings.Cut(h, "="); !ok || key == "" {
			return nil, fmt.Errorf("-H is key=value, and not %q", h)
		}
	}
	if _, err := o.source(strings.NewReader(""), 0); err != nil {
		return nil, err
	}
	if o.acks == "all" || o.acks == "-1" {
		// The command fails as a whole when a record is late: there is no one who would send it again.
		options = append(options, kgo.AllowIdempotentProduceCancellation())
	}
	switch {
	case cmd.Flags().Changed("partition"):
		if o.partition < 0 {
			return nil, fmt.Errorf("-p is a partition, and not %d", o.partition)
		}
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	case o.json || strings.Contains(o.format, "%p"):
		options = append(options, kgo.RecordPartitioner(pinning{kgo.StickyKeyPartitioner(nil)}))
	}
	return options, nil
}

func (o *produceOptions) source(in io.Reader, limit int) (recordSource, error) {
	s := &scanner{in: in, limit: limit}
	switch {
	case o.json:
		return newJSONSource(in), nil
	case o.format != "":
		return newFormatSource(s, o.format)
	}
	delimiter, err := unescape(o.keyDelimiter)
	return &lineSource{s, delimiter}, err
}

// input is standard input, or files one after the other.
func input(ctx context.Context, cmd *cobra.Command, files []string) (in io.Reader, closeAll func(), err error) {
	if len(files) == 0 {
		if isTerminal(cmd.InOrStdin()) && isTerminal(cmd.ErrOrStderr()) {
			fmt.Fprintln(cmd.ErrOrStderr(), "gregor: reading records from the terminal; Ctrl-D ends")
		}
		return newInterruptible(ctx, cmd.InOrStdin()), func() {}, nil
	}
	var readers []io.Reader
	var closers []io.Closer
	closeAll = func() {
		for _, c := range closers {
			_ = c.Close()
		}
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		readers, closers = append(readers, f), append(closers, f)
	}
	return newInterruptible(ctx, io.MultiReader(readers...)), closeAll, nil
}

const (
	leastBatch    = 1 << 20
	greatestBatch = 64 << 20
)

// prepare makes sure that the topic is there, and asks how large a record may be.
func (o *produceOptions) prepare(ctx context.Context, cmd *cobra.Command, topic string) (limit int, err error) {
	client, err := o.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	q := &call{ctx: ctx, cmd: cmd, remote: &o.remote, client: client, admin: kadm.NewClient(client)}
	if o.create {
		made, err := q.createTopic(topic, -1, -1, nil, nil, true)
		if err != nil {
			return 0, o.explain(err)
		}
		if made.Created {
			q.notice("created topic %s with %s", topic, plural(made.Partitions, "partition"))
		}
	}
	topics, err := q.topics(topic)
	if err != nil {
		return 0, o.explain(err)
	}
	if n := len(topics[topic].Partitions); int(o.partition) >= n {
		return 0, fmt.Errorf("topic %q has no partition %d: it has %s", topic, o.partition, plural(n, "partition"))
	}
	return q.maxMessageBytes(topic), nil
}

// maxMessageBytes is how large a batch the topic takes, as far as that is told.
func (q *call) maxMessageBytes(topic string) int {
	entries, err := q.describeConfigs(resource{kindTopic, topic})
	if err != nil {
		return leastBatch
	}
	for _, e := range entries {
		n := 0
		if e.Key == "max.message.bytes" && e.Value != nil {
			if _, err := fmt.Sscan(*e.Value, &n); err == nil {
				return min(max(n, 1024), greatestBatch)
			}
		}
	}
	return leastBatch
}

// pinning lets records that say their partition go there, and others where a partitioner says.
type pinning struct{ other kgo.Partitioner }

func (p pinning) ForTopic(topic string) kgo.TopicPartitioner { return &pinned{p.other.ForTopic(topic)} }

type pinned struct{ kgo.TopicPartitioner }

func (p *pinned) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.TopicPartitioner.RequiresConsistency(r)
}

func (p *pinned) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}

// OnNewBatch tells the other partitioner.
func (p *pinned) OnNewBatch() {
	if b, ok := p.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		b.OnNewBatch()
	}
}

// production is a running produce command.
type production struct {
	o                        *produceOptions
	client                   *kgo.Client
	progress                 *progress
	limit                    int
	stopReading              context.CancelFunc
	tombstones, nulls, keyed bool
	given, acknowledged      atomic.Int64
}

// slab is how many records are allocated at a time.
const slab = 512

func (p *production) run(ctx context.Context, source recordSource) error {
	work, fail := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fail(nil)
	context.AfterFunc(work, p.stopReading) // no use waiting for more input
	p.progress.start()
	defer p.progress.end()
	done := func(r *kgo.Record, err error) {
		if err != nil {
			fail(err)
			return
		}
		p.acknowledged.Add(1)
		p.progress.add(1, int64(len(r.Key)+len(r.Value)))
	}
	go p.watch(work, fail)
	err := p.send(work, source, done)
	if work.Err() == nil {
		_ = p.client.Flush(work) // every record says for itself what became of it
	}
	acknowledged := plural(p.acknowledged.Load(), "record") + " acknowledged"
	switch {
	case work.Err() != nil:
		return p.failure(context.Cause(work), acknowledged)
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; %s", acknowledged)
	case err != nil:
		return fmt.Errorf("%w; %s", err, acknowledged)
	}
	p.progress.summary("produced")
	return nil
}

var errNoAnswer = errors.New("no answer")

// watch gives up when records wait and none is acknowledged for too long. The client has a limit of its own, but counts it
// from a record's timestamp, which may be any.
func (p *production) watch(work context.Context, fail context.CancelCauseFunc) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-work.Done():
			return
		case <-ticker.C:
		}
		acknowledged := p.acknowledged.Load()
		if acknowledged != last || p.given.Load() == acknowledged {
			last, since = acknowledged, time.Now()
		} else if time.Since(since) > p.o.timeout {
			fail(errNoAnswer)
			return
		}
	}
}

// send gives all records to the client, which blocks when it holds enough of them.
func (p *production) send(work context.Context, source recordSource, done func(*kgo.Record, error)) error {
	var headers []kgo.RecordHeader
	for _, h := range p.o.headers {
		key, value, _ := strings.Cut(h, "=")
		headers = append(headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	var records []kgo.Record
	for n := int64(1); work.Err() == nil; n++ {
		if len(records) == 0 {
			records = make([]kgo.Record, slab)
		}
		r := &records[0]
		records = records[1:]
		switch err := source.next(r); {
		case err == io.EOF:
			return nil
		case errors.Is(err, errTooLong):
			return fmt.Errorf("record %d is longer than %d bytes, the topic's max.message.bytes", n, p.limit)
		case err != nil:
			return fmt.Errorf("record %d: %w", n, err)
		}
		p.complete(r, headers)
		p.given.Add(1)
		p.client.Produce(work, r, done)
	}
	return nil
}

// complete gives a record what the flags say.
func (p *production) complete(r *kgo.Record, headers []kgo.RecordHeader) {
	if p.nulls {
		if string(r.Key) == p.o.null {
			r.Key = nil
		}
		if string(r.Value) == p.o.null {
			r.Value = nil
		}
	}
	if p.tombstones && len(r.Value) == 0 {
		r.Value = nil
	}
	if p.keyed && r.Key == nil {
		r.Key = []byte(p.o.key)
	}
	if p.o.partition >= 0 {
		r.Partition = p.o.partition
	}
	if len(headers) > 0 {
		r.Headers = append(slices.Clip(r.Headers), headers...)
	}
}

func (p *production) failure(err error, acknowledged string) error {
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("no broker has acknowledged anything for %v; %s, and some after them may be in the topic, too", p.o.timeout, acknowledged)
	}
	return fmt.Errorf("a record was refused: %w; %s", because(p.o.explain(err), ""), acknowledged)
}
