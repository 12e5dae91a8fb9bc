package node

import (
	"bytes"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/must"
	"github.com/gregorhq/gregor/internal/replica"
)

// layers finds the configs in effect: what the metadata sets, over what was set at start, over the defaults.
type layers struct {
	node   kafka.NodeID
	static config.Static
}

// of are the configs in effect for a topic, or with "" for the broker.
func (l layers) of(image *metadata.Image, topic string) config.Layers {
	all := config.Layers{
		Broker:        config.Layer(image.Configs(metadata.BrokerResource, strconv.Itoa(int(l.node))).Get),
		DefaultBroker: config.Layer(image.Configs(metadata.BrokerResource, "").Get),
		Static:        l.static.Layer(),
	}
	if topic != "" {
		all.Topic = config.Layer(image.Configs(metadata.TopicResource, topic).Get)
	}
	return all
}

// topicSettings is what the replicas ask about topics, as of one image.
type topicSettings struct {
	layers layers
	image  *metadata.Image
}

func (t topicSettings) TopicSettings(topic string) replica.Settings {
	return replica.SettingsFrom(t.layers.of(t.image, topic))
}

// configs is what the controller asks about keys.
type configs struct{ layers layers }

func (c configs) key(kind metadata.ResourceType, key string) (*config.Key, []*config.Key) {
	switch kind {
	case metadata.TopicResource:
		return config.TopicKey(key), config.TopicKeys()
	case metadata.BrokerResource:
		return config.BrokerKey(key), config.BrokerKeys()
	}
	return nil, nil
}

func (c configs) Check(kind metadata.ResourceType, name, key, value string) error {
	k, all := c.key(kind, key)
	if k == nil {
		return config.UnknownKey(key, all)
	}
	if kind == metadata.BrokerResource && !k.Dynamic {
		return &readOnlyError{key}
	}
	return k.Check(value)
}

type readOnlyError struct{ key string }

func (e *readOnlyError) Error() string {
	return "cannot update " + e.key + " dynamically: it is read when the broker starts"
}

func (c configs) IsList(kind metadata.ResourceType, key string) bool {
	k, _ := c.key(kind, key)
	return k != nil && k.Type == config.List
}

func (c configs) Default(image *metadata.Image, kind metadata.ResourceType, name, key string) string {
	k, _ := c.key(kind, key)
	if k == nil {
		return ""
	}
	return c.layers.of(image, "").Get(k, kind == metadata.TopicResource)
}

func (c configs) TopicConfigs(image *metadata.Image, set *metadata.Configs) []kmsg.CreateTopicsResponseTopicConfig {
	l := c.layers.of(image, "")
	l.Topic = config.Layer(set.Get)
	keys := config.TopicKeys()
	all := make([]kmsg.CreateTopicsResponseTopicConfig, 0, len(keys))
	for _, k := range keys {
		v := l.Values(k, true)[0]
		one := kmsg.NewCreateTopicsResponseTopicConfig()
		one.Name, one.Source, one.IsSensitive = k.Name, int8(v.Source), k.Sensitive()
		if !v.Null && !k.Sensitive() {
			one.Value = kmsg.StringPtr(v.Value)
		}
		all = append(all, one)
	}
	return all
}

func (c configs) NumPartitions(image *metadata.Image) int32 {
	return int32(c.layers.of(image, "").Int("num.partitions"))
}

// usualReplicas is how many replicas a topic has that nobody has said it for, as long as there are so many nodes.
const usualReplicas = 3

// ReplicationFactor is default.replication.factor where somebody has set it. Kafka's default is 1, which loses topics with a
// disk; ours is as many as there are nodes, up to 3 (docs/decisions/0031).
func (c configs) ReplicationFactor(image *metadata.Image) int16 {
	l, key := c.layers.of(image, ""), config.BrokerKey("default.replication.factor")
	if l.Values(key, false)[0].Source != config.FromDefault {
		return int16(l.Int(key.Name))
	}
	live := 0
	image.Brokers(func(b *metadata.Broker) bool {
		if b.Active() {
			live++
		}
		return true
	})
	return int16(max(1, min(usualReplicas, live)))
}

func (c configs) MinISR(image *metadata.Image, topic string) int {
	return int(c.layers.of(image, topic).TopicInt("min.insync.replicas"))
}

func (c configs) InternalReplicas(image *metadata.Image, topic string) int {
	if topic != kafka.GroupMetadataTopic {
		return 0
	}
	return int(c.layers.of(image, "").Int("offsets.topic.replication.factor"))
}

// shareOutAfter is how long a broker has joined when it is given its share of replicas; 0 for never.
func shareOutAfter(l config.Layers) time.Duration {
	if !l.Bool("auto.replica.rebalance.enable") {
		return 0
	}
	return ms(l.Int("auto.replica.rebalance.delay.ms"))
}

// rebalanceEvery is how often leaders go back to first replicas; 0 for never.
func rebalanceEvery(l config.Layers) time.Duration {
	if !l.Bool("auto.leader.rebalance.enable") {
		return 0
	}
	return time.Duration(l.Int("leader.imbalance.check.interval.seconds")) * time.Second
}

func groupConfig(l config.Layers) group.Config {
	return group.Config{
		Partitions:             int32(l.Int("offsets.topic.num.partitions")),
		MinSessionTimeout:      ms(l.Int("group.min.session.timeout.ms")),
		MaxSessionTimeout:      ms(l.Int("group.max.session.timeout.ms")),
		InitialRebalanceDelay:  ms(l.Int("group.initial.rebalance.delay.ms")),
		MaxSize:                int(l.Int("group.max.size")),
		OffsetMetadataMaxBytes: int(l.Int("offset.metadata.max.bytes")),
		OffsetsRetention:       time.Duration(l.Int("offsets.retention.minutes")) * time.Minute,
		OffsetsRetentionCheck:  ms(l.Int("offsets.retention.check.interval.ms")),
	}
}

// groupTopics is what the group coordinator asks about topics.
type groupTopics struct{ publisher *publisher }

func (g groupTopics) PartitionCount(topic string) int32 {
	if t := g.publisher.Image().Topic(topic); t != nil {
		return int32(len(t.Partitions))
	}
	return 0
}

func (g groupTopics) NameOf(id kafka.TopicID) (string, bool) {
	if t := g.publisher.Image().TopicByID(id); t != nil {
		return t.Name, true
	}
	return "", false
}

func (g groupTopics) IDOf(name string) kafka.TopicID {
	if t := g.publisher.Image().Topic(name); t != nil {
		return t.ID
	}
	return kafka.TopicID{}
}

// bootstrap makes the first batches of a new cluster: the snapshot of an image that knows its name and its features.
func (n *Node) bootstrap(clusterID string) (batches [][]byte) {
	delta := metadata.Empty().Delta()
	delta.Replay(0, &metadata.ClusterID{ID: clusterID})
	for _, f := range api.SupportedFeatures() {
		delta.Replay(0, &metadata.FeatureLevel{Name: f.Name, Level: f.Max})
	}
	err := delta.Image().Snapshot(n.o.Runtime.Now().UnixMilli(), func(batch []byte) error {
		batches = append(batches, bytes.Clone(batch))
		return nil
	})
	must.NoError(err, "make the first snapshot")
	return batches
}
