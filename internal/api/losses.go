package api

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
)

const (
	// lossPatience is for how long after a follower's connection ended it may be that others are to lead what it led.
	lossPatience = time.Second
	// lossPause is how often it is looked whether that has happened.
	lossPause = 10 * time.Millisecond
)

// losses are the followers whose connections ended a moment ago. A process that was killed loses all of its connections at once, and so
// do its clients, who ask for metadata within a millisecond: what they are told then is who led before, and some do not ask again for
// seconds (franz-go: 5 s). The controller takes some 200 ms to find that the node is dead.
type losses struct {
	mu sync.Mutex
	of map[kafka.NodeID]loss
}

type loss struct {
	epoch int64 // of the broker
	at    time.Time
}

// lost notes that a follower's connection has ended.
func (a *API) lost(f replica.Follower) {
	a.losses.mu.Lock()
	defer a.losses.mu.Unlock()
	if a.losses.of == nil {
		a.losses.of = map[kafka.NodeID]loss{}
	}
	a.losses.of[f.ID] = loss{f.Epoch, a.Runtime.Now()}
}

// heard notes that a follower fetches: it lives.
func (a *API) heard(f *replica.Follower) {
	a.losses.mu.Lock()
	defer a.losses.mu.Unlock()
	delete(a.losses.of, f.ID)
}

// isUnsure reports whether a broker may be dead of which the metadata says that it leads.
func (a *API) isUnsure() bool {
	a.losses.mu.Lock()
	defer a.losses.mu.Unlock()
	now, image := a.Runtime.Now(), a.Image()
	for id, l := range a.losses.of { // any order
		b := image.Broker(id)
		if b != nil && b.Epoch == l.epoch && !b.Fenced && !b.ShuttingDown && now.Sub(l.at) < lossPatience {
			return true
		}
		delete(a.losses.of, id)
	}
	return false
}

// whenSure runs f when it is known whether a broker that seems to be dead is, or when that takes too long.
func (a *API) whenSure(f func()) {
	if !a.isUnsure() {
		f()
		return
	}
	a.timers.After(lossPause, func() { a.whenSure(f) })
}
