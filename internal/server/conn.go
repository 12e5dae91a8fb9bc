package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// readBufferSize holds what arrives in one wakeup of a busy connection. Measured: 128 to 512 KiB cost least per byte.
	readBufferSize = 256 << 10
	// maxOutstanding is how many requests of one connection may wait for their answers before no more is read, and
	// maxQueued how many bytes of answers may wait for a client that does not read them.
	maxOutstanding = 1024
	maxQueued      = 8 << 20
	// yieldBytes is after how much input a connection lets others run.
	yieldBytes = 1 << 20
	// frameTimeout is how long a frame that has been given memory of the shared budget may stand still.
	frameTimeout = 30 * time.Second
)

var readBuffers = sync.Pool{New: func() any { return new([readBufferSize]byte) }}

// conn is one connection.
type conn struct {
	server *Server
	peer   Peer
	nc     net.Conn
	raw    syscall.RawConn // nil where the connection is not a plain socket
	out    sender

	session Session

	// What has been read and not dispatched is buffer[from:to]. Only the reading goroutine touches these.
	buffer   []byte
	pooled   *[readBufferSize]byte // what buffer is made of, where it is not larger
	from, to int
	charged  int64 // of the budget, for a large frame
	readN    int
	readErr  error
	readFunc func(fd uintptr) bool

	opened     time.Time
	answered   atomic.Bool  // an answer was sent
	lastActive atomic.Int64 // ns since 1970

	mu          sync.Mutex
	room        *sync.Cond // outstanding fell, or the connection closed
	head, tail  *slot      // requests in order, answered or not
	free        *slot
	outstanding int
	queued      int  // bytes of answers that are ready and not written
	draining    bool // the reading goroutine will write when it is through
	writing     bool // somebody writes
	closed      bool
}

func newConn(s *Server, nc net.Conn, peer Peer) *conn {
	c := &conn{server: s, nc: nc, peer: peer, opened: time.Now()}
	c.room = sync.NewCond(&c.mu)
	if plain, ok := nc.(*net.TCPConn); ok {
		if raw, err := plain.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	c.readFunc = c.readOnce
	c.out.init(c)
	c.active()
	return c
}

// serve reads and dispatches until the connection ends.
func (c *conn) serve() {
	c.session = c.server.protocol.Open(c.peer)
	err := c.loop()
	c.close()
	c.dropBuffer()
	c.session.Closed()
	if !errors.Is(err, ErrTooEarly) && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) {
		c.server.rejected(c.peer, err)
	}
}

func (c *conn) loop() error {
	sinceYield := 0
	for {
		if err := c.fill(); err != nil {
			return err
		}
		c.active()
		c.server.Stats.BytesIn.Add(int64(c.readN))
		sinceYield += c.readN
		if err := c.drain(); err != nil {
			return err
		}
		if sinceYield >= yieldBytes {
			// A connection with endless input never blocks, and others would wait for the scheduler to step in.
			sinceYield = 0
			runtime.Gosched()
		}
	}
}

// drain dispatches every complete frame in the buffer and writes the answers that are ready.
func (c *conn) drain() error {
	for {
		c.setDraining()
		more, err := c.dispatch()
		c.session.Drained()
		c.mu.Lock()
		c.draining = false
		write := c.claimWriter()
		c.mu.Unlock()
		if write {
			c.write()
		}
		if err != nil {
			// Answers to what came before the bad frame are the client's due.
			c.awaitAnswers(5 * time.Second)
			return err
		}
		if !more {
			return c.compact()
		}
		if !c.awaitRoom() {
			return net.ErrClosed
		}
	}
}

func (c *conn) setDraining() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
}

// dispatch dispatches the frames in the buffer. more says that there are some left, because too many answers wait.
func (c *conn) dispatch() (more bool, err error) {
	for c.to-c.from >= 4 {
		size, err := c.frameSize()
		if err != nil {
			return false, err
		}
		if c.to-c.from < 4+size {
			return false, nil
		}
		if c.full() {
			return true, nil
		}
		frame := c.buffer[c.from+4 : c.from+4+size : c.from+4+size]
		c.from += 4 + size
		c.server.Stats.Requests.Add(1)
		if err := c.request(frame); err != nil {
			c.dropLastSlot()
			return false, err
		}
	}
	return false, nil
}

const (
	// earlyMost is how long a request waits that comes before it can be served, and earlyPause how often it is tried. Clients come
	// back while a node is being started, and take a closed connection for more than that.
	earlyMost  = 3 * time.Second
	earlyPause = 10 * time.Millisecond
)

