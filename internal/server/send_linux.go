package server

import (
	"golang.org/x/sys/unix"

	"github.com/gregorhq/gregor/internal/wire"
)

// sendfileChunk is how much one call may move: enough to be cheap, little enough not to hold a thread for long.
const sendfileChunk = 1 << 20

// transfer is a send or sendfile that goes on when the socket has room again. Its functions are made once, because a
// closure for each call would be an allocation for each answer.
type transfer struct {
	p     []byte
	flags int
	n     int
	err   error
	send  func(fd uintptr) bool

	moved  func() // bytes have left
	from   int
	offset int64
	left   int
	file   func(fd uintptr) bool
}

func (t *transfer) init(moved func()) {
	t.moved = moved
	t.send = t.trySend
	t.file = t.tryFile
}

func (t *transfer) trySend(fd uintptr) bool {
	for t.n < len(t.p) {
		n, err := unix.SendmsgN(int(fd), t.p[t.n:], nil, nil, t.flags)
		switch err {
		case nil:
			t.n += n
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.err = err
			return true
		}
	}
	return true
}

func (t *transfer) tryFile(fd uintptr) bool {
	for t.left > 0 {
		n, err := unix.Sendfile(int(fd), t.from, &t.offset, min(t.left, sendfileChunk))
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			t.err = err
			return true
		case n == 0:
			t.err = errShortFile
			return true
		default:
			t.left -= n
			t.moved()
		}
	}
	return true
}

func (s *sender) send(p []byte, more bool) {
	if s.c.raw == nil {
		s.plainSend(p)
		return
	}
	t := &s.transfer
	t.p, t.n, t.err, t.flags = p, 0, nil, unix.MSG_NOSIGNAL
	if more {
		t.flags |= unix.MSG_MORE
	}
	err := s.c.raw.Write(t.send)
	s.sent(t.n)
	t.p = nil
	if err == nil {
		err = t.err
	}
	if err != nil {
		s.fail(err)
	}
}

// sendRange sends a file range out of the page cache, after the bytes before it, in one stream of segments.
func (s *sender) sendRange(r wire.Range) {
	fd, ok := r.File.Descriptor()
	if !ok || s.c.raw == nil {
		s.copyThrough(r)
		return
	}
	if s.flush(true) != nil {
		return
	}
	t := &s.transfer
	t.from, t.offset, t.left, t.err = int(fd), r.Position, r.Size, nil
	err := s.c.raw.Write(t.file)
	s.sent(r.Size - t.left)
	if err == nil {
		err = t.err
	}
	if err != nil {
		s.fail(err)
	}
}
