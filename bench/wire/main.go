// Command wire drives a Kafka broker with requests that are encoded beforehand, so that what is measured is the broker
// and not a client: produce requests pipelined on some connections, or fetches whose records are thrown away.
//
// It prints one line of JSON: requests, bytes and records per second, latency percentiles, and the CPU seconds that the
// broker's process used, per GB (1e9 bytes) of record batches.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/record"
)

type options struct {
	addr       string
	topic      string
	partitions int
	conns      int
	inFlight   int
	batch      int
	record     int
	acks       int
	seconds    float64
	pid        int
	mode       string
	fetch      int
}

type result struct {
	Mode         string  `json:"mode"`
	Conns        int     `json:"conns"`
	InFlight     int     `json:"in_flight,omitempty"`
	BatchBytes   int     `json:"batch_bytes,omitempty"`
	RecordBytes  int     `json:"record_bytes,omitempty"`
	FetchBytes   int     `json:"fetch_bytes,omitempty"`
	Acks         int     `json:"acks,omitempty"`
	Seconds      float64 `json:"seconds"`
	Requests     int64   `json:"requests_per_s"`
	Records      int64   `json:"records_per_s,omitempty"`
	MBs          float64 `json:"mb_per_s"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	P999         float64 `json:"p999_ms"`
	CPUPerGB     float64 `json:"broker_cpu_s_per_gb"`
	CPUMicrosReq float64 `json:"broker_cpu_us_per_request"`
	ClientCPU    float64 `json:"client_cpu_s_per_gb"`
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:9092", "broker")
	flag.StringVar(&o.topic, "topic", "wire", "topic; created if it does not exist")
	flag.IntVar(&o.partitions, "partitions", 1, "partitions of the topic")
	flag.IntVar(&o.conns, "conns", 2, "connections")
	flag.IntVar(&o.inFlight, "inflight", 5, "produce requests in flight per connection")
	flag.IntVar(&o.batch, "batch", 16384, "bytes per record batch")
	flag.IntVar(&o.record, "record", 100, "bytes per record value")
	flag.IntVar(&o.acks, "acks", -1, "acks")
	flag.Float64Var(&o.seconds, "seconds", 5, "how long to measure, after a fifth of that to warm up")
	flag.IntVar(&o.pid, "pid", 0, "the broker's process, for its CPU time")
	flag.StringVar(&o.mode, "mode", "produce", "produce or fetch")
	flag.IntVar(&o.fetch, "fetch", 1<<20, "bytes per fetch")
	flag.Parse()
	r, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

func run(o options) (result, error) {
	if err := createTopic(o); err != nil {
		return result{}, err
	}
	var count, bytes atomic.Int64
	var measuring, over atomic.Bool
	latencies := make([][]int64, o.conns)
	errs := make([]error, o.conns)
	var wg sync.WaitGroup
	payload := makeBatch(o)
	for i := range o.conns {
		wg.Go(func() {
			w := &worker{o: o, n: i, batch: payload, count: &count, bytes: &bytes, measuring: &measuring, over: &over}
			if o.mode == "fetch" {
				errs[i] = w.fetch()
			} else {
				errs[i] = w.produce()
			}
			latencies[i] = w.latencies
		})
	}
	time.Sleep(time.Duration(o.seconds / 5 * float64(time.Second)))
	cpu0, own0, count0, bytes0, begin := cpuOf(o.pid), cpuOf(os.Getpid()), count.Load(), bytes.Load(), time.Now()
	measuring.Store(true)
	time.Sleep(time.Duration(o.seconds * float64(time.Second)))
	measuring.Store(false)
	cpu1, own1, count1, bytes1, elapsed := cpuOf(o.pid), cpuOf(os.Getpid()), count.Load(), bytes.Load(), time.Since(begin).Seconds()
	over.Store(true)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	n, gb := float64(count1-count0), float64(bytes1-bytes0)/1e9
	r := result{Mode: o.mode, Conns: o.conns, Seconds: elapsed, Requests: int64(n / elapsed), MBs: gb * 1000 / elapsed,
		P50: percentile(all, .5), P99: percentile(all, .99), P999: percentile(all, .999), CPUPerGB: (cpu1 - cpu0) / gb,
		CPUMicrosReq: (cpu1 - cpu0) * 1e6 / n, ClientCPU: (own1 - own0) / gb}
	if o.mode == "fetch" {
		r.FetchBytes = o.fetch
	} else {
		r.InFlight, r.BatchBytes, r.RecordBytes, r.Acks = o.inFlight, len(payload), o.record, o.acks
		r.Records = int64(n * float64(record.Batch(payload).Count()) / elapsed)
	}
	return r, nil
}

func percentile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / 1e6
}

// cpuOf is the CPU seconds that a process has used, over all its threads.
func cpuOf(pid int) float64 {
	if pid == 0 {
		return 0
	}
	total := 0.0
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
		if err != nil {
			continue
		}
		var ns float64
		_, _ = fmt.Sscanf(string(text), "%g", &ns)
		total += ns / 1e9
	}
	return total
}

func makeBatch(o options) []byte {
	b := record.NewBuilder(record.Plain())
	now := time.Now().UnixMilli()
	value := make([]byte, o.record)
	for {
		for i := range value {
			value[i] = byte(rand.Uint32())
		}
		b.Add(now, nil, value)
		if b.Size()+o.record > o.batch {
			return b.Build()
		}
	}
}

func dial(o options) (net.Conn, error) { return net.Dial("tcp", o.addr) }

func createTopic(o options) error {
	c, err := dial(o)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 4, 10000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = o.topic, int32(o.partitions), 1
	req.Topics = append(req.Topics, topic)
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire")).AppendRequest(nil, req, 1)); err != nil {
		return err
	}
	frame, err := readFrame(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	resp := kmsg.NewPtrCreateTopicsResponse()
	resp.Version = 4
	if err := resp.ReadFrom(frame[4:]); err != nil {
		return err
	}
	if code := resp.Topics[0].ErrorCode; code != 0 && code != 36 {
		return fmt.Errorf("cannot create the topic: error %d", code)
	}
	time.Sleep(200 * time.Millisecond) // brokers that answer before the topic can be used
	return nil
}

func readFrame(r *bufio.Reader, into []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if cap(into) < n {
		into = make([]byte, n)
	}
	into = into[:n]
	_, err := io.ReadFull(r, into)
	return into, err
}

type worker struct {
	o               options
	n               int
	batch           []byte
	count, bytes    *atomic.Int64
	measuring, over *atomic.Bool
	latencies       []int64
}

// produce keeps requests in flight on one connection.
func (w *worker) produce() error {
	c, err := dial(w.o)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 7, int16(w.o.acks), 30000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = w.o.topic
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = int32(w.n%w.o.partitions), w.batch
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire")).AppendRequest(nil, req, 1)
	var began [4096]atomic.Int64
	window := make(chan struct{}, w.o.inFlight)
	failed := make(chan error, 1)
	go func() {
		failed <- w.readAnswers(c, &began, window)
	}()
	for i := 0; !w.over.Load(); i++ {
		window <- struct{}{}
		began[i%len(began)].Store(time.Now().UnixNano())
		if _, err := c.Write(frame); err != nil {
			return err
		}
		select {
		case err := <-failed:
			return err
		default:
		}
	}
	// Nothing more is sent; the answers that are still due come and end the reader.
	for range w.o.inFlight {
		window <- struct{}{}
	}
	return nil
}

func (w *worker) readAnswers(c net.Conn, began *[4096]atomic.Int64, window chan struct{}) error {
	r := bufio.NewReaderSize(c, 64<<10)
	var frame []byte
	for i := 0; ; i++ {
		var err error
		if frame, err = readFrame(r, frame); err != nil {
			if w.over.Load() {
				return nil
			}
			return err
		}
		// correlation, one topic with its name, one partition: the error stands behind them
		at := 4 + 4 + 2 + len(w.o.topic) + 4 + 4
		if code := int16(binary.BigEndian.Uint16(frame[at:])); code != 0 {
			return fmt.Errorf("produce answered error %d", code)
		}
		w.count.Add(1)
		w.bytes.Add(int64(len(w.batch)))
		if w.measuring.Load() {
			w.latencies = append(w.latencies, time.Now().UnixNano()-began[i%len(began)].Load())
		}
		<-window
	}
}

// fetch reads the topic from its beginning over and over.
func (w *worker) fetch() error {
	c, err := dial(w.o)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReaderSize(c, 256<<10)
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.ReplicaID = 4, 100, 1, int32(w.o.fetch), -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = w.o.topic
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.PartitionMaxBytes = int32(w.n%w.o.partitions), int32(w.o.fetch)
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire"))
	var out []byte
	head := make([]byte, 4+4+4+4+2+len(w.o.topic)+4+4+2+8+8+4+4)
	for offset := int64(0); !w.over.Load(); {
		req.Topics[0].Partitions[0].FetchOffset = offset
		out = format.AppendRequest(out[:0], req, 1)
		began := time.Now()
		if _, err := c.Write(out); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		records := int(binary.BigEndian.Uint32(head[len(head)-4:]))
		next, err := discard(r, records)
		if err != nil {
			return err
		}
		if next < 0 {
			offset = 0
			continue
		}
		offset = next
		w.count.Add(1)
		w.bytes.Add(int64(records))
		if w.measuring.Load() {
			w.latencies = append(w.latencies, time.Since(began).Nanoseconds())
		}
	}
	return nil
}

// discard throws records away but for the headers of batches, and returns the offset after the last whole one, or -1.
func discard(r *bufio.Reader, size int) (next int64, err error) {
	next = -1
	for size > 0 {
		head, err := r.Peek(min(size, record.HeaderSize))
		if err != nil {
			return -1, err
		}
		if len(head) < record.HeaderSize {
			_, err = r.Discard(size)
			return next, err
		}
		b := record.Batch(head)
		n := int(b.Size())
		if n <= size {
			next = b.LastOffset() + 1
		}
		if _, err := r.Discard(min(n, size)); err != nil {
			return -1, err
		}
		size -= min(n, size)
	}
	return next, nil
}
