package trial

import (
	"fmt"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
)

const ms = time.Millisecond

// cast draws who takes part in the story.
func (t *trial) cast() {
	plain := t.partitions("plain", 1+t.chance.IntN(3))
	small := t.partitions("small", 1)
	keyed := t.partitions("keyed", 1)
	t.actors = append(t.actors, newFounder(t, map[string]int{"plain": len(plain), "small": 1, "keyed": 1}))
	for i := range 1 + t.chance.IntN(3) {
		t.actors = append(t.actors, newProducer(t, fmt.Sprintf("writer%d", i), true, -1, plain...))
	}
	t.actors = append(t.actors, newProducer(t, "trimmed", true, -1, small...), newProducer(t, "compacted", true, -1, keyed...))
	for i, acks := range []int16{-1, 1, 0} {
		if t.chance.IntN(3) == 0 {
			t.actors = append(t.actors, newProducer(t, fmt.Sprintf("hasty%d", i), false, acks, plain[0]))
		}
	}
	for i := range 1 + t.chance.IntN(2) {
		t.actors = append(t.actors, newConsumer(t, fmt.Sprintf("reader%d", i), append(append([]kafka.TopicPartition{}, plain...), small...)...))
	}
	t.actors = append(t.actors, newConsumer(t, "keyreader", keyed...), newSolo(t), newTrimmer(t), newBuilder(t))
	if t.clustered() {
		t.actors = append(t.actors, newMover(t))
	}
	for i := range t.chance.IntN(4) {
		t.actors = append(t.actors, newMember(t, fmt.Sprintf("member%d", i), "team", len(plain), t.chance.IntN(3) == 0))
	}
}

func (t *trial) partitions(name string, n int) []kafka.TopicPartition {
	var all []kafka.TopicPartition
	for i := range n {
		all = append(all, kafka.TopicPartition{Topic: name, Partition: int32(i)})
	}
	return all
}
