package metadata

import "github.com/gregorhq/gregor/internal/kafka"

// snapshotBatch is about how large a batch of a snapshot becomes.
const snapshotBatch = 256 << 10

// Records visits records that make the image from the empty one, in a fixed order.
func (i *Image) Records(visit func(Record)) {
	if i.clusterID != "" {
		visit(&ClusterID{i.clusterID})
	}
	i.Features(func(name string, level int16) bool {
		visit(&FeatureLevel{name, level})
		return true
	})
	if i.producerIDs != 0 {
		visit(&ProducerIDs{Broker: kafka.NoNode, Epoch: -1, Next: i.producerIDs})
	}
	i.Brokers(func(b *Broker) bool {
		visit(&RegisterBroker{*b})
		return true
	})
	i.Topics(func(t *Topic) bool {
		visit(&TopicRecord{t.Name, t.ID})
		for _, p := range t.Partitions {
			visit(&PartitionRecord{t.ID, *p})
		}
		return true
	})
	i.configs.Scan(func(key string, c *Configs) bool {
		for k, v := range c.All {
			visit(&ConfigRecord{resourceOfKey(key), k, &v})
		}
		return true
	})
}

// Snapshot visits batches that, replayed on the empty image, make this one with its offset. There is at least one.
func (i *Image) Snapshot(now int64, visit func(batch []byte) error) error {
	var err error
	batch := appendHeader(nil, flagSnapshot, i.offset, now)
	flush := func() {
		if err == nil {
			err = visit(batch)
		}
		batch = appendHeader(nil, flagSnapshot, i.offset, now)
	}
	i.Records(func(r Record) {
		if len(batch) > snapshotBatch {
			flush()
		}
		batch = appendRecords(batch, []Record{r})
	})
	// The last one carries the offset even if there is nothing else to say.
	batch = appendRecords(batch, []Record{&NoOp{}})
	flush()
	return err
}
