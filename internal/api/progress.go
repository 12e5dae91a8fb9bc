package api

import "github.com/gregorhq/gregor/internal/wire"

// Progress is a follower's word of how far its logs are durable.
func handleProgress(a *API, r *request) {
	a.Replicas.Progress(r.body.(*wire.ProgressRequest))
	r.reply(new(wire.ProgressResponse))
}
