package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// errStale says that a changelog does not reach back to where the rows on disk have it, or not as far: it was deleted and
// made anew, or its oldest records have expired meanwhile.
var errStale = errors.New("the state on disk does not belong to the changelog")

// restore reads the changelogs of a task to their ends: from their beginnings, or from where the rows on disk have them.
func (a *App) restore(ctx context.Context, t *liveTask) (records int, err error) {
	from, left, err := a.unrestored(ctx, t)
	if err != nil || len(left) == 0 {
		return 0, err
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(a.config.Brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(restoreFetch), kgo.FetchMaxPartitionBytes(restoreFetch)}, a.config.Client...)...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if err := t.restoring(); err != nil {
		return 0, err
	}
	ends, at := map[string]int64{}, map[string]int64{}
	for topic, end := range left {
		ends[topic], at[topic] = end, from[topic][t.id.Partition].EpochOffset().Offset
	}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return records, ctx.Err()
		}
		if err := fatal(fetches); err != nil {
			return records, err
		}
		n, err := t.restoreAll(fetches, left, at)
		if records += n; err != nil {
			return records, err
		}
		a.restoringNow(t.id, int64(records), toGo(left, at))
		if a.config.OnRestoring != nil {
			a.config.OnRestoring(t.id, records)
		}
	}
	for topic, end := range ends {
		if logged := t.out.logged[topic]; logged != nil {
			logged.Store(end)
		}
	}
	return records, t.Save(t.logged())
}

// toGo is how many offsets of the changelogs have to be read still.
func toGo(left, at map[string]int64) (offsets int64) {
	for topic, end := range left {
		offsets += end - at[topic]
	}
	return offsets
}

// restoreFetch is how many bytes of changelogs are fetched at once, as they are compressed. It bounds what restoring takes beside the state itself.
const restoreFetch = 2 << 20

// restoreAll takes fetched records of changelogs, as far as they have to be read.
func (t *liveTask) restoreAll(fetches kgo.Fetches, left, at map[string]int64) (records int, err error) {
	fetches.EachRecord(func(r *kgo.Record) {
		if !r.Attrs.IsControl() && r.Offset < left[r.Topic] && err == nil {
			err = t.Restore(message(r))
			records++
		}
		if at[r.Topic] = r.Offset + 1; r.Offset+1 >= left[r.Topic] {
			delete(left, r.Topic)
		}
	})
	return records, err
}

// unrestored lists the changelogs of a task that it does not have whole: where to begin with them, and where they end.
func (a *App) unrestored(ctx context.Context, t *liveTask) (from map[string]map[int32]kgo.Offset, left map[string]int64, err error) {
	topics := t.Changelogs()
	if len(topics) == 0 {
		return nil, nil, nil
	}
	starts, ends, err := a.bounds(ctx, topics, t.id.Partition)
	if err != nil {
		return nil, nil, err
	}
	from, left = map[string]map[int32]kgo.Offset{}, map[string]int64{}
	for _, topic := range topics {
		at, end := starts[topic], ends[topic]
		if saved, ok := t.Saved(topic); ok {
			if saved < at || saved > end {
				return nil, nil, errStale
			}
			at = saved
			t.out.logged[topic].Store(saved)
		}
		if at < end {
			left[topic] = end
			from[topic] = map[int32]kgo.Offset{t.id.Partition: kgo.NewOffset().At(at)}
		}
	}
	return from, left, nil
}

// longestUnknown is how long a topic may stay unknown that was created.
const longestUnknown = time.Minute

// bounds are where one partition of each topic begins and ends. After a topic was made it can take a moment until every broker
// knows of it, and who leads it.
func (a *App) bounds(ctx context.Context, topics []string, number int32) (starts, ends map[string]int64, err error) {
	for begun := time.Now(); ; {
		listed, err := a.admin.ListEndOffsets(ctx, topics...)
		if err == nil {
			ends, err = offsetsOf(listed, topics, number)
		}
		if err == nil {
			listed, err = a.admin.ListStartOffsets(ctx, topics...)
		}
		if err == nil {
			starts, err = offsetsOf(listed, topics, number)
		}
		if err == nil || !passing(err) || time.Since(begun) > longestUnknown {
			return starts, ends, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func offsetsOf(listed kadm.ListedOffsets, topics []string, number int32) (map[string]int64, error) {
	offsets := map[string]int64{}
	for _, topic := range topics {
		o, ok := listed.Lookup(topic, number)
		if !ok {
			o.Err = kerr.UnknownTopicOrPartition
		}
		if o.Err != nil {
			return nil, fmt.Errorf("no offsets of %s-%d: %w", topic, number, o.Err)
		}
		offsets[topic] = o.Offset
	}
	return offsets, nil
}

// passing reports whether a broker says of an error that it passes.
func passing(err error) bool {
	var said *kerr.Error
	return errors.As(err, &said) && said.Retriable
}
