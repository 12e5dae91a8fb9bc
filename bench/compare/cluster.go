package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clusterWorkload is one thing to measure on a cluster.
type clusterWorkload struct {
	name, what string
	columns    []string
	run        func(f *fleet) (figures, error)
	skip       func(system string) bool
}

func clusterWorkloads(c config) []clusterWorkload {
	b := builder{c}
	return []clusterWorkload{
		b.clusterJava(1024), b.clusterJava(100), b.clusterRdkafka(1024), b.clusterRdkafka(100), b.clusterFranz(1024), b.clusterFranz(100),
		b.clusterLatency(), b.failover(), b.rolling(), b.clusterPartitions(),
	}
}

// runCluster measures every workload on a cluster of each system.
func runCluster(c config, report *strings.Builder, save func() error) (failures []error) {
	kinds := fleetKinds()
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	for _, w := range clusterWorkloads(c) {
		if len(c.workloads) > 0 && !slices.Contains(c.workloads, w.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s\n", w.name)
		results, err := measureCluster(c, w, kinds)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", w.name, err))
			fmt.Fprintln(os.Stderr, "  failed:", err)
		}
		table(report, w.name, w.what, w.columns, names, results)
		if err := save(); err != nil {
			return append(failures, err)
		}
	}
	return failures
}

// measureCluster runs a workload on each system in turns. What was measured before one failed is kept.
func measureCluster(c config, w clusterWorkload, kinds []fleetKind) (map[string][]figures, error) {
	results := map[string][]figures{}
	for round := range c.rounds {
		order := slices.Clone(kinds)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			if w.skip != nil && w.skip(k.name) {
				continue
			}
			f, err := startFleet(c, k)
			if err != nil {
				return results, fmt.Errorf("%s: %w", k.name, err)
			}
			result, err := w.run(f)
			if err != nil {
				f.discard()
				return results, fmt.Errorf("%s: %w", k.name, err)
			}
			if _, has := result["start_s"]; !has {
				result["start_s"] = f.startup
			}
			if _, has := result["peak_mb"]; !has {
				result["peak_mb"] = f.memory(peakMB)
			}
			results[k.name] = append(results[k.name], result)
			fmt.Fprintf(os.Stderr, "  %-32s %s\n", k.name, brief(w.columns, result))
			f.discard()
		}
	}
	return results, nil
}

var clusterRates = []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "p50_ms", "p99_ms", "peak_mb"}

// clusterRecords is how many records of a size make about 250 MB, of which every node writes all.
func (b builder) clusterRecords(size int) int { return b.scaled(min(2.5e8/float64(size), 1.5e6)) }

// produced measures what produces n records of a size to the topic "suite", after a warm-up by librdkafka of a fifth of that.
func (b builder) produced(f *fleet, n, size int, produce func() (figures, error)) (figures, error) {
	if err := f.createTopic("suite", suite); err != nil {
		return nil, err
	}
	if _, _, err := f.load(1, b.tool("rdload"), "produce", f.bootstrap(), "suite", strconv.Itoa(max(n/5, 1000)), strconv.Itoa(size), "linger.ms=5"); err != nil {
		return nil, err
	}
	prewarmFile(f.nodes[0].dir+".prewarm", float64(n*size*len(f.nodes))*1.1)
	return produce()
}

func (b builder) clusterJava(size int) clusterWorkload {
	n := b.clusterRecords(size)
	return clusterWorkload{name: fmt.Sprintf("cluster-java-produce-%d", size), columns: clusterRates,
		what: fmt.Sprintf("ProducerPerformance, %d records of %d bytes, default settings (acks=all, idempotent), %d partitions. CPU and memory are those of all nodes together.", n, size, suite),
		run: func(f *fleet) (figures, error) {
			return b.produced(f, n, size, func() (figures, error) {
				result, out, err := f.load(float64(n*size), "java", "-Xmx256m", "-cp", filepath.Join(b.cache, "jars", "*"), "org.apache.kafka.tools.ProducerPerformance",
					"--topic", "suite", "--num-records", strconv.Itoa(n), "--record-size", strconv.Itoa(size), "--throughput", "-1", "--bootstrap-server", f.bootstrap())
				if err != nil {
					return nil, err
				}
				return result, result.perfFigures(lastLine(out))
			})
		}}
}

