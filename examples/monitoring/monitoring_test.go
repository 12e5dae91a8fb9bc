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

const epoch = 1_700_000_000_000

func reading(cpu float64, at time.Duration) Reading {
	return Reading{CPU: cpu, AtMs: epoch + at.Milliseconds()}
}

func driver(t *testing.T) (*streamstest.Driver, func(Reading)) {
	built, err := topology()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, built, streams.TaskConfig{})
	in := streamstest.In(d, readings)
	return d, func(r Reading) { in.Send("m", r, time.UnixMilli(r.AtMs)) }
}

func closedWindows(d *streamstest.Driver) (rows []string) {
	for _, r := range streamstest.Out(d, summaries).Read() {
		rows = append(rows, fmt.Sprintf("%d: %d, mean %.0f, highest %.0f", r.Key.Start.UnixMilli()-epoch, r.Value.Readings, r.Value.Mean(), r.Value.Highest))
	}
	return rows
}

func TestLateReadingsCountAndReadingsThatAreTooLateDoNot(t *testing.T) {
	d, send := driver(t)
	send(reading(10, 0))
	send(reading(30, 3*time.Second))
	send(reading(50, 1*time.Second)) // late, within the grace
	if rows := closedWindows(d); rows != nil {
		t.Errorf("too early: %v", rows)
	}
	send(reading(30, 4*time.Second)) // the first window and its grace are over
	if rows := fmt.Sprint(closedWindows(d)); rows != "[0: 2, mean 30, highest 50]" {
		t.Error(rows)
	}
	send(reading(99, 1500*time.Millisecond)) // too late
	send(reading(30, 6*time.Second))
	if rows := fmt.Sprint(closedWindows(d)); rows != "[2000: 1, mean 30, highest 30]" {
		t.Error(rows)
	}
}

func TestAHotMachineIsSeenWhenItsWindowCloses(t *testing.T) {
	d, send := driver(t)
	send(reading(95, 0))
	send(reading(91, time.Second))
	send(reading(10, 5*time.Second))
	got := streamstest.Out(d, alarms).Read()
	if len(got) != 1 || got[0].Value.Machine != "m" || got[0].Value.What[:11] != "is hot: 93 " {
		t.Errorf("%+v", got)
	}
}

func TestASilentMachineIsSeenOnce(t *testing.T) {
	d, send := driver(t)
	out := streamstest.Out(d, alarms)
	send(reading(10, 0))
	d.Advance(silence - time.Second)
	if got := out.Read(); len(got) != 0 {
		t.Errorf("too early: %+v", got)
	}
	d.Advance(2 * time.Second)
	d.Advance(time.Minute)
	if got := out.Read(); len(got) != 1 || got[0].Key != "m" {
		t.Errorf("%+v", got)
	}
	send(reading(10, time.Second))
	d.Advance(time.Minute)
	if got := out.Read(); len(got) != 1 {
		t.Errorf("silent again: %+v", got)
	}
}

// On a broker, every reading that is not too late is in one closed window.
func TestEveryReadingIsInOneWindowOnABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stage.New(ctx, []string{gregortest.Start(t).Addr()}, 1, topics)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const each, windows = 20, 5
	for n := range each * windows {
		for which := range machines {
			name := fmt.Sprint("machine-", which)
			if err := stage.Produce(s, readings, name, reading(50, time.Duration(n)*window/each), time.UnixMilli(epoch)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for which := range machines { // a reading long after closes all windows of its partition
		name := fmt.Sprint("machine-", which)
		if err := stage.Produce(s, readings, name, reading(50, time.Hour), time.UnixMilli(epoch)); err != nil {
			t.Fatal(err)
		}
	}
	built, err := topology()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.New(built, streams.Config{AppID: "monitoring", Brokers: s.Brokers, CommitInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	seen := map[string]int{}
	err = s.Together(running, app.Run, func(ctx context.Context) error {
		defer stop()
		return stage.Consume(ctx, s, summaries, func(w streams.Windowed[string], one Summary, _ time.Time) bool {
			seen[fmt.Sprint(w.Key, w.Start.UnixMilli()-epoch)] = one.Readings
			return len(seen) < machines*windows
		})
	})
	if err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	for w, n := range seen { // any order
		if n != each {
			t.Errorf("window %s has %d readings, want %d", w, n, each)
		}
	}
}
