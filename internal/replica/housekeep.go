package replica

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// Retain rolls segments that are old, and deletes those that retention no longer asks for.
func (m *Manager) Retain() {
	now := m.now()
	m.Partitions(func(p *Partition) {
		p.mu.Lock()
		defer p.mu.Unlock()
		log := p.log.Load()
		if log == nil || log.Offline() || p.deleted {
			return
		}
		if err := log.RollIfDue(now); err != nil {
			m.logger.Warn("cannot roll a segment", "partition", p.TopicPartition.String(), "error", err)
			return
		}
		n, err := log.DeleteExpired(now, p.watermark.Load())
		if err != nil {
			m.logger.Warn("cannot delete old segments", "partition", p.TopicPartition.String(), "error", err)
		} else if n > 0 {
			m.logger.Info("deleted old segments", "partition", p.TopicPartition.String(), "segments", n, "log_start", log.LogStart())
		}
		log.ExpireProducers(now)
	})
}

// RemoveDeleted removes the files of topics and segments that were deleted long enough ago.
func (m *Manager) RemoveDeleted() {
	if err := m.directory.RemoveDeleted(m.now()); err != nil {
		m.logger.Warn("cannot remove deleted files", "error", err)
	}
}

// Clean compacts the logs that are due for it, the dirtiest first as far as one pass goes.
func (m *Manager) Clean() {
	now := m.now()
	m.Partitions(func(p *Partition) {
		log := p.log.Load()
		if log == nil || log.Offline() || !log.Options().Compact {
			return
		}
		upTo := p.LastStableOffset()
		if _, due := log.CleanableRatio(now, upTo); !due {
			return
		}
		cleaned, err := log.Clean(now, upTo)
		if err != nil {
			m.logger.Warn("cannot compact a log", "partition", p.TopicPartition.String(), "error", err)
			return
		}
		logCleaned(m, p, cleaned)
	})
}

func logCleaned(m *Manager, p *Partition, c storage.Cleaned) {
	m.logger.Info("compacted a log", "partition", p.TopicPartition.String(), "segments", c.Segments,
		"bytes_before", c.BytesBefore, "bytes_after", c.BytesAfter, "up_to", c.UpTo)
}

// Flush makes what flush.ms asks for durable, where acknowledgements do not already.
func (m *Manager) Flush() {
	m.Partitions(func(p *Partition) {
		log := p.log.Load()
		if log != nil && !log.Offline() && log.End() > log.Durable() {
			m.directory.Flush(log)
		}
	})
}

// Checkpoint writes what bounds the next recovery.
func (m *Manager) Checkpoint() {
	if err := m.directory.Checkpoint(); err != nil {
		m.logger.Warn("cannot write the checkpoints", "error", err)
	}
}

// SaveLogStarts makes durable where logs start: what was deleted on request does not come back after a crash.
func (m *Manager) SaveLogStarts() error { return m.directory.Checkpoint() }

// Close ends every replica: who waits is told that this node leads no more. The logs stay open for the directory to close.
func (m *Manager) Close() {
	m.reopening.Lock()
	m.closed = true
	m.reopening.Unlock()
	m.proposals.close()
	for _, l := range m.linked() {
		l.fetcher.close()
	}
	m.Partitions(func(p *Partition) {
		var fire firing
		p.mu.Lock()
		p.leading, p.lead = false, nil
		p.failAll(kafka.NotLeaderOrFollower, &fire)
		p.mu.Unlock()
		fire.run()
	})
}
