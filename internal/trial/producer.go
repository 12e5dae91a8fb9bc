package trial

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// producer writes records that say where they belong. An idempotent one tries again until each is acknowledged; another
// sends each batch once.
type producer struct {
	*client
	writer     *writer
	idempotent bool
	acks       int16
	version    int16
	codec      record.Codec
	id         kafka.Producer
	streams    []*stream
}

// stream is what a producer writes to one partition.
type stream struct {
	kafka.TopicPartition
	made     int // batches, so far
	sequence int32
	window   []*produced // not acknowledged, in order; five at most
	stalled  bool        // one failed: the others in flight are awaited, and then all are sent again
	waiting  bool        // they are about to be
	leader   *host       // whom those in flight were sent to: more of them go nowhere else
	// overtaken is the end of the stream: see settle.
	overtaken bool
}

// produced is one batch.
type produced struct {
	number   int // of its stream
	stream   *stream
	values   []string
	sequence int32
	flying   bool
}

func newProducer(t *trial, name string, idempotent bool, acks int16, to ...kafka.TopicPartition) *producer {
	versions := []int16{3, 5, 7, 8, 9, 10, 11, 12, 13}
	p := &producer{client: newClient(t, name), idempotent: idempotent, acks: acks, version: versions[t.chance.IntN(len(versions))], id: kafka.NoProducer}
	p.writer = &writer{idempotent: idempotent, sent: map[kafka.TopicPartition]int{}}
	t.shadow.writers[name] = p.writer
	if t.chance.IntN(4) == 0 {
		p.codec = []record.Codec{record.LZ4, record.Snappy}[t.chance.IntN(2)]
	}
	for _, tp := range to {
		p.streams = append(p.streams, &stream{TopicPartition: tp})
	}
	return p
}

func (p *producer) start() {
	for _, s := range p.streams {
		if !p.t.shadow.ready(s.Topic) {
			p.again(p.start)
			return
		}
	}
	if !p.idempotent {
		p.work()
		return
	}
	request := kmsg.NewPtrInitProducerIDRequest()
	request.TransactionTimeoutMillis, request.ProducerID, request.ProducerEpoch = 60000, -1, -1
	p.call(request, int16(p.t.chance.IntN(6)), func(r kmsg.Response) {
		if response, ok := r.(*kmsg.InitProducerIDResponse); ok && response.ErrorCode == 0 {
			p.id = kafka.Producer{ID: response.ProducerID, Epoch: response.ProducerEpoch}
			p.t.shadow.newProducer(p.id.ID, p.name)
			p.work()
			return
		} else if ok {
			p.must(response.ErrorCode, "InitProducerId")
		}
		p.again(p.start)
	})
}

func (p *producer) idle() bool {
	for _, s := range p.streams {
		if len(s.window) > 0 {
			return false
		}
	}
	return true
}

// work sends a little now and then.
func (p *producer) work() {
	if p.t.healing {
		return
	}
	var now []*produced
	for _, s := range p.streams {
		if s.mayGoOn() && !s.stalled && !s.overtaken && p.t.chance.IntN(3) > 0 {
			now = append(now, p.make(s))
		}
	}
	if p.t.chance.IntN(2) == 0 {
		p.send(now)
	} else {
		for _, b := range now {
			p.send([]*produced{b})
		}
	}
	p.t.after(p.t.between(time.Millisecond, 150*time.Millisecond), p.work)
}

// mayGoOn reports whether a batch may follow those that there are. The log remembers five batches of a producer, and to send a batch again that
// is none of those is an error, in Kafka as well: no more than four come after one that has no answer, answered or not.
func (s *stream) mayGoOn() bool { return len(s.window) == 0 || s.made-s.window[0].number < 5 }

func (p *producer) make(s *stream) *produced {
	b := &produced{stream: s, sequence: s.sequence, number: s.made}
	s.made++
	for range 1 + p.t.chance.IntN(4) {
		n := p.writer.sent[s.TopicPartition]
		p.writer.sent[s.TopicPartition] = n + 1
		b.values = append(b.values, value(p.name, s.TopicPartition, n))
	}
	s.sequence += int32(len(b.values))
	s.window = append(s.window, b)
	return b
}

// build makes the batch's bytes.
func (p *producer) build(b *produced) []byte {
	form := record.Plain()
	form.Codec = p.codec
	if p.idempotent {
		form.Producer, form.Sequence = p.id, b.sequence
	}
	builder := record.NewBuilder(form)
	for _, v := range b.values {
		builder.Add(p.t.world.Now().UnixMilli(), []byte(key(v)), []byte(v))
	}
	return builder.Build()
}

