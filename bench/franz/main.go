// Command franz drives a broker with franz-go: it produces or consumes a number of records as fast as it goes, and prints
// one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	mode := flag.String("mode", "produce", "produce or consume")
	addr := flag.String("addr", "127.0.0.1:9092", "broker")
	topic := flag.String("topic", "franz", "topic")
	count := flag.Int64("count", 1_000_000, "records")
	size := flag.Int("size", 100, "bytes per record")
	flag.Parse()
	seconds, err := run(*mode, *addr, *topic, *count, *size)
	if err != nil {
		fmt.Fprintln(os.Stderr, "franz:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"mode": *mode, "records": *count, "seconds": seconds,
		"records_per_s": float64(*count) / seconds, "mb_per_s": float64(*count) * float64(*size) / 1e6 / seconds})
}

func run(mode, addr, topic string, count int64, size int) (float64, error) {
	if mode == "consume" {
		return consume(addr, topic, count)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(addr, ",")...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	pool := make([]byte, 4<<20+size)
	for i := range pool {
		pool[i] = byte(rand.Uint32())
	}
	var failed atomic.Pointer[error]
	began := time.Now()
	for i := range count {
		at := int(i*131) % (4 << 20)
		c.Produce(context.Background(), &kgo.Record{Value: pool[at : at+size]}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	err = c.Flush(context.Background())
	if e := failed.Load(); e != nil {
		err = *e
	}
	return time.Since(began).Seconds(), err
}

func consume(addr, topic string, count int64) (float64, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(addr, ",")...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	for got := int64(0); got < count; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		got += int64(fetches.NumRecords())
	}
	return time.Since(began).Seconds(), nil
}
