package store

import (
	"bytes"
	"errors"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/btree"
)

// shelf is the rows of one store on a [Disk], sorted by key. It implements [KeyValue].
type shelf struct {
	disk   *Disk
	prefix []byte
	dirty  btree.Map[string, []byte] // rows that are not in the database yet; nil is a deletion
	recent btree.Map[string, []byte] // rows that went there last, and are as they are there
	drops  [][2][]byte               // ranges to delete, before the dirty rows
	key    []byte                    // scratch
}

// full is a key in the database. It is good until the next call.
func (s *shelf) full(key []byte) []byte {
	s.key = append(append(s.key[:0], s.prefix...), key...)
	return s.key
}

// Get implements KeyValue.
func (s *shelf) Get(key []byte) []byte {
	if s.disk.restoring != nil {
		check(s.disk.step(0))
	}
	if v, ok := s.dirty.Get(string(key)); ok {
		return v
	}
	if v, ok := s.recent.Get(string(key)); ok || s.disk.empty {
		return v
	}
	v, closer, err := s.disk.db.Get(s.full(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	check(err)
	v = append([]byte{}, v...)
	check(closer.Close())
	return v
}

// Put implements KeyValue.
func (s *shelf) Put(key, value []byte) {
	if b := s.disk.restoring; b != nil {
		if value == nil {
			check(b.Delete(s.full(key), nil))
		} else {
			check(b.Set(s.full(key), value, nil))
		}
		check(s.disk.step(restoreStep))
		return
	}
	s.dirty.Set(string(key), value)
	s.disk.grown(len(key) + len(value) + 64)
}

// writeTo puts uncommitted rows into a batch.
func (s *shelf) writeTo(b *pebble.Batch) (err error) {
	for _, d := range s.drops {
		err = errors.Join(err, b.DeleteRange(d[0], d[1], nil))
	}
	s.drops = nil
	s.dirty.Scan(func(key string, value []byte) bool {
		k := append(append(s.key[:0], s.prefix...), key...)
		if s.key = k; value == nil {
			err = errors.Join(err, b.Delete(k, nil))
		} else {
			err = errors.Join(err, b.Set(k, value, nil))
		}
		return err == nil
	})
	if s.dirty.Len() > 0 {
		s.recent, s.dirty = s.dirty, btree.Map[string, []byte]{}
	}
	return err
}

// drop deletes the rows from from to before to. Nobody may read there before the next commit.
func (s *shelf) drop(from, to []byte) {
	if b := s.disk.restoring; b != nil {
		check(b.DeleteRange(append(bytes.Clone(s.prefix), from...), append(bytes.Clone(s.prefix), to...), nil))
		return
	}
	var gone []string
	s.dirty.Ascend(string(from), func(key string, _ []byte) bool {
		if key < string(to) {
			gone = append(gone, key)
		}
		return key < string(to)
	})
	for _, key := range gone {
		s.dirty.Delete(key)
	}
	s.drops = append(s.drops, [2][]byte{append(bytes.Clone(s.prefix), from...), append(bytes.Clone(s.prefix), to...)})
}

// Range implements KeyValue. It begins when the walk does.
func (s *shelf) Range(from, to []byte, backwards bool) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		w := s.walk(s.dirty.Copy(), from, to, backwards)
		defer w.close()
		for ; w.ok; w.next() {
			if !yield(bytes.Clone(w.key), bytes.Clone(w.value)) {
				return
			}
		}
	}
}

// scan is Range without copies: visit must not change the store, nor keep what it gets.
func (s *shelf) scan(from, to []byte, backwards bool, visit func(key, value []byte) bool) {
	w := s.walk(&s.dirty, from, to, backwards)
	defer w.close()
	for w.ok && visit(w.key, w.value) {
		w.next()
	}
}

// Len implements KeyValue. It counts the rows.
func (s *shelf) Len() (n int) {
	s.scan(nil, nil, false, func(_, _ []byte) bool {
		n++
		return true
	})
	return n
}

// walk is a walk over the database and the uncommitted rows at once.
type walk struct {
	ok         bool
	key, value []byte

	backwards bool
	prefix    int
	from, to  []byte
	db        *pebble.Iterator // nil where the database has no rows
	inDB      bool
	dirty     btree.MapIter[string, []byte]
	inDirty   bool
}

func (s *shelf) walk(dirty *btree.Map[string, []byte], from, to []byte, backwards bool) *walk {
	if s.disk.restoring != nil {
		check(s.disk.step(0))
	}
	w := &walk{backwards: backwards, prefix: len(s.prefix), from: from, to: to, dirty: dirty.Iter()}
	if !s.disk.empty {
		upper := append(bytes.Clone(s.prefix), to...)
		if to == nil {
			upper = after(upper)
		} else {
			upper = append(upper, 0) // to is included
		}
		it, err := s.disk.db.NewIter(&pebble.IterOptions{LowerBound: append(bytes.Clone(s.prefix), from...), UpperBound: upper})
		check(err)
		w.db = it
	}
	if backwards {
		w.inDB = w.db != nil && w.db.Last()
		w.inDirty = w.seekLast()
	} else {
		w.inDB = w.db != nil && w.db.First()
		w.inDirty = w.dirty.Seek(string(from))
	}
	w.choose()
	return w
}

// after is the first key that does not begin with b.
func after(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}

// seekLast goes to the last uncommitted row that is not after to.
func (w *walk) seekLast() bool {
	if w.to == nil {
		return w.dirty.Last()
	}
	if !w.dirty.Seek(string(w.to)) {
		return w.dirty.Last()
	}
	return w.dirty.Key() == string(w.to) || w.dirty.Prev()
}

// choose makes the next row the current one.
func (w *walk) choose() {
	for {
		dirty := w.inDirty && (w.to == nil || w.dirty.Key() <= string(w.to)) && w.dirty.Key() >= string(w.from)
		if w.ok = dirty || w.inDB; !w.ok {
			return
		}
		order := 1
		if w.inDB {
			w.key = w.db.Key()[w.prefix:]
			order = -1
			if dirty {
				order = bytes.Compare(w.key, []byte(w.dirty.Key()))
				if w.backwards {
					order = -order
				}
			}
		}
		if order < 0 {
			v, err := w.db.ValueAndErr()
			check(err)
			w.value = v[:len(v):len(v)]
			if v == nil {
				w.value = []byte{}
			}
			return
		}
		if order == 0 {
			w.nextDB() // the uncommitted row hides it
		}
		w.key, w.value = []byte(w.dirty.Key()), w.dirty.Value()
		if w.value != nil {
			return
		}
		w.nextDirty()
	}
}

func (w *walk) next() {
	if w.inDirty && string(w.key) == w.dirty.Key() {
		w.nextDirty()
	} else {
		w.nextDB()
	}
	w.choose()
}

func (w *walk) nextDB() {
	if w.backwards {
		w.inDB = w.db.Prev()
	} else {
		w.inDB = w.db.Next()
	}
}

func (w *walk) nextDirty() {
	if w.backwards {
		w.inDirty = w.dirty.Prev()
	} else {
		w.inDirty = w.dirty.Next()
	}
}

func (w *walk) close() {
	if w.db != nil {
		check(w.db.Close())
	}
}
