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
	r.note(batchFrom(kafka.NoProducer, record.NoSequence), 1, kafka.NotEnoughReplicas)
	if len(r) != 0 {
		t.Fatal("a producer without sequence numbers has no order to keep")
	}
	r.note(batchFrom(one, 5), 1, kafka.NotEnoughReplicas)
	r.note(batchFrom(one, 6), 1, kafka.NotEnoughReplicas)
	r.note(batchFrom(one, 3), 1, kafka.NotEnoughReplicas)
	for _, step := range []struct {
		producer kafka.Producer
		sequence int32
		allowed  bool
	}{
		{other, 9, true}, {one, 4, false}, {one, 5, false}, {one, 3, true}, {one, 4, true}, {one, 9, true},
	} {
		want := kafka.NotEnoughReplicas // why what is before it was refused
		if step.allowed {
			want = kafka.None
		}
		if got := r.verdict(batchFrom(step.producer, step.sequence), false, 1); got != want {
			t.Errorf("%+v: %v", step, got)
		}
	}
	r.note(batchFrom(one, 7), 1, kafka.NotEnoughReplicas)
	if r.verdict(batchFrom(kafka.Producer{ID: 1, Epoch: 1}, 8), false, 1) != kafka.None {
		t.Error("a later epoch counts anew")
	}
}

// The refused batch may be in the log, from another leader: what comes behind it waits all the same, in this leader epoch.
func TestWhatFollowsARefusedBatchWaitsForItAlsoIfTheLogKnowsTheProducer(t *testing.T) {
	var r refusals
	one := kafka.Producer{ID: 1}
	r.note(batchFrom(one, 0), 4, kafka.NotEnoughReplicas)
	if r.verdict(batchFrom(one, 9), true, 4) == kafka.None {
		t.Error("the batch that follows what is in the log is taken before the refused one")
	}
	if r.verdict(batchFrom(one, 0), true, 4) != kafka.None || r.verdict(batchFrom(one, 9), true, 4) != kafka.None {
		t.Error("the refused batch has come again")
	}
	r.note(batchFrom(one, 12), 4, kafka.NotEnoughReplicas)
	if r.verdict(batchFrom(one, 20), true, 5) != kafka.None {
		t.Error("another leader may have taken what was refused, and the log knows")
	}
	r.note(batchFrom(one, 30), 5, kafka.NotEnoughReplicas)
	if r.verdict(batchFrom(one, 40), false, 6) == kafka.None {
		t.Error("nobody has taken it, as far as the log knows")
	}
}
