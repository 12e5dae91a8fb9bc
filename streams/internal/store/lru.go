package store

import (
	"container/list"
	"iter"
)

// NewLRU returns a store in memory that keeps at most max rows. evicted is told about each row that had to go.
func NewLRU(max int, evicted func(key []byte)) KeyValue {
	return &lru{max: max, evicted: evicted, order: list.New(), places: map[string]*list.Element{}}
}

// lru is rows, and their keys in the order of their last use, the latest first.
type lru struct {
	memory
	max     int
	evicted func(key []byte)
	order   *list.List
	places  map[string]*list.Element
}

func (l *lru) Get(key []byte) []byte {
	v := l.memory.Get(key)
	if v != nil {
		l.order.MoveToFront(l.places[string(key)])
	}
	return v
}

func (l *lru) Put(key, value []byte) {
	place, there := l.places[string(key)]
	l.memory.Put(key, value)
	switch {
	case value == nil && there:
		l.order.Remove(place)
		delete(l.places, string(key))
	case value == nil:
	case there:
		l.order.MoveToFront(place)
	default:
		l.places[string(key)] = l.order.PushFront(string(key))
		for l.order.Len() > l.max {
			oldest := l.order.Remove(l.order.Back()).(string)
			delete(l.places, oldest)
			l.memory.Put([]byte(oldest), nil)
			l.evicted([]byte(oldest))
		}
	}
}

// Range does not count as use.
func (l *lru) Range(from, to []byte, backwards bool) iter.Seq2[[]byte, []byte] {
	return l.memory.Range(from, to, backwards)
}
