package group

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/statemachine"
)

// Service is the group coordinator of one node: the partitions of __consumer_offsets that it leads, and the APIs in
// front of them.
type Service struct {
	rt     loop.Runtime
	config Config
	topics Topics

	mu         sync.RWMutex
	partitions map[int32]*partition
}

// NewService makes a coordinator that leads nothing yet.
func NewService(rt loop.Runtime, config Config, topics Topics) *Service {
	return &Service{rt: rt, config: config, topics: topics, partitions: map[int32]*partition{}}
}

// PartitionFor is the partition of __consumer_offsets that a group belongs to, which is Kafka's choice, because tools
// compute it too.
func (s *Service) PartitionFor(groupID string) int32 {
	count := s.topics.PartitionCount(kafka.GroupMetadataTopic)
	if count <= 0 {
		count = s.config.Partitions
	}
	hash := int32(0)
	for _, unit := range utf16.Encode([]rune(groupID)) {
		hash = 31*hash + int32(unit)
	}
	if hash == -1<<31 {
		hash = 0
	}
	return max(hash, -hash) % count
}

// Elect begins to lead a partition in a leader epoch. Groups of it are answered once its log has been read. An older
// leadership of the same partition ends.
func (s *Service) Elect(number int32, epoch int32, log statemachine.Log) {
	s.mu.Lock()
	old := s.partitions[number]
	if old != nil && old.epoch >= epoch {
		s.mu.Unlock()
		return
	}
	p := &partition{service: s, number: number, epoch: epoch, log: log}
	s.partitions[number] = p
	s.mu.Unlock()
	if old != nil {
		old.resign()
	}
	p.start()
}

// Resign ends leading a partition. Whoever waits for something of it is answered NOT_COORDINATOR.
func (s *Service) Resign(number int32) {
	s.mu.Lock()
	p := s.partitions[number]
	delete(s.partitions, number)
	s.mu.Unlock()
	if p != nil {
		p.resign()
	}
}

// TopicsDeleted forgets every offset of topics that no longer exist, also of groups that are still being loaded.
func (s *Service) TopicsDeleted(topics ...string) {
	if len(topics) == 0 {
		return
	}
	for _, p := range s.led() {
		p.whenLoaded(func() {
			p.decide(func(m *Machine, d *decision) { m.topicsDeleted(d, topics) }, func(kafka.ErrorCode) {})
		})
	}
}

// Offsets visits every committed offset of the partitions that this node leads, in no order: what lag is computed from.
func (s *Service) Offsets(visit func(group string, tp kafka.TopicPartition, offset int64)) {
	for _, p := range s.led() {
		if m := p.current(); m != nil {
			for _, o := range m.listOffsets() {
				visit(o.group, o.tp, o.offset)
			}
		}
	}
}

// led is every partition that this node leads, in order.
func (s *Service) led() []*partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	led := make([]*partition, 0, len(s.partitions))
	for number, left := int32(0), len(s.partitions); left > 0; number++ {
		if p := s.partitions[number]; p != nil {
			led = append(led, p)
			left--
		}
	}
	return led
}

// decide lets the partition that a group belongs to decide, or calls failed if that has not been possible.
func (s *Service) decide(groupID string, decide func(*Machine, *decision), failed func(kafka.ErrorCode)) {
	number := s.PartitionFor(groupID)
	s.mu.RLock()
	p := s.partitions[number]
	s.mu.RUnlock()
	if p == nil {
		failed(kafka.NotCoordinator)
		return
	}
	p.decide(decide, failed)
}

// partition is one leadership of one partition.
type partition struct {
	service *Service
	number  int32
	epoch   int32
	log     statemachine.Log

	mu      sync.Mutex
	over    bool
	machine *Machine
	shard   *statemachine.Shard[Record, *Machine]
}

// retryDelay is how long a partition waits before it reads its log again, where that or an append has failed.
const retryDelay = time.Second

