package trial

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// shadow remembers what the node has promised, and compares.
type shadow struct {
	t         *trial
	topics    map[string]*topic // those that stay
	grouped   bool              // there is a coordinator
	parts     map[kafka.TopicPartition]*part
	producers map[int64]string // whom each producer id was given to
	writers   map[string]*writer
	groups    map[string]*groupShadow
	deleted   map[kafka.TopicID]string // topics that are gone for good
}

// topic is one that was created and stays.
type topic struct {
	name       string
	id         kafka.TopicID
	partitions int32 // acknowledged
	ready      bool
}

// policy is what may be missing from a topic.
type policy uint8

const (
	keeps    policy = iota // everything stays
	trims                  // retention and DeleteRecords take the oldest records
	compacts               // all but the newest record of a key may go
)

// writer is what is known of one producer's records.
type writer struct {
	idempotent bool
	sent       map[kafka.TopicPartition]int // records so far; their numbers are below this
}

// part is one partition.
type part struct {
	kafka.TopicPartition
	policy policy
	// known is what is at an offset for sure: it was acknowledged with acks=all, or read.
	known map[int64]string
	where map[string]int64 // known, the other way round
	// written is what acks=1 was told. It holds until the power goes.
	written map[int64]string
	start   int64 // the highest log start offset that was seen
	trimmed int64 // the highest start that DeleteRecords has acknowledged
}

func newShadow(t *trial) *shadow {
	return &shadow{t: t, topics: map[string]*topic{}, parts: map[kafka.TopicPartition]*part{}, producers: map[int64]string{},
		writers: map[string]*writer{}, groups: map[string]*groupShadow{}, deleted: map[kafka.TopicID]string{}}
}

func (s *shadow) part(name string, number int32) *part {
	tp := kafka.TopicPartition{Topic: name, Partition: number}
	p := s.parts[tp]
	if p == nil {
		p = &part{TopicPartition: tp, policy: policies[name].policy, known: map[int64]string{}, where: map[string]int64{}}
		s.parts[tp] = p
	}
	return p
}

// ready reports whether a topic that stays is there.
func (s *shadow) ready(name string) bool { return s.topics[name] != nil && s.topics[name].ready }

// value makes a record's value, which says where it belongs.
func value(producer string, tp kafka.TopicPartition, number int) string {
	return fmt.Sprintf("%s|%s|%d|%d|%s", producer, tp.Topic, tp.Partition, number, strings.Repeat("x", number*37%90))
}

// origin reads a value.
func origin(v string) (producer, topic string, partition int32, number int, ok bool) {
	f := strings.Split(v, "|")
	if len(f) != 5 {
		return "", "", 0, 0, false
	}
	p, err1 := strconv.Atoi(f[2])
	n, err2 := strconv.Atoi(f[3])
	return f[0], f[1], int32(p), n, err1 == nil && err2 == nil && v == value(f[0], kafka.TopicPartition{Topic: f[1], Partition: int32(p)}, n)
}

// genuine complains about a value that nobody sent there.
func (s *shadow) genuine(p *part, offset int64, v string) {
	producer, name, number, n, ok := origin(v)
	s.t.expect(ok && name == p.Topic && number == p.Partition, "%s has at %d what was not sent there: %q", p, offset, v)
	w := s.writers[producer]
	s.t.expect(w != nil && n < w.sent[p.TopicPartition], "%s has at %d what was never sent: %q", p, offset, v)
}

// learn notes a committed record, and complains if something else was there or if it was elsewhere.
func (s *shadow) learn(p *part, offset int64, v, how string) {
	if old, ok := p.known[offset]; ok {
		s.t.expect(old == v, "%s: inconsistent offset %d: %s says %.40q, and it was %.40q", p, offset, how, v, old)
		return
	}
	producer, _, _, _, _ := origin(v)
	if w := s.writers[producer]; w != nil && w.idempotent {
		if at, ok := p.where[v]; ok {
			s.t.expect(at == offset, "%s: duplicate: %.40q is at %d and, %s, at %d", p, v, at, how, offset)
		}
		p.where[v] = offset
	}
	p.known[offset] = v
}

// acknowledged notes what a produce request was told.
func (s *shadow) acknowledged(p *part, all bool, base int64, values []string) {
	for i, v := range values {
		if all {
			s.learn(p, base+int64(i), v, "acks=all")
			continue
		}
		if s.t.clustered() {
			continue // another leader may lack it
		}
		if p.written == nil {
			p.written = map[int64]string{}
		}
		p.written[base+int64(i)] = v
	}
}

// powerLost forgets what was promised only for as long as there is power.
func (s *shadow) powerLost() {
	for _, p := range s.parts { // any order
		p.written = nil
	}
}

