package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gregorhq/gregor/internal/placement"
)

// mover is how replicas are moved.
type mover struct {
	atOnce int
	dry    bool
}

func (m *mover) flags(c *cobra.Command) *cobra.Command {
	c.Flags().IntVar(&m.atOnce, "at-once", 20, "`number` of partitions that are moved at a time")
	c.Flags().BoolVar(&m.dry, "dry-run", false, "only say what would be moved")
	return c
}

const movesHelp = `
Partitions are reassigned a few at a time (--at-once), and each is led by the first of its replicas in the end. Ctrl-C ends after
those that are under way. What limits the copying is what Kafka has for it: leader.replication.throttled.rate and
follower.replication.throttled.rate of brokers, for the replicas that topics name (docs/operations/cluster.md).

Fields of -o json, a list: topic, partition, from, to.`

func clusterDrain(r *remote) *cobra.Command {
	m := &mover{}
	return m.flags(r.admin(&cobra.Command{
		Use:   "drain NODE",
		Short: "Move all replicas off a node, so that it can be removed",
		Long: `Move all replicas off a node to the others, those that have fewest first and as racks allow it. The node goes on
serving; once it is drained, stop it and remove it.
` + movesHelp,
		Example: `  gregor cluster drain 3 --dry-run
  gregor cluster drain 3`,
		Args: exactly(1, "the id of a node"),
	}, func(q *call, args []string) error {
		id, err := nodeID(args[0])
		if err != nil {
			return err
		}
		s, err := q.spreading()
		if err != nil {
			return err
		}
		if !s.Knows(id) {
			return fmt.Errorf("no node %d serves, and there are no replicas on one", id)
		}
		if stuck := s.Drain(id); len(stuck) > 0 {
			p := stuck[0]
			return fmt.Errorf("%s-%d has %s, and without node %d there are not as many nodes that serve: start another one, or give the topic fewer (%s cannot move)",
				p.Topic, p.Number, plural(len(p.Replicas), "replica"), id, plural(len(stuck), "partition"))
		}
		return q.move(m, s.Moves())
	}))
}

func clusterSpread(r *remote) *cobra.Command {
	m := &mover{}
	return m.flags(r.admin(&cobra.Command{
		Use:   "spread",
		Short: "Spread replicas and leaders evenly over the nodes",
		Long: `Spread replicas over the nodes, so that no two differ by more than one, as far as racks allow it, and have each lead as
many partitions. It moves as little as that takes. A node that joins is given its share without it.
` + movesHelp,
		Example: `  gregor cluster spread --dry-run
  gregor cluster spread --at-once 5`,
		Args: noArguments,
	}, func(q *call, _ []string) error {
		s, err := q.spreading()
		if err != nil {
			return err
		}
		s.Spread()
		return q.move(m, s.Moves())
	}))
}

// spreading asks the cluster where everything is.
func (q *call) spreading() (*placement.Plan, error) {
	cluster, err := q.describeCluster()
	if err != nil {
		return nil, err
	}
	var brokers []placement.Broker
	for _, b := range cluster.Brokers {
		if b.Fenced {
			q.notice("node %d does not serve, and gets nothing", b.ID)
			continue
		}
		one := placement.Broker{ID: b.ID}
		if b.Rack != nil {
			one.Rack = *b.Rack
		}
		brokers = append(brokers, one)
	}
	topics, err := q.admin.ListTopicsWithInternal(q.ctx)
	if err != nil {
		return nil, err
	}
	// Of a partition that is being moved, metadata tells the replicas that come and those that go.
	moving, err := q.admin.ListPartitionReassignments(q.ctx, nil)
	if err != nil {
		return nil, err
	}
	var partitions []placement.Partition
	for _, t := range topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			replicas := p.Replicas
			if m, is := moving[t.Topic][p.Partition]; is {
				replicas = slices.DeleteFunc(slices.Clone(m.Replicas), func(id int32) bool { return slices.Contains(m.RemovingReplicas, id) })
			}
			partitions = append(partitions, placement.Partition{Topic: t.Topic, Number: p.Partition, Replicas: replicas})
		}
	}
	return placement.New(brokers, partitions), nil
}

// move carries out what was planned, and says what it has done. It may take long: only single calls have a deadline.
func (q *call) move(m *mover, moves []placement.Move) error {
	if m.atOnce < 1 {
		return wrongUsage("--at-once is 1 or more, and not %d", m.atOnce)
	}
	ctx, stop := signalled(q.cmd.Context())
	defer stop()
	done := 0
	var failure error
	for !m.dry && done < len(moves) && failure == nil {
		part := moves[done:min(done+m.atOnce, len(moves))]
		if failure = q.moveAll(ctx, part); failure == nil {
			done += len(part)
		}
		if failure == nil && done < len(moves) {
			q.notice("%d of %s", done, plural(len(moves), "partition"))
			failure = context.Cause(ctx)
		}
	}
	if failure != nil {
		return fmt.Errorf("after %d of %s: %w", done, plural(len(moves), "partition"), failure)
	}
	return q.print(moves, func(w *strings.Builder) error {
		if len(moves) == 0 {
			fmt.Fprintln(w, "there is nothing to move")
			return nil
		}
		t := newTable("TOPIC", "PARTITION", "FROM", "TO")
		for _, one := range moves {
			t.add(one.Topic, one.Partition, one.From, one.To)
		}
		return t.write(w)
	})
}

// moveAll moves partitions, waits until they are there, and has the first replicas lead.
func (q *call) moveAll(ctx context.Context, moves []placement.Move) error {
	var request kadm.AlterPartitionAssignmentsReq
	set := kadm.TopicsSet{}
	for _, m := range moves {
		request.Assign(m.Topic, m.Partition, m.To)
		set.Add(m.Topic, m.Partition)
	}
	err := q.bounded(func(bounded context.Context) error {
		answer, err := q.admin.AlterPartitionAssignments(kadm.ForbidAlterRf(bounded), request)
		for _, one := range answer.Sorted() {
			if err == nil && one.Err != nil {
				err = fmt.Errorf("%s-%d: %w", one.Topic, one.Partition, because(one.Err, one.ErrMessage))
			}
		}
		return err
	})
	for pending := true; pending && err == nil; {
		err = q.bounded(func(bounded context.Context) error {
			left, err := q.admin.ListPartitionReassignments(bounded, set)
			pending = len(left) > 0
			return err
		})
		if pending && err == nil {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return errors.New("interrupted; what is under way goes on")
			}
		}
	}
	if err != nil {
		return err
	}
	return q.bounded(func(bounded context.Context) error {
		// Where the first replica leads already, that is an error of the partition and none of ours.
		_, err := q.admin.ElectLeaders(bounded, kadm.ElectPreferredReplica, set)
		return err
	})
}

// bounded makes one call that does not take longer than any call may.
func (q *call) bounded(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(q.cmd.Context(), q.remote.timeout)
	defer cancel()
	return f(ctx)
}
