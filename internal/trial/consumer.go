package trial

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// consumer reads partitions from their beginning, as one that was assigned them does, and never looks back.
type consumer struct {
	*client
	version int16
	places  []*place
	lanes   map[*host]*lane
}

// lane is what a consumer fetches from one node.
type lane struct {
	host    *host
	session int32
	epoch   int32
	flying  bool
}

// place is how far a consumer has come in a partition.
type place struct {
	kafka.TopicPartition
	next  int64
	lane  *lane
	seeks bool // its beginning is being looked for: until then it is not fetched
	told  bool // the session knows the place
	found map[int64]string
	// begin is the log start offset that was seen last, and mark the high watermark, with the connection it came on.
	begin     int64
	beginLife int
	mark      int64
	markFrom  *link
}

func newConsumer(t *trial, name string, of ...kafka.TopicPartition) *consumer {
	versions := []int16{4, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17}
	c := &consumer{client: newClient(t, name), version: versions[t.chance.IntN(len(versions))], lanes: map[*host]*lane{}}
	for _, tp := range of {
		c.places = append(c.places, &place{TopicPartition: tp, next: -1})
	}
	return c
}

func (c *consumer) start() {
	for _, p := range c.places {
		if !c.t.shadow.ready(p.Topic) {
			c.again(c.start)
			return
		}
	}
	for _, p := range c.places {
		if p.next < 0 {
			c.seek(p, c.start)
			return
		}
	}
	c.fetchAll()
}

// seek looks for the beginning of a partition.
func (c *consumer) seek(p *place, then func()) {
	if p.lane != nil {
		c.endSession(p.lane)
		p.lane = nil
	}
	p.seeks = true
	trimmed := c.t.shadow.part(p.Topic, p.Partition).trimmed
	c.listOffset(p.TopicPartition, -2, func(start int64, ok bool) {
		p.seeks = false
		if !ok {
			c.again(func() { c.seek(p, then) })
			return
		}
		c.sawStart(p, start, trimmed)
		p.next, p.told = max(p.next, start), false
		then()
	})
}

// sawStart notes a log start offset, which does not go back in one life of the node. After a crash, retention may have to
// begin again.
func (c *consumer) sawStart(p *place, start, trimmed int64) {
	if !c.t.leads(c.from.life, p.TopicPartition) {
		return
	}
	c.t.expect(start >= p.begin || p.beginLife != c.from.life.number, "%s: %s began at %d, and now at %d", c.name, p, p.begin, start)
	p.begin, p.beginLife = start, c.from.life.number
	c.t.shadow.sawStart(c.t.shadow.part(p.Topic, p.Partition), start, trimmed)
}

// listOffset asks for the offset at a timestamp, or one of the special ones.
func (c *client) listOffset(tp kafka.TopicPartition, at int64, done func(offset int64, ok bool)) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Partition, part.Timestamp = tp.Partition, at
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = tp.Topic, append(topic.Partitions, part)
	request.Topics = append(request.Topics, topic)
	c.ask(c.t.leader(tp), request, int16(1+c.t.chance.IntN(8)), func(r kmsg.Response) {
		response, ok := r.(*kmsg.ListOffsetsResponse)
		if !ok {
			done(-1, false)
			return
		}
		answer := response.Topics[0].Partitions[0]
		if answer.ErrorCode != 0 {
			c.must(answer.ErrorCode, "ListOffsets of %s", tp)
		}
		done(answer.Offset, answer.ErrorCode == 0)
	})
}

// idle reports whether everything that is known was read.
func (c *consumer) idle() bool {
	for _, p := range c.places {
		if p.next < c.t.shadow.part(p.Topic, p.Partition).end() {
			return false
		}
	}
	return true
}

// fetchAll has every place fetched from its leader.
func (c *consumer) fetchAll() {
	for _, p := range c.places {
		if p.next >= 0 && !p.seeks && (p.lane == nil || !p.lane.flying) {
			c.assign(p)
		}
	}
	for _, h := range c.t.hosts {
		if l := c.laneTo(h); !l.flying && c.fetches(l) {
			c.fetch(l)
		}
	}
}

func (c *consumer) laneTo(h *host) *lane {
	if c.lanes[h] == nil {
		c.lanes[h] = &lane{host: h}
	}
	return c.lanes[h]
}

// assign gives a place to the lane of its leader. A session in which it was is over.
func (c *consumer) assign(p *place) {
	l := c.laneTo(c.t.leader(p.TopicPartition))
	if l == p.lane || l.flying {
		return
	}
	if p.lane != nil {
		c.endSession(p.lane)
	}
	p.lane, p.told = l, false
}

func (c *consumer) fetches(l *lane) bool {
	for _, p := range c.places {
		if p.lane == l && p.next >= 0 {
			return true
		}
	}
	return false
}

func (c *consumer) endSession(l *lane) { l.session, l.epoch = 0, 0 }

func (c *consumer) fetch(l *lane) {
	request := kmsg.NewPtrFetchRequest()
	request.ReplicaID = -1
	request.MaxWaitMillis = int32(c.t.chance.IntN(500))
	request.MinBytes = int32(c.t.chance.IntN(3) * 50)
	request.MaxBytes = int32(100 + c.t.chance.IntN(20000))
	request.SessionEpoch = -1
	if c.version >= 7 {
		request.SessionID, request.SessionEpoch = l.session, l.epoch
	}
	asked := map[*place]question{}
	for _, p := range c.places {
		if p.lane != l {
			continue
		}
		asked[p] = question{p.next, c.t.shadow.part(p.Topic, p.Partition).trimmed}
		if l.epoch > 0 && p.told {
			continue
		}
		p.told = true
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.FetchOffset, part.CurrentLeaderEpoch = p.Partition, p.next, -1
		part.PartitionMaxBytes = int32(100 + c.t.chance.IntN(5000))
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.TopicID, topic.Partitions = p.Topic, c.t.shadow.topics[p.Topic].id, append(topic.Partitions, part)
		request.Topics = append(request.Topics, topic)
	}
	l.flying = true
	c.ask(l.host, request, c.version, func(r kmsg.Response) {
		l.flying = false
		c.fetched(l, asked, r)
	})
}

