package metadata

import "github.com/gregorhq/gregor/internal/kafka"

// The fields of each record, in the order in which they are on disk. A pair of encode and decode is changed only by adding at
// the end, under a new version. A record that has nothing of what was added is written in the version before.

func (r *ClusterID) encode(e *encoder) { e.string(r.ID) }
func (r *ClusterID) decode(d *decoder) { r.ID = d.string() }

func (*NoOp) encode(*encoder) {}
func (*NoOp) decode(*decoder) {}

func (r *RegisterBroker) encode(e *encoder) {
	b := &r.Broker
	e.int(int64(b.ID))
	e.int(b.Epoch)
	e.uint(b.BootSequence)
	e.id(b.Incarnation)
	e.count(len(b.Endpoints))
	for _, p := range b.Endpoints {
		e.string(p.Listener)
		e.int(int64(p.Protocol))
		e.string(p.Host)
		e.uint(uint64(p.Port))
	}
	e.string(b.Rack)
	e.directories(b.Directories)
	e.count(len(b.Features))
	for _, f := range b.Features {
		e.string(f.Name)
		e.int(int64(f.Min))
		e.int(int64(f.Max))
	}
	e.bool(b.Fenced)
	e.bool(b.ShuttingDown)
	if r.version() != 0 {
		e.uint(b.RaftID)
		e.bool(b.Barred)
	}
	if b.Newcomer {
		e.bool(true)
	}
}

func (r *RegisterBroker) version() byte {
	if r.Broker.Newcomer {
		return 2 | skippable
	}
	if r.Broker.RaftID != 0 || r.Broker.Barred {
		return 1 | skippable // older software has no use for it
	}
	return 0
}

func (r *RegisterBroker) decode(d *decoder) {
	b := &r.Broker
	b.ID = d.node()
	b.Epoch = d.int(64)
	b.BootSequence = d.uvarint()
	b.Incarnation = d.id()
	for range d.count() {
		p := Endpoint{Listener: d.string(), Protocol: int16(d.int(16)), Host: d.string()}
		port := d.uvarint()
		if port > 65535 {
			d.fail("a port above 65535")
		}
		p.Port = uint16(port)
		b.Endpoints = append(b.Endpoints, p)
	}
	b.Rack = d.string()
	b.Directories = d.directories()
	for range d.count() {
		b.Features = append(b.Features, FeatureRange{d.string(), int16(d.int(16)), int16(d.int(16))})
	}
	b.Fenced = d.bool()
	b.ShuttingDown = d.bool()
	if d.version >= 1 {
		b.RaftID = d.uvarint()
		b.Barred = d.bool()
	}
	if d.version >= 2 {
		b.Newcomer = d.bool()
	}
}

func (r *UnregisterBroker) encode(e *encoder) { e.int(int64(r.ID)); e.int(r.Epoch) }
func (r *UnregisterBroker) decode(d *decoder) { r.ID = d.node(); r.Epoch = d.int(64) }

func (r *BrokerChange) encode(e *encoder) {
	e.int(int64(r.ID))
	e.int(r.Epoch)
	e.int(int64(r.Fenced))
	e.int(int64(r.ShuttingDown))
	e.directories(r.Directories)
	if r.version() != 0 {
		e.int(int64(r.Barred))
	}
	if r.Newcomer != Unchanged {
		e.int(int64(r.Newcomer))
	}
}

func (r *BrokerChange) version() byte {
	if r.Newcomer != Unchanged {
		return 2 | skippable
	}
	if r.Barred != Unchanged {
		return 1 | skippable // older software has no use for it
	}
	return 0
}

func (r *BrokerChange) decode(d *decoder) {
	r.ID = d.node()
	r.Epoch = d.int(64)
	r.Fenced = Change(d.int(8))
	r.ShuttingDown = Change(d.int(8))
	r.Directories = d.directories()
	if d.version >= 1 {
		r.Barred = Change(d.int(8))
	}
	if d.version >= 2 {
		r.Newcomer = Change(d.int(8))
	}
}

