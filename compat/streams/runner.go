package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// runner runs topologies, in each of the orders: who does which part. The first is what the others are compared with.

type runner struct {
	orders []string
	broker *broker
	java   *javaSide
	dir    string
	base   int64
}

// row is a topology with what came of it.
type row struct {
	number int
	spec   Spec
	err    error
	of     []*comparison // of each order with the first
}

type results struct {
	orders []string
	rows   []row
}

func (r *runner) all(ctx context.Context) *results {
	var numbers []int
	for i := range *topologies {
		if *only == "" || slices.Contains(strings.Split(*only, ","), strconv.Itoa(i)) {
			numbers = append(numbers, i)
		}
	}
	t := &results{r.orders, make([]row, len(numbers))}
	var group sync.WaitGroup
	slots := make(chan struct{}, *together)
	for i, n := range numbers {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			t.rows[i] = r.topology(ctx, n)
			fmt.Fprintln(os.Stderr, t.rows[i].line())
		})
	}
	group.Wait()
	return t
}

// topology runs one topology in all orders at once.
func (r *runner) topology(ctx context.Context, number int) row {
	result := row{number: number, spec: generate(*seed, number)}
	all := inputs(*seed, number, result.spec, r.base, *records)
	left, errs := make([]*contents, len(r.orders)), make([]error, len(r.orders))
	var group sync.WaitGroup
	for i := range r.orders {
		group.Go(func() { left[i], errs[i] = r.order(ctx, result, i, all) })
	}
	group.Wait()
	for i, order := range r.orders {
		if errs[i] != nil {
			result.err = fmt.Errorf("%s: %w", order, errs[i])
			return result
		}
	}
	for i := range r.orders[1:] {
		result.of = append(result.of, compare(result.spec, result.app(i+1), result.app(0), left[i+1], left[0]))
	}
	return result
}

// app is the application's id, of the same length for all topologies and orders.
func (r row) app(order int) string { return fmt.Sprintf("t%03d-%d", r.number, order) }

// order runs a topology in one order, part by part.
func (r *runner) order(ctx context.Context, of row, number int, all [phases][]*kgo.Record) (*contents, error) {
	order := r.orders[number]
	a := application{id: of.app(number), spec: of.spec, base: r.base, broker: r.broker.addr, dir: filepath.Join(r.dir, of.app(number))}
	if err := r.broker.create(ctx, a.id, a.spec); err != nil {
		return nil, err
	}
	for i, who := range order {
		// Once, Java stays in the group as it does unless told otherwise, and the next has to wait for its session to end.
		a.stays = i == 0 && strings.HasPrefix(order, "jg") && of.number%len(themes) == 0
		if err := r.part(ctx, a, who, all[i]); err != nil {
			return nil, fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	return r.broker.read(ctx, a.id)
}

// part has one side do what came in, and stop.
func (r *runner) part(ctx context.Context, a application, who rune, records []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	if err := r.broker.send(ctx, a.id, records); err != nil {
		return err
	}
	var by side = goSide{}
	if who == 'j' {
		by = r.java
	}
	if a.spec.Fresh {
		if err := os.RemoveAll(a.dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return err
	}
	p, err := by.run(a)
	if err != nil {
		return err
	}
	if err := r.broker.settle(ctx, a.id, a.spec, p.alive); err != nil {
		_ = p.stop() // what it does not do says more
		return err
	}
	if err := p.stop(); err != nil || a.stays {
		return err
	}
	return r.broker.emptied(ctx, a.id)
}

func (t *results) equal() bool {
	return !slices.ContainsFunc(t.rows, func(r row) bool { return !r.equal() })
}

func (r row) equal() bool {
	for _, c := range r.of {
		if len(c.differences) > 0 {
			return false
		}
	}
	return r.err == nil
}

// line is a row of the table.
func (r row) line() string {
	line := fmt.Sprintf("| %d | %s | %d | %d |", r.number, r.spec.Name, len(r.spec.Nodes), r.spec.Partitions)
	if r.err != nil {
		return line + " failed | | | |"
	}
	line += fmt.Sprintf(" %d + %d |", r.of[0].records, r.of[0].last)
	for _, c := range r.of {
		if len(c.differences) > 0 {
			line += fmt.Sprintf(" %d DIFFER |", len(c.differences))
		} else {
			line += " equal |"
		}
	}
	return line
}

func (t *results) print(w io.Writer) {
	fmt.Fprintf(w, "Package streams (g) beside Kafka Streams (j), seed %d. Each topology is run in %d parts, by %s; the others are compared with that.\n", *seed, phases, t.orders[0])
	fmt.Fprintf(w, "Records are those of all topics of an application, byte for byte; after the + those that could only be compared by the last\n")
	fmt.Fprintf(w, "value of each key.\n\n")
	fmt.Fprintf(w, "| # | mostly | operators | partitions | records compared | %s |\n", strings.Join(t.orders[1:], " | "))
	fmt.Fprintf(w, "|--|--|--|--|--%s|\n", strings.Repeat("|--", len(t.orders)-1))
	good, total, last := 0, 0, 0
	for _, r := range t.rows {
		fmt.Fprintln(w, r.line())
		if r.equal() {
			good++
		}
		for _, c := range r.of {
			total += c.records
			last += c.last
		}
	}
	fmt.Fprintf(w, "\n%d of %d topologies equal; %d records byte for byte in %d comparisons, %d by their last values (seed %d)\n", good, len(t.rows), total, len(t.orders)-1, last, *seed)
	for _, r := range t.rows {
		r.details(w, t.orders)
	}
}

// details says what differs, and how to see it again.
func (r row) details(w io.Writer, orders []string) {
	if r.equal() {
		return
	}
	fmt.Fprintf(w, "\n# %d: again with SEED=%d ONLY=%d\n%s\n%s", r.number, *seed, r.number, r.spec.operators(), r.spec.Lines())
	if r.err != nil {
		fmt.Fprintln(w, "failed:", r.err)
	}
	for n, c := range r.of {
		for i, d := range c.differences {
			if i == 6 {
				fmt.Fprintf(w, "%s: and %d more\n", orders[n+1], len(c.differences)-i)
				break
			}
			fmt.Fprintf(w, "%s: %s\n", orders[n+1], d)
		}
	}
}
