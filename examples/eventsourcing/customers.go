package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
)

const many = 50

func name(n int) string { return fmt.Sprintf("account-%02d", n) }

// customers make the data: they open accounts, put money in and take it out, sometimes more than there is.
type customers struct {
	s       *stage.Stage
	numbers [many]int64
}

func (c *customers) command(ctx context.Context) error {
	return c.s.Each(ctx, func(n int) error {
		who := n
		if n >= many {
			who = c.s.Chance.IntN(many)
		}
		c.numbers[who]++
		command := Command{Number: c.numbers[who], Kind: "deposit", Cents: 1 + c.s.Chance.Int64N(100_00)}
		switch chance := c.s.Chance.IntN(100); {
		case n < many:
			command.Kind, command.Cents = "open", 0
		case chance < 45:
			command.Kind = "withdraw"
		case chance == 99:
			command.Kind, command.Cents = "open", 0
		}
		return stage.Produce(c.s, commands, name(who), command, time.Now())
	})
}

// look asks the reader's state for one account, now and then.
func (c *customers) look(ctx context.Context, reader *streams.App) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
		account, ok, err := accounts.Query(reader, name(7))
		switch {
		case errors.Is(err, streams.ErrNotHere):
		case err != nil:
			return err
		case ok:
			c.s.Printf("%s has %s after %d events", name(7), money(account.Cents), account.Events)
		}
	}
}

// row is a record of a topic.
type row[V any] struct {
	key   string
	value V
}

// all reads a topic from its beginning to where it ends now.
func all[V any](ctx context.Context, s *stage.Stage, topic streams.Topic[string, V]) (rows []row[V], err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic.Name())
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic.Name(): from})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			value, err := topic.Values().Decode(r.Value)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row[V]{string(r.Key), value})
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	return rows, nil
}