func (b builder) clusterRdkafka(size int) clusterWorkload {
	n := b.clusterRecords(size)
	return clusterWorkload{name: fmt.Sprintf("cluster-librdkafka-produce-%d", size), columns: clusterRates,
		what: fmt.Sprintf("librdkafka, %d records of %d bytes, linger.ms=5, acks=all, %d partitions.", n, size, suite),
		run: func(f *fleet) (figures, error) {
			return b.produced(f, n, size, func() (figures, error) {
				result, out, err := f.load(float64(n*size), b.tool("rdload"), "produce", f.bootstrap(), "suite", strconv.Itoa(n), strconv.Itoa(size), "linger.ms=5")
				if err != nil {
					return nil, err
				}
				return result, result.jsonFigures(out)
			})
		}}
}

func (b builder) clusterFranz(size int) clusterWorkload {
	n := b.clusterRecords(size)
	return clusterWorkload{name: fmt.Sprintf("cluster-franz-go-produce-%d", size), columns: []string{"records_per_s", "mb_per_s", "cpu_s_per_gb", "peak_mb"},
		what: fmt.Sprintf("franz-go, %d records of %d bytes, default settings without compression, %d partitions.", n, size, suite),
		run: func(f *fleet) (figures, error) {
			return b.produced(f, n, size, func() (figures, error) {
				result, out, err := f.load(float64(n*size), b.tool("franz"), "-mode", "produce", "-addr", f.bootstrap(), "-topic", "suite", "-count", strconv.Itoa(n), "-size", strconv.Itoa(size))
				if err != nil {
					return nil, err
				}
				return result, result.jsonFigures(out)
			})
		}}
}

func (b builder) clusterLatency() clusterWorkload {
	n := b.scaled(100_000)
	return clusterWorkload{name: "cluster-end-to-end-5k", columns: []string{"p50_ms", "p99_ms", "p999_ms", "cpu_s_per_gb"},
		what: fmt.Sprintf("librdkafka, %d records of 100 bytes at 5,000 a second, linger.ms=1, acks=all; from the time a record was due to when a consumer had it.", n),
		run: func(f *fleet) (figures, error) {
			if err := f.createTopic("paced", suite); err != nil {
				return nil, err
			}
			args := func(n int) []string {
				return []string{"latency", f.bootstrap(), "paced", strconv.Itoa(n), "100", "5000", "p:linger.ms=1"}
			}
			prewarmFile(f.nodes[0].dir+".prewarm", 5e8)
			if _, _, err := f.load(1, b.tool("rdload"), args(30_000)...); err != nil {
				return nil, err
			}
			result, out, err := f.load(float64(n*100), b.tool("rdload"), args(n)...)
			if err != nil {
				return nil, err
			}
			return result, result.jsonFigures(out)
		}}
}

// failover kills leaders.
func (b builder) failover() clusterWorkload {
	rounds := b.scaled(6)
	return clusterWorkload{name: "cluster-kill-leader", columns: []string{"median_ms", "max_ms", "rounds", "errors"},
		what: fmt.Sprintf("kill -9 of a node that leads two of %d partitions, %d times, each node in turn; the longest time that any partition goes without an acknowledgement, for a franz-go producer with default settings that sends a record to each every %v. errors are records that it was told are lost.", suite, rounds, probeEvery),
		skip: func(system string) bool { return strings.Contains(system, ",") },
		run: func(f *fleet) (figures, error) {
			p, err := b.probed(f)
			if err != nil {
				return nil, err
			}
			var pauses []float64
			for round := range rounds {
				m := f.nodes[round%len(f.nodes)]
				p.reset()
				killed := time.Now()
				m.end(syscall.SIGKILL)
				if err := p.acknowledgedSince(killed.Add(50*time.Millisecond), time.Minute); err != nil {
					return nil, err
				}
				time.Sleep(time.Second)
				pauses = append(pauses, milliseconds(p.pause()))
				if err := f.back(m); err != nil {
					return nil, err
				}
			}
			failures, first := p.close()
			if first != nil {
				fmt.Fprintln(os.Stderr, "  the producer was told:", first)
			}
			slices.Sort(pauses)
			return figures{"median_ms": pauses[len(pauses)/2], "max_ms": pauses[len(pauses)-1], "rounds": float64(rounds), "errors": float64(failures)}, nil
		}}
}

// rolling restarts each node in good order.
func (b builder) rolling() clusterWorkload {
	return clusterWorkload{name: "cluster-rolling-restart", columns: []string{"p50_ms", "p99_ms", "p999_ms", "longest_ms", "took_s", "errors"},
		what: fmt.Sprintf("SIGTERM, end and start of each node in turn, while the same producer goes on: from produce to acknowledgement, the longest time without an acknowledgement of any of %d partitions, and how long all took.", suite),
		skip: func(system string) bool { return strings.Contains(system, ",") },
		run: func(f *fleet) (figures, error) {
			p, err := b.probed(f)
			if err != nil {
				return nil, err
			}
			time.Sleep(time.Second)
			p.reset()
			began := time.Now()
			for _, m := range f.nodes {
				m.end(syscall.SIGTERM)
				if err := f.back(m); err != nil {
					return nil, err
				}
			}
			result := figures{"p50_ms": milliseconds(p.percentile(.5)), "p99_ms": milliseconds(p.percentile(.99)), "p999_ms": milliseconds(p.percentile(.999)),
				"longest_ms": milliseconds(p.pause()), "took_s": time.Since(began).Seconds()}
			failures, first := p.close()
			if first != nil {
				fmt.Fprintln(os.Stderr, "  the producer was told:", first)
			}
			result["errors"] = float64(failures)
			return result, nil
		}}
}

