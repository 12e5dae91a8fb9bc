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

// scene is the topology without a broker, with one account, and a clock in seconds.
type scene struct {
	t *testing.T
	d *streamstest.Driver
	n int
}

func newScene(t *testing.T) *scene {
	built, err := topology()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, d: streamstest.New(t, built, streams.TaskConfig{})}
	streamstest.In(s.d, accounts).Send("ann", Account{"Ann", 100_00}, second(0))
	return s
}

func second(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 0) }

func (s *scene) pay(at int, cents int64, country string) {
	s.n++
	p := Payment{fmt.Sprint("p", s.n), "ann", cents, country, second(at).UnixMilli()}
	streamstest.In(s.d, payments).Send("ann", p, second(at))
}

func (s *scene) wants(rules ...string) {
	s.t.Helper()
	var got []string
	for _, r := range streamstest.Out(s.d, alerts).Read() {
		got = append(got, r.Value.Rule+" "+r.Value.Payment)
	}
	if fmt.Sprint(got) != fmt.Sprint(rules) {
		s.t.Errorf("alerts %q, want %q", got, rules)
	}
}

func TestAPaymentAboveTheLimit(t *testing.T) {
	s := newScene(t)
	s.pay(1, 100_00, "NO")
	s.wants()
	s.pay(2, 100_01, "NO")
	s.wants("limit p2")
	s.pay(3, 500_00, "NO")
	s.wants() // it is known
	s.pay(63, 500_00, "NO")
	s.wants("limit p4")
}

func TestManyPaymentsWithinAMinute(t *testing.T) {
	s := newScene(t)
	for n := range most {
		s.pay(n*5, 1_00, "NO")
	}
	s.wants()
	s.pay(57, 1_00, "NO")
	s.wants("velocity ")
}

func TestManyPaymentsOverALongerTimeAreFine(t *testing.T) {
	s := newScene(t)
	for n := range 3 * most {
		s.pay(n*7, 1_00, "NO")
	}
	s.wants()
}

func TestTwoCountriesWithinHalfAnHour(t *testing.T) {
	s := newScene(t)
	s.pay(0, 1_00, "NO")
	s.pay(3600, 1_00, "JP")
	s.wants() // an hour is enough
	s.pay(3700, 1_00, "NO")
	s.wants("travel p3")
}

// Everything that the generator plants is found on a broker, and nothing else.
func TestAllThatWasPlantedIsFound(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stage.New(ctx, []string{gregortest.Start(t).Addr()}, 1, topics)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Rate = 50
	built, err := topology()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.New(built, streams.Config{AppID: "fraud", Brokers: s.Brokers, CommitInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b := newBank(s)
	if err := b.open(ctx); err != nil {
		t.Fatal(err)
	}
	for n := range 9 {
		if err := b.defraud(n); err != nil {
			t.Fatal(err)
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	if err := s.Together(running, app.Run, func(ctx context.Context) error {
		defer stop()
		found := map[string]string{}
		return stage.Consume(ctx, s, alerts, func(_ string, a Alert, _ time.Time) bool {
			if b.planted[a.Account] != a.Rule {
				t.Errorf("a false alarm: %+v", a)
			}
			found[a.Account] = a.Rule
			return len(found) < len(b.planted)
		})
	}); err != nil {
		t.Error(err)
	}
	if ctx.Err() != nil {
		t.Error("not all that was planted was found within a minute")
	}
}
