package main

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// workload is one thing to measure.
type workload struct {
	name, what string
	columns    []string
	run        func(r *running) (figures, error)
	skip       func(system string) bool
	killed     bool // the process that was started is not there any more
}

var rates = []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "p50_ms", "p99_ms", "p999_ms", "peak_mb"}

func workloads(c config) []workload {
	b := builder{c}
	var all []workload
	for _, size := range []int{100, 1024} {
		all = append(all, b.javaProduce(size, 1), b.rdkafkaProduce(size), b.franzProduce(size))
		all = append(all, b.javaConsume(size, 1), b.rdkafkaConsume(size), b.franzConsume(size))
	}
	all = append(all, b.javaProduce(100, 3), b.javaConsume(100, 3), b.javaLatency(), b.pacedLatency())
	for _, size := range []int{10, 1000, 10_000, 100_000} {
		all = append(all, b.javaProduce(size, 1))
	}
	all = append(all,
		b.wire("raw-produce-64k", "produce", 1.2e9, "-batch", "65536", "-conns", "2", "-inflight", "5"),
		b.wire("raw-produce-16k", "produce", 1.2e9, "-batch", "16384", "-conns", "2", "-inflight", "5"),
		b.wire("raw-produce-4k-x20", "produce", .8e9, "-batch", "4096", "-conns", "2", "-inflight", "20"),
		b.wire("raw-produce-1k", "produce", .2e9, "-batch", "1024", "-conns", "1", "-inflight", "5"),
		b.wire("raw-produce-16-connections", "produce", 1.5e9, "-batch", "16384", "-conns", "16", "-inflight", "5", "-partitions", "4"),
		b.wire("raw-fetch-1m", "fetch", 0, "-conns", "1"),
		b.wire("raw-fetch-1m-4-connections", "fetch", 0, "-conns", "4"),
		b.idle(), b.connections(), b.partitions(), b.restart())
	return all
}

type builder struct{ config }

func (b builder) scaled(n float64) int { return max(int(n*b.scale), 1) }
func (b builder) tool(name string) string {
	return filepath.Join(b.cache, name)
}

// suite is the topic of LinkedIn's published suite: six partitions.
const suite = 6

// recordsFor is how many records of a size make about the same load as 5 M of 100 bytes.
func (b builder) recordsFor(size int) int {
	return b.scaled(min(6e8/float64(size), 3e6))
}

var perfLine = regexp.MustCompile(`([0-9.]+) records/sec \(([0-9.]+) MB/sec\), [0-9.]+ ms avg latency, [0-9.]+ ms max latency, ([0-9]+) ms 50th, [0-9]+ ms 95th, ([0-9]+) ms 99th, ([0-9]+) ms 99.9th`)

// javaProduce is Kafka's own ProducerPerformance.
func (b builder) javaProduce(size, producers int) workload {
	name := fmt.Sprintf("java-produce-%d", size)
	if producers > 1 {
		name += fmt.Sprintf("-x%d", producers)
	}
	n := b.recordsFor(size)
	return workload{name: name, columns: rates,
		what: fmt.Sprintf("%d ProducerPerformance, %d records of %d bytes each, default settings (acks=all, idempotent, 16 KiB batches, 5 in flight), %d partitions; after a warm-up.", producers, n, size, suite),
		run: func(r *running) (figures, error) {
			if err := createTopic(r.addr(), "suite", suite); err != nil {
				return nil, err
			}
			if _, err := b.perf(r, "suite", max(n/5, 1000), size, 1); err != nil {
				return nil, err
			}
			r.prewarm(float64(n*size*producers) * 1.1)
			return b.perf(r, "suite", n, size, producers)
		}}
}