func (p *partition) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	w := &shardWorld{rt: p.service.rt}
	p.machine = newMachine(p.service.config, p.service.topics, w)
	name := kafka.GroupMetadataTopic + "-" + strconv.Itoa(int(p.number))
	m := p.machine
	p.shard = statemachine.Lead(p.service.rt, name, p.epoch, p.log, codec{}, m, func(err error) { p.ended(m, err) })
	w.shard = p.shard
	p.shard.OnLoaded(func(m *Machine) { m.lead() })
}

func (p *partition) resign() {
	p.mu.Lock()
	p.over = true
	shard := p.shard
	p.mu.Unlock()
	if shard != nil {
		shard.Resign()
	}
}

// ended runs on the shard's loop when the shard is over. A log that failed is read again from the start; one that is
// somebody else's now is left alone until this node is elected again.
func (p *partition) ended(m *Machine, err error) {
	m.close(kafka.NotCoordinator)
	if err != nil && !errors.Is(err, kafka.NotLeaderOrFollower) {
		p.service.rt.Loop("retry "+kafka.GroupMetadataTopic).After(retryDelay, p.start)
	}
}

func (p *partition) current() *Machine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine
}

// whenLoaded runs f now, or once the log has been read.
func (p *partition) whenLoaded(f func()) {
	p.mu.Lock()
	shard := p.shard
	p.mu.Unlock()
	if shard != nil {
		shard.OnLoaded(func(*Machine) { f() })
	}
}

func (p *partition) decide(decide func(*Machine, *decision), failed func(kafka.ErrorCode)) {
	p.mu.Lock()
	shard := p.shard
	p.mu.Unlock()
	if shard == nil {
		failed(kafka.CoordinatorLoadInProgress)
		return
	}
	submit(shard, decide, failed)
}

// submit runs a decision on a shard and gives its answers when they are due.
func submit(
	shard *statemachine.Shard[Record, *Machine], decide func(*Machine, *decision), failed func(kafka.ErrorCode),
) {
	var d *decision
	shard.Decide(func(m *Machine) []Record {
		d = new(decision)
		decide(m, d)
		return d.records
	}, func(err error) {
		if d == nil {
			failed(codeOf(err))
			return
		}
		for _, answer := range d.answers {
			answer(err)
		}
	})
}

// shardWorld is the world as a machine sees it from its shard.
type shardWorld struct {
	rt    loop.Runtime
	shard *statemachine.Shard[Record, *Machine]
}

func (w *shardWorld) now() time.Time { return w.rt.Now() }

// after goes through submit, because a timer has answers to give too; stop therefore has to hold until that runs.
func (w *shardWorld) after(wait time.Duration, decide func(*decision)) (stop func()) {
	stopped := false
	cancel := w.shard.After(wait, func(*Machine) []Record {
		submit(w.shard, func(_ *Machine, d *decision) {
			if !stopped {
				decide(d)
			}
		}, func(kafka.ErrorCode) {})
		return nil
	})
	return func() {
		stopped = true
		cancel()
	}
}

// uuid is a random UUID (RFC 9562, version 4), as Kafka's member ids have.
func (w *shardWorld) uuid() string {
	hi, lo := w.rt.Rand().Uint64(), w.rt.Rand().Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff)
}

// codeOf is what clients are told where a decision could not be made or not be written down.
func codeOf(err error) kafka.ErrorCode {
	switch code := kafka.AsErrorCode(err); code {
	case kafka.NotLeaderOrFollower, kafka.KafkaStorageError:
		return kafka.NotCoordinator
	case kafka.MessageTooLarge, kafka.RecordListTooLarge:
		return kafka.UnknownServerError
	case kafka.NotEnoughReplicas, kafka.UnknownTopicOrPartition:
		return kafka.CoordinatorNotAvailable
	default:
		return code
	}
}

// commitFailure is codeOf for a commit: offsets that do not fit are the client's business.
func commitFailure(err error) kafka.ErrorCode {
	switch code := kafka.AsErrorCode(err); code {
	case kafka.MessageTooLarge, kafka.RecordListTooLarge:
		return kafka.InvalidCommitOffsetSize
	default:
		return codeOf(err)
	}
}
