package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
)

// bank makes the data: payments of honest customers, who pay about once a minute in their own country and within their limits,
// and some fraud, each on an account of its own, so that it is known what has to be found.
type bank struct {
	s         *stage.Stage
	customers int

	mu      sync.Mutex
	planted map[string]string // account -> rule
	found   int
	wrong   int
	slowest time.Duration
}

var countries = []string{"NO", "PT", "KE", "JP", "PE"}

func newBank(s *stage.Stage) *bank {
	return &bank{s: s, customers: max(s.Rate, 1) * 60, planted: map[string]string{}}
}

// open tells of all accounts, before the first payment.
func (b *bank) open(ctx context.Context) error {
	for n := range b.customers {
		if err := stage.Produce(b.s, accounts, account(n), Account{fmt.Sprint("customer ", n), 200_00}, time.Now()); err != nil {
			return err
		}
	}
	return b.s.Flush(ctx)
}

func account(n int) string { return fmt.Sprintf("A%06d", n) }

// pay makes payments; about every two seconds one is fraud.
func (b *bank) pay(ctx context.Context) error {
	every := max(2*b.s.Rate, 1)
	return b.s.Each(ctx, func(n int) error {
		if n%every == every-1 {
			return b.defraud(n / every)
		}
		who := b.s.Chance.IntN(b.customers)
		return b.send(Payment{fmt.Sprint("P", n), account(who), 1_00 + b.s.Chance.Int64N(150_00), countries[who%len(countries)], 0})
	})
}

func (b *bank) send(p Payment) error {
	now := time.Now()
	p.AtMs = now.UnixMilli()
	return stage.Produce(b.s, payments, p.Account, p, now)
}

// defraud plants a fraud on an account of its own.
func (b *bank) defraud(n int) error {
	name := fmt.Sprintf("F%06d", n)
	rule := []string{"limit", "velocity", "travel"}[n%3]
	b.mu.Lock()
	b.planted[name] = rule
	b.mu.Unlock()
	if err := stage.Produce(b.s, accounts, name, Account{fmt.Sprint("victim ", n), 100_00}, time.Now()); err != nil {
		return err
	}
	pay := func(id int, cents int64, country string) error {
		return b.send(Payment{fmt.Sprintf("F%d-%d", n, id), name, cents, country, 0})
	}
	switch rule {
	case "limit":
		return pay(0, 950_00, "NO")
	case "velocity":
		for id := range most + 1 {
			if err := pay(id, 5_00, "NO"); err != nil {
				return err
			}
		}
		return nil
	}
	if err := pay(0, 20_00, "NO"); err != nil {
		return err
	}
	time.Sleep(2 * time.Millisecond) // the second is later
	return pay(1, 20_00, "JP")
}

// watch shows alerts as they come, and how long after their payment that is.
func (b *bank) watch(ctx context.Context) error {
	return stage.Consume(ctx, b.s, alerts, func(_ string, a Alert, paid time.Time) bool {
		late := time.Since(paid).Round(time.Millisecond)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.planted[a.Account] != a.Rule {
			b.wrong++
		} else {
			b.found++
			b.slowest = max(b.slowest, late)
		}
		b.s.Printf("%-9s %s  %s (%s after the payment)", a.Rule, a.Account, a.Why, late)
		return true
	})
}

func (b *bank) report() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Printf("%d frauds were planted, %d found, with %d false alarms; the slowest alert came %s after its payment.", len(b.planted), b.found, b.wrong, b.slowest)
}