func (r *TopicRecord) encode(e *encoder) { e.string(r.Name); e.id(r.ID) }
func (r *TopicRecord) decode(d *decoder) { r.Name = d.string(); r.ID = d.id() }

func (r *RemoveTopic) encode(e *encoder) { e.id(r.ID) }
func (r *RemoveTopic) decode(d *decoder) { r.ID = d.id() }

func (r *PartitionRecord) encode(e *encoder) {
	p := &r.Partition
	e.id(r.Topic)
	e.int(int64(p.Number))
	e.nodes(p.Replicas)
	e.directories(p.Directories)
	e.nodes(p.ISR)
	e.nodes(p.ELR)
	e.nodes(p.LastKnownELR)
	e.nodes(p.Adding)
	e.nodes(p.Removing)
	e.int(int64(p.Leader))
	e.int(int64(p.LeaderEpoch))
	e.int(int64(p.PartitionEpoch))
	e.int(int64(p.Recovery))
}

func (r *PartitionRecord) decode(d *decoder) {
	p := &r.Partition
	r.Topic = d.id()
	p.Number = int32(d.int(32))
	p.Replicas = d.nodes()
	p.Directories = d.directories()
	p.ISR = d.nodes()
	p.ELR = d.nodes()
	p.LastKnownELR = d.nodes()
	p.Adding = d.nodes()
	p.Removing = d.nodes()
	p.Leader = d.node()
	p.LeaderEpoch = int32(d.int(32))
	p.PartitionEpoch = int32(d.int(32))
	p.Recovery = RecoveryState(d.int(8))
}

func (r *PartitionChange) encode(e *encoder) {
	e.id(r.Topic)
	e.int(int64(r.Partition))
	e.nodes(r.Replicas)
	e.directories(r.Directories)
	e.nodes(r.ISR)
	e.nodes(r.ELR)
	e.nodes(r.LastKnownELR)
	e.nodes(r.Adding)
	e.nodes(r.Removing)
	e.bool(r.Leader != nil)
	if r.Leader != nil {
		e.int(int64(*r.Leader))
	}
	e.bool(r.Recovery != nil)
	if r.Recovery != nil {
		e.int(int64(*r.Recovery))
	}
}

func (r *PartitionChange) decode(d *decoder) {
	r.Topic = d.id()
	r.Partition = int32(d.int(32))
	r.Replicas = d.nodes()
	r.Directories = d.directories()
	r.ISR = d.nodes()
	r.ELR = d.nodes()
	r.LastKnownELR = d.nodes()
	r.Adding = d.nodes()
	r.Removing = d.nodes()
	if d.bool() {
		leader := d.node()
		r.Leader = &leader
	}
	if d.bool() {
		recovery := RecoveryState(d.int(8))
		r.Recovery = &recovery
	}
}

func (r *ConfigRecord) encode(e *encoder) {
	e.int(int64(r.Resource.Type))
	e.string(r.Resource.Name)
	e.string(r.Key)
	e.bool(r.Value != nil)
	if r.Value != nil {
		e.string(*r.Value)
	}
}

func (r *ConfigRecord) decode(d *decoder) {
	r.Resource.Type = ResourceType(d.int(8))
	r.Resource.Name = d.string()
	r.Key = d.string()
	if d.bool() {
		value := d.string()
		r.Value = &value
	}
}

func (r *ProducerIDs) encode(e *encoder) { e.int(int64(r.Broker)); e.int(r.Epoch); e.int(r.Next) }
func (r *ProducerIDs) decode(d *decoder) {
	r.Broker = d.node()
	r.Epoch = d.int(64)
	r.Next = d.int(64)
}

func (r *FeatureLevel) encode(e *encoder) { e.string(r.Name); e.int(int64(r.Level)) }
func (r *FeatureLevel) decode(d *decoder) { r.Name = d.string(); r.Level = int16(d.int(16)) }

// LeaderIs names a leader for a PartitionChange.
func LeaderIs(id kafka.NodeID) *kafka.NodeID { return &id }

// RecoveryIs names a recovery state for a PartitionChange.
func RecoveryIs(s RecoveryState) *RecoveryState { return &s }
