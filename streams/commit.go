package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commit makes durable what the tasks have sent and logged, and then says how far they have read: in this order, so that
// nothing is lost if we die between.
func (a *App) commit(ctx context.Context, tasks []*liveTask) error {
	begun := time.Now()
	for _, t := range tasks {
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if err := a.client.Flush(ctx); err != nil {
		return fmt.Errorf("streams: flushing: %w", err)
	}
	for _, t := range tasks {
		if err := t.out.failed(); err != nil {
			return err
		}
	}
	req := a.commitRequest(tasks)
	if len(req.Topics) == 0 {
		return save(tasks)
	}
	resp, err := req.RequestWith(ctx, a.client)
	if err != nil {
		return fmt.Errorf("streams: committing: %w", err)
	}
	gone := map[string]bool{}
	for _, topic := range resp.Topics {
		name := a.layout.Load().named(topic)
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.UnknownMemberID) {
				return nil // the group is changing: what is ours after that is committed then, the rest is done again by others
			} else if errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) {
				gone[name] = true
				a.lookSoon() // the topic was deleted: the look says whether the app can do without it
			} else if kerr.IsRetriable(err) {
				return a.commitLater(fmt.Errorf("streams: committing %s-%d: %w", name, p.Partition, err))
			} else if err != nil {
				return fmt.Errorf("streams: committing %s-%d: %w", name, p.Partition, err)
			}
		}
	}
	for _, t := range tasks {
		for p, q := range t.queues {
			if gone[p.topic] {
				continue
			}
			q.committed = max(q.committed, q.next)
		}
	}
	a.uncommitted = time.Time{}
	a.counts.commits++
	a.counts.committing += time.Since(begun)
	a.purge(ctx, tasks)
	return save(tasks)
}

// commitTimeout is for how long commits may fail for reasons that pass, such as a coordinator that moves (task.timeout.ms).
const commitTimeout = 5 * time.Minute

// commitLater leaves offsets to the next commit, unless that has gone on for too long. Whoever dies meanwhile processes more again.
func (a *App) commitLater(err error) error {
	if a.uncommitted.IsZero() {
		a.uncommitted = time.Now()
	}
	if time.Since(a.uncommitted) > commitTimeout {
		return err
	}
	return nil
}

// save writes what stores on disk hold. It comes last: whoever dies before it finds in the changelogs what is missing.
func save(tasks []*liveTask) error {
	for _, t := range tasks {
		if err := t.Save(t.logged()); err != nil {
			return err
		}
	}
	return nil
}

// logged is how far the changelogs of stores on disk have what the stores hold: up to the last record that we wrote or
// restored, or, where the changelog is an input, up to where it was read.
func (t *liveTask) logged() map[string]int64 {
	offsets := map[string]int64{}
	for topic, at := range t.out.logged {
		if n := at.Load(); n >= 0 {
			offsets[topic] = n
		}
		if q := t.queues[partition{topic, t.id.Partition}]; q != nil && q.next >= 0 {
			offsets[topic] = q.next
		}
	}
	return offsets
}

// commitRequest has the inputs that went on since the last commit.
func (a *App) commitRequest(tasks []*liveTask) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = a.config.AppID
	req.MemberID, req.Generation = a.client.GroupMetadata()
	topics := map[string][]kmsg.OffsetCommitRequestTopicPartition{}
	for _, t := range tasks {
		for p, q := range t.queues {
			if q.next <= q.committed {
				continue
			}
			c := kmsg.NewOffsetCommitRequestTopicPartition()
			c.Partition, c.Offset = p.number, q.next
			metadata := t.Progress(p.topic)
			c.Metadata = &metadata
			topics[p.topic] = append(topics[p.topic], c)
		}
	}
	for topic, partitions := range topics {
		c := kmsg.NewOffsetCommitRequestTopic()
		c.Topic, c.TopicID, c.Partitions = topic, a.layout.Load().ids[topic], partitions
		req.Topics = append(req.Topics, c)
	}
	return req
}

// purge deletes what was read from repartition topics, now and then: nobody else reads them. It is no failure if that does not work.
func (a *App) purge(ctx context.Context, tasks []*liveTask) {
	if a.config.PurgeInterval < 0 || time.Since(a.purged) < a.config.PurgeInterval {
		return
	}
	a.purged = time.Now()
	done := kadm.Offsets{}
	for _, t := range tasks {
		for p, q := range t.queues {
			if a.layout.Load().inner[p.topic] && q.committed > q.purged {
				done.Add(kadm.Offset{Topic: p.topic, Partition: p.number, At: q.committed, LeaderEpoch: -1})
				q.purged = q.committed
			}
		}
	}
	if len(done) > 0 {
		_, _ = a.admin.DeleteRecords(ctx, done)
	}
}

// revoked lets tasks go: committed if others are to go on from there, as they are if the group has given us up.
func (a *App) revoked(ctx context.Context, lost map[string][]int32, orderly bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts.rebalances++
	gone := map[TaskID]*liveTask{}
	for topic, numbers := range lost {
		for _, n := range numbers {
			p := partition{topic, n}
			delete(a.early, p)
			delete(a.unknown, p)
			a.resume(p)
			id, ok := a.layout.Load().taskOf(p)
			if !ok {
				continue
			}
			if cancel := a.starting[id]; cancel != nil {
				cancel()
				delete(a.starting, id)
				delete(a.restored, id)
			}
			if t := a.tasks[id]; t != nil {
				gone[id] = t
			}
		}
	}
	var tasks []*liveTask
	for id, t := range gone {
		tasks = append(tasks, t)
		delete(a.tasks, id)
	}
	if len(tasks) == 0 {
		return
	}
	var err error
	if orderly && a.failure == nil {
		err = a.commit(ctx, tasks)
	}
	for _, t := range tasks {
		if e := t.close(); err == nil {
			err = e
		}
	}
	a.failed(err)
}
