// Package server is the front door: listeners, frames, connections, and the order of answers.
//
// A connection has one goroutine that reads, dispatches and answers. Whatever has arrived on a wakeup is handled
// together: every complete frame is dispatched, then the session is told that the wakeup is drained, then the answers
// that are ready leave in one write. Answers that come later are written by a second goroutine that lives only as long
// as there is something to write.
//
// It promises that answers leave in the order of their requests, each exactly once; that a frame's size is checked
// before memory is given to it; that memory for large frames is bounded over all connections; that an idle connection
// holds no buffer; and that no bytes from outside can do more than close their own connection, with one line in the log.
// Only daemon makes a Server; the API room implements Protocol. It does not know any request's meaning.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/wire"
)

// Protocol is what a connection speaks.
type Protocol interface {
	// Open begins a session on a new connection.
	Open(peer Peer) Session
}

// Session is one connection's side of the protocol. Its methods are called by one goroutine.
type Session interface {
	// Request dispatches one request. The frame, without its size prefix, is valid until Drained returns. An error closes
	// the connection without an answer, except that a request which comes too early (ErrTooEarly) is handed over again.
	Request(frame []byte, slot Slot) error
	// Drained says that every complete request that has arrived was dispatched: what was put off until now is done now.
	Drained()
	// Closed ends the session. Slots that are still open may be answered, into the void.
	Closed()
}

// ErrTooEarly is wrapped by the error of a request that came before it can be served. It is tried again for a while; after that its
// connection ends, and whoever has sent it will come again.
var ErrTooEarly = errors.New("too early")

// Slot is the place of one request's answer in the order of its connection. Exactly one of Send, Silence and Abort is
// called, once, from anywhere.
type Slot interface {
	// Buffer is an empty buffer to build the answer in.
	Buffer() []byte
	// Send answers with a frame, into which the splices' file ranges are put as it is sent.
	Send(frame []byte, splices []wire.Splice)
	// Silence answers with nothing, as Produce with acks=0 does.
	Silence()
	// Abort closes the connection once all earlier answers have left.
	Abort()
}

// Peer is who is at the other end.
type Peer struct {
	Listener   string // the listener's name, such as PLAINTEXT
	LocalHost  string // the address that the peer reached us at
	LocalPort  int
	RemoteHost string
	RemotePort int
}

// Config bounds what connections may take.
type Config struct {
	MaxRequestBytes     int32         // socket.request.max.bytes
	MaxQueuedBytes      int64         // memory for large frames over all connections (queued.max.request.bytes)
	MaxIdle             time.Duration // connections.max.idle.ms
	MaxConnections      int           // max.connections
	MaxConnectionsPerIP int           // max.connections.per.ip
	Logger              *slog.Logger
}

// Stats count what went through the door.
type Stats struct {
	Connections atomic.Int64 // open now
	Accepted    atomic.Int64
	Refused     atomic.Int64 // over a limit
	Rejected    atomic.Int64 // closed for what they sent
	Requests    atomic.Int64
	BytesIn     atomic.Int64
	BytesOut    atomic.Int64
}

// Server owns the listeners and the connections that came in by them.
type Server struct {
	Stats    Stats
	config   Config
	protocol Protocol
	memory   *budget
	logLimit logLimit

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[*conn]struct{}
	perIP     map[string]int
	done      chan struct{}
	running   sync.WaitGroup
}

// New makes a server without listeners.
func New(config Config, protocol Protocol) *Server {
	if config.MaxQueuedBytes <= 0 {
		config.MaxQueuedBytes = 4 * int64(config.MaxRequestBytes)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: config, protocol: protocol, memory: newBudget(config.MaxQueuedBytes),
		conns: map[*conn]struct{}{}, perIP: map[string]int{}, done: make(chan struct{})}
	if config.MaxIdle > 0 {
		s.running.Add(1)
		go s.reap()
	}
	return s
}

// Serve accepts connections from a listener until the server is closed. It returns at once.
func (s *Server) Serve(name string, listener net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("server is closed")
	}
	s.listeners = append(s.listeners, listener)
	s.running.Add(1)
	go s.accept(name, listener)
	return nil
}

// StopAccepting closes the listeners; connections go on.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.listeners = nil
}

// AwaitFirstAnswers waits until every connection that was opened within the last most has been sent an answer, for most at most. A connection
// that ends before its first answer looks like a broker that wants TLS, and some clients tell their users so.
func (s *Server) AwaitFirstAnswers(most time.Duration) {
	now := time.Now()
	for s.unanswered(now.Add(-most)) && time.Since(now) < most {
		time.Sleep(time.Millisecond)
	}
}

