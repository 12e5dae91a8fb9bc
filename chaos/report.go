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

const (
	noPause = 100 * time.Millisecond
	// longestPauses is how many pauses are told one by one.
	longestPauses = 10
)

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

// cause is the fault in which a pause began: the last to begin until a moment later, or -1.
func cause(faults []fault, p pause) int {
	found := -1
	for i, f := range faults {
		if f.began <= p.from+500*time.Millisecond && f.ended+5*time.Second >= p.from && (found < 0 || f.began > faults[found].began) {
			found = i
		}
	}
	return found
}

// unavailable is, for every kind of fault, how long partitions acknowledged nothing: for each fault of the kind the longest pause of each
// partition that paused, and for each fault the longest of all, 0 if none paused.
type unavailable struct{ each, worst []time.Duration }

func unavailability(faults []fault, all []pause) map[string]*unavailable {
	longest := make([]map[int32]time.Duration, len(faults))
	for _, p := range all {
		if i := cause(faults, p); i >= 0 {
			if longest[i] == nil {
				longest[i] = map[int32]time.Duration{}
			}
			longest[i][p.partition] = max(longest[i][p.partition], p.length())
		}
	}
	kinds := map[string]*unavailable{}
	for i, f := range faults {
		u := kinds[f.kind]
		if u == nil {
			u = &unavailable{}
			kinds[f.kind] = u
		}
		var worst time.Duration
		for _, length := range longest[i] { // any order
			u.each, worst = append(u.each, length), max(worst, length)
		}
		u.worst = append(u.worst, worst)
	}
	for _, u := range kinds { // any order
		slices.Sort(u.each)
		slices.Sort(u.worst)
	}
	return kinds
}

// percentile is of sorted times: the least that so many percent are not longer than.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
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

	reportPauses(out, faults, pauses(h, until))
	w.errors.mu.Lock()
	for _, text := range sortedKeys(w.errors.counts) {
		c := w.errors.counts[text]
		fmt.Fprintf(out, "client error   %d × at %.1f to %.1f s: %s\n", c.n, c.first.Seconds(), c.last.Seconds(), text)
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

// reportPauses prints how long producers were held up, by kinds of faults.
func reportPauses(out io.Writer, faults []fault, all []pause) {
	longest := slices.Clone(all)
	slices.SortFunc(longest, func(a, b pause) int { return int(b.length() - a.length()) })
	for _, p := range longest[:min(len(longest), longestPauses)] {
		when := "without a fault"
		if i := cause(faults, p); i >= 0 {
			when = fmt.Sprintf("%s at %.1f s", faults[i].kind, faults[i].began.Seconds())
		}
		fmt.Fprintf(out, "pause          %6.2f s of partition %d after %.1f s: %s\n", p.length().Seconds(), p.partition, p.from.Seconds(), when)
	}
	fmt.Fprintf(out, "faults         %d; a fault's pause is the longest time in which a partition acknowledged nothing, beginning with the fault\n", len(faults))
	kinds := unavailability(faults, all)
	for _, kind := range sortedKeys(kinds) {
		u := kinds[kind]
		fmt.Fprintf(out, "  %-10s %4d  pause: median %5.2f s, p99 %5.2f s, max %5.2f s; of each partition that paused: median %5.2f s, p99 %5.2f s\n", kind, len(u.worst),
			percentile(u.worst, 50).Seconds(), percentile(u.worst, 99).Seconds(), percentile(u.worst, 100).Seconds(), percentile(u.each, 50).Seconds(), percentile(u.each, 99).Seconds())
	}
}

func members(h *history) (count int) {
	for _, c := range h.Consumers {
		if c.Group != "" {
			count++
		}
	}
	return count
}
