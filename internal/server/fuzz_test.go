package server

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// mirror answers each request at once with its own bytes.
type mirror struct{}

func (mirror) Open(Peer) Session { return mirror{} }
func (mirror) Drained()          {}
func (mirror) Closed()           {}
func (mirror) Request(frame []byte, slot Slot) error {
	slot.Send(answer(slot, frame), nil)
	return nil
}

const fuzzMostBytes = 5000

// ending completes any frame that was begun, and then is none.
var ending = bytes.Repeat([]byte{0xff}, fuzzMostBytes+8)

// FuzzFrames sends any bytes, in pieces of any size, and compares with a reader of frames that has the whole stream.
func FuzzFrames(f *testing.F) {
	f.Add(frame([]byte("one")), uint16(0))
	f.Add(append(frame([]byte("one")), frame(nil)...), uint16(1))
	f.Add(append(frame(make([]byte, 4000)), frame([]byte("after a long one"))...), uint16(700))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(3))
	f.Add([]byte{0x16, 3, 1, 0, 200}, uint16(5))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint16(2))
	f.Add(append(frame([]byte("good")), 0, 0, 0x40, 0), uint16(9))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		s := New(Config{MaxRequestBytes: fuzzMostBytes}, mirror{})
		defer s.Close()
		here, there := net.Pipe()
		_ = here.SetDeadline(time.Now().Add(3 * time.Second))
		served := make(chan struct{})
		go func() {
			newConn(s, there, Peer{}).serve()
			close(served)
		}()
		go send(here, stream, int(piece)+1)
		got, _ := io.ReadAll(here)
		here.Close()
		<-served
		if want := wholeFrames(stream); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes of answers, want %d", len(got), len(want))
		}
	})
}

// send writes a stream in pieces and then half closes it, as far as a pipe can: with a frame that ends the connection.
func send(c net.Conn, stream []byte, piece int) {
	for len(stream) > 0 {
		n := min(piece, len(stream))
		if _, err := c.Write(stream[:n]); err != nil {
			return
		}
		stream = stream[n:]
	}
	_, _ = c.Write(ending)
}

// wholeFrames is the part of a stream that is frames, up to the first that is none. The frame that ends the connection
// completes one that the stream has only begun.
func wholeFrames(stream []byte) []byte {
	stream = append(bytes.Clone(stream), ending...)
	end := 0
	for len(stream)-end >= 4 {
		size := int32(binary.BigEndian.Uint32(stream[end:]))
		if size < 0 || size > fuzzMostBytes || len(stream)-end-4 < int(size) {
			break
		}
		end += 4 + int(size)
	}
	return stream[:end]
}
