package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// sector is what a device writes whole or not at all when the power fails.
const sector = 4096

var errIO = errors.New("input/output error")

// device is a block device with a volatile cache. What is written may be lost with the power until it was flushed, every sector by
// itself: so a write of several can be torn, and a later one can outlive an earlier one. Its faults are switched on and off.
type device struct {
	store interface {
		io.ReaderAt
		io.WriterAt
	}

	mu sync.Mutex
	// lost has what the sectors were that were written since the last flush: what is there when the power fails and they had not
	// reached the disk.
	lost map[int64]*[sector]byte
	off  bool // it takes nothing any more
	deviceFaults

	reads, writes, flushes, dropped int64
}

// deviceFaults are what a device does wrong while they are set.
type deviceFaults struct {
	failReads, failWrites, failFlushes bool
	slow                               time.Duration // a flush takes that much longer
}

func newDevice(store interface {
	io.ReaderAt
	io.WriterAt
}) *device {
	return &device{store: store, lost: map[int64]*[sector]byte{}}
}

func (d *device) set(f deviceFaults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deviceFaults = f
}

// isSlow reports whether flushes take longer than they should.
func (d *device) isSlow() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slow > 0
}

func (d *device) read(p []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	if d.failReads {
		return errIO
	}
	n, err := d.store.ReadAt(p, at)
	if err == io.EOF {
		clear(p[n:])
		return nil
	}
	return err
}

func (d *device) write(p []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	switch {
	case d.off:
		return nil
	case d.failWrites:
		return errIO
	}
	for n := at / sector; n*sector < at+int64(len(p)); n++ {
		if d.lost[n] != nil {
			continue
		}
		before := new([sector]byte)
		if _, err := d.store.ReadAt(before[:], n*sector); err != nil && err != io.EOF {
			return err
		}
		d.lost[n] = before
	}
	_, err := d.store.WriteAt(p, at)
	return err
}

// flush makes what was written before it durable.
func (d *device) flush() error {
	d.mu.Lock()
	slow := d.slow
	d.flushes++
	d.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.off:
		return nil
	case d.failFlushes:
		return errIO
	}
	clear(d.lost)
	return nil
}

// cut takes the power: nothing reaches the device any more. Whoever wrote to it must have been killed before.
func (d *device) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
}

// restore gives the power back. Of what was written and not flushed, every sector has a chance to be lost.
func (d *device) restore(chance *rand.Rand, loss float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range sortedKeys(d.lost) {
		if chance.Float64() >= loss {
			continue
		}
		d.dropped++
		if _, err := d.store.WriteAt(d.lost[n][:], n*sector); err != nil {
			return err
		}
	}
	clear(d.lost)
	d.off, d.deviceFaults = false, deviceFaults{}
	return nil
}

// flip turns a bit over, as a disk that has gone bad does: nobody is told.
func (d *device) flip(at int64, bit uint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var one [1]byte
	if _, err := d.store.ReadAt(one[:], at); err != nil {
		return err
	}
	one[0] ^= 1 << (bit % 8)
	_, err := d.store.WriteAt(one[:], at)
	return err
}
