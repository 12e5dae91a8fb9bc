package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partition is a partition of a topic, by its name in Kafka.
type partition struct {
	topic  string
	number int32
}

// deployment is how a topology lies on a cluster: which topics there are, and which task reads which partitions.
type deployment struct {
	counts  map[string]int32 // partitions of every topic that is read
	groups  map[int][]string // topics that a sub-topology reads
	of      map[string]int   // the sub-topology that reads a topic
	sources []string         // all of them
	globals []string
	inner   map[string]bool // repartition topics
	fromEnd map[string]bool
	matched map[*node][]string  // the topics that patterns match
	ids     map[string][16]byte // of all source topics: commits name topics by them since KIP-848
}

// taskOf is the task that reads a partition.
func (d *deployment) taskOf(p partition) (TaskID, bool) {
	g, ok := d.of[p.topic]
	return TaskID{g, p.number}, ok
}

// partitionsOf lists what a task reads.
func (d *deployment) partitionsOf(id TaskID) (all []partition) {
	for _, topic := range d.groups[id.Group] {
		if id.Partition < d.counts[topic] {
			all = append(all, partition{topic, id.Partition})
		}
	}
	return all
}

// named is the name of a topic in a commit's answer, which newer brokers name by its id alone.
func (d *deployment) named(t kmsg.OffsetCommitResponseTopic) string {
	for topic, id := range d.ids {
		if id == t.TopicID {
			return topic
		}
	}
	return t.Topic
}

// tasks lists all tasks: one for each partition of the sub-topology's widest topic.
func (d *deployment) tasks() (all []TaskID) {
	for g, topics := range d.groups {
		most := int32(0)
		for _, t := range topics {
			most = max(most, d.counts[t])
		}
		for p := range most {
			all = append(all, TaskID{g, p})
		}
	}
	slices.SortFunc(all, TaskID.compare)
	return all
}

// deploy looks at the topics that are there, finds out how wide the internal ones have to be, and creates those that are
// missing.
func deploy(ctx context.Context, admin *kadm.Client, t *Topology, c Config) (*deployment, error) {
	d := &deployment{counts: map[string]int32{}, groups: map[int][]string{}, of: map[string]int{}, inner: map[string]bool{}, fromEnd: map[string]bool{}, matched: map[*node][]string{}}
	d.read(t, c)
	there, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("streams: listing topics: %w", err)
	}
	if err := d.match(t, c, there); err != nil {
		return nil, err
	}
	for _, topic := range slices.Concat(d.sources, d.globals) {
		if detail, ok := there[topic]; ok && detail.Err == nil {
			d.counts[topic] = int32(len(detail.Partitions))
		} else if !d.inner[topic] {
			return nil, misfit{fmt.Errorf("streams: source topic %s does not exist", topic)}
		}
	}
	if err := d.widths(t, c); err != nil {
		return nil, err
	}
	if err := t.checkCopartition(d, c); err != nil {
		return nil, err
	}
	if err := d.create(ctx, admin, there, t, c); err != nil {
		return nil, err
	}
	return d, d.identify(ctx, admin)
}

