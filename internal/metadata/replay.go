package metadata

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/must"
)

// Delta begins a delta on the image.
func (i *Image) Delta() *Delta {
	i.copying.Lock()
	defer i.copying.Unlock()
	return &Delta{
		base: i,
		next: &Image{
			offset: i.offset, clusterID: i.clusterID, producerIDs: i.producerIDs, partitions: i.partitions,
			topics: copied(&i.topics), ids: copied(&i.ids), brokers: copied(&i.brokers),
			configs: copied(&i.configs), features: copied(&i.features),
		},
		ownTopics: map[kafka.TopicID]*Topic{}, ownPartitions: map[*Partition]bool{},
		topics: map[kafka.TopicID]bool{}, changed: map[PartitionID]bool{}, configs: map[Resource]bool{},
		brokers: map[kafka.NodeID]bool{}, features: map[string]bool{},
	}
}

// copied shares the tree's nodes; either side copies a node before it writes to it.
func copied[K int32 | string | kafka.NodeID, V any](tree *btree.Map[K, V]) btree.Map[K, V] {
	return *tree.Copy()
}

// Replay changes the image under construction as a record says, that stands in the batch at an offset.
func (d *Delta) Replay(offset int64, record Record) {
	must.Be(!d.done, "a delta is replayed to after its image was taken")
	d.next.offset = offset
	switch r := record.(type) {
	case *ClusterID:
		d.next.clusterID = r.ID
	case *NoOp:
	case *RegisterBroker:
		d.registerBroker(offset, r)
	case *UnregisterBroker:
		if b := d.next.Broker(r.ID); b != nil && b.Epoch == r.Epoch {
			d.next.brokers.Delete(r.ID)
			d.brokers[r.ID] = true
		}
	case *BrokerChange:
		d.brokerChange(r)
	case *TopicRecord:
		d.topic(r)
	case *RemoveTopic:
		d.removeTopic(r)
	case *PartitionRecord:
		d.partition(r)
	case *PartitionChange:
		d.partitionChange(r)
	case *ConfigRecord:
		d.config(r)
	case *ProducerIDs:
		d.next.producerIDs = max(d.next.producerIDs, r.Next)
	case *FeatureLevel:
		d.features[r.Name] = true
		if r.Level == 0 {
			d.next.features.Delete(r.Name)
		} else {
			d.next.features.Set(r.Name, r.Level)
		}
	}
}

func (d *Delta) registerBroker(offset int64, r *RegisterBroker) {
	b := r.Broker
	if b.Epoch < 0 {
		b.Epoch = offset
	}
	d.next.brokers.Set(b.ID, &b)
	d.brokers[b.ID] = true
}

func (d *Delta) brokerChange(r *BrokerChange) {
	old := d.next.Broker(r.ID)
	if old == nil || old.Epoch != r.Epoch {
		return
	}
	b := *old
	b.Fenced = r.Fenced.applied(b.Fenced)
	b.ShuttingDown = r.ShuttingDown.applied(b.ShuttingDown)
	b.Barred = r.Barred.applied(b.Barred)
	b.Newcomer = r.Newcomer.applied(b.Newcomer)
	if r.Directories != nil {
		b.Directories = r.Directories
	}
	d.next.brokers.Set(b.ID, &b)
	d.brokers[b.ID] = true
}

func (c Change) applied(was bool) bool {
	switch c {
	case Set:
		return true
	case Cleared:
		return false
	}
	return was
}

func (d *Delta) topic(r *TopicRecord) {
	if d.next.TopicByID(r.ID) != nil || r.ID.IsZero() {
		return
	}
	if old := d.next.Topic(r.Name); old != nil {
		d.remove(old) // a name has one topic: the newer
	}
	t := &Topic{Name: r.Name, ID: r.ID}
	d.ownTopics[r.ID] = t
	d.store(t)
	d.topics[r.ID] = true
}

func (d *Delta) removeTopic(r *RemoveTopic) {
	t := d.next.TopicByID(r.ID)
	if t == nil {
		return
	}
	d.remove(t)
	resource := Resource{TopicResource, t.Name}
	if _, had := d.next.configs.Delete(resource.key()); had {
		d.configs[resource] = true
	}
}

func (d *Delta) remove(t *Topic) {
	d.next.topics.Delete(t.Name)
	d.next.ids.Delete(string(t.ID[:]))
	d.next.partitions -= len(t.Partitions)
	d.topics[t.ID] = true
	delete(d.ownTopics, t.ID)
}

func (d *Delta) store(t *Topic) {
	d.next.topics.Set(t.Name, t)
	d.next.ids.Set(string(t.ID[:]), t)
}

// own returns a topic that may be changed in place, copied at most once for a delta; nil if there is none.
func (d *Delta) own(id kafka.TopicID) *Topic {
	if t := d.ownTopics[id]; t != nil {
		return t
	}
	old := d.next.TopicByID(id)
	if old == nil {
		return nil
	}
	t := &Topic{Name: old.Name, ID: old.ID, Partitions: slices.Clone(old.Partitions)}
	d.ownTopics[id] = t
	d.store(t)
	return t
}

func (d *Delta) partition(r *PartitionRecord) {
	t := d.own(r.Topic)
	if t == nil {
		return
	}
	p, number := r.Partition, int(r.Partition.Number)
	switch {
	case number == len(t.Partitions):
		t.Partitions = append(t.Partitions, &p)
		d.next.partitions++
	case number >= 0 && number < len(t.Partitions):
		t.Partitions[number] = &p
	default:
		return
	}
	d.ownPartitions[&p] = true
	d.changed[PartitionID{r.Topic, p.Number}] = true
}

func (d *Delta) partitionChange(r *PartitionChange) {
	if d.next.TopicByID(r.Topic).Partition(r.Partition) == nil {
		return
	}
	t := d.own(r.Topic)
	p := t.Partitions[r.Partition]
	if !d.ownPartitions[p] {
		was := *p
		p = &was
		t.Partitions[r.Partition] = p
		d.ownPartitions[p] = true
	}
	r.apply(p)
	d.changed[PartitionID{r.Topic, r.Partition}] = true
}

func (r *PartitionChange) apply(p *Partition) {
	for _, list := range []struct{ to, from *[]kafka.NodeID }{
		{&p.Replicas, &r.Replicas}, {&p.ISR, &r.ISR}, {&p.ELR, &r.ELR}, {&p.LastKnownELR, &r.LastKnownELR},
		{&p.Adding, &r.Adding}, {&p.Removing, &r.Removing},
	} {
		if *list.from != nil {
			*list.to = slices.Clip(*list.from)
			if len(*list.to) == 0 {
				*list.to = nil
			}
		}
	}
	if r.Directories != nil {
		p.Directories = r.Directories
	}
	if r.Leader != nil {
		p.Leader = *r.Leader
		p.LeaderEpoch++
	}
	if r.Recovery != nil {
		p.Recovery = *r.Recovery
	}
	p.PartitionEpoch++
}

func (d *Delta) config(r *ConfigRecord) {
	key := r.Resource.key()
	old, _ := d.next.configs.Get(key)
	if old == nil {
		old = &noConfigs
	}
	value := ""
	if r.Value != nil {
		value = *r.Value
	}
	c := old.with(r.Key, value, r.Value == nil)
	if c.Len() == 0 {
		d.next.configs.Delete(key)
	} else {
		d.next.configs.Set(key, c)
	}
	d.configs[r.Resource] = true
}
