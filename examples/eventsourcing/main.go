package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
)

func main() {
	stage.Main("eventsourcing makes up commands to accounts, writes down what happens, answers questions, and replays everything at the end.",
		topics, play)
}

func play(ctx context.Context, s *stage.Stage) error {
	writer, err := app(s, "ledger-writer", writing)
	if err != nil {
		return err
	}
	reader, err := app(s, "ledger-reader", reading)
	if err != nil {
		return err
	}
	customers := &customers{s: s}
	if err := s.Together(ctx, writer.Run, reader.Run, customers.command,
		func(ctx context.Context) error { return customers.look(ctx, reader) },
		func(ctx context.Context) error { return answer(ctx, s, reader) }); err != nil {
		return err
	}
	return replay(context.WithoutCancel(ctx), s)
}

func app(s *stage.Stage, id string, build func() (*streams.Topology, error)) (*streams.App, error) {
	t, err := build()
	if err != nil {
		return nil, err
	}
	return streams.New(t, streams.Config{AppID: id, Brokers: s.Brokers, CommitInterval: time.Second})
}

// answer serves accounts over HTTP until ctx ends: GET /accounts/NAME.
func answer(ctx context.Context, s *stage.Stage, reader *streams.App) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /accounts/{name}", func(w http.ResponseWriter, r *http.Request) {
		account, ok, err := accounts.Query(reader, r.PathValue("name"))
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case !ok:
			http.Error(w, "there is no such account", http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(account)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	s.Printf("Ask for an account: curl http://%s/accounts/%s", listener.Addr(), name(7))
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// replay makes all accounts again from the first event on, as a reader that nobody has seen before, and compares them with what
// the running reader had said last.
func replay(ctx context.Context, s *stage.Stage) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	happened, err := all(ctx, s, events)
	if err != nil {
		return err
	}
	again := map[string]Account{}
	for _, e := range happened {
		if a := again[e.key]; e.value.Command > a.Events {
			again[e.key] = a.after(e.value)
		}
	}
	said, err := all(ctx, s, balances)
	if err != nil {
		return err
	}
	last := map[string]Account{}
	for _, b := range said {
		last[b.key] = b.value
	}
	differ, cents := 0, int64(0)
	for name, a := range last { // any order
		cents += a.Cents
		if again[name] != a && again[name].Events == a.Events {
			differ++
		}
	}
	s.Printf("Replayed %d events in %s: %d accounts with %s in all; %d of them differ from what the running reader had said.",
		len(happened), time.Since(began).Round(time.Millisecond), len(last), money(cents), differ)
	if differ > 0 {
		return fmt.Errorf("%d accounts are not what their events come to", differ)
	}
	return nil
}
