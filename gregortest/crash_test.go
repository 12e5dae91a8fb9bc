package gregortest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/daemon"
)

// brokerDir is the variable that makes a process of this test a broker with its data there, on the port in brokerPort.
const (
	brokerDir  = "GREGORTEST_BROKER_DIR"
	brokerPort = "GREGORTEST_BROKER_PORT"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(brokerDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	o := daemon.Options{DataDir: dir, Listen: []string{"127.0.0.1:" + os.Getenv(brokerPort)}, HTTP: "off", NodeID: -1,
		Set: []string{"num.partitions=3", "log.segment.bytes=1048576", "log.flush.offset.checkpoint.interval.ms=500"}}
	if err := daemon.Run(context.Background(), o, slog.New(slog.NewTextHandler(os.Stderr, nil)), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	kills       = 50
	writers     = 4
	crashTopic  = "crash"
	partitions  = 3
	mostSeconds = 120
)

// TestNothingAcknowledgedIsLostByKills kills a real process with SIGKILL while clients write to it, again and again, and
// then finds every record that was acknowledged where it was acknowledged, each client's records in order, and each once.
func TestNothingAcknowledgedIsLostByKills(t *testing.T) {
	times := kills
	if testing.Short() {
		times = 5
	}
	ctx, cancel := context.WithTimeout(context.Background(), mostSeconds*time.Second)
	defer cancel()
	b := &process{t: t, dir: t.TempDir(), port: freePort(t)}
	t.Cleanup(b.kill)
	b.start()
	var acked ledger
	writing, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { write(ctx, writing, t, b.address(), w, &acked) })
	}
	for range times {
		// The broker has to have come back and taken something before it is killed again.
		for before := acked.count.Load(); acked.count.Load() < before+20 && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(rand.N(60 * time.Millisecond))
		b.kill()
		b.start()
	}
	stop()
	all.Wait()
	if ctx.Err() != nil || t.Failed() {
		t.Fatalf("not done within %d s; the broker said:\n%s", mostSeconds, b.log.String())
	}
	acked.compare(t, readAll(ctx, t, b.address()))
	t.Logf("%d kills, %d records acknowledged", times, acked.count.Load())
}

// process is a broker in a process of its own.
type process struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
	log  bytes.Buffer
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (p *process) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

func (p *process) start() {
	p.log.Reset()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), brokerDir+"="+p.dir, fmt.Sprintf("%s=%d", brokerPort, p.port))
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	if err := p.cmd.Wait(); err != nil && !strings.Contains(err.Error(), "signal: killed") && !strings.Contains(err.Error(), "already") {
		p.t.Errorf("the broker ended by itself: %v\n%s", err, p.log.String())
	}
}

// ledger is what was acknowledged.
type ledger struct {
	count atomic.Int64
	mu    sync.Mutex
	at    [partitions]map[int64]string
}

func (l *ledger) add(r *kgo.Record) {
	l.mu.Lock()
	if l.at[r.Partition] == nil {
		l.at[r.Partition] = map[int64]string{}
	}
	l.at[r.Partition][r.Offset] = string(r.Value)
	l.mu.Unlock()
	l.count.Add(1)
}

// write produces, as an idempotent client with acks=all does by itself, until it is told to stop, and lets what it has
// begun come to its end.
func write(ctx, until context.Context, t *testing.T, address string, number int, acked *ledger) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(crashTopic), kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(10*time.Millisecond), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(200),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	for n := 0; until.Err() == nil; n++ {
		r := &kgo.Record{Partition: int32(n % partitions), Value: fmt.Appendf(nil, "%d %d %s", number, n, strings.Repeat("x", n*37%300))}
		client.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("writer %d: %v", number, err)
				return
			}
			acked.add(r)
		})
		if n%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if err := client.Flush(ctx); err != nil {
		t.Errorf("writer %d: %v", number, err)
	}
}

// readAll reads the topic up to its end.
func readAll(ctx context.Context, t *testing.T, address string) (found [partitions][]*kgo.Record) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(crashTopic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var marks [partitions]int64
	complete := func() bool {
		for p := range found {
			if n := len(found[p]); n == 0 || found[p][n-1].Offset+1 < marks[p] {
				return false
			}
		}
		return true
	}
	for !complete() {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			marks[f.Partition] = f.HighWatermark
			found[f.Partition] = append(found[f.Partition], f.Records...)
		})
	}
	return found
}

func (l *ledger) compare(t *testing.T, found [partitions][]*kgo.Record) {
	for p := range found {
		last := map[int]int{}
		for i, r := range found[p] {
			if r.Offset != int64(i) {
				t.Fatalf("partition %d: offset %d comes at place %d", p, r.Offset, i)
			}
			var writer, n int
			if _, err := fmt.Sscan(string(r.Value), &writer, &n); err != nil {
				t.Fatal(err)
			}
			if before, ok := last[writer]; ok && n != before+partitions || !ok && n != p {
				t.Errorf("partition %d: record %d of writer %d at %d comes after %d", p, n, writer, r.Offset, before)
			}
			last[writer] = n
			if want, ok := l.at[p][r.Offset]; ok && want != string(r.Value) {
				t.Errorf("partition %d: offset %d was acknowledged for %.20q, and holds %.20q", p, r.Offset, want, r.Value)
			}
			delete(l.at[p], r.Offset)
		}
		if len(l.at[p]) > 0 {
			t.Errorf("partition %d: %d acknowledged records are lost", p, len(l.at[p]))
		}
	}
}
