package api

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// What changes metadata is the active controller's to decide, on whatever node that is (see decision). It answers when the
// change is committed; the client is answered when its node has it too, so that what it asks next finds it.

func handleCreateTopics(a *API, r *request) {
	a.Controller.CreateTopicsOnce(r.token, r.body.(*kmsg.CreateTopicsRequest), func(resp *kmsg.CreateTopicsResponse) { a.replyApplied(r, resp) })
}

func handleDeleteTopics(a *API, r *request) {
	a.Controller.DeleteTopics(r.body.(*kmsg.DeleteTopicsRequest), func(resp *kmsg.DeleteTopicsResponse) { a.replyApplied(r, resp) })
}

func handleCreatePartitions(a *API, r *request) {
	a.Controller.CreatePartitions(r.body.(*kmsg.CreatePartitionsRequest), func(resp *kmsg.CreatePartitionsResponse) { a.replyApplied(r, resp) })
}

func handleAlterConfigs(a *API, r *request) {
	a.Controller.AlterConfigs(r.body.(*kmsg.AlterConfigsRequest), func(resp *kmsg.AlterConfigsResponse) { a.replyApplied(r, resp) })
}

func handleIncrementalAlterConfigs(a *API, r *request) {
	a.Controller.IncrementalAlterConfigs(r.body.(*kmsg.IncrementalAlterConfigsRequest), func(resp *kmsg.IncrementalAlterConfigsResponse) { a.replyApplied(r, resp) })
}

func handleElectLeaders(a *API, r *request) {
	a.Controller.ElectLeaders(r.body.(*kmsg.ElectLeadersRequest), func(resp *kmsg.ElectLeadersResponse) { a.replyApplied(r, resp) })
}

func handleAlterPartitionReassignments(a *API, r *request) {
	a.Controller.AlterPartitionReassignments(r.body.(*kmsg.AlterPartitionAssignmentsRequest), func(resp *kmsg.AlterPartitionAssignmentsResponse) { a.replyApplied(r, resp) })
}

func handleListPartitionReassignments(a *API, r *request) {
	a.whenActive(func(active bool) {
		if !active {
			resp := kmsg.NewPtrListPartitionReassignmentsResponse()
			resp.Version, resp.ErrorCode = r.body.GetVersion(), kafka.NotController.Code()
			r.reply(resp)
			return
		}
		a.Controller.ListPartitionReassignments(r.body.(*kmsg.ListPartitionReassignmentsRequest), func(resp *kmsg.ListPartitionReassignmentsResponse) { r.reply(resp) })
	})
}

func handleUpdateFeatures(a *API, r *request) {
	a.Controller.UpdateFeatures(r.body.(*kmsg.UpdateFeaturesRequest), func(resp *kmsg.UpdateFeaturesResponse) { a.replyApplied(r, resp) })
}

func handleUnregisterBroker(a *API, r *request) {
	a.Controller.UnregisterBroker(r.body.(*kmsg.UnregisterBrokerRequest), func(resp *kmsg.UnregisterBrokerResponse) { a.replyApplied(r, resp) })
}

// AddRaftVoter lets a node into the quorum again (KIP-853).
func handleAddRaftVoter(a *API, r *request) {
	req := r.body.(*kmsg.AddRaftVoterRequest)
	// A voter that was just taken out votes until the quorum has changed, and may be let in all the same.
	if b := a.Image().Broker(kafka.NodeID(req.VoterID)); a.votes(req.VoterID) && b != nil && !b.Barred {
		resp := kmsg.NewPtrAddRaftVoterResponse()
		resp.ErrorCode, resp.ErrorMessage = kafka.DuplicateVoter.Code(), message(fmt.Sprintf("node %d is a voter already", req.VoterID))
		r.reply(resp)
		return
	}
	a.Controller.AddRaftVoter(req, func(resp *kmsg.AddRaftVoterResponse) { a.replyApplied(r, resp) })
}

// RemoveRaftVoter takes a node out of the quorum (KIP-853). Another one takes its place if there is one.
func handleRemoveRaftVoter(a *API, r *request) {
	req := r.body.(*kmsg.RemoveRaftVoterRequest)
	if a.Controller.Active() && !a.votes(req.VoterID) {
		resp := kmsg.NewPtrRemoveRaftVoterResponse()
		resp.ErrorCode, resp.ErrorMessage = kafka.VoterNotFound.Code(), message(fmt.Sprintf("node %d is no voter", req.VoterID))
		r.reply(resp)
		return
	}
	a.Controller.RemoveRaftVoter(req, func(resp *kmsg.RemoveRaftVoterResponse) { a.replyApplied(r, resp) })
}

// votes reports whether a node is a voter of the quorum.
func (a *API) votes(id int32) bool {
	return slices.ContainsFunc(a.Quorum().Voters, func(v QuorumReplica) bool { return int32(v.Node) == id })
}

func (a *API) replyApplied(r *request, resp kmsg.Response) {
	a.AfterApplied(func() { r.reply(resp) })
}
