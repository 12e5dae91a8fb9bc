package streams

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotHere is the answer to a query for a store that no task of this instance has: its partitions are elsewhere, or are
// being restored.
var ErrNotHere = errors.New("streams: no task of this instance has the store")

// query asks each task of this instance that has a store, between two rounds of processing, until ask says that it has had
// enough.
func (a *App) query(store string, ask func(t *Task) (enough bool)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := false
	for _, t := range a.all() {
		if _, ok := t.stores[store]; !ok {
			continue
		}
		asked = true
		enough, err := t.answer(ask)
		if err != nil {
			return fmt.Errorf("streams: asking the store %s: %w", store, err)
		}
		if enough || a.topology.stores[store].global { // every task has all of a global store
			return nil
		}
	}
	if !asked {
		return ErrNotHere
	}
	return nil
}

func (t *Task) answer(ask func(t *Task) bool) (enough bool, err error) {
	defer t.caught(&err)
	return ask(t), nil
}

// Query returns the value of a key from the tasks of this instance (Java's interactive queries of local stores). It is
// answered between two rounds of processing, from what has been processed so far.
func (s KVStore[K, V]) Query(a *App, key K) (value V, ok bool, err error) {
	err = a.query(s.name, func(t *Task) bool {
		value, ok = s.Open(t).Get(key)
		return ok
	})
	return value, ok, err
}

// QueryAll calls visit for every row in the tasks of this instance, task by task, until it returns false. Processing waits
// meanwhile.
func (s KVStore[K, V]) QueryAll(a *App, visit func(K, V) bool) error {
	return a.query(s.name, func(t *Task) bool {
		for k, v := range s.Open(t).All() {
			if !visit(k, v) {
				return true
			}
		}
		return false
	})
}

// Query calls visit for the windows of a key that start from from to to, both included, until it returns false.
func (s WindowStore[K, V]) Query(a *App, key K, from, to time.Time, visit func(start time.Time, v V) bool) error {
	return a.query(s.name, func(t *Task) bool {
		for start, v := range s.Open(t).Fetch(key, from, to) {
			if !visit(start, v) {
				return true
			}
		}
		return false
	})
}
