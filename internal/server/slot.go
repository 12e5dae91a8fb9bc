package server

import "github.com/gregorhq/gregor/internal/wire"

// slotBufferKeep is the largest buffer that a slot keeps for its next answer.
const slotBufferKeep = 8 << 10

type slotState uint8

const (
	slotOpen slotState = iota
	slotReady
	slotSilent
	slotAbort
)

// slot is one request's place in the order of answers. Slots are recycled within their connection.
type slot struct {
	conn    *conn
	next    *slot
	state   slotState
	own     []byte // kept from answer to answer
	frame   []byte
	splices []wire.Splice
}

func (s *slot) Buffer() []byte { return s.own[:0] }

func (s *slot) Send(frame []byte, splices []wire.Splice) { s.fill(slotReady, frame, splices) }
func (s *slot) Silence()                                 { s.fill(slotSilent, nil, nil) }
func (s *slot) Abort()                                   { s.fill(slotAbort, nil, nil) }

func (s *slot) fill(state slotState, frame []byte, splices []wire.Splice) {
	c := s.conn
	c.mu.Lock()
	s.state, s.frame, s.splices = state, frame, splices
	c.queued += len(frame)
	if cap(frame) > cap(s.own) && cap(frame) <= slotBufferKeep {
		s.own = frame[:0]
	}
	if c.closed && !c.writing {
		c.discardReady()
		c.mu.Unlock()
		return
	}
	write := !c.draining && c.claimWriter()
	c.mu.Unlock()
	if write {
		go c.write()
	}
}

// newSlot appends a place for the next request's answer.
func (c *conn) newSlot() *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.free
	if s != nil {
		c.free = s.next
		s.next = nil
	} else {
		s = &slot{conn: c}
	}
	if c.tail == nil {
		c.head = s
	} else {
		c.tail.next = s
	}
	c.tail = s
	c.outstanding++
	return s
}

// dropLastSlot takes back the place of a request that was refused and will have no answer.
func (c *conn) dropLastSlot() {
	c.mu.Lock()
	last := c.tail
	c.mu.Unlock()
	if last != nil {
		last.Silence()
	}
}

// claimWriter reports whether the caller is to write: something is ready at the head, and nobody else writes.
// The connection's mutex is held.
func (c *conn) claimWriter() bool {
	if c.writing || c.head == nil || c.head.state == slotOpen {
		return false
	}
	c.writing = true
	return true
}

// takeReady removes the answered slots at the head, up to a size, and returns them as a list.
// The connection's mutex is held.
func (c *conn) takeReady() (first *slot) {
	var last *slot
	for n := 0; c.head != nil && c.head.state != slotOpen && n < writeSlots; n++ {
		s := c.head
		c.head = s.next
		s.next = nil
		if last == nil {
			first = s
		} else {
			last.next = s
		}
		last = s
	}
	if c.head == nil {
		c.tail = nil
	}
	return first
}

// recycle gives written slots back. The connection's mutex is held.
func (c *conn) recycle(first *slot) {
	for s := first; s != nil; {
		next := s.next
		for i := range s.splices {
			s.splices[i].Release()
		}
		c.queued -= len(s.frame)
		s.state, s.frame, s.splices = slotOpen, nil, nil
		s.next, c.free = c.free, s
		c.outstanding--
		s = next
	}
	c.room.Signal()
}

// discardReady drops answers that can no longer be sent. The connection's mutex is held.
func (c *conn) discardReady() {
	for {
		first := c.takeReady()
		if first == nil {
			return
		}
		c.recycle(first)
	}
}
