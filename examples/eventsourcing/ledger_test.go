package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/streamstest"
)

func driver(t *testing.T, build func() (*streams.Topology, error)) *streamstest.Driver {
	t.Helper()
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return streamstest.New(t, built, streams.TaskConfig{})
}

func TestEachCommandHasItsEvent(t *testing.T) {
	d := driver(t, writing)
	in := streamstest.In(d, commands)
	for n, c := range []Command{
		{Kind: "deposit", Cents: 5}, {Kind: "open"}, {Kind: "open"}, {Kind: "deposit", Cents: 100}, {Kind: "deposit"}, {Kind: "withdraw", Cents: 101},
		{Kind: "withdraw", Cents: 100}, {Kind: "burn", Cents: 1},
	} {
		c.Number = int64(n + 1)
		in.Send("ann", c, time.Now())
	}
	in.Send("ann", Command{Number: 4, Kind: "deposit", Cents: 100}, time.Now()) // it comes again
	var got []string
	for _, r := range streamstest.Out(d, events).Read() {
		got = append(got, fmt.Sprintf("%d %s %s", r.Value.Command, r.Value.Kind, r.Value.Why))
	}
	want := []string{
		"1 refused there is no such account", "2 opened ", "3 refused it is open already", "4 deposited ", "5 refused an amount must be above 0",
		"6 refused there are only 1.00", "7 withdrawn ", "8 refused there is no command burn",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func TestAccountsAreWhatTheirEventsComeTo(t *testing.T) {
	d := driver(t, reading)
	in := streamstest.In(d, events)
	for _, e := range []Event{{1, "opened", 0, ""}, {2, "deposited", 70, ""}, {2, "deposited", 70, ""}, {3, "refused", 900, "…"}, {4, "withdrawn", 50, ""}} {
		in.Send("ann", e, time.Now())
	}
	if got, _ := accounts.Open(d).Get("ann"); got != (Account{20, 4, true}) {
		t.Errorf("%+v", got)
	}
	last := Account{}
	for _, r := range streamstest.Out(d, balances).Read() {
		last = r.Value
	}
	if last != (Account{20, 4, true}) {
		t.Errorf("the topic says %+v", last)
	}
}

// On a broker: the writer is stopped and started again in the middle, and each command has one effect. Then a reader that comes late
// makes the same accounts of the events.
func TestEachCommandHasOneEffectOnABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stage.New(ctx, []string{gregortest.Start(t).Addr()}, 7, topics)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const rounds, each = 3, 40
	want := map[string]Account{}
	number := int64(0)
	for round := range rounds {
		for range each {
			number++
			for who := range many {
				c := Command{Number: number, Kind: "deposit", Cents: number}
				if number == 1 {
					c.Kind = "open"
				}
				if err := stage.Produce(s, commands, name(who), c, time.Now()); err != nil {
					t.Fatal(err)
				}
				want[name(who)] = want[name(who)].after(want[name(who)].decide(c))
			}
		}
		writer, err := app(s, "writer", writing)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		if err := s.Together(running, writer.Run, func(ctx context.Context) error {
			defer stop()
			seen := 0
			return stage.Consume(ctx, s, events, func(string, Event, time.Time) bool {
				seen++
				return seen < (round+1)*each*many
			})
		}); err != nil {
			t.Fatal(err)
		}
		stop()
	}
	reader, err := app(s, "late-reader", reading)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	got := map[string]Account{}
	if err := s.Together(running, reader.Run, func(ctx context.Context) error {
		defer stop()
		return stage.Consume(ctx, s, balances, func(name string, a Account, _ time.Time) bool {
			got[name] = a
			for name, a := range want { // any order
				if got[name].Events < a.Events {
					return true
				}
			}
			return false
		})
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if err := replay(ctx, s); err != nil {
		t.Error(err)
	}
}
