package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/bench/prewarm"
)

// clusterWorkload is one thing to measure on a cluster.
type clusterWorkload struct {
	name, what string
	columns    []string
	run        func(f *fleet) (figures, error)
	alone      func() (figures, error) // in place of run, where no cluster is needed
	skip       func(system string) bool
}

func clusterWorkloads(c config) []clusterWorkload {
	b := builder{c}
	return []clusterWorkload{
		b.clusterJava(1024), b.clusterJava(100), b.clusterRdkafka(1024), b.clusterRdkafka(100), b.clusterFranz(1024), b.clusterFranz(100),
		b.clusterLatency(), b.failover(), b.rolling(), b.frozen(), b.clusterPartitions(), b.trialSpeed(),
	}
}

// runCluster measures every workload on a cluster of each system, and returns the report: what was asked for, then what was measured.
func runCluster(c config, head string, save func(string) error) (text string, failures []error) {
	kinds := fleetKinds()
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	var details strings.Builder
	all := map[string]map[string][]figures{}
	for _, w := range clusterWorkloads(c) {
		if len(c.workloads) > 0 && !slices.Contains(c.workloads, w.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s\n", w.name)
		results, err := measureCluster(c, w, kinds)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", w.name, err))
		}
		all[w.name] = results
		table(&details, w.name, w.what, append(slices.Clone(w.columns), others), names, results)
		text = head + barsTable(all) + details.String()
		if err := save(text); err != nil {
			return text, append(failures, err)
		}
	}
	return text, failures
}

// measureCluster runs a workload on each system in turns. A system that fails does not keep the others from being measured.
func measureCluster(c config, w clusterWorkload, kinds []fleetKind) (map[string][]figures, error) {
	results := map[string][]figures{}
	var failures []error
	for round := range c.rounds {
		order := slices.Clone(kinds)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			if !c.wants(k.name) || w.skip != nil && w.skip(k.name) {
				continue
			}
			result, err := w.measure(c, k)
			if err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", k.name, err))
				fmt.Fprintf(os.Stderr, "  %-32s failed: %v\n", k.name, err)
				continue
			}
			results[k.name] = append(results[k.name], result)
			fmt.Fprintf(os.Stderr, "  %-32s %s\n", k.name, brief(append(slices.Clone(w.columns), others), result))
		}
	}
	return results, errors.Join(failures...)
}

// measure runs a workload on a fresh cluster.
func (w clusterWorkload) measure(c config, k fleetKind) (figures, error) {
	taken := watchOthers()
	if w.alone != nil {
		result, err := w.alone()
		if err == nil {
			result[others] = taken()
		}
		return result, err
	}
	f, err := startFleet(c, k)
	if err != nil {
		return nil, err
	}
	defer func() { f.discard() }()
	result, err := w.run(f)
	if err != nil {
		f.explain()
		return nil, err
	}
	if _, has := result["start_s"]; !has {
		result["start_s"] = f.startup
	}
	if _, has := result["peak_mb"]; !has {
		result["peak_mb"] = f.memory(peakMB)
	}
	f.discard()
	result[others] = taken()
	return result, nil
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
	prewarm.File(f.nodes[0].dir+".prewarm", float64(n*size*len(f.nodes))*1.1)
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
			prewarm.File(f.nodes[0].dir+".prewarm", 5e8)
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
