package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	packetSize = 1500
	// underWay bounds the packets that are delayed at a time. What is more is lost, as in a switch whose queue is full.
	underWay = 20_000
)

// forwarder carries IPv4 packets between devices, one for each place, and does to them what the link that they take says.
type forwarder struct {
	devices []io.ReadWriter
	place   map[netip.Addr]int

	mu     sync.Mutex
	ways   [][]link // from, to
	chance *rand.Rand

	delayed                         atomic.Int64
	carried, lost, doubled, stopped atomic.Int64
	reading                         sync.WaitGroup
}

func newForwarder(devices []io.ReadWriter, addresses []netip.Addr, chance *rand.Rand) *forwarder {
	f := &forwarder{devices: devices, place: map[netip.Addr]int{}, chance: chance}
	for i, address := range addresses {
		f.place[address] = i
		f.ways = append(f.ways, make([]link, len(devices)))
	}
	return f
}

func (f *forwarder) set(from, to int, l link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ways[from][to] = l
}

func (f *forwarder) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, way := range f.ways {
		clear(way)
	}
}

// clients is the last place.
func (f *forwarder) clients() int { return len(f.devices) - 1 }

func (f *forwarder) String() string {
	return fmt.Sprintf("packets        %d carried, %d lost, %d doubled, %d that met a cut", f.carried.Load(), f.lost.Load(), f.doubled.Load(), f.stopped.Load())
}

// run carries packets until every device was closed.
func (f *forwarder) run() {
	for from := range f.devices {
		f.reading.Add(1)
		go func() {
			defer f.reading.Done()
			packet := make([]byte, packetSize)
			for {
				size, err := f.devices[from].Read(packet)
				if err != nil {
					return
				}
				f.carry(from, packet[:size])
			}
		}()
	}
}

// carry keeps nothing of packet.
func (f *forwarder) carry(from int, packet []byte) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return // IPv6 asks for its neighbours: there is nobody
	}
	to, known := f.place[netip.AddrFrom4([4]byte(packet[16:20]))]
	if !known {
		return
	}
	f.mu.Lock()
	l := f.ways[from][to]
	lost := l.loss > 0 && f.chance.Float64() < l.loss
	copies := 1
	if l.duplicate > 0 && f.chance.Float64() < l.duplicate {
		copies = 2
	}
	var delays [2]time.Duration
	for i := range copies {
		delays[i] = l.delay
		if l.jitter > 0 {
			delays[i] += time.Duration(f.chance.Int64N(int64(l.jitter)))
		}
	}
	f.mu.Unlock()
	switch {
	case l.cut:
		f.stopped.Add(1)
		return
	case lost:
		f.lost.Add(1)
		return
	case copies > 1:
		f.doubled.Add(1)
	}
	for _, delay := range delays[:copies] {
		f.carried.Add(1)
		if delay == 0 {
			_, _ = f.devices[to].Write(packet) // a device that is full loses it, as networks do
			continue
		}
		if f.delayed.Add(1) > underWay {
			f.delayed.Add(-1)
			f.lost.Add(1)
			continue
		}
		own := append([]byte(nil), packet...)
		time.AfterFunc(delay, func() {
			f.delayed.Add(-1)
			_, _ = f.devices[to].Write(own)
		})
	}
}
