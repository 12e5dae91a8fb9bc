// Command streams compares package streams with Java's Kafka Streams: the same loads on the same Gregor node, one after the
// other, in processes of their own. "streams app …" is the Go side of one load; without that it runs all and writes a table.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/bench/prewarm"
)

const partitions = 4

var (
	gregor  = flag.String("gregor", "bin/gregor", "the node's binary")
	java    = flag.String("java", "", "class path of Bench and Kafka Streams")
	results = flag.String("results", "bench/results", "where the table goes")
	records = flag.Int64("records", 2_000_000, "records of each load")
	restore = flag.Int64("restore", 1<<30, "bytes of the changelog to restore")
	only    = flag.String("loads", "stateless,count-memory,count-disk,count-cached,count-windows,join,restore", "which loads")
	profile = flag.String("profile", "", "folder for CPU profiles of the Go side")
	broker  = flag.String("broker", "127.0.0.1:25092", "where the node listens")
)

func main() {
	flag.Parse()
	var err error
	if args := flag.Args(); len(args) > 2 && args[0] == "app" {
		err = app(args[1], *broker, args[2], *records, partitions, *profile)
	} else {
		err = compare()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// taken is what a side took for a load.
type taken struct {
	cpu, wall time.Duration
	rss       int64 // KiB
}

func compare() error {
	dir, err := os.MkdirTemp("", "bench-streams")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	node := exec.Command(*gregor, "start", "--data-dir", filepath.Join(dir, "node"), "--listen", *broker, "--http", "off", "--log-level", "warn")
	node.Stderr = os.Stderr
	if err := node.Start(); err != nil {
		return err
	}
	defer func() {
		_ = node.Process.Kill()
		_ = node.Wait()
	}()
	if err := fill(); err != nil {
		return err
	}
	var table strings.Builder
	fmt.Fprintf(&table, "# Streams beside Java's Kafka Streams, %s\n\n", time.Now().UTC().Format("2006-01-02 15:04"))
	fmt.Fprintf(&table, "%d records of 90 bytes, 10,000 keys, %d partitions, commits every second, one node of Gregor on the same machine (2 cores).\n", *records, partitions)
	fmt.Fprintf(&table, "Records per CPU-second of the process, from its first record to the last commit; in brackets per second of wall clock.\n\n")
	fmt.Fprintf(&table, "| load | Go | Java | ratio |\n|--|--|--|--|\n")
	for _, load := range strings.Split(*only, ",") {
		ours, err := run(load, "go", filepath.Join(dir, "go-"+load))
		if err != nil {
			return err
		}
		theirs, err := run(load, "java", filepath.Join(dir, "java-"+load))
		if err != nil {
			return err
		}
		line := row(load, ours, theirs)
		fmt.Print(line)
		table.WriteString(line)
	}
	file := filepath.Join(*results, time.Now().UTC().Format("2006-01-02-1504")+"-streams.md")
	return os.WriteFile(file, []byte(table.String()), 0o644)
}

func row(load string, ours, theirs taken) string {
	if load == "restore" {
		mb := float64(*restore) / 1e6
		return fmt.Sprintf("| restore of %.0f MB, MB per second (per CPU-second; peak memory) | %.0f (%.0f; %d MB) | %.0f (%.0f; %d MB) | %.1f |\n", mb,
			mb/ours.wall.Seconds(), mb/ours.cpu.Seconds(), ours.rss>>10, mb/theirs.wall.Seconds(), mb/theirs.cpu.Seconds(), theirs.rss>>10,
			theirs.wall.Seconds()/ours.wall.Seconds())
	}
	n := float64(*records)
	return fmt.Sprintf("| %s | %.0f (%.0f) | %.0f (%.0f) | %.1f |\n", load, n/ours.cpu.Seconds(), n/ours.wall.Seconds(),
		n/theirs.cpu.Seconds(), n/theirs.wall.Seconds(), theirs.cpu.Seconds()/ours.cpu.Seconds())
}

// run runs one side of a load in a process of its own.
func run(load, side, state string) (t taken, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if load == "restore" {
		prewarm.File(state+".prewarm", 1.5*float64(*restore))
	}
	n := fmt.Sprint(*records)
	c := exec.CommandContext(ctx, "java", "-Xmx1g", "-cp", *java, "Bench", load, *broker, state, n, fmt.Sprint(partitions))
	if side == "go" {
		args := []string{"-broker", *broker, "-records", n}
		if *profile != "" {
			args = append(args, "-profile", filepath.Join(*profile, load+".prof"))
		}
		c = exec.CommandContext(ctx, os.Args[0], append(args, "app", load, state)...)
	}
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return t, fmt.Errorf("%s in %s: %w", load, side, err)
	}
	_, err = fmt.Sscanf(string(out[strings.LastIndex(string(out), "took"):]), "took %d %d %d", &t.cpu, &t.wall, &t.rss)
	return t, err
}

// fill makes the topics, and writes the data that both sides read.
func fill() error {
	ctx := context.Background()
	client, err := kgo.NewClient(kgo.SeedBrokers(*broker), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for range 100 { // the node may still be starting
		if err = client.Ping(ctx); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	for _, topic := range []string{"in", "out", "table", "restore-st-changelog"} {
		if r, err := admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil || r.Err != nil {
			return fmt.Errorf("creating %s: %v %v", topic, err, r.Err)
		}
	}
	var failed error
	send := func(topic, key, value string, at int64) {
		client.Produce(ctx, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(at)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	padding, now := strings.Repeat("abcdefgh", 128), time.Now().Add(-time.Hour).UnixMilli()
	for i := range 10_000 {
		send("table", fmt.Sprintf("key-%06d", i), padding[:40], now)
	}
	for i := range *records {
		send("in", fmt.Sprintf("key-%06d", i*7919%10_000), padding[:80], now+i/100)
	}
	if strings.Contains(*only, "restore") {
		random := rand.New(rand.NewPCG(1, 2)) // or the changelog would be a fraction of what it says, compressed
		text := make([]byte, 1012)
		for i := range *restore / 1024 {
			for j := range text {
				text[j] = byte('!' + random.IntN(90))
			}
			send("restore-st-changelog", fmt.Sprintf("key-%08d", i), string(text), now)
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed
}
