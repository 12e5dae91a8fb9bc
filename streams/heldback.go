package streams

import "sync/atomic"

// cacheBudget is how many bytes of changes the tasks of an app may hold back together.
type cacheBudget struct {
	max  int64
	used atomic.Int64
}

func (c *cacheBudget) grow(n int64) { c.used.Add(n) }
func (c *cacheBudget) full() bool   { return c.used.Load() > c.max }

// heldBack is the record cache of a store (Java's CachingKeyValueStore and its likes): the changes of its rows that wait for
// a commit, or until there are too many of them in the task. Of several changes of a row only the last goes to the changelog
// and downstream, with what the row was before the first. The rows themselves are in the store at once.
type heldBack[K, A any] struct {
	task  *Task
	log   *changelog
	rows  map[string]*heldRow[K, A]
	order []*heldRow[K, A] // by their first change
	last  *heldRow[K, A]
	out   *outlet[K, change[A]] // nil where changes only go to the changelog
	old   *bool                 // downstream wants to know what rows were
}

// heldRow is a row with changes that wait.
type heldRow[K, A any] struct {
	bytes    []byte // the key in the changelog
	key      opt[K]
	old, new opt[A]
	value    []byte // new, as the changelog has it
	logged   int64  // time in the changelog
	sent     int64  // time downstream
	headers  []Header
	kept     []Header // in the store
}

// heldRowBytes is what a held row takes beside its key and value, as roughly as Java counts it.
const heldRowBytes = 150

// holdBack is nil where nothing is to be held back: the store is not cached, or there is no room.
func holdBack[K, A any](t *Task, cached bool, log *changelog) *heldBack[K, A] {
	if !cached || t.cache.max <= 0 {
		return nil
	}
	h := &heldBack[K, A]{task: t, log: log, rows: map[string]*heldRow[K, A]{}}
	t.flushes = append(t.flushes, h.flush)
	return h
}

// sendTo says where changes go, and whether what rows were is wanted there.
func (h *heldBack[K, A]) sendTo(out *outlet[K, change[A]], old *bool) {
	if h != nil {
		h.out, h.old = out, old
	}
}

// has reports whether a change of the row waits already.
func (h *heldBack[K, A]) has(key []byte) bool { return h.rows[string(key)] != nil }

// hold takes a change. was is what the row was before it; it counts for the first change only.
func (h *heldBack[K, A]) hold(row heldRow[K, A], was opt[A]) {
	held := h.rows[string(row.bytes)]
	if held == nil {
		held = &heldRow[K, A]{old: was}
		h.rows[string(row.bytes)] = held
		h.order = append(h.order, held)
		h.task.cache.grow(int64(len(row.bytes)) + heldRowBytes)
	}
	h.task.cache.grow(int64(len(row.value) - len(held.value)))
	row.old = held.old
	*held = row
	if h.last = held; h.out == nil {
		h.limit()
	}
}

// waits reports whether the last change of the store is held back; its operator sends nothing then. headers are those of the
// record that brought it.
func (h *heldBack[K, A]) waits(headers []Header) bool {
	if h == nil {
		return false
	}
	if h.last != nil {
		h.last.headers, h.last = headers, nil
	}
	h.limit()
	return true
}

func (h *heldBack[K, A]) limit() {
	if h.task.cache.full() {
		h.flush()
	}
}

// flush sends what waits, in the order of the first changes.
func (h *heldBack[K, A]) flush() {
	rows, time := h.order, h.task.time
	h.order, h.last = nil, nil
	clear(h.rows)
	for _, r := range rows {
		h.task.cache.grow(-int64(len(r.bytes)+len(r.value)) - heldRowBytes)
	}
	for _, r := range rows {
		h.log.write(r.bytes, r.value, r.logged, r.kept...)
		if h.out == nil || !r.new.ok && !r.old.ok {
			continue // downstream knows of no such row
		}
		was := r.old
		if !*h.old {
			was = opt[A]{}
		}
		h.task.time = r.sent
		h.out.forward(&update[K, A]{r.key, opt[change[A]]{change[A]{r.new, was, true}, true}, r.sent, r.headers})
	}
	h.task.time = time
}
