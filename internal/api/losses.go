package api

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

const (
	// lossPatience is for how long after a broker's connection ended it may be that others are to lead what it led.
	lossPatience = time.Second
	// lossPause is how often it is looked whether that has happened.
	lossPause = 10 * time.Millisecond
)

// losses are the brokers whose connections ended a moment ago, or that did not answer: who fetches from this node, from whom it fetches, and
// to its active controller everybody. A process that was killed loses all of its connections at once, and so
// do its clients, who ask for metadata within a millisecond: what they are told then is who led before, and some do not ask again for
// seconds (franz-go: 5 s). The controller takes some 200 ms to find that the node is dead. A node that shares no partition with the dead one,
// and is not the controller, does not know, and answers by what it has.
type losses struct {
	image func() *metadata.Image
	now   func() time.Time

	mu sync.Mutex
	of map[kafka.NodeID]loss
}

type loss struct {
	epoch int64 // of the broker
	at    time.Time
}

// BrokerLost notes that a broker may be dead.
func (l *losses) BrokerLost(id kafka.NodeID) {
	if b := l.image().Broker(id); b != nil {
		l.lost(id, b.Epoch)
	}
}

func (l *losses) lost(id kafka.NodeID, epoch int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, noted := l.of[id]; noted && was.epoch == epoch {
		return // it is as old as the first sign of it
	}
	l.of[id] = loss{epoch, l.now()}
}

// BrokerHeard notes that a broker lives.
func (l *losses) BrokerHeard(id kafka.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, id)
}

// isUnsure reports whether a broker may be dead of which the metadata says that it leads.
func (l *losses) isUnsure() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, image, unsure := l.now(), l.image(), false
	for id, one := range l.of { // any order: every one is looked at
		b := image.Broker(id)
		if b == nil || b.Epoch != one.epoch || b.Fenced {
			delete(l.of, id)
			continue
		}
		unsure = unsure || !b.ShuttingDown && now.Sub(one.at) < lossPatience
	}
	return unsure
}

// whenSure runs f when it is known whether a broker that seems to be dead is, or when that takes too long.
func (a *API) whenSure(f func()) {
	if !a.losses.isUnsure() {
		f()
		return
	}
	a.timers.After(lossPause, func() { a.whenSure(f) })
}
