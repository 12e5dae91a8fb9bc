package streams

import (
	"cmp"
	"slices"
	"time"
)

// Clock says which time a punctuation goes by.
type Clock int

// The clocks of punctuations (Java's PunctuationType).
const (
	// StreamTime moves with the records of the task: the first record makes a punctuation due, then each interval of their
	// time does, at most once for a jump.
	StreamTime Clock = iota
	// WallTime moves by itself. A punctuation is due an interval after it was scheduled, and missed ones are skipped.
	WallTime
)

// schedule is the punctuations of one clock, the next one first.
type schedule []*punctuation

type punctuation struct {
	due      int64
	interval int64
	at       *place
	run      func(time.Time) error
	canceled bool
}

func (t *Task) schedule(clock Clock, p *punctuation) (cancel func()) {
	if clock == WallTime {
		p.due = t.now + p.interval
	}
	t.clocks[clock] = append(t.clocks[clock], p)
	return func() { p.canceled = true }
}

// punctuate runs what is due. Java gives every punctuation the present time, not the one it was due at.
func (t *Task) punctuate(clock Clock, now int64) {
	if now < 0 {
		return
	}
	for {
		s := t.clocks[clock]
		s = slices.DeleteFunc(s, func(p *punctuation) bool { return p.canceled })
		t.clocks[clock] = s
		slices.SortStableFunc(s, func(a, b *punctuation) int { return cmp.Compare(a.due, b.due) })
		if len(s) == 0 || s[0].due > now {
			return
		}
		p := s[0]
		p.due = nextDue(p.due, p.interval, now)
		t.time = now
		t.counts.punctuated++
		p.fire(now)
	}
}

func (p *punctuation) fire(now int64) {
	defer p.at.rescue()
	must(p.run(time.UnixMilli(now)))
}

// nextDue is an interval later; intervals that were missed altogether are skipped.
func nextDue(due, interval, now int64) int64 {
	if next := due + interval; next > now {
		return next
	}
	return due + ((now-due)/interval+1)*interval
}
