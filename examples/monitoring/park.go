package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
)

// park is a park of machines, the source of the data. One machine is hot for a while, another falls silent, and the network is
// what networks are: one reading in ten arrives up to two seconds late, one in fifty much later.
type park struct {
	s     *stage.Stage
	began time.Time

	mu                sync.Mutex
	sent, late, stale int
	counted           int
	rows              map[int64]Summary // by the start of the window, of all machines
}

const machines = 8

func (p *park) measure(ctx context.Context) error {
	return p.s.Each(ctx, func(n int) error {
		which, now := n%machines, time.Now()
		age := now.Sub(p.began)
		if which == 5 && age > 6*time.Second && age < 12*time.Second {
			return nil // it is silent
		}
		cpu := 30 + 20*p.s.Chance.Float64()
		if which == 2 && age > 4*time.Second && age < 9*time.Second {
			cpu += 50
		}
		at := now
		p.mu.Lock()
		defer p.mu.Unlock()
		switch chance := p.s.Chance.IntN(50); {
		case chance == 0:
			at = at.Add(-10 * time.Second)
			p.stale++
		case chance <= 5:
			at = at.Add(-time.Duration(p.s.Chance.Int64N(int64(grace))))
			p.late++
		}
		p.sent++
		machine := fmt.Sprint("machine-", which)
		return stage.Produce(p.s, readings, machine, Reading{cpu, at.UnixMilli()}, now)
	})
}

// watchSummaries prints a row for each window once all machines' summaries of it have come, which is when the next one's begin to.
func (p *park) watchSummaries(ctx context.Context) error {
	p.s.Printf("%-10s %9s %9s %9s", "window", "readings", "mean cpu", "highest")
	return stage.Consume(ctx, p.s, summaries, func(w streams.Windowed[string], one Summary, _ time.Time) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.counted += one.Readings
		start := w.Start.UnixMilli()
		sum := p.rows[start]
		p.rows[start] = Summary{sum.Readings + one.Readings, sum.Sum + one.Sum, max(sum.Highest, one.Highest)}
		p.print(start - 2*window.Milliseconds())
		return true
	})
}

// print prints the rows of windows up to one.
func (p *park) print(upTo int64) {
	for _, start := range slices.Sorted(maps.Keys(p.rows)) {
		if start > upTo {
			return
		}
		row := p.rows[start]
		delete(p.rows, start)
		p.s.Printf("%-10s %9d %7.0f %% %7.0f %%", time.UnixMilli(start).Format(time.TimeOnly), row.Readings, row.Mean(), row.Highest)
	}
}

func (p *park) watchAlarms(ctx context.Context) error {
	return stage.Consume(ctx, p.s, alarms, func(_ string, a Alarm, _ time.Time) bool {
		p.s.Printf("  ALARM: %s %s", a.Machine, a.What)
		return true
	})
}

func (p *park) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(1 << 62)
	p.s.Printf("%d readings were sent, %d of them late and %d too late; %d are in closed windows.", p.sent, p.late, p.stale, p.counted)
}
