package raft

import (
	"encoding/binary"

	etcd "go.etcd.io/raft/v3"
)

// A leader that was cut off believes for a while that it leads. Whoever needs to know for sure has it ask the others: this is
// raft's ReadIndex (§6.4 of Ongaro's thesis), with one round of heartbeats and nothing on disk.

// confirmation is somebody who wants to know whether this node leads.
type confirmation struct {
	number    uint64
	confirmed bool
	index     uint64 // what was committed when the others were asked
	answer    func(leads bool)
}

// Confirm calls answer once, on the raft loop: with true when a majority of the voters has said, after this call, that this node leads
// them, and this node has applied everything that was committed before the call by whomever; with false if it does not lead, or stops
// to. A leader that hears from no majority stops to lead within two election timeouts.
func (n *Node) Confirm(answer func(leads bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.leads || n.failed || n.closed {
		n.loop.Do(func() { answer(false) })
		return
	}
	n.asked++
	n.confirming = append(n.confirming, confirmation{number: n.asked, answer: answer})
	n.raw.ReadIndex(binary.BigEndian.AppendUint64(nil, n.asked))
	n.pump()
}

// confirmed notes what raft has had confirmed. The mutex is held.
func (n *Node) confirmed(states []etcd.ReadState) {
	for _, s := range states {
		number := binary.BigEndian.Uint64(s.RequestCtx)
		for i := range n.confirming {
			// Who asked before is confirmed with it.
			if c := &n.confirming[i]; c.number <= number && !c.confirmed {
				c.confirmed, c.index = true, s.Index
			}
		}
		n.applying = n.applying || n.turn()
	}
}

// answerConfirmed answers whom it can. It runs on the raft loop, without the mutex.
func (n *Node) answerConfirmed(leads bool) {
	n.mu.Lock()
	var ready []confirmation
	kept := n.confirming[:0]
	for _, c := range n.confirming {
		if leads && (!c.confirmed || c.index > n.applied) {
			kept = append(kept, c)
		} else {
			ready = append(ready, c)
		}
	}
	clear(n.confirming[len(kept):])
	n.confirming = kept
	n.mu.Unlock()
	for _, c := range ready {
		c.answer(leads)
	}
}