// unanswered reports whether there is a connection, opened since then, that nothing was sent on.
func (s *Server) unanswered(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns { // any order
		if !c.answered.Load() && c.opened.After(since) {
			return true
		}
	}
	return false
}

// Close closes listeners and connections, and waits until all their goroutines have ended.
func (s *Server) Close() {
	s.StopAccepting()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.done)
	for c := range s.conns {
		c.close()
	}
	s.mu.Unlock()
	s.memory.shut()
	s.running.Wait()
}

func (s *Server) accept(name string, listener net.Listener) {
	defer s.running.Done()
	for pause := time.Duration(0); ; {
		nc, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: established connections go on, and new ones wait.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if s.logLimit.allow() {
				s.config.Logger.Warn("cannot accept a connection; trying again", "listener", name, "error", err)
			}
			select {
			case <-time.After(pause):
				continue
			case <-s.done:
				return
			}
		}
		pause = 0
		s.admit(name, nc)
	}
}

func (s *Server) admit(name string, nc net.Conn) {
	peer := Peer{Listener: name}
	peer.RemoteHost, peer.RemotePort = hostPort(nc.RemoteAddr())
	peer.LocalHost, peer.LocalPort = hostPort(nc.LocalAddr())
	s.mu.Lock()
	reason := ""
	switch {
	case s.closed:
		reason = "shutting down"
	case s.config.MaxConnections > 0 && len(s.conns) >= s.config.MaxConnections:
		reason = fmt.Sprintf("max.connections (%d) reached", s.config.MaxConnections)
	case s.config.MaxConnectionsPerIP > 0 && s.perIP[peer.RemoteHost] >= s.config.MaxConnectionsPerIP:
		reason = fmt.Sprintf("max.connections.per.ip (%d) reached", s.config.MaxConnectionsPerIP)
	}
	if reason != "" {
		s.mu.Unlock()
		s.Stats.Refused.Add(1)
		if s.logLimit.allow() {
			s.config.Logger.Warn("refused a connection", "from", peer.RemoteHost, "reason", reason)
		}
		_ = nc.Close()
		return
	}
	c := newConn(s, nc, peer)
	s.conns[c] = struct{}{}
	s.perIP[peer.RemoteHost]++
	s.running.Add(1)
	s.mu.Unlock()
	s.Stats.Accepted.Add(1)
	s.Stats.Connections.Add(1)
	go func() {
		defer s.running.Done()
		c.serve()
		s.forget(c)
	}()
}

func (s *Server) forget(c *conn) {
	s.Stats.Connections.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.perIP[c.peer.RemoteHost]--; s.perIP[c.peer.RemoteHost] <= 0 {
		delete(s.perIP, c.peer.RemoteHost)
	}
}

// reap closes connections on which nothing has happened for too long. One that waits for an answer is not idle.
func (s *Server) reap() {
	defer s.running.Done()
	ticker := time.NewTicker(min(s.config.MaxIdle/4+time.Millisecond, 30*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case now := <-ticker.C:
			s.mu.Lock()
			for c := range s.conns {
				if c.idleSince(now) > s.config.MaxIdle {
					c.close()
				}
			}
			s.mu.Unlock()
		}
	}
}

// rejected tells about a connection that was closed for what it sent. The log is not a thing that a stranger may fill.
func (s *Server) rejected(peer Peer, reason error) {
	s.Stats.Rejected.Add(1)
	if s.logLimit.allow() {
		s.config.Logger.Warn("closed a connection", "listener", peer.Listener, "from", net.JoinHostPort(peer.RemoteHost, fmt.Sprint(peer.RemotePort)), "reason", reason)
	}
}

func hostPort(addr net.Addr) (string, int) {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		ip := tcp.IP
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		return ip.String(), tcp.Port
	}
	return addr.String(), 0
}

// logLimit lets ten lines through a second.
type logLimit struct {
	mu     sync.Mutex
	second int64
	lines  int
}

func (l *logLimit) allow() bool {
	now := time.Now().Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now != l.second {
		l.second, l.lines = now, 0
	}
	l.lines++
	return l.lines <= 10
}

// budget is the memory that frames too large for a pooled buffer may take together. A frame is admitted whole, so that
// what has begun can end.
type budget struct {
	mu    sync.Mutex
	freed *sync.Cond
	limit int64
	used  int64
	over  bool
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit}
	b.freed = sync.NewCond(&b.mu)
	return b
}

// take waits until n bytes fit, or nothing else is in the way. It reports false when the server closes.
func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used > 0 && b.used+n > b.limit && !b.over {
		b.freed.Wait()
	}
	b.used += n
	return !b.over
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.used -= n
	b.mu.Unlock()
	b.freed.Broadcast()
}

// inUse is how many bytes are taken now.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

func (b *budget) shut() {
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	b.freed.Broadcast()
}
