package main

import (
	"fmt"
	"regexp"
	"strconv"
)

var trialLine = regexp.MustCompile(`([0-9]+) seeds, each twice: ([0-9]+) failed; .*; ([0-9]+) events/s, ([0-9]+) times real time`)

// trialSpeed is how fast simulated clusters live. There is nothing of Kafka's to hold it against.
func (b builder) trialSpeed() clusterWorkload {
	n := b.scaled(60)
	return clusterWorkload{name: "cluster-trial", columns: []string{"events_per_s", "times_real_time", "seeds", "failed"},
		what: fmt.Sprintf("cmd/trial, %d seeds, each twice, in one goroutine: simulated clusters of 1 to 7 nodes with faults.", n),
		skip: func(system string) bool { return system != "gregor" },
		alone: func() (figures, error) {
			out, err := b.children.output(b.tool("trial"), "-n", strconv.Itoa(n))
			if err != nil {
				return nil, err
			}
			m := trialLine.FindStringSubmatch(out)
			if m == nil {
				return nil, fmt.Errorf("trial: %s", lastLine(out))
			}
			result := figures{}
			for i, key := range []string{"seeds", "failed", "events_per_s", "times_real_time"} {
				result[key], _ = strconv.ParseFloat(m[i+1], 64)
			}
			return result, nil
		}}
}