// probed starts the producer on a topic of its own, once all is quiet.
func (b builder) probed(f *fleet) (*probe, error) {
	if err := f.createTopic("probed", suite); err != nil {
		return nil, err
	}
	if err := f.settled(time.Minute, true, "probed"); err != nil {
		return nil, err
	}
	p, err := startProbe(f, "probed", suite)
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second)
	return p, nil
}

// back starts a node again, waits until it has everything, and gives it back what it is to lead.
func (f *fleet) back(m *member) error {
	if err := m.start(); err != nil {
		return err
	}
	if err := f.settled(2*time.Minute, true, "probed"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = f.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil) // where it leads already, that is an error
	if err := f.wait("the node leads", time.Minute, func(ctx context.Context) error {
		topics, err := f.admin.ListTopics(ctx, "probed")
		if err != nil {
			return err
		}
		for _, p := range topics["probed"].Partitions {
			if p.Leader != p.Replicas[0] {
				return errNotYet
			}
		}
		return nil
	}); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	return nil
}

// clusterPartitions has very many partitions.
func (b builder) clusterPartitions() clusterWorkload {
	topics := b.scaled(50)
	return clusterWorkload{name: "cluster-partitions", columns: []string{"create_s", "idle_mb", "idle_cpu_percent", "start_s", "failover_s"},
		what: fmt.Sprintf("%d partitions with 3 replicas each, in topics of 100. idle is of all nodes together, with nobody connected but who asks; start is from the start of all processes to when every partition has a leader and takes a record of each topic; failover from kill -9 of a node to when no partition is led by it and each topic takes a record.", topics*100),
		skip: func(system string) bool { return strings.Contains(system, ",") },
		run: func(f *fleet) (figures, error) {
			var names []string
			began := time.Now()
			for i := range topics {
				names = append(names, fmt.Sprintf("many-%d", i))
				if err := f.createTopic(names[i], 100); err != nil {
					return nil, err
				}
			}
			if err := f.settled(5*time.Minute, true, names...); err != nil {
				return nil, err
			}
			result := figures{"create_s": time.Since(began).Seconds()}
			if err := f.serves(names); err != nil {
				return nil, err
			}
			time.Sleep(5 * time.Second)
			before := f.cpu()
			time.Sleep(10 * time.Second)
			result["idle_cpu_percent"], result["idle_mb"] = (f.cpu()-before)/10*100, f.memory(residentMB)
			result["peak_mb"] = f.memory(peakMB)
			if err := f.restarted(result, names); err != nil {
				return nil, err
			}
			if err := f.settled(5*time.Minute, true, names...); err != nil {
				return nil, err
			}
			time.Sleep(3 * time.Second)
			began = time.Now()
			f.nodes[1].end(syscall.SIGKILL)
			if err := f.settled(2*time.Minute, false, names...); err != nil {
				return nil, err
			}
			if err := f.serves(names); err != nil {
				return nil, err
			}
			result["failover_s"] = time.Since(began).Seconds()
			return result, nil
		}}
}

// restarted stops all nodes in good order and starts them.
func (f *fleet) restarted(result figures, names []string) error {
	for _, m := range f.nodes {
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, m := range f.nodes {
		m.end(syscall.SIGTERM)
	}
	began := time.Now()
	if err := f.startAll(); err != nil {
		return err
	}
	if err := f.settled(5*time.Minute, false, names...); err != nil {
		return err
	}
	if err := f.serves(names); err != nil {
		return err
	}
	result["start_s"] = time.Since(began).Seconds()
	return nil
}

// serves produces a record to each topic.
func (f *fleet) serves(names []string) error {
	return f.wait("every topic takes a record", 2*time.Minute, func(ctx context.Context) error {
		return f.client.ProduceSync(ctx, recordFor(names)...).FirstErr()
	})
}

func recordFor(topics []string) (records []*kgo.Record) {
	for _, t := range topics {
		records = append(records, &kgo.Record{Topic: t, Value: []byte("one")})
	}
	return records
}
