package statemachine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/must"
)

const (
	// loadStep is how many bytes of log one turn of the loop replays while loading.
	loadStep = 1 << 20
	// maxUncommitted is how many bytes may be appended and not committed before decisions wait in the queue. It keeps a
	// log that cannot commit from growing without end, and stays under the quorum log's own limit.
	maxUncommitted = 8 << 20
)

// Shard drives one machine on one log while this node leads the log. Its methods may be called from anywhere; what they
// are given runs on the shard's loop, one at a time.
type Shard[R any, M Machine[R]] struct {
	rt      loop.Runtime
	loop    loop.Loop
	name    string
	epoch   int32
	log     Log
	codec   Codec[R]
	machine M
	ended   func(error)

	phase     atomic.Int32 // a phase; written on the loop only
	committed atomic.Int64 // the end of what the log has committed, as last heard
	listening sync.Once    // done when the shard has stopped listening to the log
	told      atomic.Bool  // a turn of the loop that looks at committed is queued

	// Only functions on the loop touch what follows.

	end      int64        // the log's end after everything that was replayed
	parked   []parked     // answers in the order of their decisions; each rests on the log up to its end
	held     []held[R, M] // decisions that wait until fewer bytes are uncommitted
	pending  int64        // bytes appended and not committed
	onLoaded []func(m M)  // what to do when loading is done
	resume   int64        // while loading: the batch to go on with
}

type phase = int32

const (
	loading phase = iota
	leading
	over
)

// held is a decision that has not been made.
type held[R any, M Machine[R]] struct {
	decide   func(m M) []R
	answered func(error)
}

// parked is an answer that waits until the log is committed up to end.
type parked struct {
	end      int64
	size     int64
	answered func(error)
}

// Lead begins to drive a machine, which must be new, in a leader epoch of a log. It returns at once; the log is then
// loaded in steps. ended is called once, on the shard's loop, when the shard is over: with nil after Resign, otherwise
// with what went wrong. The owner then decides whether to lead again, with a new machine.
func Lead[R any, M Machine[R]](
	rt loop.Runtime, name string, epoch int32, log Log, codec Codec[R], m M, ended func(error),
) *Shard[R, M] {
	s := &Shard[R, M]{
		rt: rt, loop: rt.Loop(name), name: name, epoch: epoch,
		log: log, codec: codec, machine: m, ended: ended,
	}
	s.loop.Do(s.load)
	log.OnCommitted(s.committedTo)
	return s
}

// Epoch is the leader epoch that the shard leads in.
func (s *Shard[R, M]) Epoch() int32 { return s.epoch }

// Loading reports whether decisions are still refused because the log has not been replayed to its end.
func (s *Shard[R, M]) Loading() bool { return s.phase.Load() == loading }

// Ended reports whether the shard is over, for good.
func (s *Shard[R, M]) Ended() bool { return s.phase.Load() == over }

// OnLoaded runs f on the loop when the log has been loaded, or in its turn if it is already; never if the shard ends
// before. It is where timers are armed that the loaded state asks for.
func (s *Shard[R, M]) OnLoaded(f func(m M)) {
	s.loop.Do(func() {
		switch s.phase.Load() {
		case loading:
			s.onLoaded = append(s.onLoaded, f)
		case leading:
			f(s.machine)
		}
	})
}

// Decide lets the machine decide in its turn: the records that decide returns are appended as one atomic batch and
// replayed, and answered(nil) is called once they are committed. With no records, it is called once everything that was
// appended before is committed, so what decide saw can no longer be lost.
//
// answered is called exactly once, on the shard's loop, answers in the order of their decisions, with
// CoordinatorLoadInProgress while the log is being loaded (decide has not run), with NotCoordinator when the shard is
// over (decide may have run, and its records may yet be committed), or with the error of a batch that the codec or the
// log refused for its size (nothing has changed).
func (s *Shard[R, M]) Decide(decide func(m M) []R, answered func(error)) {
	s.loop.Do(func() { s.decide(decide, answered) })
}

// After lets the machine decide once d has passed, if the shard still leads then. stop cancels it; called on the shard's
// loop it is certain that decide will not run. There is nobody to answer: a failed append ends the shard.
func (s *Shard[R, M]) After(d time.Duration, decide func(m M) []R) (stop func()) {
	return s.loop.After(d, func() { s.decide(decide, func(error) {}) })
}

// Resign ends the shard because this node no longer leads the log. Every decision that is not answered yet, and every
// later one, is answered NotCoordinator.
// Once Resign has returned, the same log may be led again.
func (s *Shard[R, M]) Resign() {
	s.leave()
	s.loop.Do(func() { s.finish(nil) })
}

// leave stops listening to the log. It is over when it returns, whoever called it first, so that a later shard on the
// same log does not lose its ears to an earlier one.
func (s *Shard[R, M]) leave() { s.listening.Do(func() { s.log.OnCommitted(nil) }) }

var errStepDone = errors.New("this step of loading is done")

