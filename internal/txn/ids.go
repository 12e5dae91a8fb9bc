// Package txn hands out producer ids. The transaction coordinator will live here.
//
// It promises that an id is given once in the life of the cluster: ids come from blocks that the controller has
// committed to this node, and a block that was not used up is forgotten with the process.
// The API room calls it. It does not know batches or sequences: those are the partitions' business.
package txn

import (
	"sync"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Allocate asks the controller for a block of producer ids: first and the count-1 after it.
type Allocate func(reply func(first int64, count int32, err error))

// ProducerIDs gives out ids of the current block, and asks for the next when it is used up.
type ProducerIDs struct {
	allocate Allocate

	mu      sync.Mutex
	next    int64
	left    int32
	asking  bool
	waiting []func(id int64, err error)
}

// NewProducerIDs makes an allocator without a block.
func NewProducerIDs(allocate Allocate) *ProducerIDs { return &ProducerIDs{allocate: allocate} }

// Next gives an id, now or when a block has come.
func (p *ProducerIDs) Next(reply func(id int64, err error)) {
	p.mu.Lock()
	if p.left > 0 && len(p.waiting) == 0 {
		id := p.take()
		p.mu.Unlock()
		reply(id, nil)
		return
	}
	p.waiting = append(p.waiting, reply)
	ask := !p.asking
	p.asking = true
	p.mu.Unlock()
	if ask {
		p.allocate(p.allocated)
	}
}

func (p *ProducerIDs) take() int64 {
	id := p.next
	p.next++
	p.left--
	return id
}

// allocated serves those who wait from a new block, or tells all of them that there is none.
func (p *ProducerIDs) allocated(first int64, count int32, err error) {
	p.mu.Lock()
	p.asking = false
	if err == nil && count <= 0 {
		err = kafka.UnknownServerError
	}
	if err != nil {
		waiting := p.waiting
		p.waiting = nil
		p.mu.Unlock()
		for _, reply := range waiting {
			reply(-1, err)
		}
		return
	}
	p.next, p.left = first, count
	n := min(len(p.waiting), int(p.left))
	served, ids := p.waiting[:n:n], make([]int64, n)
	for i := range ids {
		ids[i] = p.take()
	}
	p.waiting = append([]func(int64, error){}, p.waiting[n:]...)
	again := len(p.waiting) > 0
	p.asking = again
	p.mu.Unlock()
	for i, reply := range served {
		reply(ids[i], nil)
	}
	if again {
		p.allocate(p.allocated)
	}
}