// identify looks up the topics' ids. Topics that were only just created may take a moment to be known everywhere.
func (d *deployment) identify(ctx context.Context, admin *kadm.Client) error {
	if len(d.sources) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		d.ids = map[string][16]byte{}
		there, err := admin.ListTopics(ctx, d.sources...)
		if err != nil {
			return fmt.Errorf("streams: listing topics: %w", err)
		}
		for topic, detail := range there {
			if detail.Err == nil {
				d.ids[topic] = detail.ID
			}
		}
		if len(d.ids) == len(d.sources) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("streams: looking up the ids of %v: %w", d.sources, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// read collects the topics of a topology.
func (d *deployment) read(t *Topology, c Config) {
	for g, group := range t.groups {
		for _, n := range group.nodes {
			if n.kind != sourceNode {
				continue
			}
			for _, name := range n.topics {
				topic := c.topic(name, n.internal)
				if n.global {
					d.globals = append(d.globals, topic)
					continue
				}
				d.of[topic], d.inner[topic], d.fromEnd[topic] = g, n.internal, n.reset == Latest
				d.groups[g] = append(d.groups[g], topic)
				d.sources = append(d.sources, topic)
			}
		}
	}
}

// match finds the topics of patterns: of those that the topology does not name, and that are not Kafka's own.
func (d *deployment) match(t *Topology, c Config, there kadm.TopicDetails) error {
	by := map[string]*node{}
	for g, group := range t.groups {
		for _, n := range group.nodes {
			if n.pattern == nil {
				continue
			}
			for _, topic := range there.Names() {
				if _, named := d.of[topic]; named && by[topic] == nil || there[topic].IsInternal || there[topic].Err != nil || slices.Contains(d.globals, topic) || !n.pattern.MatchString(topic) {
					continue
				}
				if other := by[topic]; other != nil {
					return misfit{fmt.Errorf("streams: topic %s matches two patterns: %s and %s", topic, other.where, n.where)}
				}
				by[topic] = n
				d.matched[n] = append(d.matched[n], topic)
				d.of[topic], d.fromEnd[topic] = g, n.reset == Latest
				d.groups[g] = append(d.groups[g], topic)
				d.sources = append(d.sources, topic)
			}
		}
	}
	return nil
}

// topic is the name of a topic in Kafka.
func (c Config) topic(name string, internal bool) string {
	if internal {
		return c.AppID + "-" + name
	}
	return name
}

// widths gives every repartition topic as many partitions as asked for, or as the widest topic has that feeds it. They may
// feed one another, so this goes on until nothing changes.
func (d *deployment) widths(t *Topology, c Config) error {
	d.alignJoined(t, c)
	for range len(t.internal) + 1 {
		for _, in := range t.internal {
			topic := c.topic(in.name, true)
			if d.counts[topic] > 0 {
				continue
			}
			if d.counts[topic] = int32(in.partitions); in.partitions == 0 {
				d.counts[topic] = d.widestBefore(t, in.name)
			}
		}
	}
	for _, in := range t.internal {
		if topic := c.topic(in.name, true); d.counts[topic] == 0 {
			return misfit{fmt.Errorf("streams: nothing says how many partitions %s needs", topic)}
		}
	}
	return nil
}

// alignJoined gives a repartition topic the width of a topic that is joined with it.
func (d *deployment) alignJoined(t *Topology, c Config) {
	asked := map[string]int{}
	for _, in := range t.internal {
		asked[c.topic(in.name, true)] = in.partitions
	}
	for _, same := range t.same {
		widest := int32(0)
		var topics []string
		for _, n := range same.nodes {
			topics = append(topics, d.topicsOf(n, c)...)
		}
		for _, topic := range topics {
			if !d.inner[topic] {
				widest = max(widest, d.counts[topic])
			}
		}
		for _, topic := range topics {
			if d.inner[topic] && asked[topic] == 0 && widest > 0 {
				d.counts[topic] = widest
			}
		}
	}
}

// widestBefore is the width of the sub-topologies that write a repartition topic.
func (d *deployment) widestBefore(t *Topology, name string) (most int32) {
	for g, group := range t.groups {
		for _, n := range group.nodes {
			if n.kind == sinkNode && n.internal && n.target == "topic: "+name {
				for _, topic := range d.groups[g] {
					most = max(most, d.counts[topic])
				}
			}
		}
	}
	return most
}

// checkCopartition finds topics that have to be equally wide and are not.
func (t *Topology) checkCopartition(d *deployment, c Config) error {
	var errs []error
	for _, same := range t.same {
		var first string
		for _, n := range same.nodes {
			for _, topic := range d.topicsOf(n, c) {
				if first == "" {
					first = topic
				}
				if d.counts[topic] != d.counts[first] {
					errs = append(errs, fmt.Errorf("%s: topics %s and %s are joined, but have %d and %d partitions", same.where, first, topic, d.counts[first], d.counts[topic]))
				}
			}
		}
	}
	if len(errs) > 0 {
		return misfit{errors.Join(errs...)}
	}
	return nil
}

// topicsOf are the topics that a node's records come from.
func (d *deployment) topicsOf(n *node, c Config) (topics []string) {
	if n.kind == sourceNode {
		topics = slices.Clone(d.matched[n])
		for _, name := range n.topics {
			topics = append(topics, c.topic(name, n.internal))
		}
		return topics
	}
	for _, p := range n.parents {
		topics = append(topics, d.topicsOf(p, c)...)
	}
	return topics
}

// create creates the internal topics that are missing, and refuses those that are there with another width.
func (d *deployment) create(ctx context.Context, admin *kadm.Client, there kadm.TopicDetails, t *Topology, c Config) error {
	make := func(topic string, width int32, config map[string]*string) error {
		if detail, ok := there[topic]; ok && detail.Err == nil {
			if len(detail.Partitions) != int(width) {
				return misfit{fmt.Errorf("streams: internal topic %s has %d partitions, and needs %d", topic, len(detail.Partitions), width)}
			}
			return nil
		}
		r, err := admin.CreateTopic(ctx, width, c.ReplicationFactor, config, topic)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("streams: creating %s: %w", topic, err)
		}
		return nil
	}
	for _, in := range t.internal {
		topic := c.topic(in.name, true)
		if err := make(topic, d.counts[topic], repartitionConfig()); err != nil {
			return err
		}
	}
	for g, group := range t.groups {
		width := int32(0)
		for _, topic := range d.groups[g] {
			width = max(width, d.counts[topic])
		}
		if width == 0 {
			continue // no topic matches its pattern yet
		}
		for _, n := range group.nodes {
			for _, name := range n.stores {
				s := t.stores[name]
				if !s.logged || s.global || s.changelog != "" {
					continue
				}
				if err := make(c.AppID+"-"+name+"-changelog", width, changelogConfig(s)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// repartitionConfig is what Java gives repartition topics (RepartitionTopicConfig): nothing is lost there, and what is purged frees its
// space soon.
func repartitionConfig() map[string]*string {
	return map[string]*string{"cleanup.policy": ptr("delete"), "retention.ms": ptr("-1"), "segment.bytes": ptr("52428800"),
		"message.timestamp.type": ptr("CreateTime")}
}

// changelogConfig is what Java gives changelogs: windows are deleted a day after their retention, and versions may be compacted a day
// after their history (WindowedChangelogTopicConfig, VersionedChangelogTopicConfig).
func changelogConfig(s *storeNode) map[string]*string {
	const day = 24 * 60 * 60 * 1000
	config := map[string]*string{"cleanup.policy": ptr("compact"), "message.timestamp.type": ptr("CreateTime")}
	switch {
	case s.windowed:
		if config["cleanup.policy"] = ptr("compact,delete"); s.unique {
			config["cleanup.policy"] = ptr("delete")
		}
		config["retention.ms"] = ptr(strconv.FormatInt(s.retention+day, 10))
	case s.versioned:
		config["min.compaction.lag.ms"] = ptr(strconv.FormatInt(s.retention+day, 10))
	}
	return config
}

func ptr(s string) *string { return &s }
