package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/wire"
)

// echo answers each request with its bytes: at once, or later and in any order where the first byte says so.
type echo struct {
	mu     sync.Mutex
	drains int
}

func (e *echo) Open(Peer) Session { return &echoSession{echo: e} }

// bigAnswer is the size of the answer to a request that begins with b.
const bigAnswer = 64 << 10

// heldFor is how long a request that begins with h waits, as JoinGroup and Fetch do.
const heldFor = 200 * time.Millisecond

type echoSession struct {
	echo  *echo
	early int // requests that came too early
}

func (s *echoSession) Request(frame []byte, slot Slot) error {
	if len(frame) == 0 {
		return errors.New("an empty frame")
	}
	switch frame[0] {
	case 'b':
		slot.Send(answer(slot, make([]byte, bigAnswer)), nil)
	case 'l':
		kept := bytes.Clone(frame)
		time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { slot.Send(answer(slot, kept), nil) })
	case 'h':
		kept := bytes.Clone(frame)
		time.AfterFunc(heldFor, func() { slot.Send(answer(slot, kept), nil) })
	case 'e':
		if s.early++; s.early < 5 {
			return fmt.Errorf("%w: the %dth time", ErrTooEarly, s.early)
		}
		slot.Send(answer(slot, frame), nil)
	case 's':
		slot.Silence()
	case 'a':
		slot.Abort()
	default:
		slot.Send(answer(slot, frame), nil)
	}
	return nil
}

func answer(slot Slot, frame []byte) []byte {
	return wire.EndFrame(append(append(slot.Buffer(), 0, 0, 0, 0), frame...), 0)
}

func (s *echoSession) Drained() {
	s.echo.mu.Lock()
	s.echo.drains++
	s.echo.mu.Unlock()
}
func (s *echoSession) Closed() {}

func start(t *testing.T, config Config) (*Server, net.Conn) {
	t.Helper()
	if config.MaxRequestBytes == 0 {
		config.MaxRequestBytes = 8 << 20
	}
	s := New(config, &echo{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve("PLAINTEXT", listener); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return s, c
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func read(t *testing.T, r io.Reader) []byte {
	t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestAnswersLeaveInTheOrderOfRequests(t *testing.T) {
	_, c := start(t, Config{})
	const n = 3000
	go func() {
		w := bufio.NewWriter(c)
		for i := range n {
			body := []byte{"nlls"[i%4]}
			body = binary.BigEndian.AppendUint32(body, uint32(i))
			_, _ = w.Write(frame(append(body, make([]byte, i%700)...)))
		}
		_ = w.Flush()
	}()
	r := bufio.NewReader(c)
	for i := range n {
		if i%4 == 3 {
			continue // no answer, and nothing behind it waits
		}
		if got := binary.BigEndian.Uint32(read(t, r)[1:]); got != uint32(i) {
			t.Fatalf("answer %d came in place of %d", got, i)
		}
	}
}

func TestFramesOfAllSizesArriveWholeHoweverTheyAreCut(t *testing.T) {
	s, c := start(t, Config{})
	sizes := []int{1, 3, 100, 70_000, readBufferSize - 4, readBufferSize - 3, readBufferSize, 300_000, 5 << 20, 10, 1 << 20, 2}
	go func() {
		var all []byte
		for i, size := range sizes {
			all = append(all, frame(bytes.Repeat([]byte{'0' + byte(i)}, size))...)
		}
		for len(all) > 0 {
			n := min(len(all), 1+rand.IntN(200_000))
			_, _ = c.Write(all[:n])
			all = all[n:]
		}
	}()
	r := bufio.NewReader(c)
	for i, size := range sizes {
		if got := read(t, r); !bytes.Equal(got, bytes.Repeat([]byte{'0' + byte(i)}, size)) {
			t.Fatalf("frame %d of %d bytes came back as %d bytes", i, size, len(got))
		}
	}
	for deadline := time.Now().Add(5 * time.Second); s.memory.inUse() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of the budget are not given back", s.memory.inUse())
		}
	}
}

func TestWhatIsNoFrameClosesTheConnectionWithALineInTheLog(t *testing.T) {
	for name, bad := range map[string][]byte{
		"HTTP":          []byte("GET / HTTP/1.1\r\n\r\n"),
		"TLS":           {0x16, 3, 1, 2, 0, 1, 0, 1},
		"negative size": {0xff, 0xff, 0xff, 0xff},
		"too large":     {0x7f, 0, 0, 0},
		"empty frame":   {0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := start(t, Config{})
			_, _ = c.Write(append(frame([]byte("late")), bad...))
			if got := read(t, c); string(got) != "late" {
				t.Fatalf("what came before the bad frame was answered %q", got)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Fatalf("still open: %d, %v", n, err)
			}
			for deadline := time.Now().Add(5 * time.Second); s.Stats.Rejected.Load() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("not counted")
				}
			}
		})
	}
}

