package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/streamstest"
)

func TestWordsAreCounted(t *testing.T) {
	built, err := topology()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, built, streams.TaskConfig{})
	in := streamstest.In(d, lines)
	in.Send("", "To be, or not to be", time.Now())
	in.Send("", "that's the question: to be?", time.Now())
	streamstest.Out(d, counts).Want("to=1", "be=1", "or=1", "not=1", "to=2", "be=2", "that's=1", "the=1", "question=1", "to=3", "be=3")
}

// On a broker, with two partitions, every line that was sent is counted, once.
func TestEveryLineIsCountedOnABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stage.New(ctx, []string{gregortest.Start(t).Addr()}, 1, topics)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const sent = 300
	for n := range sent {
		if err := stage.Produce(s, lines, "", "one two two", time.UnixMilli(int64(n))); err != nil {
			t.Fatal(err)
		}
	}
	built, err := topology()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.New(built, streams.Config{AppID: "wordcount", Brokers: s.Brokers, CommitInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	last := map[string]int64{}
	if err := stage.Consume(ctx, s, counts, func(word string, n int64, _ time.Time) bool {
		last[word] = n
		return last["one"] < sent || last["two"] < 2*sent
	}); err != nil {
		t.Fatal(err)
	}
	most, err := top(app, 5)
	if err != nil || len(most) != 2 || most[0].String() != "two 600" || most[1].String() != "one 300" {
		t.Errorf("the state says %v, %v", most, err)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