// load replays a step of the log, and the rest in later turns so that other shards' loops, and the callers of this one,
// are not kept waiting for an answer.
func (s *Shard[R, M]) load() {
	if s.phase.Load() != loading {
		return
	}
	size, more := 0, false
	err := s.log.Read(s.resume, func(offset int64, batch []byte) error {
		if size > loadStep {
			// Only here is the offset known at which the next step begins.
			s.resume, more = offset, true
			return errStepDone
		}
		size += len(batch)
		s.end = max(s.end, offset+1)
		return s.replay(offset, batch)
	})
	switch {
	case more:
		s.loop.Do(s.load)
	case err != nil:
		s.finish(fmt.Errorf("load %s: %w", s.name, err))
	default:
		s.lead()
	}
}

func (s *Shard[R, M]) replay(offset int64, batch []byte) error {
	err := s.codec.Decode(offset, batch, func(offset int64, record R) {
		s.end = max(s.end, offset+1)
		s.machine.Replay(offset, record)
	})
	if err != nil {
		return fmt.Errorf("batch at offset %d: %w", offset, err)
	}
	return nil
}

func (s *Shard[R, M]) lead() {
	s.phase.Store(leading)
	for _, f := range s.onLoaded {
		f(s.machine)
	}
	s.onLoaded = nil
}

func (s *Shard[R, M]) decide(decide func(m M) []R, answered func(error)) {
	switch s.phase.Load() {
	case loading:
		answered(kafka.CoordinatorLoadInProgress)
	case over:
		answered(kafka.NotCoordinator)
	default:
		if s.pending >= maxUncommitted || len(s.held) > 0 {
			s.held = append(s.held, held[R, M]{decide, answered})
			return
		}
		s.decideNow(decide, answered)
		s.answer()
	}
}

func (s *Shard[R, M]) decideNow(decide func(m M) []R, answered func(error)) {
	records := decide(s.machine)
	if len(records) == 0 {
		s.park(0, answered)
		return
	}
	batch, err := s.codec.Encode(records, s.rt.Now().UnixMilli())
	if err != nil {
		s.park(0, refused(answered, err))
		return
	}
	next, err := s.log.Append(s.epoch, batch)
	switch {
	case errors.Is(err, kafka.MessageTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		s.park(0, refused(answered, err))
		return
	case err != nil:
		s.parked = append(s.parked, parked{answered: answered})
		s.finish(fmt.Errorf("append to %s in epoch %d: %w", s.name, s.epoch, err))
		return
	}
	must.Be(next > s.end, "%s: append returned the end %d, but the end was already %d", s.name, next, s.end)
	s.end = next
	s.park(int64(len(batch)), answered)
	if err := s.replay(next-s.span(records), batch); err != nil {
		s.finish(fmt.Errorf("replay what was just appended to %s: %w", s.name, err))
	}
}

// span is how many offsets a batch of these records takes.
func (s *Shard[R, M]) span(records []R) int64 {
	if _, ok := s.codec.(BatchNumbered); ok {
		return 1
	}
	return int64(len(records))
}

// refused is an answer that, once everything before it is committed, says why a batch could not be made.
func refused(answered func(error), err error) func(error) {
	return func(ended error) {
		if ended != nil {
			err = ended
		}
		answered(err)
	}
}

func (s *Shard[R, M]) park(size int64, answered func(error)) {
	s.pending += size
	s.parked = append(s.parked, parked{end: s.end, size: size, answered: answered})
}

// committedTo hears from the log, on whatever goroutine and often. One queued turn of the loop is enough for any number
// of moves.
func (s *Shard[R, M]) committedTo(end int64) {
	for {
		known := s.committed.Load()
		if end <= known {
			return
		}
		if s.committed.CompareAndSwap(known, end) {
			break
		}
	}
	if s.told.CompareAndSwap(false, true) {
		s.loop.Do(func() {
			s.told.Store(false)
			s.answer()
		})
	}
}

// answer gives the answers whose ground is committed, and lets held decisions run in the room that makes.
func (s *Shard[R, M]) answer() {
	for s.phase.Load() == leading {
		committed, done := s.committed.Load(), 0
		for done < len(s.parked) && s.parked[done].end <= committed {
			s.pending -= s.parked[done].size
			done++
		}
		ready := s.parked[:done:done]
		s.parked = s.parked[done:]
		for _, p := range ready {
			p.answered(nil)
		}
		if len(s.held) == 0 || s.pending >= maxUncommitted {
			return
		}
		next := s.held[0]
		s.held = s.held[1:]
		s.decideNow(next.decide, next.answered)
	}
}

// finish ends the shard, and answers everybody who still waits.
func (s *Shard[R, M]) finish(err error) {
	if s.phase.Load() == over {
		return
	}
	s.phase.Store(over)
	s.leave()
	parked, held := s.parked, s.held
	s.parked, s.held, s.onLoaded, s.pending = nil, nil, nil, 0
	for _, p := range parked {
		p.answered(kafka.NotCoordinator)
	}
	for _, h := range held {
		h.answered(kafka.NotCoordinator)
	}
	if s.ended != nil {
		s.ended(err)
	}
}
