package streams

import (
	"iter"
	"math"
	"time"
)

// Windows says which windows of time a record falls in (Java's Windows). [Tumbling], [Hopping] and [Unlimited] give the
// usual ones; calendar days in a time zone and the like are a type of your own.
type Windows interface {
	// WindowsFor lists the windows that a record of time t falls in, by start. A window includes its start and not its end,
	// and no two windows have the same start.
	WindowsFor(t time.Time) iter.Seq2[time.Time, time.Time]
	// Size is the length of the longest window.
	Size() time.Duration
	// GracePeriod is how long after its end a window takes late records.
	GracePeriod() time.Duration
}

// TimeWindows are windows of fixed size that start at multiples of their advance since 1970.
type TimeWindows struct{ size, advance, grace time.Duration }

// Tumbling returns windows that follow one another without a gap (TimeWindows.ofSizeWithNoGrace).
func Tumbling(size time.Duration) TimeWindows { return TimeWindows{size: size, advance: size} }

// Hopping returns windows that overlap: one starts every advance (TimeWindows.advanceBy).
func Hopping(size, advance time.Duration) TimeWindows {
	return TimeWindows{size: size, advance: advance}
}

// Grace is how long after its end, in stream time, a window takes late records; the default is not at all.
func (w TimeWindows) Grace(d time.Duration) TimeWindows {
	w.grace = d
	return w
}

// Size implements Windows.
func (w TimeWindows) Size() time.Duration { return w.size }

// GracePeriod implements Windows.
func (w TimeWindows) GracePeriod() time.Duration { return w.grace }

// WindowsFor implements Windows.
func (w TimeWindows) WindowsFor(t time.Time) iter.Seq2[time.Time, time.Time] {
	return func(yield func(_, _ time.Time) bool) {
		size, advance, at := w.size.Milliseconds(), w.advance.Milliseconds(), t.UnixMilli()
		for start := max(0, at-size+advance) / advance * advance; start <= at; start += advance {
			if !yield(time.UnixMilli(start), time.UnixMilli(start+size)) {
				return
			}
		}
	}
}

// Unlimited returns one window without an end, for all records from start on (Java's UnlimitedWindows).
func Unlimited(start time.Time) Windows { return unlimited{start} }

type unlimited struct{ start time.Time }

func (w unlimited) Size() time.Duration        { return math.MaxInt64 }
func (w unlimited) GracePeriod() time.Duration { return 0 }
func (w unlimited) WindowsFor(t time.Time) iter.Seq2[time.Time, time.Time] {
	return func(yield func(_, _ time.Time) bool) {
		if !t.Before(w.start) {
			yield(w.start, time.UnixMilli(math.MaxInt64))
		}
	}
}

// SlidingWindows are windows that exist where their content changes: for each record one that ends at its time, and one
// that starts just after it, if there is anything in it (KIP-450). Both ends are included.
type SlidingWindows struct{ difference, grace time.Duration }

// Sliding returns windows of records whose times differ by at most d (SlidingWindows.ofTimeDifferenceWithNoGrace).
func Sliding(d time.Duration) SlidingWindows { return SlidingWindows{difference: d} }

// Grace is how long after its end, in stream time, a window takes late records; the default is not at all.
func (w SlidingWindows) Grace(d time.Duration) SlidingWindows {
	w.grace = d
	return w
}

// SessionWindows are windows of activity: records of a key belong to one session as long as no gap between them is longer
// than the inactivity gap (Java's SessionWindows).
type SessionWindows struct{ gap, grace time.Duration }

// Sessions returns sessions with an inactivity gap (SessionWindows.ofInactivityGapWithNoGrace).
func Sessions(gap time.Duration) SessionWindows { return SessionWindows{gap: gap} }

// Grace is how long after its end and the gap, in stream time, a session takes late records; the default is not at all.
func (w SessionWindows) Grace(d time.Duration) SessionWindows {
	w.grace = d
	return w
}

// windowing is time windows or sliding windows, and when their results are sent on.
type windowing struct {
	windows Windows         // or
	sliding *SlidingWindows // one of them
	onClose bool
	lossy   bool // closed windows may expire before they are sent, as in Java
}

// longest is a retention that lasts, and still leaves room for sums.
const longest = math.MaxInt64 / 8

func (w windowing) sizeMillis() int64 {
	if w.sliding != nil {
		return w.sliding.difference.Milliseconds()
	}
	if w.windows.Size() == math.MaxInt64 {
		return longest
	}
	return w.windows.Size().Milliseconds()
}

func (w windowing) graceMillis() int64 {
	if w.sliding != nil {
		return w.sliding.grace.Milliseconds()
	}
	return w.windows.GracePeriod().Milliseconds()
}

