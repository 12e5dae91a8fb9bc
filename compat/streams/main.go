// Command streams compares package streams with Java's Kafka Streams, live, on whatever cluster it is given: random topologies
// with random inputs, run by either, and handed over from one to the other and back. Each topology is run four times in three
// parts: by Java alone, which is the judge; by Go alone; by Java, Go and Java; and by Go, Java and Go. In the end everything that is
// left on the cluster has to be the same, record by record and byte by byte: results, changelogs, repartition topics, configurations
// of topics, committed offsets with their metadata.
//
// Its seed is an argument, and printed. It ends with 1 if anything differs. compat/run starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

var (
	addr       = flag.String("broker", "127.0.0.1:9092", "where the cluster is")
	classes    = flag.String("java", "", "class path of Twin and Kafka Streams")
	seed       = flag.Uint64("seed", 0, "which topologies and inputs; random if 0")
	topologies = flag.Int("topologies", len(themes), "how many topologies")
	only       = flag.String("only", "", "run the topologies of these numbers alone: 1,2,…")
	orders     = flag.String("orders", "jjj,ggg,jgj,gjg", "who does the parts of a topology, Java or Go; the first is the judge")
	records    = flag.Int("records", 25, "records of each input and part")
	together   = flag.Int("together", 6, "how many topologies run at once")
	report     = flag.String("report", "", "file for the table, besides standard output")
	within     = flag.Duration("within", 3*time.Minute, "how long a part may take")
	list       = flag.Bool("list", false, "print the topologies and run nothing")
)

func main() {
	flag.Parse()
	for *seed == 0 {
		*seed = rand.Uint64N(1_000_000_000)
	}
	if *list {
		for i := range *topologies {
			fmt.Printf("# %d %s\n%s", i, generate(*seed, i).Name, generate(*seed, i).Lines())
		}
		return
	}
	log.SetFlags(0)
	equal, err := run(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	if !equal {
		os.Exit(1)
	}
}

func run(ctx context.Context) (equal bool, err error) {
	dir, err := os.MkdirTemp("", "compat-streams")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	b, err := dial(*addr)
	if err != nil {
		return false, err
	}
	defer b.client.Close()
	java, err := startJava(*classes, os.Stderr)
	if err != nil {
		return false, err
	}
	defer java.close()
	r := &runner{orders: strings.Split(*orders, ","), broker: b, java: java, dir: dir, base: base(time.Now())}
	t := r.all(ctx)
	t.print(os.Stdout)
	if *report != "" {
		f, err := os.Create(*report)
		if err != nil {
			return false, err
		}
		defer f.Close()
		t.print(f)
	}
	return t.equal(), nil
}

// base is the time that inputs count from: in the past, but not so far that a broker deletes them for their age, and on the hour, so
// that windows lie the same way whenever the seed is used again.
func base(now time.Time) int64 { return now.Add(-time.Hour).Truncate(time.Hour).UnixMilli() }
