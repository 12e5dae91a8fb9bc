package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// platter is a disk in memory.
type platter []byte

func (p platter) ReadAt(b []byte, at int64) (int, error) {
	if n := copy(b, p[at:]); n < len(b) {
		return n, io.EOF
	}
	return len(b), nil
}

func (p platter) WriteAt(b []byte, at int64) (int, error) { return copy(p[at:], b), nil }

func of(c byte, sectors int) []byte { return bytes.Repeat([]byte{c}, sectors*sector) }

func TestAPowerCutTakesWhatWasNotFlushed(t *testing.T) {
	d := newDevice(platter(of(0, 8)))
	steps := []error{d.write(of('a', 2), 0), d.flush(), d.write(of('b', 1), 0), d.write(of('c', 1), 0), d.write(of('d', 1), 4*sector)}
	d.cut()
	steps = append(steps, d.write(of('e', 8), 0), d.flush(), d.restore(rand.New(rand.NewPCG(1, 1)), 1))
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8*sector)
	if err := d.read(got, 0); err != nil || !bytes.Equal(got, append(of('a', 2), of(0, 6)...)) {
		t.Fatalf("%v; sectors begin with %q %q %q", err, got[0], got[sector], got[4*sector])
	}
	if err := errors.Join(d.write(of('f', 1), 0), d.read(got[:1], 0)); err != nil || got[0] != 'f' {
		t.Fatalf("with the power back it takes nothing: %q, %v", got[0], err)
	}
}

func TestAPowerCutMayTearAWrite(t *testing.T) {
	const sectors = 64
	d := newDevice(platter(of(0, sectors)))
	if err := d.write(of('a', sectors), 0); err != nil {
		t.Fatal(err)
	}
	d.cut()
	if err := d.restore(rand.New(rand.NewPCG(1, 1)), 0.5); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, sectors*sector)
	if err := d.read(got, 0); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for n := range sectors {
		part := got[n*sector:][:sector]
		switch {
		case bytes.Equal(part, of('a', 1)):
			kept++
		case !bytes.Equal(part, of(0, 1)):
			t.Fatalf("sector %d was written in part", n)
		}
	}
	if kept == 0 || kept == sectors {
		t.Fatalf("%d of %d sectors were kept", kept, sectors)
	}
}

func TestADeviceFailsAsItIsTold(t *testing.T) {
	d := newDevice(platter(of(0, 2)))
	one := make([]byte, sector)
	d.set(deviceFaults{failWrites: true})
	if d.write(one, 0) == nil || d.flush() != nil || d.read(one, 0) != nil {
		t.Error("not only writes fail")
	}
	d.set(deviceFaults{failFlushes: true})
	if d.write(of('a', 1), 0) != nil || d.flush() == nil {
		t.Error("not only flushes fail")
	}
	d.set(deviceFaults{failReads: true})
	if d.read(one, 0) == nil {
		t.Error("reads do not fail")
	}
	// What was not flushed because that failed is lost with the power.
	d.cut()
	if err := errors.Join(d.restore(rand.New(rand.NewPCG(1, 1)), 1), d.read(one, 0)); err != nil || one[0] != 0 {
		t.Errorf("%q, %v", one[0], err)
	}
	if err := errors.Join(d.flip(5, 3), d.read(one, 0)); err != nil || one[5] != 8 || one[4] != 0 {
		t.Errorf("the bit was not turned: %v, %v", one[:8], err)
	}
}
