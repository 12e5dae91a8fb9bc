package replica

import (
	"time"

	"github.com/gregorhq/gregor/internal/metadata"
)

// openAgain is how long a log that did not open is left alone.
const openAgain = time.Second

// open opens the log. A log that does not open takes its partition offline, not the node, and is tried again: its disk may
// only have been full.
func (m *Manager) open(p *Partition) {
	log, report, err := m.directory.OpenLog(p.TopicPartition, p.TopicID, p.Settings().Storage)
	if err != nil {
		p.mu.Lock()
		known := p.failed == err.Error()
		p.failed = err.Error()
		p.mu.Unlock()
		if !known {
			m.logger.Error("partition is offline: its log does not open", "partition", p.TopicPartition.String(), "error", err)
		}
		m.after(openAgain, func() { m.openers[0].Do(func() { m.reopen(p) }) })
		return
	}
	if report.Damaged {
		m.logger.Error("partition is offline: its log is damaged", "partition", p.TopicPartition.String(), "reason", report.Reason)
	}
	log.OnDurable(p.durable)
	p.mu.Lock()
	p.failed, p.savedStart, p.damage = "", log.LogStart(), damage{}
	p.watermark.Store(min(log.HighWatermark(), log.End()))
	p.log.Store(log)
	p.mu.Unlock()
}

func (p *Partition) openFailed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed != ""
}

// reopen tries to open a log once more. Neither does its partition go meanwhile nor is the directory closed.
func (m *Manager) reopen(p *Partition) {
	m.reopening.Lock()
	defer m.reopening.Unlock()
	if m.closed || m.directory.Failed() != nil || !p.wanted() {
		return
	}
	m.open(p)
	if p.openFailed() {
		return
	}
	m.logger.Info("partition is online again", "partition", p.TopicPartition.String())
	p.beginAgain()
}

// beginAgain takes its role up anew, with another log.
func (p *Partition) beginAgain() {
	p.mu.Lock()
	state := p.state
	p.leading = false // so that it begins to lead now that it has a log
	p.mu.Unlock()
	p.apply(state)
}

// wanted reports whether the partition still wants a log.
func (p *Partition) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.deleted && p.state != nil
}

// remember keeps what the metadata says. The partition's lock is held.
func (p *Partition) remember(state *metadata.Partition) {
	p.state = state
	p.leader, p.inSync, p.copies = state.Leader, len(state.ISR), len(state.Replicas)
}
