package peer

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// callLimit is how long an answer may take that nobody waits for on the other side.
	callLimit = 5 * time.Second
	// waitLimit is added to what a request itself says that it may wait there.
	waitLimit = 5 * time.Second
	// quorumLimit is for the lane on which everything is small and answered at once: whoever says nothing on it for so long
	// is cut off, or stands still.
	quorumLimit = 3 * time.Second
	// dialLimit is how long a connection may take to be there.
	dialLimit = 2 * time.Second
	// After a failure calls fail at once for a while: from the first length, doubled by every further failure, to the last.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// Sockets is the network of the world: a TCP connection for each address and lane that is used.
type Sockets struct {
	client string // what this node calls itself in headers

	mu     sync.Mutex
	lanes  map[place]*lane
	closed bool
	dial   func(address string, limit time.Duration) (net.Conn, error)
}

type place struct {
	to   Address
	lane Lane
}

// New makes a network without connections. client is what this node calls itself to others.
func New(client string) *Sockets {
	return &Sockets{client: client, lanes: map[place]*lane{}, dial: func(address string, limit time.Duration) (net.Conn, error) {
		return net.DialTimeout("tcp", address, limit)
	}}
}

// Call sends a request.
func (s *Sockets) Call(to Address, which Lane, request kmsg.Request, answered func(kmsg.Response, error)) {
	s.mu.Lock()
	l := s.lanes[place{to, which}]
	if l == nil {
		l = &lane{sockets: s, to: to, which: which}
		if !s.closed {
			s.lanes[place{to, which}] = l
		}
	}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		go answered(nil, fmt.Errorf("%w: this node has closed its connections", ErrUnreachable))
		return
	}
	l.call(request, answered)
}

// Close ends all connections, and answers whoever waits.
func (s *Sockets) Close() {
	s.mu.Lock()
	s.closed = true
	lanes := make([]*lane, 0, len(s.lanes))
	for _, l := range s.lanes {
		lanes = append(lanes, l)
	}
	s.mu.Unlock()
	for _, l := range lanes {
		l.mu.Lock()
		l.shut = true
		l.mu.Unlock()
		l.end(nil, errors.New("this node has closed its connections"))
	}
}

// Limit is how long the answer to a request may take: what it may wait on the other side, and some more.
func Limit(request kmsg.Request) time.Duration {
	switch r := request.(type) {
	case *kmsg.FetchRequest:
		return time.Duration(r.MaxWaitMillis)*time.Millisecond + waitLimit
	case wire.Waiting:
		return r.Wait() + waitLimit
	case kmsg.TimeoutRequest:
		return time.Duration(r.Timeout())*time.Millisecond + waitLimit
	}
	return callLimit
}

// lane is the connection to one address for one kind of requests. It is dialled when there is something to send, by the
// goroutine that then writes; another reads for as long as the connection lasts.
type lane struct {
	sockets *Sockets
	to      Address
	which   Lane

	mu      sync.Mutex
	conn    net.Conn // nil while there is none
	next    int32    // correlation of the next request
	out     []byte   // frames to be written
	spare   []byte
	writing bool
	waiting []waiting // calls in the order of their requests, sent or not
	pause   time.Duration
	until   time.Time // calls fail until then
	because error
	timer   *time.Timer
	due     time.Time // when the timer fires
	shut    bool

	heard atomic.Int64 // when something was read last, ns since 1970
}

// waiting is a call that has no answer yet.
type waiting struct {
	correlation int32
	request     kmsg.Request
	due         time.Time
	answered    func(kmsg.Response, error)
}

func (l *lane) call(request kmsg.Request, answered func(kmsg.Response, error)) {
	now := time.Now()
	l.mu.Lock()
	if l.shut || l.conn == nil && now.Before(l.until) {
		because := l.because
		l.mu.Unlock()
		go answered(nil, fmt.Errorf("%s: %w: %v", l.to, ErrUnreachable, because))
		return
	}
	w := waiting{l.next, request, now.Add(l.limit(request)), answered}
	l.next++
	l.out = wire.AppendRequest(l.out, w.correlation, l.sockets.client, request)
	l.waiting = append(l.waiting, w)
	l.watch(w.due)
	write := !l.writing
	l.writing = true
	l.mu.Unlock()
	if write {
		go l.write()
	}
}

// limit is how long an answer may take.
func (l *lane) limit(request kmsg.Request) time.Duration {
	if l.which == Quorum {
		return quorumLimit
	}
	return Limit(request)
}

