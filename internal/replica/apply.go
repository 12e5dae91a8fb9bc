package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/storage"
)

// Apply makes the node's replicas what the metadata says. done is called when every log that had to be opened is open,
// or is known not to open; until then the next delta must wait.
func (m *Manager) Apply(delta *metadata.Delta, configs Configs, done func()) {
	for _, topic := range delta.TopicsDeleted() {
		m.remove(topic)
	}
	m.applyConfigs(delta, configs)
	image := delta.Image()
	m.image.Store(image)
	updates := m.mine(delta.PartitionsChanged())
	if m.register(image) {
		updates = m.allMine(image)
	}
	left := new(atomic.Int64)
	left.Store(int64(len(updates)) + 1)
	finish := func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
	for i, update := range updates {
		p := m.ensure(update.Topic, update.New.Number, configs)
		if p.log.Load() != nil || p.openFailed() {
			p.apply(update.New)
			finish()
			continue
		}
		m.openers[i%len(m.openers)].Do(func() {
			m.open(p)
			p.apply(update.New)
			finish()
		})
	}
	finish()
}

// Image is the metadata that was applied last, or is being applied.
func (m *Manager) Image() *metadata.Image { return m.image.Load() }

// register notes that an image has this life of the broker, and reports whether that is new.
func (m *Manager) register(image *metadata.Image) (first bool) {
	if m.registered.Load() {
		return false
	}
	b := image.Broker(m.node)
	if b == nil || b.BootSequence != uint64(m.directory.Meta().BootSeq) {
		return false
	}
	m.registered.Store(true)
	return true
}

// allMine are all partitions of which this node has a replica, as updates that change nothing.
func (m *Manager) allMine(image *metadata.Image) (updates []metadata.PartitionUpdate) {
	image.Topics(func(t *metadata.Topic) bool {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, m.node) {
				updates = append(updates, metadata.PartitionUpdate{Topic: t, Old: p, New: p})
			}
		}
		return true
	})
	return updates
}

// mine keeps the changes of partitions of which this node has a replica, and makes room for the others' numbers. A replica that
// is not to be here any more goes.
func (m *Manager) mine(updates []metadata.PartitionUpdate) []metadata.PartitionUpdate {
	kept := updates[:0]
	for _, u := range updates {
		if slices.Contains(u.New.Replicas, m.node) {
			kept = append(kept, u)
			continue
		}
		topic := m.topicFor(u.Topic)
		if p := topic.Partition(u.New.Number); p != nil {
			m.logger.Info("the replica goes, because the partition was reassigned", "partition", p.TopicPartition.String(), "replicas", u.New.Replicas)
			m.forget(topic, p)
			m.drop(p)
		}
	}
	return kept
}

// forget takes a partition out of its topic, where the topic itself stays.
func (m *Manager) forget(t *Topic, p *Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(*t.partitions.Load())
	list[p.TopicPartition.Partition] = nil
	t.partitions.Store(&list)
}

// topicFor finds or makes a topic, with room for all its partitions.
func (m *Manager) topicFor(t *metadata.Topic) *Topic {
	m.mu.Lock()
	defer m.mu.Unlock()
	topic := m.byID[t.ID]
	if topic == nil {
		topic = &Topic{Name: t.Name, ID: t.ID}
		topic.partitions.Store(&[]*Partition{})
		m.byID[t.ID], m.byName[t.Name] = topic, topic
	}
	if list := *topic.partitions.Load(); len(list) < len(t.Partitions) {
		grown := append(slices.Clone(list), make([]*Partition, len(t.Partitions)-len(list))...)
		topic.partitions.Store(&grown)
	}
	return topic
}

func (m *Manager) ensure(t *metadata.Topic, number int32, configs Configs) *Partition {
	topic := m.topicFor(t)
	if p := topic.Partition(number); p != nil {
		return p
	}
	p := &Partition{TopicPartition: kafka.TopicPartition{Topic: t.Name, Partition: number}, TopicID: t.ID, manager: m, leader: kafka.NoNode, leaderEpoch: -1, fetchedFrom: kafka.NoNode}
	settings := configs.TopicSettings(t.Name)
	p.settings.Store(&settings)
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(*topic.partitions.Load())
	list[number] = p
	topic.partitions.Store(&list)
	return p
}

// remove ends a deleted topic's replicas.
func (m *Manager) remove(t *metadata.Topic) {
	m.mu.Lock()
	topic := m.byID[t.ID]
	delete(m.byID, t.ID)
	if m.byName[t.Name] == topic {
		delete(m.byName, t.Name)
	}
	m.mu.Unlock()
	if topic == nil {
		return
	}
	for _, p := range *topic.partitions.Load() {
		if p != nil {
			m.drop(p)
		}
	}
}

func (m *Manager) drop(p *Partition) {
	var fire firing
	m.reopening.Lock() // from here on the log is open or will not be
	p.mu.Lock()
	p.deleted, p.leading, p.lead = true, false, nil
	p.failAll(kafka.UnknownTopicOrPartition, &fire)
	log := p.log.Load()
	p.mu.Unlock()
	m.reopening.Unlock()
	m.follow(p)
	fire.run()
	if log == nil {
		return
	}
	if err := m.directory.DeleteLog(log); err != nil {
		m.logger.Error("cannot delete a log", "partition", p.TopicPartition.String(), "error", err)
	}
}

func (m *Manager) applyConfigs(delta *metadata.Delta, configs Configs) {
	all := false
	var topics []*Topic
	for _, r := range delta.ConfigsChanged() {
		switch r.Type {
		case metadata.TopicResource:
			if t := m.TopicNamed(r.Name); t != nil {
				topics = append(topics, t)
			}
		case metadata.BrokerResource:
			all = true
		}
	}
	if all {
		m.Partitions(func(p *Partition) { p.configure(configs) })
		return
	}
	for _, t := range topics {
		for _, p := range *t.partitions.Load() {
			if p != nil {
				p.configure(configs)
			}
		}
	}
}

func (p *Partition) configure(configs Configs) {
	settings := configs.TopicSettings(p.Topic)
	var fire firing
	p.mu.Lock()
	p.settings.Store(&settings)
	if log := p.log.Load(); log != nil {
		log.SetOptions(settings.Storage)
		p.manager.directory.Flush(log) // a stricter durability holds for what is there already
		p.advance(log, &fire)
	}
	p.mu.Unlock()
	fire.run()
}

// RemoveStrays deletes the logs of topics that are gone from the metadata: the node stopped between the two.
func (m *Manager) RemoveStrays(image *metadata.Image) error {
	found, err := m.directory.Find()
	if err != nil {
		return err
	}
	var failures []error
	for _, f := range found {
		t := image.TopicByID(f.TopicID)
		if p := t.Partition(f.Partition); p != nil && t.Name == f.Topic && slices.Contains(p.Replicas, m.node) {
			continue
		}
		m.logger.Info("removing the log of a partition that was deleted", "partition", f.TopicPartition.String(), "topic_id", f.TopicID.String())
		if err := m.removeStray(f); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", f.TopicPartition, err))
		}
	}
	return errors.Join(failures...)
}

func (m *Manager) removeStray(f storage.Found) error {
	log, _, err := m.directory.OpenLog(f.TopicPartition, f.TopicID, storage.DefaultOptions())
	if err != nil {
		return err
	}
	return m.directory.DeleteLog(log)
}

// DirectoryFailed answers everybody who waits for a disk that has failed.
func (m *Manager) DirectoryFailed() {
	m.Partitions((*Partition).offline)
}

func sortTopics(topics []*Topic) {
	slices.SortFunc(topics, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
}
