package streams

import "slices"

// slide brings a record into sliding windows. A window is there only if its content differs from that of its neighbours,
// so a record at time t
//
//   - updates every window that includes t,
//   - makes the window that ends at t, its left one, with what was in the windows before,
//   - makes the window that starts at t+1, its right one, if later records are in reach,
//   - makes the right window of the record before it, which was empty until now.
func (a *windowAggregate[K, V, A]) slide(r *rec[K, V], closeTime int64) {
	size := a.w.sizeMillis()
	switch {
	case r.time+1+size <= closeTime:
		a.task.drop()
	case r.time < size:
		a.slideEarly(r, closeTime)
	default:
		a.slideLater(r, closeTime)
	}
}

// neighbours is what a look at the windows around a record has found.
type neighbours[A any] struct {
	starts   map[int64]bool
	left     stamped[A] // the last window that ends before the record
	right    stamped[A] // the window with the latest start that includes the record
	previous int64      // time of the record before this one
	hasPrev  bool
}

func (n *neighbours[A]) prev(time int64) { n.previous, n.hasPrev = time, true }

func (a *windowAggregate[K, V, A]) slideLater(r *rec[K, V], closeTime int64) {
	size := a.w.sizeMillis()
	n := neighbours[A]{starts: map[int64]bool{}}
	leftThere, rightThere := false, false
	rows := a.state.fetch(r.key.v, max(0, r.time-2*size), r.time+1)
	slices.Reverse(rows) // the latest start first
search:
	for _, w := range rows {
		n.starts[w.start] = true
		switch end := w.start + size; {
		case w.start == r.time+1:
			rightThere = true
		case end > r.time:
			if !n.right.ok {
				n.right = w.row
			}
			a.update(r, w.start, end, w.row, closeTime)
		case end == r.time:
			leftThere = true
			a.update(r, w.start, end, w.row, closeTime)
			if w.row.time >= r.time {
				return // a record of the same time has made all windows already
			}
			n.prev(w.row.time)
		default:
			n.left = w.row
			n.prev(w.row.time)
			break search
		}
	}
	a.slideNew(r, closeTime, &n, leftThere, rightThere)
}

// slideNew makes the windows that are new with a record.
func (a *windowAggregate[K, V, A]) slideNew(r *rec[K, V], closeTime int64, n *neighbours[A], leftThere, rightThere bool) {
	size := a.w.sizeMillis()
	if start := n.previous + 1; n.hasPrev && !n.starts[start] && start+size >= r.time {
		a.update(r, start, start+size, stamped[A]{}, closeTime)
	}
	if !leftThere {
		var before stamped[A]
		if n.hasPrev && r.time-size <= n.previous {
			before = stamped[A]{n.left.opt, r.time}
		}
		a.update(r, r.time-size, r.time, before, closeTime)
	}
	if !rightThere {
		a.slideRight(r, n)
	}
}

// slideRight makes the window just after a record, if there are records in it.
func (a *windowAggregate[K, V, A]) slideRight(r *rec[K, V], n *neighbours[A]) {
	if n.right.ok && n.right.time > r.time {
		a.put(r, r.time+1, r.time+1+a.w.sizeMillis(), n.right, opt[A]{})
	}
}

// slideEarly is for records whose left window would start before 1970: they share the window that starts there.
func (a *windowAggregate[K, V, A]) slideEarly(r *rec[K, V], closeTime int64) {
	size := a.w.sizeMillis()
	n := neighbours[A]{starts: map[int64]bool{}}
	var first stamped[A]
	rightThere := false
	for _, w := range a.state.fetch(r.key.v, 0, r.time+1) {
		n.starts[w.start] = true
		switch {
		case w.start == 0:
			first = w.row
			if w.row.time < r.time {
				n.prev(w.row.time)
			}
		case w.start <= r.time:
			n.right = w.row
			a.update(r, w.start, w.start+size, w.row, closeTime)
		default:
			rightThere = true
		}
	}
	if !n.right.ok && first.ok && first.time > r.time {
		n.right = first // nothing is between them, so the first window has just what is after the record
	}
	if !rightThere {
		a.slideRight(r, &n)
	}
	if start := n.previous + 1; n.hasPrev && !n.starts[start] {
		a.update(r, start, start+size, stamped[A]{}, closeTime)
	}
	a.update(r, 0, size, first, closeTime)
}
