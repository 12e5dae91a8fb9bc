// Command eventsourcing keeps accounts by events: commands come in, what happened is written down as events, and everything else,
// balances too, is made of the events, at any time again.
//
//	go run ./examples/eventsourcing
package main

import (
	"fmt"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// A Command is what somebody wants. Its record's key is the account.
type Command struct {
	Number int64  `json:"number"` // of the account's commands, from 1 on
	Kind   string `json:"kind"`   // open, deposit, withdraw
	Cents  int64  `json:"cents,omitempty"`
}

// An Event is what happened. Events are never changed, and there is one for each command.
type Event struct {
	Command int64  `json:"command"` // its number
	Kind    string `json:"kind"`    // opened, deposited, withdrawn, refused
	Cents   int64  `json:"cents,omitempty"`
	Why     string `json:"why,omitempty"` // it was refused
}

// An Account is what the events of one account come to.
type Account struct {
	Cents  int64 `json:"cents"`
	Events int64 `json:"events"`
	Opened bool  `json:"opened"`
}

// after is the account when one more thing has happened. It is the only place that says what an event means.
func (a Account) after(e Event) Account {
	a.Events++
	switch e.Kind {
	case "opened":
		a.Opened = true
	case "deposited":
		a.Cents += e.Cents
	case "withdrawn":
		a.Cents -= e.Cents
	}
	return a
}

// decide says what happens when a command meets an account.
func (a Account) decide(c Command) Event {
	refuse := func(why string) Event { return Event{c.Number, "refused", c.Cents, why} }
	switch {
	case c.Kind == "open" && a.Opened:
		return refuse("it is open already")
	case c.Kind == "open":
		return Event{c.Number, "opened", 0, ""}
	case !a.Opened:
		return refuse("there is no such account")
	case c.Cents <= 0:
		return refuse("an amount must be above 0")
	case c.Kind == "deposit":
		return Event{c.Number, "deposited", c.Cents, ""}
	case c.Kind == "withdraw" && c.Cents > a.Cents:
		return refuse(fmt.Sprintf("there are only %s", money(a.Cents)))
	case c.Kind == "withdraw":
		return Event{c.Number, "withdrawn", c.Cents, ""}
	}
	return refuse("there is no command " + c.Kind)
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

var (
	commands = streams.NewTopic("commands", serde.String, serde.JSON[Command]())
	events   = streams.NewTopic("events", serde.String, serde.JSON[Event]())
	balances = streams.NewTopic("balances", serde.String, serde.JSON[Account]())

	deciding = streams.KV("deciding", serde.String, serde.JSON[Account]()) // what decisions are made on
	accounts = streams.KV("accounts", serde.String, serde.JSON[Account]()) // what is asked and shown

	topics = []stage.Topic{{Name: "commands", Partitions: 3}, {Name: "events", Partitions: 3}, {Name: "balances", Partitions: 3, Compacted: true}}
)

// writing turns commands into events. It decides with a state of its own, so that each command sees the ones before it.
func writing() (*streams.Topology, error) {
	b := streams.NewBuilder()
	streams.Process(streams.From(b, commands), func() streams.Processor[string, Command, string, Event] { return &decider{} },
		streams.Stores(deciding)).To(events)
	return b.Build()
}

// reading turns events into accounts: a table that can be asked, and a compacted topic with the last word on each. It is a program
// of its own: there may be any number of such readers, and a new one begins with the first event ever.
func reading() (*streams.Topology, error) {
	b := streams.NewBuilder()
	streams.Aggregate(streams.From(b, events).GroupByKey(),
		func() Account { return Account{} },
		func(_ string, e Event, sofar Account) Account {
			if e.Command <= sofar.Events {
				return sofar // it came again, after a crash: at least once
			}
			return sofar.after(e)
		}, accounts).ToStream().To(balances)
	return b.Build()
}

// decider decides on one command after another.
type decider struct {
	c     *streams.Context[string, Event]
	state *streams.KVRows[string, Account]
}

// Init opens the accounts.
func (d *decider) Init(c *streams.Context[string, Event]) error {
	d.c, d.state = c, deciding.Open(c)
	return nil
}

// Process makes an event of a command. A command that comes again after a crash has been decided: what is at least once
// becomes once, because commands have numbers.
func (d *decider) Process(r streams.Record[string, Command]) error {
	a, _ := d.state.Get(r.Key)
	if r.Value.Number <= a.Events {
		return nil
	}
	e := a.decide(r.Value)
	d.state.Put(r.Key, a.after(e))
	return d.c.Forward(streams.Record[string, Event]{Key: r.Key, Value: e, Time: r.Time})
}
