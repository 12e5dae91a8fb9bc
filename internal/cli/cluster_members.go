package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// changedNode is what the commands that change a cluster's nodes have done.
type changedNode struct {
	Node int32  `json:"node"`
	Done string `json:"done"`
}

func (c changedNode) write(w *strings.Builder) error {
	_, err := fmt.Fprintf(w, "node %d was %s\n", c.Node, c.Done)
	return err
}

func clusterRemove(r *remote) *cobra.Command {
	votes := false
	c := r.admin(&cobra.Command{
		Use:   "remove NODE",
		Short: "Remove a node that was stopped, or take one out of the quorum",
		Long: `Remove a node that was stopped and is not to come back. The cluster forgets it: what it had is no longer counted on, and
if it voted on the metadata, another node takes its place. Partitions keep their assignments until they are reassigned.

With --vote, a node that goes on serving is taken out of the metadata quorum, and another takes its place.

Fields of -o json: node, done.`,
		Example: `  gregor cluster remove 3
  gregor cluster remove --vote 3`,
		Args: exactly(1, "the id of a node"),
	}, func(q *call, args []string) error {
		id, err := nodeID(args[0])
		if err != nil {
			return err
		}
		if votes {
			return q.removeVoter(id)
		}
		return q.removeNode(id)
	})
	c.Flags().BoolVar(&votes, "vote", false, "only take the node out of the metadata quorum")
	return c
}

func clusterAdd(r *remote) *cobra.Command {
	return r.admin(&cobra.Command{
		Use:   "add NODE",
		Short: "Let a node into the quorum again that was taken out of it",
		Long: `Let a node into the metadata quorum again that was taken out of it with remove --vote. The quorum sizes itself: whether the
node votes depends on how many there are.

A new node is added by starting it: gregor start --join HOST:PORT.

Fields of -o json: node, done.`,
		Example: `  gregor cluster add 3`,
		Args:    exactly(1, "the id of a node"),
	}, func(q *call, args []string) error {
		id, err := nodeID(args[0])
		if err != nil {
			return err
		}
		request := kmsg.NewPtrAddRaftVoterRequest()
		request.VoterID, request.TimeoutMillis = id, int32(q.remote.timeout.Milliseconds())
		response, err := request.RequestWith(q.ctx, q.client)
		if err != nil {
			return err
		}
		if err := refusal(response.ErrorCode, response.ErrorMessage); err != nil {
			return err
		}
		done := changedNode{id, "let into the quorum"}
		return q.print(done, done.write)
	})
}

func nodeID(text string) (int32, error) {
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id < 0 {
		return 0, wrongUsage("NODE is the id of a node, and not %q", text)
	}
	return int32(id), nil
}

// refusal is why a cluster does not do something, in its own words where it has any.
func refusal(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err != nil && message != nil {
		return errors.New(*message)
	}
	return err
}

// stoppedWithin is how long it may take until the cluster has seen that a node was stopped a moment ago.
const stoppedWithin = 2 * time.Second

// removeNode refuses a node that lives: it would only register again.
func (q *call) removeNode(id int32) error {
	serves := true
	for deadline := time.Now().Add(stoppedWithin); serves && time.Now().Before(deadline); {
		cluster, err := q.describeCluster()
		if err != nil {
			return err
		}
		serves = slices.ContainsFunc(cluster.Brokers, func(b describedBroker) bool { return b.ID == id && !b.Fenced })
		if serves {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if serves {
		return fmt.Errorf("node %d serves: stop it first; or, to take it out of the metadata quorum only, use remove --vote %d", id, id)
	}
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = id
	response, err := request.RequestWith(q.ctx, q.client)
	if err != nil {
		return err
	}
	if err := refusal(response.ErrorCode, response.ErrorMessage); err != nil {
		return err
	}
	done := changedNode{id, "removed"}
	return q.print(done, done.write)
}

func (q *call) removeVoter(id int32) error {
	request := kmsg.NewPtrRemoveRaftVoterRequest()
	request.VoterID = id
	response, err := request.RequestWith(q.ctx, q.client)
	if err != nil {
		return err
	}
	if err := refusal(response.ErrorCode, response.ErrorMessage); err != nil {
		return err
	}
	// What was answered is that it is to leave; the quorum changes a moment later.
	for {
		quorum := q.describeQuorum()
		if quorum != nil && !quorum.votes(id) {
			break
		}
		select {
		case <-q.ctx.Done():
			return fmt.Errorf("node %d is to leave the quorum, and votes yet", id)
		case <-time.After(50 * time.Millisecond):
		}
	}
	done := changedNode{id, "taken out of the quorum"}
	return q.print(done, done.write)
}
