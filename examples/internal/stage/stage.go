// Package stage sets up what the examples have in common: a broker of their own in this process, unless they are told to use
// another, their topics, a typed producer and a typed consumer.
//
// It promises that an example ends when it is told to, or after the time it was given, with everything that it began. The
// examples and their tests use it; nothing else does.
package stage

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/daemon"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/streams"
)

// A Topic is one that an example needs.
type Topic struct {
	Name       string
	Partitions int32
	Compacted  bool
}

// A Stage is where an example plays.
type Stage struct {
	Brokers []string
	Out     io.Writer
	Chance  *rand.Rand // of the data
	Rate    int        // of records a second; 0 for as fast as it goes
	client  *kgo.Client
}

// Main plays an example as a program: it reads the flags, starts a broker unless -brokers names one, creates the topics, and
// plays until the time is over or the program is interrupted.
func Main(about string, topics []Topic, play func(ctx context.Context, s *Stage) error) {
	brokers := flag.String("brokers", "", "use the Kafka at these HOST:PORT,… rather than a broker in this process")
	length := flag.Duration("for", 20*time.Second, "how long to play; 0 for until it is interrupted")
	rate := flag.Int("rate", 200, "records a second")
	seed := flag.Uint64("seed", 0, "of the data; 0 for another each time")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "%s\n\nFlags:\n", about)
		flag.PrintDefaults()
	}
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	if err := run(*brokers, *length, *rate, *seed, topics, play); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(brokers string, length time.Duration, rate int, seed uint64, topics []Topic, play func(context.Context, *Stage) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if brokers == "" {
		address, end, err := embed()
		if err != nil {
			return err
		}
		defer end()
		brokers = address
		fmt.Printf("A broker for this example listens on %s.\n", brokers)
	}
	s, err := New(ctx, strings.Split(brokers, ","), seed, topics)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Rate, s.Out = rate, os.Stdout
	if length > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, length)
		defer cancel()
	}
	err = play(ctx, s)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = nil // that is how it ends
	}
	return err
}

// embed starts a broker in this process, with its data in memory.
func embed() (address string, end func(), err error) {
	d, err := daemon.Start(daemon.Config{
		Static: config.Static{"listeners": "PLAINTEXT://127.0.0.1:0", "group.initial.rebalance.delay.ms": "0"},
		FS:     vfs.NewMemory(), Dir: "/example", HTTP: "off", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", nil, err
	}
	return d.Addresses()[0].String(), func() { _ = d.Close() }, nil
}

// New prepares a stage on a cluster: it creates the topics that are missing.
func New(ctx context.Context, brokers []string, seed uint64, topics []Topic) (*Stage, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(client)
	for _, t := range topics {
		configs := map[string]*string{}
		if t.Compacted {
			configs["cleanup.policy"] = kadm.StringPtr("compact")
		}
		r, err := admin.CreateTopic(ctx, t.Partitions, -1, configs, t.Name)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			client.Close()
			return nil, fmt.Errorf("creating the topic %s on %s: %w", t.Name, strings.Join(brokers, ","), err)
		}
	}
	return &Stage{Brokers: brokers, Out: io.Discard, Chance: rand.New(rand.NewPCG(seed, seed)), client: client}, nil
}

// Close lets go of the cluster.
func (s *Stage) Close() { s.client.Close() }

// Printf prints.
func (s *Stage) Printf(format string, args ...any) { fmt.Fprintf(s.Out, format+"\n", args...) }

// Each calls f at the stage's rate until ctx ends, and returns when everything that was produced is acknowledged.
func (s *Stage) Each(ctx context.Context, f func(n int) error) error {
	began := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		if err := f(n); err != nil {
			return err
		}
		if s.Rate == 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(began.Add(time.Duration(n+1) * time.Second / time.Duration(s.Rate)))):
		}
	}
	return s.Flush(context.WithoutCancel(ctx))
}

// Flush waits until everything that was produced is acknowledged.
func (s *Stage) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return s.client.Flush(ctx)
}

// Produce sends a record, in the background, with the serdes of the topic's handle.
func Produce[K, V any](s *Stage, topic streams.Topic[K, V], key K, value V, at time.Time) error {
	r := &kgo.Record{Topic: topic.Name(), Timestamp: at}
	var err error
	if r.Key, err = topic.Keys().Encode(nil, key); err != nil {
		return err
	}
	if r.Value, err = topic.Values().Encode(nil, value); err != nil {
		return err
	}
	s.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
		if err != nil {
			s.Printf("a record for %s could not be sent: %v", topic.Name(), err)
		}
	})
	return nil
}

// Consume visits the records of a topic from its beginning, until visit says that it has had enough or ctx ends.
func Consume[K, V any](ctx context.Context, s *Stage, topic streams.Topic[K, V], visit func(key K, value V, at time.Time) (more bool)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.ConsumeTopics(topic.Name()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			key, err := topic.Keys().Decode(r.Key)
			if err != nil {
				return fmt.Errorf("the key of %s/%d at %d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			value, err := topic.Values().Decode(r.Value)
			if err != nil {
				return fmt.Errorf("the value of %s/%d at %d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			if !visit(key, value, r.Timestamp) {
				return nil
			}
		}
	}
}

// Together runs an app and other things until ctx ends, or until one of them fails, which ends the others.
func (s *Stage) Together(ctx context.Context, all ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(all))
	for _, f := range all {
		go func() { results <- f(ctx) }()
	}
	var failure error
	for range all {
		if err := <-results; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			failure = errors.Join(failure, err)
			cancel()
		}
	}
	return failure
}