// perf runs producers side by side; their rates add up, of the latencies the largest counts.
func (b builder) perf(r *running, topic string, n, size, producers int) (figures, error) {
	before := cpuOf(r.pid())
	outs, errs := make([]string, producers), make([]error, producers)
	var wg sync.WaitGroup
	for i := range producers {
		wg.Go(func() {
			var out string
			out, errs[i] = r.children.output("java", "-Xmx256m", "-cp", filepath.Join(b.cache, "jars", "*"), "org.apache.kafka.tools.ProducerPerformance",
				"--topic", topic, "--num-records", strconv.Itoa(n), "--record-size", strconv.Itoa(size), "--throughput", "-1",
				"--bootstrap-server", r.addr())
			outs[i] = lastLine(out)
		})
	}
	wg.Wait()
	f := figures{"cpu_s_per_gb": (cpuOf(r.pid()) - before) / (float64(n*size*producers) / 1e9)}
	for i, out := range outs {
		if errs[i] != nil {
			return nil, fmt.Errorf("ProducerPerformance: %w: %s", errs[i], out)
		}
		if err := f.perfFigures(out); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// perfFigures adds what the last line of ProducerPerformance says.
func (f figures) perfFigures(line string) error {
	m := perfLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("ProducerPerformance: %s", line)
	}
	for i, key := range []string{"records_per_s", "mb_per_s", "p50_ms", "p99_ms", "p999_ms"} {
		v, _ := strconv.ParseFloat(m[i+1], 64)
		if i == 1 {
			v *= 1.048576 // the tool's MB has 2^20 bytes
		}
		if i < 2 {
			f[key] += v
		} else {
			f[key] = max(f[key], v)
		}
	}
	return nil
}

// fill produces what consumers are to read.
func (b builder) fill(r *running, n, size int) error {
	if err := createTopic(r.addr(), "suite", suite); err != nil {
		return err
	}
	r.prewarm(float64(n*size) * 1.2)
	_, _, err := r.load(1, b.tool("rdload"), "produce", r.addr(), "suite", strconv.Itoa(n), strconv.Itoa(size), "linger.ms=5")
	return err
}

// javaConsume is Kafka's own ConsumerPerformance.
func (b builder) javaConsume(size, consumers int) workload {
	name := fmt.Sprintf("java-consume-%d", size)
	if consumers > 1 {
		name += fmt.Sprintf("-x%d", consumers)
	}
	n := b.recordsFor(size)
	return workload{name: name, columns: []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "peak_mb"},
		what: fmt.Sprintf("%d ConsumerPerformance, each reading %d records of %d bytes from the page cache; the rate is that of fetching.", consumers, n, size),
		run: func(r *running) (figures, error) {
			if err := b.fill(r, n, size); err != nil {
				return nil, err
			}
			before := cpuOf(r.pid())
			outs, errs := make([]string, consumers), make([]error, consumers)
			var wg sync.WaitGroup
			for i := range consumers {
				wg.Go(func() {
					var out string
					out, errs[i] = r.children.output("java", "-Xmx512m", "-cp", filepath.Join(b.cache, "jars", "*"), "org.apache.kafka.tools.ConsumerPerformance",
						"--topic", "suite", "--num-records", strconv.Itoa(n), "--bootstrap-server", r.addr(), "--group", fmt.Sprint("perf", i), "--hide-header")
					outs[i] = lastLine(out)
				})
			}
			wg.Wait()
			f := figures{"cpu_s_per_gb": (cpuOf(r.pid()) - before) / (float64(n*size*consumers) / 1e9)}
			for i, out := range outs {
				fields := strings.Split(out, ", ")
				if errs[i] != nil || len(fields) < 10 {
					return nil, fmt.Errorf("ConsumerPerformance: %v: %s", errs[i], out)
				}
				mb, _ := strconv.ParseFloat(fields[8], 64)
				records, _ := strconv.ParseFloat(fields[9], 64)
				f["mb_per_s"] += mb * 1.048576
				f["records_per_s"] += records
			}
			return f, nil
		}}
}

func (b builder) rdkafkaProduce(size int) workload {
	n := b.recordsFor(size)
	return workload{name: fmt.Sprintf("librdkafka-produce-%d", size), columns: rates,
		what: fmt.Sprintf("librdkafka, %d records of %d bytes, linger.ms=5, acks=all, %d partitions. Latency is from produce() to the acknowledgement, with a full queue.", n, size, suite),
		run: func(r *running) (figures, error) {
			if err := b.fill(r, n/5, size); err != nil {
				return nil, err
			}
			r.prewarm(float64(n*size) * 1.2)
			f, out, err := r.load(float64(n*size), b.tool("rdload"), "produce", r.addr(), "suite", strconv.Itoa(n), strconv.Itoa(size), "linger.ms=5")
			if err != nil {
				return nil, err
			}
			return f, f.jsonFigures(out)
		}}
}

func (b builder) rdkafkaConsume(size int) workload {
	n := b.recordsFor(size)
	return workload{name: fmt.Sprintf("librdkafka-consume-%d", size), columns: []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "peak_mb"},
		what: fmt.Sprintf("librdkafka reading %d records of %d bytes from the page cache.", n, size),
		run: func(r *running) (figures, error) {
			if err := b.fill(r, n, size); err != nil {
				return nil, err
			}
			f, out, err := r.load(float64(n*size), b.tool("rdload"), "consume", r.addr(), "suite", strconv.Itoa(n))
			if err != nil {
				return nil, err
			}
			return f, f.jsonFigures(out)
		}}
}

