package api

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/replica"
)

// overtaken remembers which batches of idempotent producers came on a connection before this node had the partition that
// they are for. What follows them is on its way already, and a log takes any sequence number from a producer that it does not
// know: if the partition came in between, the second batch would be taken, and the first could never follow. A partition that
// is there remembers for itself what it refuses.
type overtaken map[overtakenKey]firstRefused

type overtakenKey struct {
	topic     string // as the request names it
	id        kafka.TopicID
	partition int32
	producer  int64
}

// firstRefused is the lowest sequence of a producer that was refused and has not come again.
type firstRefused struct {
	epoch    int16
	sequence int32
}

// mostOvertaken bounds what one connection makes a node remember.
const mostOvertaken = 1000

// note remembers a batch that is refused because the partition is not here, yet.
func (o *overtaken) note(t *producedTopic, number int32, records []byte) {
	if len(records) < record.HeaderSize {
		return
	}
	batch := record.Batch(records)
	producer := batch.Producer()
	if batch.Magic() != record.Magic || producer.ID < 0 {
		return
	}
	key := overtakenKey{string(t.name), t.id, number, producer.ID}
	if old, is := (*o)[key]; is && old.epoch == producer.Epoch && old.sequence <= batch.BaseSequence() {
		return
	}
	if *o == nil || len(*o) >= mostOvertaken {
		*o = overtaken{}
	}
	(*o)[key] = firstRefused{producer.Epoch, batch.BaseSequence()}
}

// allows reports whether a batch may be tried: nothing before it was refused, or the log knows better.
func (o overtaken) allows(t *producedTopic, p *replica.Partition, batch record.Batch) bool {
	producer := batch.Producer()
	key := overtakenKey{string(t.name), t.id, p.TopicPartition.Partition, producer.ID}
	old, is := o[key]
	if !is {
		return true
	}
	if old.epoch == producer.Epoch && batch.BaseSequence() > old.sequence && !p.KnowsProducer(producer.ID) {
		return false
	}
	delete(o, key)
	return true
}
