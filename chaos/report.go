package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// pause is a time in which a partition acknowledged nothing.
type pause struct {
	partition int32
	from, to  time.Duration
}

func (p pause) length() time.Duration { return p.to - p.from }

const noPause = 100 * time.Millisecond

// pauses are, for each partition, all gaps between acknowledgements until a time that are longer than noPause.
func pauses(h *history, until time.Duration) []pause {
	times := map[int32][]time.Duration{}
	for _, s := range h.Sends {
		if s.Outcome == acked && s.Ended <= until {
			times[s.Value.Partition] = append(times[s.Value.Partition], s.Ended)
		}
	}
	var all []pause
	for _, partition := range sortedKeys(times) {
		at := append(times[partition], until)
		slices.Sort(at)
		for i := 1; i < len(at); i++ {
			if p := (pause{partition, at[i-1], at[i]}); p.length() > noPause {
				all = append(all, p)
			}
		}
	}
	return all
}

// cause is the fault in which a pause began: the last to begin until a moment later.
func cause(faults []fault, p pause) string {
	kind, latest := "none", time.Duration(-1)
	for _, f := range faults {
		if f.began <= p.from+500*time.Millisecond && f.began > latest && f.ended+5*time.Second >= p.from {
			kind, latest = f.kind, f.began
		}
	}
	return kind
}

// report prints what happened. until is when clients were told to end.
func report(out io.Writer, w *workload, faults []fault, violations []violation, until time.Duration) {
	h := w.history
	outcomes := map[outcome]int{}
	for _, s := range h.Sends {
		outcomes[s.Outcome]++
	}
	commits := 0
	for _, c := range h.Commits {
		if c.Acked {
			commits++
		}
	}
	entries := 0
	for _, log := range h.Log {
		entries += len(log)
	}
	fmt.Fprintf(out, "\noperations     %d: %d sends, %d records read, %d commits\n", len(h.Sends)+int(w.read.Load())+len(h.Commits), len(h.Sends), w.read.Load(), len(h.Commits))
	fmt.Fprintf(out, "sends          %d acknowledged, %d with an unknown outcome; %d records in the log\n", outcomes[acked], outcomes[unknown]+outcomes[pending], entries)
	fmt.Fprintf(out, "commits        %d acknowledged, by %d members one after another\n", commits, members(h))

	longest := map[string]pause{}
	var worst pause
	for _, p := range pauses(h, until) {
		kind := cause(faults, p)
		if p.length() > longest[kind].length() {
			longest[kind] = p
		}
		if p.length() > worst.length() {
			worst = p
		}
	}
	fmt.Fprintf(out, "longest pause  %.2f s without an acknowledgement, of partition %d after %.1f s\n", worst.length().Seconds(), worst.partition, worst.from.Seconds())
	counts := map[string]int{}
	for _, f := range faults {
		counts[f.kind]++
	}
	fmt.Fprintf(out, "faults         %d\n", len(faults))
	for _, kind := range sortedKeys(counts) {
		fmt.Fprintf(out, "  %-12s %d, longest pause of a partition that began with one %.2f s\n", kind, counts[kind], longest[kind].length().Seconds())
	}
	w.errors.mu.Lock()
	for _, text := range sortedKeys(w.errors.counts) {
		fmt.Fprintf(out, "client error   %d × %s\n", w.errors.counts[text], text)
	}
	w.errors.mu.Unlock()

	fmt.Fprintf(out, "violations     %d\n", len(violations))
	byKind := map[string]int{}
	for _, v := range violations {
		if byKind[v.Kind]++; byKind[v.Kind] <= 10 {
			fmt.Fprintf(out, "  %-20s %s\n", v.Kind, v.Text)
		}
	}
	for _, kind := range sortedKeys(byKind) {
		if byKind[kind] > 10 {
			fmt.Fprintf(out, "  %-20s and %d more\n", kind, byKind[kind]-10)
		}
	}
}

func members(h *history) (count int) {
	for _, c := range h.Consumers {
		if c.Group {
			count++
		}
	}
	return count
}
