package txn

import (
	"errors"
	"testing"
)

func TestIdsComeFromBlocksAndNeverTwice(t *testing.T) {
	var asked []func(int64, int32, error)
	ids := NewProducerIDs(func(reply func(int64, int32, error)) { asked = append(asked, reply) })
	seen := map[int64]bool{}
	failed := 0
	next := func() {
		ids.Next(func(id int64, err error) {
			if err != nil {
				failed++
				return
			}
			if seen[id] {
				t.Fatalf("id %d twice", id)
			}
			seen[id] = true
		})
	}
	for range 5 {
		next()
	}
	if len(asked) != 1 {
		t.Fatalf("asked %d times at once", len(asked))
	}
	asked[0](100, 3, nil) // too few: the allocator asks again for the two that still wait
	if len(seen) != 3 || len(asked) != 2 {
		t.Fatalf("%d served, asked %d times", len(seen), len(asked))
	}
	asked[1](0, 0, errors.New("no controller"))
	if failed != 2 {
		t.Fatalf("%d told of the failure", failed)
	}
	next()
	asked[2](200, 1000, nil)
	if !seen[200] {
		t.Fatal("nothing after a failure")
	}
}
