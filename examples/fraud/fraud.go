// Command fraud looks for fraud in a stream of card payments, and raises an alert within a moment of the payment that shows it.
//
//	go run ./examples/fraud
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// A Payment is one use of a card. Its record's key is the account.
type Payment struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
	Country string `json:"country"`
	AtMs    int64  `json:"at_ms"` // when it was made
}

// An Account is what is known of a customer.
type Account struct {
	Owner      string `json:"owner"`
	LimitCents int64  `json:"limit_cents"` // of one payment
}

// An Alert says why a payment looks like fraud.
type Alert struct {
	Rule    string `json:"rule"`
	Account string `json:"account"`
	Payment string `json:"payment"`
	Why     string `json:"why"`
}

const (
	most      = 10 // payments of one account within a minute
	travelled = 30 * time.Minute
)

var (
	payments = streams.NewTopic("payments", serde.String, serde.JSON[Payment]())
	accounts = streams.NewTopic("accounts", serde.String, serde.JSON[Account]())
	alerts   = streams.NewTopic("alerts", serde.String, serde.JSON[Alert]())

	perMinute = streams.Window("payments-per-minute", serde.String, serde.Int64)
	raised    = streams.KV("alerts-raised", serde.String, serde.Int64)

	topics = []stage.Topic{{Name: "payments", Partitions: 4}, {Name: "accounts", Partitions: 4, Compacted: true}, {Name: "alerts", Partitions: 4}}
)

// topology has a stream of alerts for each rule, which become one.
func topology() (*streams.Topology, error) {
	b := streams.NewBuilder()
	paid := streams.From(b, payments)
	known := streams.TableFrom(b, accounts)

	// A payment above what its account allows: each payment meets the row of its account.
	above := streams.JoinTable(paid, known, func(_ string, p Payment, a Account) Alert {
		if p.Cents <= a.LimitCents {
			return Alert{}
		}
		return Alert{"limit", p.Account, p.ID, fmt.Sprintf("%s pays %s, and may pay %s at once", a.Owner, money(p.Cents), money(a.LimitCents))}
	})

	// Many payments within a minute: windows of a minute begin every ten seconds.
	counts := streams.CountWindows(paid.GroupByKey().Windows(streams.Hopping(time.Minute, 10*time.Second)), perMinute)
	many := streams.Map(counts.ToStream(), func(w streams.Windowed[string], n int64) (string, Alert) {
		if n <= most {
			return w.Key, Alert{}
		}
		return w.Key, Alert{"velocity", w.Key, "", fmt.Sprintf("%d payments within a minute", n)}
	})

	// Two countries within half an hour: the stream is joined with itself.
	apart := streams.Join(paid, paid, streams.Within(travelled), func(_ string, a, b Payment) Alert {
		if a.Country == b.Country || a.AtMs >= b.AtMs {
			return Alert{}
		}
		return Alert{"travel", b.Account, b.ID, fmt.Sprintf("paid in %s, and %s later in %s", a.Country, time.Duration(b.AtMs-a.AtMs)*time.Millisecond, b.Country)}
	})

	all := above.Merge(many).Merge(apart).Filter(func(_ string, a Alert) bool { return a.Rule != "" })
	streams.Process(all, func() streams.Processor[string, Alert, string, Alert] { return &once{} }, streams.Stores(raised)).To(alerts)
	return b.Build()
}

// once lets an alert of one rule for one account through, and no other within a minute.
type once struct {
	c    *streams.Context[string, Alert]
	last *streams.KVRows[string, int64]
}

// Init opens the store of when alerts were raised.
func (o *once) Init(c *streams.Context[string, Alert]) error {
	o.c, o.last = c, raised.Open(c)
	return nil
}

// Process sends an alert on if it is new.
func (o *once) Process(r streams.Record[string, Alert]) error {
	key := r.Key + "/" + r.Value.Rule
	if before, ok := o.last.Get(key); ok && r.Time.UnixMilli()-before < time.Minute.Milliseconds() {
		return nil
	}
	o.last.Put(key, r.Time.UnixMilli())
	return o.c.Forward(r)
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

func main() {
	stage.Main("fraud makes up card payments with some fraud among them, and shows what was found and how soon.", topics, play)
}

func play(ctx context.Context, s *stage.Stage) error {
	t, err := topology()
	if err != nil {
		return err
	}
	app, err := streams.New(t, streams.Config{AppID: "fraud", Brokers: s.Brokers, CommitInterval: time.Second})
	if err != nil {
		return err
	}
	bank := newBank(s)
	if err := bank.open(ctx); err != nil {
		return err
	}
	defer bank.report()
	return s.Together(ctx, app.Run, bank.pay, bank.watch)
}
