package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// scanner cuts input into fields. Fields alias the scanner's buffers, which are not used twice, so that a field is good for
// as long as somebody holds it and nothing is copied but what lies across two buffers.
type scanner struct {
	in    io.Reader
	data  []byte // from start to end are bytes that were read and not yet given out
	start int
	end   int
	err   error // why there is no more to read
	limit int   // the longest field
	chunk int   // how much is read at a time; 0 for scanChunk
}

const scanChunk = 256 << 10

var (
	errTooLong  = errors.New("too long")
	errCutShort = errors.New("the input ends before that")
)

// until gives what comes before a delimiter, and goes behind it. At the end of the input, found is false.
func (s *scanner) until(delimiter []byte) (field []byte, found bool, err error) {
	searched := 0
	for {
		at := -1
		if len(delimiter) == 1 {
			at = bytes.IndexByte(s.data[s.start+searched:s.end], delimiter[0])
		} else {
			at = bytes.Index(s.data[s.start+searched:s.end], delimiter)
		}
		if at >= 0 {
			at += s.start + searched
			field = s.data[s.start:at:at]
			s.start = at + len(delimiter)
			return field, true, s.bounded(field)
		}
		searched = max(0, s.end-s.start-len(delimiter)+1)
		if searched > s.limit {
			return nil, false, errTooLong
		}
		if !s.more() {
			field = s.data[s.start:s.end:s.end]
			s.start = s.end
			return field, false, s.failure()
		}
	}
}

func (s *scanner) bounded(field []byte) error {
	if len(field) > s.limit {
		return errTooLong
	}
	return nil
}

// take gives exactly n bytes.
func (s *scanner) take(n int) ([]byte, error) {
	if n > s.limit {
		return nil, errTooLong
	}
	for s.end-s.start < n {
		if !s.more() {
			if err := s.failure(); err != nil {
				return nil, err
			}
			return nil, errCutShort
		}
	}
	field := s.data[s.start : s.start+n : s.start+n]
	s.start += n
	return field, nil
}

// finished reports whether all input was given out.
func (s *scanner) finished() bool {
	return s.start == s.end && !s.more()
}

// failure is what went wrong with reading; the end of the input is nothing wrong.
func (s *scanner) failure() error {
	if s.err == io.EOF {
		return nil
	}
	return s.err
}

// more reads more, if there is more.
func (s *scanner) more() bool {
	if s.err != nil {
		return false
	}
	if s.chunk == 0 {
		s.chunk = scanChunk
	}
	if len(s.data)-s.end <= s.chunk/64 {
		fresh := make([]byte, max(s.chunk, 2*(s.end-s.start)))
		s.end = copy(fresh, s.data[s.start:s.end])
		s.data, s.start = fresh, 0
	}
	for {
		n, err := s.in.Read(s.data[s.end:])
		s.end += n
		if err != nil {
			s.err = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
}

// interruptible reads ahead in a goroutine, so that waiting for a terminal or a pipe ends with the context. The goroutine
// stays in its last read, if that does not return, until the process ends.
type interruptible struct {
	ctx    context.Context
	chunks chan []byte
	done   chan error
	rest   []byte
	err    error
}

func newInterruptible(ctx context.Context, in io.Reader) *interruptible {
	r := &interruptible{ctx: ctx, chunks: make(chan []byte, 4), done: make(chan error, 1)}
	go func() {
		for {
			chunk := make([]byte, scanChunk)
			n, err := in.Read(chunk)
			if n > 0 {
				select {
				case r.chunks <- chunk[:n]:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				r.done <- err
				close(r.chunks)
				return
			}
		}
	}()
	return r
}

func (r *interruptible) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		select {
		case chunk, ok := <-r.chunks:
			if !ok {
				if r.err == nil {
					r.err = <-r.done
				}
				return 0, r.err
			}
			r.rest = chunk
		case <-r.ctx.Done():
			return 0, fmt.Errorf("interrupted: %w", r.ctx.Err())
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
