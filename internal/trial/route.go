package trial

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// A real client asks for metadata when it is told that somebody else leads. Here the metadata of some node is looked into
// instead, which may be as stale as an answer would be; and now and then a client asks just anybody.

// any is some node, one that serves if there is one.
func (t *trial) any() *host {
	first := 0
	if len(t.hosts) > 1 {
		first = t.chance.IntN(len(t.hosts))
	}
	for n := range t.hosts {
		if h := t.hosts[(first+n)%len(t.hosts)]; h.serves() {
			return h
		}
	}
	return t.hosts[first]
}

// image is the metadata as some node has it; nil if none serves.
func (t *trial) image() *metadata.Image {
	if h := t.any(); h.serves() {
		return h.life.node.Image()
	}
	return nil
}

// leader is the node that leads a partition as far as some node knows.
func (t *trial) leader(tp kafka.TopicPartition) *host {
	if len(t.hosts) == 1 || t.chance.IntN(50) == 0 {
		return t.any()
	}
	if i := t.image(); i != nil {
		if p := i.Partition(tp.Topic, tp.Partition); p != nil && p.Leader != kafka.NoNode {
			return t.hostOf(p.Leader)
		}
	}
	return t.any()
}

// coordinator is the node that coordinates a group as far as some node knows.
func (t *trial) coordinator(group string) *host {
	h := t.any()
	if !h.serves() {
		return h
	}
	return t.leader(kafka.TopicPartition{Topic: kafka.GroupMetadataTopic, Partition: h.life.node.Groups.PartitionFor(group)})
}

// leads reports whether a life leads a partition in truth. One that was cut off may believe to, and says what was true before: where
// its log begins and ends is then no promise to anybody.
func (t *trial) leads(l *life, tp kafka.TopicPartition) bool {
	if !t.clustered() {
		return true
	}
	for _, h := range t.hosts {
		if h.listens() {
			t.learn(h.life.node.Image())
		}
	}
	if l.dead || t.newest == nil {
		return false
	}
	p := t.newest.Partition(tp.Topic, tp.Partition)
	own := l.node.Image().Partition(tp.Topic, tp.Partition)
	return p != nil && own != nil && int(p.Leader) == l.host.number && p.LeaderEpoch == own.LeaderEpoch
}

// learn remembers the newest metadata that any node has had applied: it stays committed when that node dies.
func (t *trial) learn(image *metadata.Image) {
	if t.newest == nil || image.Offset() > t.newest.Offset() {
		t.newest = image
	}
}

// coordinates reports whether a life coordinates a group in truth. One that was cut off may not know better, as a coordinator of
// Kafka's may not: it commits nothing, and what it tells may be of yesterday.
func (t *trial) coordinates(l *life, group string) bool {
	return !l.dead && t.leads(l, kafka.TopicPartition{Topic: kafka.GroupMetadataTopic, Partition: l.node.Groups.PartitionFor(group)})
}

func (t *trial) hostOf(id kafka.NodeID) *host { return t.hosts[id] }

// tell says in the log how a partition stands on each node, for whoever looks into a failure.
func (t *trial) tell(tp kafka.TopicPartition) {
	for _, h := range t.hosts {
		if !h.listens() {
			t.logf("host %d does not run", h.number)
			continue
		}
		p := h.life.node.Replicas.TopicNamed(tp.Topic).Partition(tp.Partition)
		if p == nil || p.Log() == nil {
			t.logf("host %d has no log of %s", h.number, tp)
			continue
		}
		log := p.Log()
		t.logf("host %d: %s is [%d, %d), durable to %d, high watermark %d, offline %v, %+v; metadata %+v", h.number, tp, log.LogStart(), log.End(), log.Durable(),
			p.HighWatermark(), log.Offline(), p.State(), h.life.node.Image().Partition(tp.Topic, tp.Partition))
		for _, producer := range log.Producers() {
			t.logf("  producer %+v", producer)
		}
	}
}
