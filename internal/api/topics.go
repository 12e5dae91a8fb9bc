package api

import "github.com/twmb/franz-go/pkg/kmsg"

// What changes metadata is the controller's to decide. It answers when the change is committed; the client is answered
// when this node has it too, so that what it asks next finds it.

func handleCreateTopics(a *API, r *request) {
	a.Controller.CreateTopics(r.body.(*kmsg.CreateTopicsRequest), func(resp *kmsg.CreateTopicsResponse) { a.replyApplied(r, resp) })
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
	a.Controller.ListPartitionReassignments(r.body.(*kmsg.ListPartitionReassignmentsRequest), func(resp *kmsg.ListPartitionReassignmentsResponse) { r.reply(resp) })
}

func handleUpdateFeatures(a *API, r *request) {
	a.Controller.UpdateFeatures(r.body.(*kmsg.UpdateFeaturesRequest), func(resp *kmsg.UpdateFeaturesResponse) { a.replyApplied(r, resp) })
}

func handleUnregisterBroker(a *API, r *request) {
	a.Controller.UnregisterBroker(r.body.(*kmsg.UnregisterBrokerRequest), func(resp *kmsg.UnregisterBrokerResponse) { a.replyApplied(r, resp) })
}

func (a *API) replyApplied(r *request, resp kmsg.Response) {
	a.AfterApplied(func() { r.reply(resp) })
}