func (b builder) franzProduce(size int) workload {
	n := b.recordsFor(size)
	return workload{name: fmt.Sprintf("franz-go-produce-%d", size), columns: []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "peak_mb"},
		what: fmt.Sprintf("franz-go, %d records of %d bytes, default settings without compression, %d partitions.", n, size, suite),
		run: func(r *running) (figures, error) {
			if err := b.fill(r, n/5, size); err != nil {
				return nil, err
			}
			r.prewarm(float64(n*size) * 1.2)
			f, out, err := r.load(float64(n*size), b.tool("franz"), "-mode", "produce", "-addr", r.addr(), "-topic", "suite", "-count", strconv.Itoa(n), "-size", strconv.Itoa(size))
			if err != nil {
				return nil, err
			}
			return f, f.jsonFigures(out)
		}}
}

func (b builder) franzConsume(size int) workload {
	n := b.recordsFor(size)
	return workload{name: fmt.Sprintf("franz-go-consume-%d", size), columns: []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "peak_mb"},
		what: fmt.Sprintf("franz-go reading %d records of %d bytes from the page cache.", n, size),
		run: func(r *running) (figures, error) {
			if err := b.fill(r, n, size); err != nil {
				return nil, err
			}
			f, out, err := r.load(float64(n*size), b.tool("franz"), "-mode", "consume", "-addr", r.addr(), "-topic", "suite", "-count", strconv.Itoa(n), "-size", strconv.Itoa(size))
			if err != nil {
				return nil, err
			}
			return f, f.jsonFigures(out)
		}}
}

var latencyLine = regexp.MustCompile(`Percentiles: 50th = ([0-9]+), 99th = ([0-9]+), 99.9th = ([0-9]+)`)

// javaLatency is Kafka's own EndToEndLatency: one record at a time.
func (b builder) javaLatency() workload {
	n := b.scaled(5000)
	return workload{name: "java-end-to-end", columns: []string{"p50_ms", "p99_ms", "p999_ms"},
		what: fmt.Sprintf("EndToEndLatency, %d records of 100 bytes, one at a time, acks=all. The tool counts whole milliseconds.", n),
		run: func(r *running) (figures, error) {
			if err := createTopic(r.addr(), "latency", 1); err != nil {
				return nil, err
			}
			f, out, err := r.load(float64(n*100), "java", "-Xmx256m", "-cp", filepath.Join(b.cache, "jars", "*"), "org.apache.kafka.tools.EndToEndLatency",
				"--bootstrap-server", r.addr(), "--topic", "latency", "--num-records", strconv.Itoa(n), "--producer-acks", "all", "--record-size", "100")
			if err != nil {
				return nil, err
			}
			m := latencyLine.FindStringSubmatch(out)
			if m == nil {
				return nil, fmt.Errorf("EndToEndLatency: %s", lastLine(out))
			}
			for i, key := range []string{"p50_ms", "p99_ms", "p999_ms"} {
				f[key], _ = strconv.ParseFloat(m[i+1], 64)
			}
			return f, nil
		}}
}

// pacedLatency is the latency from one end to the other at a rate that nobody finds hard.
func (b builder) pacedLatency() workload {
	n := b.scaled(200_000)
	return workload{name: "end-to-end-20k", columns: []string{"p50_ms", "p99_ms", "p999_ms", "cpu_s_per_gb"},
		what: fmt.Sprintf("librdkafka, %d records of 100 bytes at 20,000 a second, linger.ms=1, acks=all; from the time a record was due to when a consumer had it.", n),
		run: func(r *running) (figures, error) {
			if err := createTopic(r.addr(), "paced", suite); err != nil {
				return nil, err
			}
			args := func(n int) []string {
				return []string{"latency", r.addr(), "paced", strconv.Itoa(n), "100", "20000", "p:linger.ms=1"}
			}
			// Files that are new, and code that is, make the first seconds of either broker slow.
			r.prewarm(5e8)
			for range 3 {
				if _, _, err := r.load(1, b.tool("rdload"), args(60_000)...); err != nil {
					return nil, err
				}
			}
			f, out, err := r.load(float64(n*100), b.tool("rdload"), args(n)...)
			if err != nil {
				return nil, err
			}
			return f, f.jsonFigures(out)
		}}
}

