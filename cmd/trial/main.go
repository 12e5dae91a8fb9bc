// Command trial lives simulated lives of clusters, seed after seed, each twice, and says what promise was broken.
//
// It seeds the chance that raft draws from crypto/rand, so that a seed is one story.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/trial"
)

func main() {
	n := flag.Int("n", 100, "how many seeds to live")
	from := flag.Uint64("from", 1, "the first of them")
	seed := flag.Uint64("seed", 0, "live this one only")
	most := flag.Int("faults", -1, "let at most so many faults strike")
	verbose := flag.Bool("v", false, "tell the story")
	nodes := flag.Int("nodes", 0, "how many nodes there are; 0 for as many as each seed says")
	mutants := flag.Bool("mutants", false, "find the bugs that are planted on purpose, instead")
	flag.Parse()
	if *mutants {
		os.Exit(hunt(*from))
	}
	if *seed > 0 {
		*from, *n = *seed, 1
	}
	os.Exit(run(*from, *n, *most, *nodes, *verbose))
}

// live lives one seed with chance that is the seed's alone.
func live(seed uint64, o trial.Options) trial.Result {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.Reader = mathrand.NewChaCha8(key)
	return trial.Run(seed, o)
}

func run(from uint64, n, most, nodes int, verbose bool) int {
	began := time.Now()
	var events uint64
	var lived time.Duration
	faults, counts := map[string]int{}, map[string]int{}
	failures := 0
	for seed := from; seed < from+uint64(n); seed++ {
		o := trial.Options{Faults: most, Nodes: nodes}
		if verbose {
			o.Log = func(line string) { fmt.Println(line) }
		}
		first := live(seed, o)
		o.Log = nil
		second := live(seed, o)
		events += first.Events + second.Events
		lived += first.Lived + second.Lived
		add(faults, first.Faults)
		add(counts, first.Counts)
		switch {
		case first.Failure != "":
			failures++
			report(os.Stdout, first, nodes)
		case first.Trace != second.Trace:
			failures++
			first.Failure = fmt.Sprintf("it went another way the second time: %d events and %d", first.Events, second.Events)
			report(os.Stdout, first, nodes)
		}
	}
	wall := time.Since(began)
	fmt.Printf("%d seeds, each twice: %d failed; %d events in %.1f simulated hours; %.0f events/s, %.0f times real time\n",
		n, failures, events, lived.Hours(), float64(events)/wall.Seconds(), lived.Seconds()/wall.Seconds())
	fmt.Println("faults:", list(faults))
	fmt.Println("clients:", list(counts))
	if failures > 0 {
		return 1
	}
	return 0
}

func report(w io.Writer, r trial.Result, nodes int) {
	with := ""
	if nodes > 0 {
		with = fmt.Sprintf(" -nodes %d", nodes) // without it the seed would tell another story
	}
	fmt.Fprintf(w, "seed %d: %s\n  again: go run ./cmd/trial -seed %d%s%s -v\n", r.Seed, r.Failure, r.Seed, with, shrink(r, nodes))
}

// shrink looks for a story with fewer faults in which the same promise is broken, and returns the flag that tells it.
func shrink(r trial.Result, nodes int) string {
	for most := range 12 {
		if fewer := live(r.Seed, trial.Options{Faults: most, Nodes: nodes}); kind(fewer.Failure) == kind(r.Failure) {
			return fmt.Sprintf(" -faults %d", most)
		}
	}
	return ""
}

// kind is what a failure has in common with others like it: its words without names and numbers.
func kind(failure string) string {
	return strings.Join(strings.FieldsFunc(first(failure), func(c rune) bool { return c < 'a' || c > 'z' }), " ")
}

func add(sum, more map[string]int) {
	for k, v := range more {
		sum[k] += v
	}
}

func list(m map[string]int) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %d", k, m[k])
	}
	return strings.Join(keys, ", ")
}

// hunt looks for each planted bug, within as many seeds as it may take.
func hunt(from uint64) int {
	missed := 0
	for i := range trial.Mutants {
		m := &trial.Mutants[i]
		began, found := time.Now(), trial.Result{}
		for seed := from; seed < from+uint64(m.Seeds) && found.Failure == ""; seed++ {
			found = live(seed, trial.Options{Faults: -1, Mutant: m})
		}
		if found.Failure == "" {
			missed++
			fmt.Printf("%-22s NOT FOUND within %d seeds (%s)\n", m.Name, m.Seeds, m.Doc)
			continue
		}
		fmt.Printf("%-22s seed %d, %.1f s: %s\n", m.Name, found.Seed, time.Since(began).Seconds(), first(found.Failure))
	}
	if missed > 0 {
		return 1
	}
	return 0
}

// first is the first line of a text.
func first(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