// slack is how much longer than needed windows are kept where results are only sent when they close: a window must not
// expire in the moment in which it closes. Java's in-memory stores lose such windows.
func (w windowing) slack() int64 { return max(w.sizeMillis(), 60_000) }

func (w windowing) retentionMillis() int64 {
	r := w.sizeMillis() + w.graceMillis()
	if w.sliding != nil {
		r += w.sizeMillis() // a record may change windows of earlier records
	}
	return min(r, longest)
}

// longerMillis is how much longer the store keeps rows.
func (w windowing) longerMillis() int64 {
	switch {
	case w.onClose && w.lossy:
		return 1 // as the store that Java takes for this does
	case w.onClose:
		return w.slack()
	}
	return 0
}

// endOf is the end of the window that starts there.
func (w windowing) endOf(start int64) int64 {
	if w.sliding != nil {
		return start + w.sizeMillis()
	}
	for s, e := range w.windows.WindowsFor(time.UnixMilli(start)) {
		if s.UnixMilli() == start {
			return e.UnixMilli()
		}
	}
	return start + w.sizeMillis()
}

// closed reports whether a window is closed when close is the stream's time without the grace.
func (w windowing) closed(end, close int64) bool {
	if w.sliding != nil {
		return end < close
	}
	return end <= close
}

// Windows groups by window, too: aggregations of the result have one row for each key and window (windowedBy).
func (g *Grouped[K, V]) Windows(w Windows) *WindowedGroup[K, V] {
	if t, ok := w.(TimeWindows); ok && (t.size < time.Millisecond || t.advance < time.Millisecond || t.advance > t.size) {
		g.s.b.fail("windows of size %v cannot advance by %v", t.size, t.advance)
	}
	return &WindowedGroup[K, V]{g: g, w: windowing{windows: w}}
}

// Sliding groups by sliding window, too.
func (g *Grouped[K, V]) Sliding(w SlidingWindows) *WindowedGroup[K, V] {
	if w.difference < 0 {
		g.s.b.fail("sliding windows need a difference of at least 0, got %v", w.difference)
	}
	return &WindowedGroup[K, V]{g: g, w: windowing{sliding: &w}}
}

// Sessions groups by session, too.
func (g *Grouped[K, V]) Sessions(w SessionWindows) *SessionGroup[K, V] {
	if w.gap < time.Millisecond {
		g.s.b.fail("sessions need a gap of at least a millisecond, got %v", w.gap)
	}
	return &SessionGroup[K, V]{g: g, w: w}
}

// WindowedGroup is a stream to be aggregated by key and window (Java's TimeWindowedKStream). Its aggregations are functions,
// because the keys of their results are of a new type: [CountWindows], [ReduceWindows], [AggregateWindows].
type WindowedGroup[K, V any] struct {
	g *Grouped[K, V]
	w windowing
}

// EmitOnClose sends a window's result once, when it is closed: when the stream's time has passed its end and grace
// (EmitStrategy.onWindowClose, KIP-825). By default every update is sent.
func (g *WindowedGroup[K, V]) EmitOnClose() *WindowedGroup[K, V] {
	c := *g
	c.w.onClose = true
	return &c
}

// SessionGroup is a stream to be aggregated by key and session (Java's SessionWindowedKStream).
type SessionGroup[K, V any] struct {
	g       *Grouped[K, V]
	w       SessionWindows
	onClose bool
}

// EmitOnClose sends a session's result once, when it is closed.
func (g *SessionGroup[K, V]) EmitOnClose() *SessionGroup[K, V] {
	c := *g
	c.onClose = true
	return &c
}

// closing knows when results of closed windows are to be sent.
type closing struct {
	on       bool
	task     *Task
	store    string
	slack    int64
	next     int64 // wall clock of the next look
	observed int64 // the stream's time at this operator
}

func newClosing(t *Task, store string, on bool, slack int64) closing {
	return closing{on: on, task: t, store: store, slack: slack, observed: -1}
}

// sent is until when everything that closed was sent, -1 if nothing was. It is committed with the offsets.
func (c *closing) sent() int64 {
	if at, ok := c.task.emitted[c.store]; ok {
		return at
	}
	return -1
}

// due reports whether windows that closed since then should be sent now. A jump of the stream's time that would let them
// expire does not wait for the clock.
func (c *closing) due(close int64) bool {
	if !c.on || close <= c.sent() {
		return false
	}
	if c.task.now < c.next && close-max(c.sent(), 0) < c.slack {
		return false
	}
	c.next = c.task.now + c.task.config.EmitEvery.Milliseconds()
	return true
}
