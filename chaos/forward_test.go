package main

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// port of a test: packets that were carried here.
type sink struct {
	mu  sync.Mutex
	got [][]byte
}

func (s *sink) Read([]byte) (int, error) { return 0, io.EOF }
func (s *sink) Write(packet []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, append([]byte(nil), packet...))
	return len(packet), nil
}

func TestForwarderDoesWhatTheLinkSays(t *testing.T) {
	for _, test := range []struct {
		name        string
		link        link
		at          time.Duration
		least, most int
	}{
		{"a good way carries all at once", link{}, 0, 1000, 1000},
		{"a cut way carries nothing", link{cut: true}, time.Hour, 0, 0},
		{"a way that loses a tenth", link{loss: 0.1}, 0, 850, 950},
		{"a way that doubles a tenth", link{duplicate: 0.1}, 0, 1050, 1150},
		{"a slow way has not carried anything yet", link{delay: time.Second, jitter: time.Second}, 999 * time.Millisecond, 0, 0},
		{"a slow way has carried half", link{delay: time.Second, jitter: time.Second}, 1500 * time.Millisecond, 400, 600},
		{"a slow way has carried all", link{delay: time.Second, jitter: time.Second}, 2 * time.Second, 1000, 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := &sink{}, &sink{}
				addresses := []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")}
				f := newForwarder([]io.ReadWriter{from, to}, addresses, rand.New(rand.NewPCG(1, 1)))
				f.set(0, 1, test.link)
				packet := make([]byte, 100)
				packet[0] = 4<<4 | 5
				copy(packet[16:], addresses[1].AsSlice())
				for range 1000 {
					f.carry(0, packet)
				}
				time.Sleep(test.at)
				synctest.Wait()
				to.mu.Lock()
				got := len(to.got)
				to.mu.Unlock()
				if got < test.least || got > test.most {
					t.Errorf("%d packets, want %d to %d", got, test.least, test.most)
				}
				copy(packet[16:], addresses[0].AsSlice())
				if f.carry(1, packet); len(from.got) != 1 {
					t.Error("the way back is not as it was")
				}
				time.Sleep(time.Hour)
			})
		})
	}
}
