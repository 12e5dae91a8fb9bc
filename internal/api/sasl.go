package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// SaslHandshake has no place on a listener without authentication; the connection goes on.
func handleSaslHandshake(_ *API, r *request) {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode = kafka.IllegalSaslState.Code()
	r.reply(resp)
}

// SaslAuthenticate has no place on a listener without authentication; the connection goes on.
func handleSaslAuthenticate(_ *API, r *request) {
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.ErrorCode = kafka.IllegalSaslState.Code()
	resp.ErrorMessage = kmsg.StringPtr("this listener is PLAINTEXT: it has no authentication")
	r.reply(resp)
}