// wire is the raw client.
func (b builder) wire(name, mode string, warm float64, args ...string) workload {
	columns := []string{"records_per_s", "mb_per_s", "broker_cpu_s_per_gb", "broker_cpu_us_per_request", "p50_ms", "p99_ms", "p999_ms", "peak_mb"}
	if mode == "fetch" {
		columns = []string{"mb_per_s", "broker_cpu_s_per_gb", "p50_ms", "p99_ms", "peak_mb"}
	}
	return workload{name: name, columns: columns, what: "Requests encoded beforehand: `wire -mode " + mode + " " + strings.Join(args, " ") + "`.",
		run: func(r *running) (figures, error) {
			common := []string{"-addr", r.addr(), "-pid", strconv.Itoa(r.pid()), "-topic", "raw"}
			if mode == "fetch" {
				r.prewarm(1.5e9)
				if _, _, err := r.load(1, b.tool("wire"), append(common, "-batch", "65536", "-seconds", "1")...); err != nil {
					return nil, err
				}
			}
			seconds := strconv.FormatFloat(3*b.scale, 'f', 1, 64)
			warmUp := append(append([]string{"-mode", mode, "-seconds", "1"}, common...), args...)
			if _, _, err := r.load(1, b.tool("wire"), warmUp...); err != nil {
				return nil, err
			}
			r.prewarm(warm * 4 * b.scale)
			f, out, err := r.load(1, b.tool("wire"), append(append([]string{"-mode", mode, "-seconds", seconds}, common...), args...)...)
			if err != nil {
				return nil, err
			}
			return f, f.jsonFigures(out)
		}}
}

func (b builder) idle() workload {
	return workload{name: "idle", columns: []string{"start_s", "idle_mb", "idle_cpu_percent"},
		what: "One topic, nobody connected. start_s is from the start of the process to the first accepted produce.",
		run: func(r *running) (figures, error) {
			time.Sleep(3 * time.Second)
			before := cpuOf(r.pid())
			time.Sleep(5 * time.Second)
			return figures{"idle_mb": residentMB(r.pid()), "idle_cpu_percent": (cpuOf(r.pid()) - before) / 5 * 100}, nil
		}}
}

func (b builder) connections() workload {
	n := b.scaled(10_000)
	return workload{name: "idle-connections", columns: []string{"idle_mb", "kb_per_connection"},
		what: fmt.Sprintf("%d connections that say nothing.", n),
		skip: func(system string) bool { return strings.Contains(system, ",") },
		run: func(r *running) (figures, error) {
			before := residentMB(r.pid())
			conns := make([]net.Conn, 0, n)
			defer func() {
				for _, c := range conns {
					_ = c.Close()
				}
			}()
			for range n {
				c, err := net.Dial("tcp", r.addr())
				if err != nil {
					return nil, fmt.Errorf("after %d connections: %w (raise the limit of open files)", len(conns), err)
				}
				conns = append(conns, c)
			}
			time.Sleep(2 * time.Second)
			if err := r.firstProduce(); err != nil {
				return nil, err
			}
			mb := residentMB(r.pid())
			return figures{"idle_mb": mb, "kb_per_connection": (mb - before) * 1024 / float64(n)}, nil
		}}
}

func (b builder) partitions() workload {
	n := b.scaled(10_000)
	return workload{name: "partitions", columns: []string{"create_s", "idle_mb", "kb_per_partition"},
		what: fmt.Sprintf("%d partitions, in topics of 100.", n),
		skip: func(system string) bool { return strings.Contains(system, ",") },
		run: func(r *running) (figures, error) {
			before, began := residentMB(r.pid()), time.Now()
			for i := range (n + 99) / 100 {
				if err := createTopic(r.addr(), fmt.Sprintf("many-%d", i), 100); err != nil {
					return nil, err
				}
			}
			created := time.Since(began).Seconds()
			if err := r.firstProduce(); err != nil {
				return nil, err
			}
			mb := residentMB(r.pid())
			return figures{"create_s": created, "idle_mb": mb, "kb_per_partition": (mb - before) * 1024 / float64(n)}, nil
		}}
}

// restart kills a broker with a large log, and takes the time until it serves again.
func (b builder) restart() workload {
	n, size := b.scaled(4e6), 1024
	return workload{name: "restart-after-kill", columns: []string{"restart_s"}, killed: true,
		what: fmt.Sprintf("1,000 partitions with %.1f GB, kill -9, start; the time to the first accepted produce.", float64(n*size)/1e9),
		skip: func(system string) bool { return strings.Contains(system, ",") },
		run: func(r *running) (figures, error) {
			if err := createTopic(r.addr(), "large", 1000); err != nil {
				return nil, err
			}
			if _, _, err := r.load(1, b.tool("rdload"), "produce", r.addr(), "large", strconv.Itoa(n), strconv.Itoa(size), "linger.ms=50"); err != nil {
				return nil, err
			}
			r.kill()
			again, err := startIn(b.config, r.system, r.dir)
			if err != nil {
				return nil, err
			}
			r.process = again.process
			return figures{"restart_s": again.startup}, nil
		}}
}
