package main

import (
	"fmt"
	"slices"
	"strings"
)

// bar is something that a cluster has to reach.
type bar struct {
	what, bar string
	// judge says what a system reached, and whether that is enough; nothing if it was not measured.
	judge func(m measured, system string) (reached string, enough bool)
}

// measured is what was measured, by workload and system.
type measured map[string]map[string][]figures

// of is a figure of a workload.
func (m measured) of(workload, system, column string) (float64, bool) {
	return median(m[workload][system], column)
}

// among says what those workloads reached that were measured, and whether each did enough.
func (m measured) among(workloads []string, system string, one func(workload string) (string, bool)) (reached string, enough bool) {
	var parts []string
	enough = true
	for _, w := range workloads {
		if len(m[w][system]) == 0 {
			continue
		}
		text, ok := one(w)
		parts, enough = append(parts, text), enough && ok
	}
	return strings.Join(parts, "; "), enough
}

// bars are the bars for three nodes, replication factor 3, min.insync.replicas 2, acks=all.
func bars() []bar {
	return []bar{
		{"acknowledged records lost", "0", lostBar},
		{"unavailability for producers after kill -9 of a leader, median / max", "≤ 0.5 s / ≤ 2 s", func(m measured, system string) (string, bool) {
			return m.among([]string{"cluster-kill-leader"}, system, func(w string) (string, bool) {
				median, _ := m.of(w, system, "median_ms")
				most, _ := m.of(w, system, "max_ms")
				return fmt.Sprintf("%.2f s / %.2f s", median/1000, most/1000), median <= 500 && most <= 2000
			})
		}},
		{"controlled restart of each node in turn under load", "no error to the user; p99 ≤ 200 ms", func(m measured, system string) (string, bool) {
			return m.among([]string{"cluster-rolling-restart"}, system, func(w string) (string, bool) {
				failures, _ := m.of(w, system, "errors")
				p99, _ := m.of(w, system, "p99_ms")
				longest, _ := m.of(w, system, "longest_ms")
				return fmt.Sprintf("%.0f errors; p99 %.1f ms, longest pause %.0f ms", failures, p99, longest), failures == 0 && p99 <= 200
			})
		}},
		{"one follower frozen", "producers go on within replica.lag.time.max.ms (30 s); bounded memory", func(m measured, system string) (string, bool) {
			return m.among([]string{"cluster-frozen-follower"}, system, func(w string) (string, bool) {
				longest, _ := m.of(w, system, "longest_ms")
				before, _ := m.of(w, system, "before_mb")
				peak, _ := m.of(w, system, "peak_mb")
				return fmt.Sprintf("%.2f s; the others' memory %.0f MB, at most %.0f MB", longest/1000, before, peak), longest <= 30_000
			})
		}},
		{"produce throughput against Kafka / CPU per GB", "≥ 1.0× / ≤ 0.5×", throughputBar},
		{"5,000 partitions × 3 replicas: start, elect, serve / fail over one node / the controller", "≤ 5 s each", func(m measured, system string) (string, bool) {
			return m.among([]string{"cluster-partitions"}, system, func(w string) (string, bool) {
				start, _ := m.of(w, system, "start_s")
				failover, _ := m.of(w, system, "failover_s")
				controller, _ := m.of(w, system, "failover_controller_s")
				return fmt.Sprintf("%.1f s / %.1f s / %.1f s", start, failover, controller), max(start, failover, controller) <= 5
			})
		}},
		{"the same: memory / idle CPU, of all nodes together", "written down", func(m measured, system string) (string, bool) {
			return m.among([]string{"cluster-partitions"}, system, func(w string) (string, bool) {
				mb, _ := m.of(w, system, "idle_mb")
				cpu, _ := m.of(w, system, "idle_cpu_percent")
				return fmt.Sprintf("%.0f MB / %.1f %% of a core", mb, cpu), true
			})
		}},
		{"trial speed, per core", "≥ 100,000 events/s; ≥ 20× real time", func(m measured, system string) (string, bool) {
			return m.among([]string{"cluster-trial"}, system, func(w string) (string, bool) {
				events, _ := m.of(w, system, "events_per_s")
				times, _ := m.of(w, system, "times_real_time")
				return fmt.Sprintf("%.0f events/s; %.0f× real time", events, times), events >= 100_000 && times >= 20
			})
		}},
	}
}

func lostBar(m measured, system string) (string, bool) {
	acknowledged, lost, seen := 0.0, 0.0, false
	for _, w := range []string{"cluster-kill-leader", "cluster-rolling-restart", "cluster-frozen-follower"} {
		for _, f := range m[w][system] {
			acknowledged, lost, seen = acknowledged+f["acknowledged"], lost+f["lost"], true
		}
	}
	if !seen {
		return "", true
	}
	return fmt.Sprintf("%.0f of %.0f", lost, acknowledged), lost == 0
}

func throughputBar(m measured, system string) (string, bool) {
	var names []string
	for w := range m {
		if strings.Contains(w, "-produce-") {
			names = append(names, w)
		}
	}
	slices.Sort(names)
	return m.among(names, system, func(w string) (string, bool) {
		rate, _ := m.of(w, system, "mb_per_s")
		cpu, _ := m.of(w, system, "cpu_s_per_gb")
		short := strings.Replace(strings.TrimPrefix(w, "cluster-"), "-produce-", " ", 1) + " B"
		rate0, _ := m.of(w, "kafka", "mb_per_s")
		cpu0, _ := m.of(w, "kafka", "cpu_s_per_gb")
		if system == "kafka" || rate0 == 0 || cpu0 == 0 {
			return fmt.Sprintf("%s: %.0f MB/s, %.1f s", short, rate, cpu), true
		}
		return fmt.Sprintf("%s: %.2f× / %.2f×", short, rate/rate0, cpu/cpu0), rate >= rate0 && cpu <= cpu0/2
	})
}

// barsTable says of each bar what Gregor and Kafka reached. A bar whose workload did not run is left out.
func barsTable(m measured) string {
	var out strings.Builder
	out.WriteString("\n## What was to be reached\n\n3 replicas, min.insync.replicas=2, acks=all; Gregor acknowledges what is on the disks of all nodes in sync, Kafka what is in their memory.\n`" +
		others + "` below is how many cores other programs took while a figure was measured.\n\n")
	out.WriteString("| what | bar | gregor | held | kafka |\n|--|--|--|--|--|\n")
	for _, b := range bars() {
		own, enough := b.judge(m, "gregor")
		kafka, _ := b.judge(m, "kafka")
		if own == "" && kafka == "" {
			continue
		}
		held := "no"
		switch {
		case own == "":
			own, held = "–", "–"
		case enough:
			held = "yes"
		}
		if kafka == "" {
			kafka = "–"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |\n", b.what, b.bar, own, held, kafka)
	}
	return out.String()
}