// read notes a record that a consumer was given.
func (s *shadow) read(p *part, offset int64, v string) {
	s.genuine(p, offset, v)
	s.learn(p, offset, v, "a read")
	if old, ok := p.written[offset]; ok {
		s.t.expect(old == v, "%s: offset %d was acknowledged for %.40q with acks=1, the power has not gone since, and it holds %.40q", p, offset, old, v)
	}
}

// sawStart notes a log start offset. What was acknowledged as deleted when it was asked for lies before it.
func (s *shadow) sawStart(p *part, start, trimmed int64) {
	switch p.policy {
	case keeps:
		s.t.expect(start == 0, "%s begins at %d, and nothing was to be deleted", p, start)
	case trims:
		if start < trimmed {
			s.t.tell(p.TopicPartition)
		}
		s.t.expect(start >= trimmed, "%s begins at %d, and what lies before %d was deleted", p, start, trimmed)
	case compacts:
		s.t.expect(start == 0, "%s begins at %d, and it is only compacted", p, start)
	}
	p.start = max(p.start, start)
}

// newProducer notes that a producer id was given to somebody: nobody else may have it.
func (s *shadow) newProducer(id int64, name string) {
	old, taken := s.producers[id]
	s.t.expect(!taken, "producer id %d is given to %s, and %s has it", id, name, old)
	s.producers[id] = name
}

// end is behind the last offset that is known.
func (p *part) end() int64 {
	end := p.start
	for offset := range p.known { // any order
		end = max(end, offset+1)
	}
	return end
}

// audit compares what a whole partition holds with what it must hold.
func (s *shadow) audit(p *part, start, end int64, found map[int64]string) {
	offsets := make([]int64, 0, len(p.known))
	newest := map[string]int64{}
	for offset, v := range p.known { // any order
		offsets = append(offsets, offset)
		k := key(v)
		newest[k] = max(newest[k], offset)
	}
	slices.Sort(offsets)
	for _, offset := range offsets {
		v := p.known[offset]
		got, ok := found[offset]
		switch {
		case ok:
			s.t.expect(got == v, "%s: offset %d holds %.40q, and it was %.40q", p, offset, got, v)
		case offset < start && p.policy == trims:
		case p.policy == compacts && s.superseded(p, offset, key(v), found):
		default:
			s.t.expect(false, "%s: lost: %.40q was at %d, and the log is [%d, %d)", p, v, offset, start, end)
		}
	}
	for offset, v := range p.written { // any order
		s.t.expect(found[offset] == v, "%s: lost: %.40q was acknowledged at %d with acks=1, and the power has not gone since", p, v, offset)
	}
	for _, offset := range offsets {
		if offset < start {
			delete(found, offset) // retention went on while it was read
		}
	}
	s.inOrder(p, found)
}

// key is a record's key, a few for all.
func key(v string) string {
	producer, _, _, n, _ := origin(v)
	return fmt.Sprintf("%s-%d", producer, n%5)
}

// superseded reports whether there is a newer record of a key, whether or not it was acknowledged.
func (s *shadow) superseded(p *part, offset int64, k string, found map[int64]string) bool {
	for o, v := range found { // any order
		if o > offset && key(v) == k {
			return true
		}
	}
	return false
}

// inOrder complains unless each idempotent producer's records are there in the order they were sent, each once, without
// a gap unless some may be missing.
func (s *shadow) inOrder(p *part, found map[int64]string) {
	offsets := make([]int64, 0, len(found))
	for offset := range found { // any order
		offsets = append(offsets, offset)
	}
	slices.Sort(offsets)
	last := map[string]int{}
	for _, offset := range offsets {
		producer, _, _, n, _ := origin(found[offset])
		s.genuine(p, offset, found[offset])
		if !s.writers[producer].idempotent {
			continue
		}
		before, seen := last[producer]
		if !seen {
			before = n - 1
			if p.policy == keeps {
				before = -1
			}
		}
		s.t.expect(n > before, "%s: record %d of %s at %d comes after its record %d", p, n, producer, offset, before)
		s.t.expect(n == before+1 || p.policy == compacts, "%s: record %d of %s at %d comes after its record %d: there is a gap", p, n, producer, offset, before)
		last[producer] = n
	}
}

// final is told that everything was read.
func (s *shadow) final() {
	s.t.done("partitions audited", len(s.parts))
}

// reload makes the image again from its snapshot, and says both as text.
func reload(image *metadata.Image) (first, second string, err error) {
	dump := func(i *metadata.Image, visit func([]byte) error) error {
		return i.Snapshot(time.Unix(0, 0).UnixMilli(), visit)
	}
	f := metadata.NewFollower()
	f.Reset()
	err = dump(image, func(batch []byte) error {
		first += string(batch)
		return f.Apply(image.Offset(), slices.Clone(batch))
	})
	if err != nil {
		return "", "", err
	}
	f.Publish()
	err = dump(f.Image(), func(batch []byte) error {
		second += string(batch)
		return nil
	})
	return first, second, err
}