// send sends batches to the leaders of their partitions.
func (p *producer) send(batches []*produced) {
	byLeader := map[*host][]*produced{}
	for _, b := range batches {
		s := b.stream
		if !s.flying() {
			s.leader = p.t.leader(s.TopicPartition)
		}
		b.flying = true
		byLeader[s.leader] = append(byLeader[s.leader], b)
	}
	for _, h := range p.t.hosts {
		if len(byLeader[h]) > 0 {
			p.sendTo(h, byLeader[h])
		}
	}
}

func (p *producer) sendTo(to *host, batches []*produced) {
	link := p.connect(to)
	if link == nil {
		for _, b := range batches {
			p.failed(b)
		}
		return
	}
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = p.acks, 5000
	for _, b := range batches {
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = b.stream.Partition, p.build(b)
		n := len(request.Topics)
		if n == 0 || request.Topics[n-1].Topic != b.stream.Topic {
			topic := kmsg.NewProduceRequestTopic()
			topic.Topic, topic.TopicID = b.stream.Topic, p.t.shadow.topics[b.stream.Topic].id
			request.Topics = append(request.Topics, topic)
			n++
		}
		request.Topics[n-1].Partitions = append(request.Topics[n-1].Partitions, part)
	}
	if p.acks == 0 {
		p.t.done("batches sent and forgotten", len(batches))
		p.post(link, request, p.version)
		for _, b := range batches {
			b.stream.window = nil
		}
		return
	}
	sent := p.t.world.Now()
	p.ask(to, request, p.version, func(r kmsg.Response) {
		response, _ := r.(*kmsg.ProduceResponse)
		next := 0
		for i := range request.Topics {
			for j := range request.Topics[i].Partitions {
				if b := batches[next]; response == nil {
					p.failed(b)
				} else {
					p.settle(b, &response.Topics[i].Partitions[j], sent)
				}
				next++
			}
		}
	})
}

// settle takes the answer for one batch.
func (p *producer) settle(b *produced, answer *kmsg.ProduceResponseTopicPartition, sent time.Time) {
	s, code := b.stream, kafka.ErrorCode(answer.ErrorCode)
	p.t.expect(answer.Partition == s.Partition, "%s: the answer is about partition %d and not %s", p.name, answer.Partition, s)
	if code == kafka.None {
		life := p.from.life
		p.t.expect(life.unsound.IsZero() || sent.Before(life.unsound), "%s: %s acknowledged although a sync of this life has failed", p.name, s)
		p.t.shadow.acknowledged(p.t.shadow.part(s.Topic, s.Partition), p.acks == -1, answer.BaseOffset, b.values)
		p.t.done("records acknowledged", len(b.values))
		p.drop(b)
		return
	}
	p.t.logf("%s: %s answers batch %d: %v from host %d", p.name, s, b.sequence, code, p.from.life.host.number)
	if code == kafka.OutOfOrderSequenceNumber && p.idempotent {
		if policies[s.Topic].policy != keeps && p.from.life.number > 1 {
			// Compaction keeps only the last batch of each producer, as in Kafka, and retention may take all. Where that was
			// faster than the answers, and the node has read its log anew since, nobody knows any more what was there.
			p.t.done("producers overtaken by deletion", 1)
			s.window, s.overtaken = nil, true
			return
		}
		// Nobody may say so, not even a node that leads no more, does not know it, and lacks what was acknowledged by others since: to a
		// client it means that producer and log have parted for good.
		broken := b == s.window[0]
		if broken {
			p.t.tell(s.TopicPartition)
		}
		p.t.expect(!broken, "%s: %s refuses sequence %d as out of order, and everything before it was acknowledged", p.name, s, b.sequence)
	} else {
		p.must(answer.ErrorCode, "a batch for %s", s)
	}
	p.failed(b)
}

// drop forgets a batch that is done with.
func (p *producer) drop(b *produced) {
	b.flying = false
	s := b.stream
	for i := range s.window {
		if s.window[i] == b {
			s.window = append(s.window[:i], s.window[i+1:]...)
			break
		}
	}
	p.resend(s)
}

// failed is told that a batch may not be in the log.
func (p *producer) failed(b *produced) {
	if !p.idempotent {
		p.t.done("batches given up", 1)
		p.drop(b)
		return
	}
	b.flying = false
	b.stream.stalled = true
	p.resend(b.stream)
}

// resend sends a stalled stream's batches again, in order, when none is in flight.
func (p *producer) resend(s *stream) {
	if !s.stalled || s.waiting || s.flying() {
		return
	}
	s.waiting = true
	p.t.after(p.t.between(time.Millisecond, 100*time.Millisecond), func() {
		s.stalled, s.waiting = false, false
		p.t.done("batches sent again", len(s.window))
		for _, b := range append([]*produced(nil), s.window...) {
			if s.stalled {
				return // it could not be sent: what follows does not overtake it
			}
			p.send([]*produced{b})
		}
	})
}

func (s *stream) flying() bool {
	return slices.ContainsFunc(s.window, func(b *produced) bool { return b.flying })
}
