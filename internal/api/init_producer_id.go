package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// InitProducerId gives an idempotent producer its id (KIP-98, KIP-360). Transactions are not served, and say so with an
// error that clients do not retry.
func handleInitProducerID(a *API, r *request) {
	req := r.body.(*kmsg.InitProducerIDRequest)
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = kafka.InvalidRequest.Code()
	case req.TransactionalID != nil:
		resp.ErrorCode = kafka.TransactionalIDAuthorizationFailed.Code()
	default:
		// A producer that lost count comes back with its old id, and gets a new one: nothing ties them together.
		a.Producers.Next(func(id int64, err error) {
			if err != nil {
				resp.ErrorCode = kafka.CoordinatorNotAvailable.Code()
			} else {
				resp.ProducerID, resp.ProducerEpoch = id, 0
			}
			r.reply(resp)
		})
		return
	}
	r.reply(resp)
}
