package replica

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// refusals remembers which batches of idempotent producers a partition could not take: its log was not open, its disk was
// full, too few replicas were in sync. A log takes any sequence number from a producer that it does not know, because it may
// have forgotten it. Had it refused the first batch of a new one and taken the second, which is on its way already, the first
// could never follow. And a batch that is refused may be in the log, from before a change of leaders: the ones behind it would be
// taken as they follow the log, and push it out of the five that are known again when they are sent again. In another leader
// epoch a log that knows the producer tells what may follow: another leader may have taken what this one refused.
//
// What follows is refused with the same code, as Kafka would for as long as the reason lasts, and not as out of order: that tells
// librdkafka that producer and log have parted, so that it begins a new epoch, in which it writes a second time whatever the old one
// has no answer for, or gives up for good.
type refusals map[int64]refusal

// refusal is the lowest sequence of a producer that was refused and has not come again.
type refusal struct {
	epoch    int16
	sequence int32
	leader   int32 // epoch in which it was refused
	code     kafka.ErrorCode
}

// mostRefusals bounds what is remembered.
const mostRefusals = 10_000

// note remembers that a batch was refused for a reason that will pass.
func (r *refusals) note(s *Staged, leader int32, code kafka.ErrorCode) {
	if len(s.Batch) == 0 {
		return
	}
	producer := s.Batch.Producer()
	if producer.ID < 0 {
		return
	}
	old, known := (*r)[producer.ID]
	if known && old.epoch == producer.Epoch && old.sequence <= s.Batch.BaseSequence() && old.leader == leader {
		return
	}
	if *r == nil || len(*r) >= mostRefusals {
		*r = refusals{}
	}
	(*r)[producer.ID] = refusal{producer.Epoch, s.Batch.BaseSequence(), leader, code}
}

// verdict is NONE for a batch that may be tried, because nothing before it was refused, or else why what is before it was. What had been
// refused and comes again is forgotten. known says that the log knows the producer, and leader is the leader epoch.
func (r refusals) verdict(s *Staged, known bool, leader int32) kafka.ErrorCode {
	producer := s.Batch.Producer()
	old, refused := r[producer.ID]
	if !refused {
		return kafka.None
	}
	elsewhere := known && old.leader != leader
	if !elsewhere && old.epoch == producer.Epoch && s.Batch.BaseSequence() > old.sequence {
		return old.code
	}
	delete(r, producer.ID)
	return kafka.None
}

// refuseOvertakers turns away batches before which another of the same producer was refused. The partition's lock is held.
func (p *Partition) refuseOvertakers(log *storage.Log, batches []*Staged, appends []*storage.Append, fire *firing) ([]*Staged, []*storage.Append) {
	kept, keptAppends := batches[:0], appends[:0]
	for _, s := range batches {
		if code := p.refused.verdict(s, log.Knows(s.Batch.Producer().ID), p.leaderEpoch); code != kafka.None {
			s.refuse(code)
			fire.finish(s)
			continue
		}
		kept, keptAppends = append(kept, s), append(keptAppends, &s.Append)
	}
	return kept, keptAppends
}
