package replica

import (
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

func batchFrom(producer kafka.Producer, sequence int32) *Staged {
	form := record.Plain()
	form.Producer, form.Sequence = producer, sequence
	b := record.NewBuilder(form)
	b.Add(1, nil, []byte("v"))
	s := &Staged{}
	s.Batch = b.Build()
	return s
}

func TestWhatFollowsARefusedBatchWaitsForIt(t *testing.T) {
	var r refusals
	one, other := kafka.Producer{ID: 1}, kafka.Producer{ID: 2}
	r.note(batchFrom(kafka.NoProducer, record.NoSequence))
	if len(r) != 0 {
		t.Fatal("a producer without sequence numbers has no order to keep")
	}
	r.note(batchFrom(one, 5))
	r.note(batchFrom(one, 6))
	r.note(batchFrom(one, 3))
	for _, step := range []struct {
		producer kafka.Producer
		sequence int32
		allowed  bool
	}{
		{other, 9, true}, {one, 4, false}, {one, 5, false}, {one, 3, true}, {one, 4, true}, {one, 9, true},
	} {
		if got := r.allows(batchFrom(step.producer, step.sequence), false); got != step.allowed {
			t.Errorf("%+v: %v", step, got)
		}
	}
	r.note(batchFrom(one, 7))
	if !r.allows(batchFrom(kafka.Producer{ID: 1, Epoch: 1}, 8), false) {
		t.Error("a later epoch counts anew")
	}
}
