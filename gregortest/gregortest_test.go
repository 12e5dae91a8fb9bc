package gregortest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/gregortest"
)

func client(t *testing.T, b *gregortest.Broker, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr()), kgo.AllowAutoTopicCreation()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func produce(t *testing.T, c *kgo.Client, topic string, n int) {
	t.Helper()
	for i := range n {
		c.Produce(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "value %d", i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func consume(t *testing.T, c *kgo.Client, n int) {
	t.Helper()
	for got := 0; got < n; {
		fetches := c.PollFetches(soon(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d: %v", got, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprintf("value %d", got); string(r.Value) != want || r.Offset != int64(got) {
				t.Fatalf("offset %d has %q, want %q", r.Offset, r.Value, want)
			}
			got++
		})
	}
}

func TestARecordThatWasProducedIsConsumed(t *testing.T) {
	b := gregortest.Start(t)
	produce(t, client(t, b), "words", 1000)
	consume(t, client(t, b, kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 1000)
}

func TestWhatWasAcknowledgedIsThereAfterARestart(t *testing.T) {
	for name, options := range map[string][]gregortest.Option{"memory": nil, "disk": {gregortest.OnDisk(t.TempDir())}} {
		t.Run(name, func(t *testing.T) {
			b := gregortest.Start(t, options...)
			produce(t, client(t, b), "words", 500)
			group := client(t, b, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
			consume(t, group, 500)
			if err := group.CommitUncommittedOffsets(soon(t)); err != nil {
				t.Fatal(err)
			}
			group.Close()
			b.Restart()
			consume(t, client(t, b, kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 500)
			lags, err := kadm.NewClient(client(t, b)).Lag(soon(t), "readers")
			if err != nil {
				t.Fatal(err)
			}
			if got := lags["readers"].Lag.Total(); got != 0 || len(lags["readers"].Lag) != 1 {
				t.Fatalf("lag %d, of %v", got, lags["readers"].Lag)
			}
		})
	}
}

func TestEachTestHasABrokerOfItsOwn(t *testing.T) {
	a, b := gregortest.Start(t), gregortest.Start(t, gregortest.With("num.partitions", "3"))
	produce(t, client(t, a), "only-here", 1)
	topics, err := kadm.NewClient(client(t, b)).ListTopics(soon(t))
	if err != nil || len(topics) != 0 {
		t.Fatal(topics, err)
	}
	produce(t, client(t, b), "three", 1)
	topics, err = kadm.NewClient(client(t, b)).ListTopics(soon(t), "three")
	if err != nil || len(topics["three"].Partitions) != 3 {
		t.Fatal(topics, err)
	}
}

func Example() {
	t := new(testing.T) // a test has one already
	broker := gregortest.Start(t)
	defer broker.Stop()
	client, _ := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("greetings"))
	defer client.Close()
	err := client.ProduceSync(context.Background(), kgo.StringRecord("hello")).FirstErr()
	fmt.Println(err)
	// Output: <nil>
}