// question is what a fetch asked about a place, and what had been acknowledged as deleted when it did.
type question struct{ offset, trimmed int64 }

func (c *consumer) fetched(l *lane, asked map[*place]question, r kmsg.Response) {
	response, ok := r.(*kmsg.FetchResponse)
	if !ok {
		c.endSession(l)
		c.again(c.fetchAll)
		return
	}
	pause := time.Duration(0)
	switch code := kafka.ErrorCode(response.ErrorCode); code {
	case kafka.None:
		if l.session = response.SessionID; l.session != 0 {
			l.epoch++
		} else {
			l.epoch = 0
		}
	case kafka.FetchSessionIDNotFound, kafka.InvalidFetchSessionEpoch, kafka.FetchSessionTopicIDError:
		c.endSession(l)
		pause = time.Millisecond
	default:
		c.must(response.ErrorCode, "a fetch")
		c.endSession(l)
		pause = 20 * time.Millisecond
	}
	for i := range response.Topics {
		for j := range response.Topics[i].Partitions {
			answer := &response.Topics[i].Partitions[j]
			p := c.placeOf(&response.Topics[i], answer.Partition)
			if code := kafka.ErrorCode(answer.ErrorCode); code == kafka.OffsetOutOfRange {
				c.outOfRange(p, asked[p].offset)
				return
			} else if code != kafka.None {
				c.must(answer.ErrorCode, "a fetch of %s", p)
				p.told, pause = false, 20*time.Millisecond
				continue
			}
			c.take(p, answer, asked[p].trimmed)
		}
	}
	if !c.t.healing && c.t.chance.IntN(400) == 0 {
		c.hangUp()
	}
	if c.t.healing && c.idle() && pause == 0 {
		pause = 100 * time.Millisecond
	}
	c.t.after(pause+c.t.between(0, 20*time.Millisecond), c.fetchAll)
}

func (c *consumer) placeOf(topic *kmsg.FetchResponseTopic, partition int32) *place {
	for _, p := range c.places {
		if p.Partition == partition && (c.version < 13 && p.Topic == topic.Topic || c.version >= 13 && c.t.shadow.topics[p.Topic].id == topic.TopicID) {
			return p
		}
	}
	c.t.expect(false, "%s: the answer is about %s-%d, which was not asked for", c.name, topic.Topic, partition)
	return nil
}

// outOfRange may be said only where the beginning of the log has passed the place. It may go back with a crash. Where it never moves,
// nobody may say so, not even a node that was cut off and believes that it leads: a consumer would begin anew, or give up.
func (c *consumer) outOfRange(p *place, from int64) {
	life := c.from.life
	c.t.expect(c.t.shadow.part(p.Topic, p.Partition).policy == trims, "%s: %s says that %d is out of range, and it begins at 0 for ever", c.name, p, from)
	c.seek(p, func() {
		c.t.expect(p.next > from || c.from.life != life || !c.t.leads(life, p.TopicPartition), "%s: %s says that %d is out of range, and it begins at or below that: what was read is gone", c.name, p, from)
		c.fetchAll()
	})
}

// take looks at what a fetch brought of one partition.
func (c *consumer) take(p *place, answer *kmsg.FetchResponseTopicPartition, trimmed int64) {
	s := c.t.shadow
	part := s.part(p.Topic, p.Partition)
	if c.version >= 5 && answer.LogStartOffset >= 0 {
		c.sawStart(p, answer.LogStartOffset, trimmed)
	}
	err := record.Split(answer.RecordBatches, func(b record.Batch) error {
		if b.ComputeCRC() != b.CRC() {
			return fmt.Errorf("the batch at %d is corrupt", b.BaseOffset())
		}
		err := b.Records(1<<20, func(r record.Record) error {
			if r.Offset < p.next {
				return nil
			}
			c.t.expect(r.Offset < answer.HighWatermark, "%s: %s: offset %d is not below the high watermark %d", c.name, p, r.Offset, answer.HighWatermark)
			c.t.expect(r.Offset == p.next || part.policy != keeps, "%s: %s: skipped from %d to %d", c.name, p, p.next, r.Offset)
			s.read(part, r.Offset, string(r.Value))
			if p.found != nil {
				p.found[r.Offset] = string(r.Value)
			}
			p.next, p.told = r.Offset+1, false
			c.t.done("records read", 1)
			return nil
		})
		p.next = max(p.next, b.LastOffset()+1) // compaction may have taken the last records of a batch
		p.told = false
		return err
	})
	if err != nil && err != record.ErrShort {
		// Nobody looks at what is sent to consumers but they themselves.
		c.t.expect(c.from.life.host.disk.rotten, "%s: %s: %v", c.name, p, err)
		c.t.done("batches that had rotted", 1)
		p.told = false
	}
	c.t.expect(p.markFrom != c.from || answer.HighWatermark >= p.mark, "%s: the high watermark of %s went back from %d to %d", c.name, p, p.mark, answer.HighWatermark)
	p.mark, p.markFrom = answer.HighWatermark, c.from
}
