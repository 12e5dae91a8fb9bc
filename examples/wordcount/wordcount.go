// Command wordcount counts the words of a stream of lines: the first program that a newcomer to stream processing reads.
//
//	go run ./examples/wordcount
package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

var (
	lines  = streams.NewTopic("lines", serde.String, serde.String)
	counts = streams.NewTopic("word-counts", serde.String, serde.Int64)

	// words is the state: how often each word has come so far.
	words = streams.KV("words", serde.String, serde.Int64)

	topics = []stage.Topic{{Name: "lines", Partitions: 2}, {Name: "word-counts", Partitions: 2, Compacted: true}}
)

// topology cuts lines into words, groups equal words, wherever they came from, and counts them.
func topology() (*streams.Topology, error) {
	b := streams.NewBuilder()
	all := streams.FlatMapValues(streams.From(b, lines), func(line string, emit func(string)) {
		for w := range strings.FieldsFuncSeq(strings.ToLower(line), func(c rune) bool { return (c < 'a' || c > 'z') && c != '\'' }) {
			emit(w)
		}
	})
	streams.GroupBy(all, func(_, word string) string { return word }).Count(words).ToStream().To(counts)
	return b.Build()
}

func main() {
	stage.Main("wordcount counts the words of lines that it makes up, and shows the most frequent ones.", topics, play)
}

func play(ctx context.Context, s *stage.Stage) error {
	t, err := topology()
	if err != nil {
		return err
	}
	app, err := streams.New(t, streams.Config{AppID: "wordcount", Brokers: s.Brokers, CommitInterval: time.Second})
	if err != nil {
		return err
	}
	return s.Together(ctx, app.Run,
		func(ctx context.Context) error { return generate(ctx, s) },
		func(ctx context.Context) error { return show(ctx, s, app) })
}

// generate writes lines as fast as the stage says.
func generate(ctx context.Context, s *stage.Stage) error {
	return s.Each(ctx, func(int) error {
		return stage.Produce(s, lines, "", text[s.Chance.IntN(len(text))], time.Now())
	})
}

// show asks the state of the app, now and then, for the words that have come most often.
func show(ctx context.Context, s *stage.Stage, app *streams.App) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
		most, err := top(app, 5)
		if errors.Is(err, streams.ErrNotHere) {
			continue // the app is still being started
		}
		if err != nil {
			return err
		}
		parts := make([]string, len(most))
		for i, w := range most {
			parts[i] = w.String()
		}
		s.Printf("%s", strings.Join(parts, "   "))
	}
}

// top are the n most frequent words of this instance, with how often they came.
func top(app *streams.App, n int) (most []count, err error) {
	err = words.QueryAll(app, func(word string, times int64) bool {
		most = append(most, count{word, times})
		return true
	})
	slices.SortFunc(most, func(a, b count) int { return cmp.Or(cmp.Compare(b.times, a.times), cmp.Compare(a.word, b.word)) })
	return most[:min(n, len(most))], err
}
