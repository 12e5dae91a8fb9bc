package replica

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// A replica whose log is damaged, on a disk that works otherwise, is made anew from the others. It must not be elected meanwhile,
// nor count as in sync because of what it had: so the controller is told first, which takes it out of the ISR and the eligible
// replicas and begins a new leader epoch. A leader lets nobody into the ISR who has not fetched in its own epoch, and a damaged
// replica does not fetch. Once the metadata that this node has applied says that it is in no set, in an epoch that is later than
// the one in which the damage was noticed, nothing that is committed rests on the log, and it goes. Where nobody else has what
// is committed the controller refuses: the log stays as it is, and an operator has to decide.

const (
	// damagePause is how long the controller has for its answer to be in the metadata before it is told again.
	damagePause = 5 * time.Second
	// damageRefused is how long it is left alone where nobody else has what is committed.
	damageRefused = 30 * time.Second
)

// damage is what is known of a replica's damaged log.
type damage struct {
	noticed   bool
	epoch     int32 // leader epoch, as this node knew it then
	nextWord  time.Time
	repairing bool
	refused   bool // nobody else has what is committed, and that was said
}

// watchDamage looks for damaged replicas, tells the controller of those that others count on, and has the rest made anew.
func (m *Manager) watchDamage() {
	if m.assignDirectories == nil || !m.registered.Load() {
		return
	}
	var tell []*Partition
	now := m.rt.Now()
	m.Partitions(func(p *Partition) {
		switch p.damageAt(now) {
		case damageToTell:
			tell = append(tell, p)
		case damageToRepair:
			m.logger.Warn("the replica is damaged, and is made anew from its leader", "partition", p.TopicPartition.String(), "leader", p.State().Leader)
			m.openers[0].Do(func() { m.makeAnew(p) })
		}
	})
	if len(tell) > 0 {
		m.tellDamage(tell)
	}
}

type damageStep uint8

const (
	noDamage damageStep = iota
	damageToTell
	damageToRepair
)

// damageAt says what is to be done about a replica now, and takes it that it will be.
func (p *Partition) damageAt(now time.Time) damageStep {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, d := p.log.Load(), &p.damage
	if p.deleted || p.state == nil || log == nil || !log.Damaged() || len(p.state.Replicas) < 2 || d.repairing {
		return noDamage
	}
	if !d.noticed {
		d.noticed, d.epoch = true, p.leaderEpoch
	}
	if p.spared() {
		if p.leader == kafka.NoNode {
			return noDamage // there is nobody to copy from
		}
		d.repairing = true
		return damageToRepair
	}
	if now.Before(d.nextWord) {
		return noDamage
	}
	d.nextWord = now.Add(damagePause)
	return damageToTell
}

// spared says that nothing committed rests on this replica's log, and that nobody will take it for in sync. The partition's
// lock is held.
func (p *Partition) spared() bool {
	self := p.manager.node
	return p.damage.noticed && p.leaderEpoch > p.damage.epoch && p.leader != self &&
		!slices.Contains(p.state.ISR, self) && !slices.Contains(p.state.ELR, self)
}

// tellDamage tells the controller.
func (m *Manager) tellDamage(damaged []*Partition) {
	r := kmsg.NewPtrAssignReplicasToDirsRequest()
	r.BrokerID, r.BrokerEpoch = int32(m.node), m.ownEpoch()
	lost := kmsg.NewAssignReplicasToDirsRequestDirectory()
	lost.ID = metadata.DirectoryLost
	for _, p := range damaged {
		q := kmsg.NewAssignReplicasToDirsRequestDirectoryTopicPartition()
		q.Partition = p.TopicPartition.Partition
		if n := len(lost.Topics); n == 0 || lost.Topics[n-1].TopicID != p.TopicID {
			t := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
			t.TopicID = p.TopicID
			lost.Topics = append(lost.Topics, t)
		}
		t := &lost.Topics[len(lost.Topics)-1]
		t.Partitions = append(t.Partitions, q)
	}
	r.Directories = append(r.Directories, lost)
	m.assignDirectories(r, func(resp *kmsg.AssignReplicasToDirsResponse, err error) {
		if err != nil || resp.ErrorCode != 0 {
			return // it is told again
		}
		codes := map[metadata.PartitionID]kafka.ErrorCode{}
		for _, d := range resp.Directories {
			for _, t := range d.Topics {
				for _, q := range t.Partitions {
					codes[metadata.PartitionID{Topic: t.TopicID, Partition: q.Partition}] = kafka.ErrorCode(q.ErrorCode)
				}
			}
		}
		for _, p := range damaged {
			if codes[metadata.PartitionID{Topic: p.TopicID, Partition: p.TopicPartition.Partition}] == kafka.EligibleLeadersNotAvailable {
				p.damageRefused()
			}
		}
	})
}

// damageRefused notes that nobody else has what is committed.
func (p *Partition) damageRefused() {
	p.mu.Lock()
	d := &p.damage
	said := d.refused
	d.refused, d.nextWord = true, p.manager.rt.Now().Add(damageRefused)
	p.mu.Unlock()
	if !said {
		p.manager.logger.Error("the replica is damaged, and no other has everything that is committed: put its files back, or give up what is lost "+
			"by an unclean election (kafka-leader-election.sh --election-type unclean)", "partition", p.TopicPartition.String())
	}
}

// makeAnew removes a damaged log and begins an empty one, which then follows the leader.
func (m *Manager) makeAnew(p *Partition) {
	m.reopening.Lock()
	defer m.reopening.Unlock()
	p.mu.Lock()
	log := p.log.Load()
	may := !p.deleted && p.spared() && log != nil
	if !may {
		p.damage.repairing = false
	}
	p.mu.Unlock()
	if !may || m.closed || m.directory.Failed() != nil {
		return
	}
	if err := m.directory.DeleteLog(log); err != nil {
		m.logger.Error("cannot remove a damaged log", "partition", p.TopicPartition.String(), "error", err)
		p.mu.Lock()
		p.damage.repairing, p.damage.nextWord = false, m.rt.Now().Add(damageRefused)
		p.mu.Unlock()
		return
	}
	m.open(p)
	if p.openFailed() {
		return // it is tried again
	}
	p.beginAgain()
}