func TestAnAbortLetsEarlierAnswersOut(t *testing.T) {
	_, c := start(t, Config{})
	_, _ = c.Write(append(append(frame([]byte("l1")), frame([]byte("a"))...), frame([]byte("never"))...))
	all, err := io.ReadAll(c)
	if err != nil && !isReset(err) {
		t.Fatal(err)
	}
	if string(all) != string(frame([]byte("l1"))) {
		t.Fatalf("%q", all)
	}
}

func TestIdleConnectionsAreClosedAndWaitingOnesAreNot(t *testing.T) {
	s, c := start(t, Config{MaxIdle: 20 * time.Millisecond})
	_, _ = c.Write(frame([]byte("held")))
	if got := read(t, c); string(got) != "held" {
		t.Fatalf("%q", got)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("want EOF, got %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); s.Stats.Connections.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still counted")
		}
	}
}

// Clients come back while a node is being started. They wait then, and what they have sent behind it.
func TestARequestThatComesTooEarlyWaitsForItsTime(t *testing.T) {
	s, c := start(t, Config{})
	_, _ = c.Write(append(append(frame([]byte("x1")), frame([]byte("early"))...), frame([]byte("x2"))...))
	for _, want := range []string{"x1", "early", "x2"} {
		if got := read(t, c); string(got) != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	if n := s.Stats.Requests.Load(); n != 3 {
		t.Fatalf("%d requests are counted", n)
	}
}

// A connection that was accepted just before the end is answered once: a client takes silence for a listener of another kind.
func TestWhoHasJustComeIsAnsweredBeforeTheEnd(t *testing.T) {
	s, c := start(t, Config{})
	_, _ = c.Write(frame([]byte("held")))
	for s.Stats.Requests.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.StopAccepting()
	if late, err := net.Dial("tcp", c.RemoteAddr().String()); err == nil {
		late.Close()
		t.Error("a connection was accepted after the end of that")
	}
	s.AwaitFirstAnswers(time.Minute)
	s.Close()
	if got := read(t, c); string(got) != "held" {
		t.Fatalf("%q", got)
	}
}

// A client that asks for much and reads nothing must not hold its connection, and what it asked for, for ever.
func TestAClientThatTakesNoAnswerIsLetGo(t *testing.T) {
	s, c := start(t, Config{MaxIdle: 50 * time.Millisecond})
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for request := bytes.Repeat(frame([]byte("big")), 100); ; {
		if _, err := c.Write(request); err != nil {
			break // it was closed
		}
	}
	for deadline := time.Now().Add(5 * time.Second); s.Stats.Connections.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still there")
		}
	}
}

func TestConnectionsOverTheLimitAreRefused(t *testing.T) {
	s, c := start(t, Config{MaxConnections: 1})
	_, _ = c.Write(frame([]byte("x")))
	read(t, c)
	second, err := net.Dial("tcp", c.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = second.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Fatal("admitted")
	}
	if s.Stats.Refused.Load() != 1 {
		t.Fatal("not counted")
	}
}

func TestASizePrefixAloneTakesNoMemory(t *testing.T) {
	s, c := start(t, Config{MaxRequestBytes: 100 << 20})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 {
		more, err := net.Dial("tcp", c.RemoteAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer more.Close()
		_, _ = more.Write([]byte{5, 0, 0, 0, 'x'})
	}
	for s.Stats.BytesIn.Load() < 15 {
		time.Sleep(time.Millisecond)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Fatalf("%d bytes for frames of which 1 byte each has come", n)
	}
}

// A client that asks and does not listen must not fill the broker's memory with answers.
func TestAClientThatDoesNotReadIsNotReadEither(t *testing.T) {
	s, c := start(t, Config{})
	request := frame(bytes.Repeat([]byte("n"), 1<<20))
	sent := 0
	for range 200 {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := c.Write(request)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > 100<<20 {
		t.Fatalf("%d bytes were taken from a client that reads nothing", sent)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.mu.Lock()
		if conn.queued > maxQueued+2<<20 {
			t.Errorf("%d bytes of answers wait", conn.queued)
		}
		conn.mu.Unlock()
	}
}

// Small requests of one wakeup may ask for large answers: no more is dispatched than may wait.
func TestManySmallRequestsForLargeAnswersAreTakenInTurns(t *testing.T) {
	s, c := start(t, Config{})
	const n = 3000
	go func() { _, _ = c.Write(bytes.Repeat(frame([]byte("big")), n)) }()
	r := bufio.NewReaderSize(c, 1<<20)
	for range n {
		if got := read(t, r); len(got) != bigAnswer {
			t.Fatalf("%d bytes", len(got))
		}
	}
	s.Close() // what was sent is counted after it, maybe after it was read here
	if high := s.Stats.BytesOut.Load(); high < n*bigAnswer {
		t.Fatalf("%d bytes sent", high)
	}
}

func TestAnsweringDoesNotAllocate(t *testing.T) {
	_, c := start(t, Config{})
	request := bytes.Repeat(frame([]byte(strings.Repeat("n", 100))), 64)
	answer := make([]byte, len(request))
	round := func() {
		_, _ = c.Write(request)
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		round()
	}
	if n := testing.AllocsPerRun(200, round); n > 2 {
		t.Fatalf("%v allocations for 64 requests", n)
	}
}
