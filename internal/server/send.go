package server

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"

	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// writeSlots is how many answers leave in one go at most.
	writeSlots = 256
	// copyLimit is up to what size a file range is copied into the answer rather than sent from the page cache.
	copyLimit = 64 << 10
	// sendBufferSize gathers small answers and copied ranges into one write.
	sendBufferSize = 128 << 10
)

// errShortFile says that a file ended before a range of it did, which only a disk gone wrong can bring about.
var errShortFile = errors.New("a log segment ends before the records that were to be sent")

var sendBuffers = sync.Pool{New: func() any { b := make([]byte, 0, sendBufferSize); return &b }}

// sender writes frames to a connection. One goroutine at a time uses it: the one that claimed the writer.
type sender struct {
	c      *conn
	buffer *[]byte // taken from the pool while there is something in it
	err    error

	// The state of a transfer that may have to wait for the socket, see send_linux.go.
	transfer transfer
}

func (s *sender) init(c *conn) {
	s.c = c
	s.transfer.init(c.active)
}

// write sends answers as long as there are any at the head of the queue.
func (c *conn) write() {
	for {
		c.mu.Lock()
		if c.closed {
			c.discardReady()
		}
		first := c.takeReady()
		if first == nil {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.active() // the time that it may stand still begins now
		abort := false
		for s := first; s != nil && !abort; s = s.next {
			switch s.state {
			case slotReady:
				c.out.frame(s.frame, s.splices)
			case slotAbort:
				abort = true
			}
		}
		err := c.out.flush(false)
		c.answered.Store(true)
		c.mu.Lock()
		c.recycle(first)
		c.mu.Unlock()
		if abort || err != nil {
			c.close()
		}
	}
}

// frame sends one answer, or puts it into the buffer to be sent with the next.
func (s *sender) frame(frame []byte, splices []wire.Splice) {
	at := 0
	for i := range splices {
		splice := &splices[i]
		s.bytes(frame[at:splice.At])
		at = splice.At
		if splice.Size <= copyLimit {
			s.copyRange(splice.Range)
		} else {
			s.sendRange(splice.Range)
		}
	}
	s.bytes(frame[at:])
}

func (s *sender) bytes(p []byte) {
	if len(p) == 0 || s.err != nil {
		return
	}
	s.take()
	if len(*s.buffer)+len(p) > cap(*s.buffer) {
		if s.flush(true) != nil {
			return
		}
		if len(p) > sendBufferSize {
			s.send(p, true)
			return
		}
		s.take()
	}
	*s.buffer = append(*s.buffer, p...)
}

func (s *sender) take() {
	if s.buffer == nil {
		s.buffer = sendBuffers.Get().(*[]byte)
	}
}

// copyRange puts a small file range into the buffer.
func (s *sender) copyRange(r wire.Range) {
	if s.err != nil {
		return
	}
	s.take()
	if len(*s.buffer)+r.Size > cap(*s.buffer) {
		if s.flush(true) != nil {
			return
		}
		s.take()
	}
	n := len(*s.buffer)
	into := (*s.buffer)[n : n+r.Size]
	if err := readFull(r, into); err != nil {
		s.fail(err)
		return
	}
	*s.buffer = (*s.buffer)[:n+r.Size]
}

// copyThrough sends a file range through the buffer, piece by piece.
func (s *sender) copyThrough(r wire.Range) {
	for r.Size > 0 && s.err == nil {
		n := min(r.Size, copyLimit)
		s.copyRange(wire.Range{File: r.File, Position: r.Position, Size: n})
		r.Position += int64(n)
		r.Size -= n
	}
}

func readFull(r wire.Range, into []byte) error {
	n, err := r.File.ReadAt(into, r.Position)
	if n == len(into) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// flush sends what is in the buffer. more says that the answer goes on, so the kernel may wait for the rest.
func (s *sender) flush(more bool) error {
	if s.buffer == nil {
		return s.err
	}
	if len(*s.buffer) > 0 && s.err == nil {
		s.send(*s.buffer, more)
	}
	*s.buffer = (*s.buffer)[:0]
	sendBuffers.Put(s.buffer)
	s.buffer = nil
	return s.err
}

func (s *sender) sent(n int) {
	s.c.server.Stats.BytesOut.Add(int64(n))
	if n > 0 {
		s.c.active()
	}
}

func (s *sender) fail(err error) {
	if s.err == nil {
		s.err = err
		if !errors.Is(err, net.ErrClosed) && !isReset(err) {
			s.c.server.rejected(s.c.peer, err)
		}
	}
}

// plainSend writes bytes by the portable road.
func (s *sender) plainSend(p []byte) {
	n, err := s.c.nc.Write(p)
	s.sent(n)
	if err != nil {
		s.fail(err)
	}
	runtime.KeepAlive(p)
}