// silence is how long nothing may arrive while an answer is late.
func (l *lane) silence() time.Duration {
	if l.which == Quorum {
		return quorumLimit
	}
	return waitLimit
}

// watch makes sure that somebody looks at the calls when one is due. The mutex is held.
func (l *lane) watch(due time.Time) {
	if l.timer == nil {
		l.timer, l.due = time.AfterFunc(time.Until(due), l.overdue), due
	} else if due.Before(l.due) {
		l.timer.Reset(time.Until(due))
		l.due = due
	}
}

// overdue closes the connection if an answer is late: those behind it would be too. A large one may take its time, as long
// as it keeps coming.
func (l *lane) overdue() {
	l.mu.Lock()
	now, next, late := time.Now(), time.Time{}, false
	comes := now.Sub(time.Unix(0, l.heard.Load())) < l.silence()
	for _, w := range l.waiting {
		due := w.due
		if !now.Before(due) && comes {
			due = now.Add(l.silence() / 2)
		}
		late = late || !now.Before(due)
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	l.timer = nil
	if !late && !next.IsZero() {
		l.watch(next)
	}
	conn := l.conn
	l.mu.Unlock()
	if late {
		l.end(conn, errors.New("it did not answer in time"))
	}
}

// write dials if need be, and writes until there is nothing left to write.
func (l *lane) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.out) > 0 {
		conn := l.conn
		if conn == nil {
			l.mu.Unlock()
			fresh, err := l.sockets.dial(l.to.String(), dialLimit)
			l.mu.Lock()
			if err != nil {
				l.failed(err)
				break
			}
			if l.shut {
				_ = fresh.Close()
				break
			}
			conn, l.conn, l.pause = fresh, fresh, 0
			go l.read(conn)
		}
		frames := l.out
		l.out, l.spare = l.spare[:0], nil
		l.mu.Unlock()
		if err := send(conn, frames); err != nil {
			l.end(conn, err)
		}
		l.mu.Lock()
		if cap(frames) <= keptBuffer {
			l.spare = frames[:0]
		}
	}
	l.writing = false
}

// send writes everything; each part of it has to get away in some time.
func send(conn net.Conn, frames []byte) error {
	for len(frames) > 0 {
		part := frames[:min(len(frames), keptBuffer)]
		if err := conn.SetWriteDeadline(time.Now().Add(callLimit)); err != nil {
			return err
		}
		if _, err := conn.Write(part); err != nil {
			return err
		}
		frames = frames[len(part):]
	}
	return nil
}

// hearing notes when something arrives.
type hearing struct {
	net.Conn
	lane *lane
}

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.lane.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// keptBuffer is the largest buffer that a lane keeps.
const keptBuffer = 1 << 20

// end is the end of a connection, or of what waits for one: everybody who waits is told. A later connection stays.
func (l *lane) end(conn net.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn != l.conn && !l.shut {
		return
	}
	l.failed(err)
}

// failed closes the connection, if there is one, and tells everybody who waits. The mutex is held.
func (l *lane) failed(err error) {
	told := l.waiting
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
	l.because = err
	// A connection that ends while nobody waits was merely idle for too long.
	if len(told) > 0 {
		l.pause = min(max(2*l.pause, firstPause), lastPause)
		l.until = time.Now().Add(l.pause)
	}
	l.waiting, l.out = nil, l.out[:0]
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(told) == 0 {
		return
	}
	unreachable := fmt.Errorf("%s: %w: %v", l.to, ErrUnreachable, err)
	go func() {
		for _, w := range told {
			w.answered(nil, unreachable)
		}
	}()
}

// read gives answers to those who wait for them, in their order, until the connection ends.
func (l *lane) read(conn net.Conn) {
	in := wire.NewFrameReader(hearing{conn, l})
	for {
		frame, err := in.Next()
		if err != nil {
			l.end(conn, err)
			return
		}
		l.mu.Lock()
		if l.conn != conn {
			l.mu.Unlock()
			return
		}
		if len(l.waiting) == 0 {
			l.failed(errors.New("it answered what nobody has asked"))
			l.mu.Unlock()
			return
		}
		w := l.waiting[0]
		l.waiting[0] = waiting{}
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		response := w.request.ResponseKind()
		if err := wire.ReadResponse(frame, w.correlation, response); err != nil {
			w.answered(nil, fmt.Errorf("%s: %w: %v", l.to, ErrUnreachable, err))
			l.end(conn, err)
			return
		}
		w.answered(response, nil)
	}
}
