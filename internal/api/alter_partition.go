package api

import "github.com/twmb/franz-go/pkg/kmsg"

// AlterPartition is how a leader asks the controller for another ISR (KIP-497). Leaders ask the active one themselves.
func handleAlterPartition(a *API, r *request) {
	a.Controller.AlterPartition(r.body.(*kmsg.AlterPartitionRequest), func(resp *kmsg.AlterPartitionResponse) { r.reply(resp) })
}