// request hands a frame over.
func (c *conn) request(frame []byte) error {
	slot := c.newSlot()
	err := c.session.Request(frame, slot)
	for waited := time.Duration(0); errors.Is(err, ErrTooEarly) && waited < earlyMost && !c.isClosed(); waited += earlyPause {
		time.Sleep(earlyPause)
		err = c.session.Request(frame, slot)
	}
	return err
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// frameSize reads the size prefix of the next frame, and refuses what cannot be a frame of ours.
func (c *conn) frameSize() (int, error) {
	prefix := c.buffer[c.from : c.from+4]
	size := int32(binary.BigEndian.Uint32(prefix))
	if size >= 0 && size <= c.server.config.MaxRequestBytes {
		return int(size), nil
	}
	switch {
	case string(prefix) == "GET " || string(prefix) == "POST" || string(prefix) == "HEAD" || string(prefix) == "PUT ":
		return 0, errors.New("this is HTTP, and the port speaks the Kafka protocol: the HTTP port is set with --http")
	case prefix[0] == 0x16 && prefix[1] == 3:
		return 0, errors.New("this is TLS, and the listener is plaintext: set security.protocol=PLAINTEXT in the client")
	case size < 0:
		return 0, fmt.Errorf("a frame of negative size (%d): not the Kafka protocol", size)
	}
	return 0, fmt.Errorf("a frame of %d bytes is larger than socket.request.max.bytes (%d)", size, c.server.config.MaxRequestBytes)
}

// compact makes room for the rest of a frame that has only begun, or gives the buffer back.
func (c *conn) compact() error {
	rest := c.to - c.from
	if rest == 0 {
		c.dropBuffer()
		return nil
	}
	need := 4
	if rest >= 4 {
		size, err := c.frameSize()
		if err != nil {
			return err
		}
		need = 4 + size
	}
	if need <= len(c.buffer)-c.from && c.from < len(c.buffer)/2 {
		return nil
	}
	if need <= readBufferSize && c.pooled != nil || rest < len(c.buffer) && c.from > 0 {
		copy(c.buffer, c.buffer[c.from:c.to])
		c.from, c.to = 0, rest
	}
	if need > readBufferSize && c.charged == 0 {
		if !c.server.memory.take(int64(need)) {
			return net.ErrClosed
		}
		c.charged = int64(need)
	}
	if c.to == len(c.buffer) {
		// The buffer grows with what really arrives: a size prefix alone is worth no memory.
		grown := make([]byte, min(need, 4*len(c.buffer)))
		copy(grown, c.buffer[c.from:c.to])
		c.returnPooled()
		c.buffer, c.from, c.to = grown, 0, rest
	}
	return nil
}

func (c *conn) dropBuffer() {
	c.returnPooled()
	c.buffer, c.from, c.to = nil, 0, 0
	if c.charged > 0 {
		c.server.memory.give(c.charged)
		c.charged = 0
	}
}

func (c *conn) returnPooled() {
	if c.pooled != nil {
		readBuffers.Put(c.pooled)
		c.pooled = nil
	}
}

func (c *conn) takeBuffer() {
	if c.buffer == nil {
		c.pooled = readBuffers.Get().(*[readBufferSize]byte)
		c.buffer = c.pooled[:]
	}
}

// fill reads once, waiting without a buffer until there is something to read.
func (c *conn) fill() error {
	if !c.awaitRoom() {
		return net.ErrClosed
	}
	if c.charged > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(frameTimeout))
		defer func() { _ = c.nc.SetReadDeadline(time.Time{}) }()
	}
	c.readN, c.readErr = 0, nil
	if c.raw != nil {
		if err := c.raw.Read(c.readFunc); err != nil {
			return err
		}
	} else {
		c.takeBuffer()
		c.readN, c.readErr = c.nc.Read(c.buffer[c.to:])
	}
	if c.readErr != nil {
		return c.readErr
	}
	if c.readN <= 0 {
		return io.EOF
	}
	c.to += c.readN
	return nil
}

// readOnce is one try to read the socket; false means that nothing has arrived yet.
func (c *conn) readOnce(fd uintptr) bool {
	c.takeBuffer()
	for {
		n, err := syscall.Read(int(fd), c.buffer[c.to:])
		switch err {
		case nil:
			c.readN = n
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if c.from == c.to && c.charged == 0 {
				c.dropBuffer()
			}
			return false
		}
		c.readErr = err
		return true
	}
}

// awaitRoom holds reading back while too many answers are outstanding. It reports false if the connection was closed.
func (c *conn) awaitRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.tooMany() && !c.closed {
		c.room.Wait()
	}
	return !c.closed
}

func (c *conn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tooMany()
}

// tooMany says whether enough answers wait. The mutex is held.
func (c *conn) tooMany() bool { return c.outstanding >= maxOutstanding || c.queued > maxQueued }

// awaitAnswers waits until every request that was dispatched is answered, for some time at most.
func (c *conn) awaitAnswers(most time.Duration) {
	timer := time.AfterFunc(most, c.close)
	defer timer.Stop()
	c.mu.Lock()
	for c.outstanding > 0 && !c.closed {
		c.room.Wait()
	}
	c.mu.Unlock()
}

// active notes that something has happened on the connection.
func (c *conn) active() { c.lastActive.Store(time.Now().UnixNano()) }

func (c *conn) idleSince(now time.Time) time.Duration {
	c.mu.Lock()
	waits := c.outstanding > 0 && !c.writing
	c.mu.Unlock()
	if waits {
		return 0
	}
	// Whoever is being written to and takes nothing is as good as gone.
	return now.Sub(time.Unix(0, c.lastActive.Load()))
}

func (c *conn) close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		_ = c.nc.Close()
		c.room.Broadcast()
	}
	c.mu.Unlock()
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
}
