// Command compare runs the same loads against Gregor and Apache Kafka, one system at a time and in turns, on one machine,
// and writes tables with the ratios. bench/run builds what it needs and starts it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gregorhq/gregor/bench/prewarm"
	"github.com/gregorhq/gregor/internal/record"
)

type config struct {
	cache, gregor, results, scratch string
	workloads, systems              []string // names; none for all
	rounds                          int
	cluster                         int // nodes; 0 for one node of each system and its own workloads
	scale                           float64
	children                        *children
}

// figures are what one run of a workload measured, by name.
type figures map[string]float64

func main() {
	var c config
	var only, systemsOnly string
	flag.StringVar(&c.cache, "cache", "bench/.cache", "folder with what was built and fetched")
	flag.StringVar(&c.gregor, "gregor", "bin/gregor", "the binary to measure")
	flag.StringVar(&c.results, "results", "bench/results", "folder for the tables")
	flag.StringVar(&only, "workloads", "", "names, comma-separated; empty for all")
	flag.StringVar(&systemsOnly, "systems", "", "names, separated by semicolons; empty for all")
	flag.IntVar(&c.rounds, "rounds", 2, "turns of each system")
	flag.IntVar(&c.cluster, "cluster", 0, "compare clusters of so many nodes")
	flag.Float64Var(&c.scale, "scale", 1, "size of each load")
	flag.Parse()
	c.workloads, c.systems = names(only, ","), names(systemsOnly, ";")
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names(text, separator string) []string {
	return slices.DeleteFunc(strings.Split(text, separator), func(name string) bool { return name == "" })
}

// wants reports whether a system is to be measured.
func (c config) wants(system string) bool {
	return len(c.systems) == 0 || slices.Contains(c.systems, system)
}

func run(c config) (err error) {
	if c.scratch, err = os.MkdirTemp("", "gregor-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.scratch)
	c.children = newChildren()
	defer c.children.end()
	endOnSignal(c)
	var report strings.Builder
	header(&report, c)
	name := filepath.Join(c.results, time.Now().UTC().Format("2006-01-02-1504")+"-"+commit()+c.kind()+".md")
	save := func(text string) error { return os.WriteFile(name, []byte(text), 0o644) }
	if c.cluster > 0 {
		text, failures := runCluster(c, report.String(), save)
		fmt.Print(text)
		return errors.Join(failures...)
	}
	all := systems(c)
	var systemNames []string
	for _, s := range all {
		systemNames = append(systemNames, s.name)
	}
	var failures []error
	for _, w := range workloads(c) {
		if len(c.workloads) > 0 && !slices.Contains(c.workloads, w.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s\n", w.name)
		results, err := measure(c, w, all)
		if err != nil {
			// An hour's work is not thrown away for one workload that failed.
			failures = append(failures, fmt.Errorf("%s: %w", w.name, err))
			fmt.Fprintln(os.Stderr, "  failed:", err)
			continue
		}
		table(&report, w.name, w.what, w.columns, systemNames, results)
		if err := save(report.String()); err != nil {
			return err
		}
	}
	fmt.Print(report.String())
	return errors.Join(failures...)
}

// endOnSignal has nothing stay behind when the comparison is told to end. What was measured by then has been saved.
func endOnSignal(c config) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		s := <-signals
		fmt.Fprintf(os.Stderr, "bench: %v: ending what was started\n", s)
		c.children.end()
		_ = os.RemoveAll(c.scratch)
		os.Exit(130)
	}()
}

// kind is what the name of a file of results says of it.
func (c config) kind() string {
	if c.cluster > 0 {
		return fmt.Sprintf("-cluster-%d", c.cluster)
	}
	return ""
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func header(w *strings.Builder, c config) {
	cpu := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "model name") {
				cpu = strings.TrimSpace(value)
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	kernel, _ := exec.Command("uname", "-sr").Output()
	fmt.Fprintf(w, "# Benchmark, %s, commit %s\n\n", time.Now().UTC().Format("2006-01-02 15:04"), commit())
	fmt.Fprintf(w, "Machine: %d cores of %s, %s, %s. Load before: %s", runtime.NumCPU(), cpu, strings.TrimSpace(string(kernel)), runtime.Version(), load)
	fmt.Fprintf(w, "\nCommand: `make bench` with CLUSTER=%d ROUNDS=%d SCALE=%g WORKLOADS=%s SYSTEMS=%s. Clients and brokers share the cores.\n\n", c.cluster, c.rounds, c.scale, strings.Join(c.workloads, ","), strings.Join(c.systems, ";"))
	fmt.Fprintf(w, "Medians over the rounds; the systems took turns, forwards and backwards. `×` is the ratio to Kafka with its defaults.\nBroker CPU is that of all threads of its process, per 1e9 bytes of record values (of batches for the raw client).\n")
}

// measure runs a workload on each system in turns: A B C, C B A, …
func measure(c config, w workload, all []system) (map[string][]figures, error) {
	results := map[string][]figures{}
	for round := range c.rounds {
		order := slices.Clone(all)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if !c.wants(s.name) || w.skip != nil && w.skip(s.name) {
				continue
			}
			r, err := start(c, s)
			if err != nil {
				return nil, err
			}
			f, err := w.run(r)
			if err != nil {
				r.discard()
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			f["start_s"] = r.startup
			if !w.killed {
				f["peak_mb"] = peakMB(r.pid())
			}
			results[s.name] = append(results[s.name], f)
			fmt.Fprintf(os.Stderr, "  %-32s %s\n", s.name, brief(w.columns, f))
			r.discard()
		}
	}
	return results, nil
}

func brief(columns []string, f figures) string {
	var parts []string
	for _, column := range columns {
		if v, ok := f[column]; ok {
			parts = append(parts, column+"="+number(v))
		}
	}
	return strings.Join(parts, " ")
}

func table(out *strings.Builder, name, what string, columns, systems []string, results map[string][]figures) {
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n", name, what)
	fmt.Fprintf(out, "| system | %s |\n|--|%s\n", strings.Join(columns, " | "), strings.Repeat("--|", len(columns)))
	for _, system := range systems {
		if len(results[system]) == 0 {
			continue
		}
		cells := make([]string, len(columns))
		for i, column := range columns {
			v, measured := median(results[system], column)
			base, _ := median(results["kafka"], column)
			if !measured {
				cells[i] = "–"
				continue
			}
			cells[i] = number(v)
			if system != "kafka" && base > 0 && v > 0 && column != "rounds" && column != others {
				cells[i] += fmt.Sprintf(" (%.2f×)", v/base)
			}
		}
		fmt.Fprintf(out, "| %s | %s |\n", system, strings.Join(cells, " | "))
	}
}

// median of a column over the rounds, and whether it was measured at all.
func median(all []figures, column string) (v float64, measured bool) {
	var values []float64
	for _, f := range all {
		if v, ok := f[column]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2, true
}

func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// cpuOf is the CPU seconds that a process has used over all threads that it has.
func cpuOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func statusMB(pid int, key string) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

func peakMB(pid int) float64     { return statusMB(pid, "VmHWM") }
func residentMB(pid int) float64 { return statusMB(pid, "VmRSS") }

// prewarm makes the page cache ready for so many bytes.
func (r *running) prewarm(bytes float64) { prewarm.File(r.dir+".prewarm", bytes) }

// load runs a load generator while the broker's CPU time is watched. bytes is how much it moves.
func (r *running) load(bytes float64, name string, args ...string) (figures, string, error) {
	before := cpuOf(r.pid())
	out, err := r.children.output(name, args...)
	if err != nil {
		return nil, "", err
	}
	return figures{"cpu_s_per_gb": (cpuOf(r.pid()) - before) / (bytes / 1e9)}, out, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// jsonFigures reads the numbers of a JSON line into figures.
func (f figures) jsonFigures(line string) error {
	var values map[string]any
	if err := json.Unmarshal([]byte(lastLine(line)), &values); err != nil {
		return fmt.Errorf("%w: %q", err, lastLine(line))
	}
	for key, value := range values {
		if v, ok := value.(float64); ok {
			f[key] = v
		}
	}
	return nil
}

func oneRecord() []byte {
	b := record.NewBuilder(record.Plain())
	b.Add(time.Now().UnixMilli(), nil, []byte("first"))
	return b.Build()
}
