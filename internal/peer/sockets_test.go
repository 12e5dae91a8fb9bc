package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/wire"
)

// node answers forwarded requests with their own frames, many times over where the listener is called "large", and closes the connection on one
// whose listener is called "bye".
type node struct {
	listener net.Listener
	mu       sync.Mutex
	conns    int
	open     []net.Conn
}

func listen(t *testing.T, address string) *node {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns++
			n.open = append(n.open, c)
			n.mu.Unlock()
			go n.serve(c)
		}
	}()
	t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	_ = n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.open {
		_ = c.Close()
	}
}

func (n *node) serve(c net.Conn) {
	defer c.Close()
	in := wire.NewFrameReader(c)
	for {
		frame, err := in.Next()
		if err != nil {
			return
		}
		h, err := wire.ParseHeader(frame)
		if err != nil {
			return
		}
		request, err := wire.Decode(h.Key, h.Version, h.Body)
		if err != nil {
			return
		}
		forward := request.(*wire.ForwardRequest)
		response := &wire.ForwardResponse{Frame: forward.Frame}
		switch forward.Listener {
		case "bye":
			return
		case "large":
			response.Frame = bytes.Repeat(forward.Frame, 3<<20)
		}
		if _, err := c.Write(wire.AppendResponse(nil, h.Correlation, response)); err != nil {
			return
		}
	}
}

func (n *node) address() Address {
	a := n.listener.Addr().(*net.TCPAddr)
	return Address{a.IP.String(), uint16(a.Port)}
}

// ask calls and waits for the answer.
func ask(s *Sockets, to Address, lane Lane, listener, text string) (string, error) {
	var done sync.WaitGroup
	var answer string
	var failure error
	done.Add(1)
	s.Call(to, lane, &wire.ForwardRequest{Listener: listener, Frame: []byte(text)}, func(r kmsg.Response, err error) {
		if failure = err; err == nil {
			answer = string(r.(*wire.ForwardResponse).Frame)
		}
		done.Done()
	})
	done.Wait()
	return answer, failure
}

func TestAnswersComeInOrderOnOneConnectionForEachLane(t *testing.T) {
	n := listen(t, "127.0.0.1:0")
	s := New("gregor-1")
	defer s.Close()
	var all sync.WaitGroup
	var mu sync.Mutex
	last := map[Lane]int{}
	for i := 1; i <= 500; i++ {
		for _, lane := range []Lane{Quorum, Control} {
			all.Add(1)
			s.Call(n.address(), lane, &wire.ForwardRequest{Frame: []byte(strconv.Itoa(i))}, func(r kmsg.Response, err error) {
				defer all.Done()
				if err != nil {
					t.Error(err)
					return
				}
				got, _ := strconv.Atoi(string(r.(*wire.ForwardResponse).Frame))
				mu.Lock()
				defer mu.Unlock()
				if got != last[lane]+1 {
					t.Errorf("lane %d: %d is answered after %d", lane, got, last[lane])
				}
				last[lane] = got
			})
		}
	}
	all.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns != 2 {
		t.Errorf("%d connections for two lanes", n.conns)
	}
}

func TestALargeAnswerArrivesWhole(t *testing.T) {
	n := listen(t, "127.0.0.1:0")
	s := New("gregor-1")
	defer s.Close()
	answer, err := ask(s, n.address(), Metadata, "large", "twenty bytes of text")
	if err != nil || len(answer) != 60<<20 {
		t.Fatalf("%d bytes, %v", len(answer), err)
	}
}

func TestWhoeverWaitsOnALostConnectionIsTold(t *testing.T) {
	n := listen(t, "127.0.0.1:0")
	s := New("gregor-1")
	defer s.Close()
	var all sync.WaitGroup
	failed := make(chan error, 10)
	for _, listener := range []string{"", "bye", "", ""} {
		all.Add(1)
		s.Call(n.address(), Control, &wire.ForwardRequest{Listener: listener, Frame: []byte("x")}, func(_ kmsg.Response, err error) {
			if err != nil {
				failed <- err
			}
			all.Done()
		})
	}
	all.Wait()
	if len(failed) < 3 {
		t.Fatalf("%d calls failed", len(failed))
	}
	for range len(failed) {
		if err := <-failed; !errors.Is(err, ErrUnreachable) {
			t.Errorf("failed with %v", err)
		}
	}
	// The next ones fail at once, for a moment; then a new connection serves.
	for tries := 0; ; tries++ {
		if _, err := ask(s, n.address(), Control, "", "again"); err == nil {
			break
		} else if !errors.Is(err, ErrUnreachable) || tries > 1_000_000 {
			t.Fatal(err)
		}
	}
}

func TestANodeThatIsNotThereIsUnreachableUntilItIs(t *testing.T) {
	gone := listen(t, "127.0.0.1:0")
	to := gone.address()
	gone.close()
	s := New("gregor-1")
	defer s.Close()
	if _, err := ask(s, to, Quorum, "", "x"); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	n := listen(t, to.String())
	l := s.lanes[place{to, Quorum}]
	hold := func(d time.Duration) {
		l.mu.Lock()
		l.until = l.until.Add(d)
		l.mu.Unlock()
	}
	hold(time.Hour)
	if _, err := ask(s, to, Quorum, "", "x"); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("a call during the pause is answered with %v", err)
	}
	hold(-2 * time.Hour)
	if answer, err := ask(s, n.address(), Quorum, "", "back"); err != nil || answer != "back" {
		t.Fatalf("%q, %v", answer, err)
	}
}

// TestSilenceIsNoticedFirstOnTheLaneOfTheQuorum asks a listener that accepts and says nothing on two lanes.
func TestSilenceIsNoticedFirstOnTheLaneOfTheQuorum(t *testing.T) {
	t.Parallel() // it waits
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // what was connected and not accepted ends with it
	a := l.Addr().(*net.TCPAddr)
	s := New("gregor-1")
	first := make(chan Lane, 2)
	for _, lane := range []Lane{Control, Quorum} {
		s.Call(Address{"127.0.0.1", uint16(a.Port)}, lane, &wire.ForwardRequest{}, func(_ kmsg.Response, err error) {
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("lane %d: %v", lane, err)
			}
			first <- lane
		})
	}
	if lane := <-first; lane != Quorum {
		t.Errorf("lane %d is given up first", lane)
	}
	s.Close()
	<-first
}

func TestClosingAnswersEverybody(t *testing.T) {
	// A listener that accepts and says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	arrived := make(chan struct{})
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.ReadFull(c, make([]byte, 1))
			close(arrived)
		}
	}()
	s := New("gregor-1")
	answered := make(chan error, 1)
	a := l.Addr().(*net.TCPAddr)
	s.Call(Address{"127.0.0.1", uint16(a.Port)}, Records, &wire.ForwardRequest{}, func(_ kmsg.Response, err error) { answered <- err })
	<-arrived
	s.Close()
	if err := <-answered; !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	s.Call(Address{"127.0.0.1", uint16(a.Port)}, Records, &wire.ForwardRequest{}, func(_ kmsg.Response, err error) { answered <- err })
	if err := <-answered; !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
}
