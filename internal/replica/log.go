package replica

import (
	"io"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/statemachine"
	"github.com/gregorhq/gregor/internal/storage"
)

// machineLog is a partition as the log of a state machine.
type machineLog struct{ p *Partition }

// MachineLog is the partition as a log on which a state machine stands. The partition carries one at a time.
func (p *Partition) MachineLog() statemachine.Log { return machineLog{p} }

func (l machineLog) Append(epoch int32, batch []byte) (next int64, err error) {
	p := l.p
	fire := firings.Get().(*firing)
	defer func() {
		fire.run()
		fire.reset()
		firings.Put(fire)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.leading || p.leaderEpoch != epoch {
		return 0, kafka.NotLeaderOrFollower
	}
	if code := p.leads(-1); code != kafka.None {
		return 0, code
	}
	log := p.log.Load()
	if len(batch) > p.settings.Load().Limits.MaxBytes {
		return 0, kafka.RecordListTooLarge
	}
	one := storage.Append{Batch: batch}
	if err := log.AppendAsLeader(epoch, p.manager.now(), []*storage.Append{&one}); err != nil {
		return 0, err
	}
	if one.Err != kafka.None {
		return 0, one.Err
	}
	p.manager.directory.Flush(log)
	fire.fetches = append(fire.fetches, p.following...)
	if p.settings.Load().Memory {
		p.advance(log, fire)
	}
	return one.LastOffset + 1, nil
}

// readChunk is how much of a log is read at a time while a machine is loaded.
const readChunk = 1 << 20

func (l machineLog) Read(from int64, visit func(offset int64, batch []byte) error) error {
	log := l.p.log.Load()
	if log == nil {
		return kafka.KafkaStorageError
	}
	end := log.End()
	from = max(from, log.LogStart())
	for from < end {
		found, err := log.Read(from, readChunk, end, true)
		if err != nil {
			return err
		}
		if found.Size == 0 {
			return nil
		}
		from, err = l.visit(found, from, visit)
		if err != nil {
			return err
		}
	}
	return nil
}

// visit reads one range and visits its batches.
func (l machineLog) visit(found storage.Range, from int64, visit func(offset int64, batch []byte) error) (int64, error) {
	defer found.Release()
	buffer := make([]byte, found.Size)
	if n, err := found.File.ReadAt(buffer, found.Position); n < len(buffer) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return from, err
	}
	for len(buffer) >= record.HeaderSize {
		size := record.Batch(buffer).Size()
		if size > int64(len(buffer)) {
			break
		}
		batch := record.Batch(buffer[:size])
		buffer = buffer[size:]
		if err := visit(batch.BaseOffset(), batch); err != nil {
			return from, err
		}
	}
	return found.NextOffset, nil
}

func (l machineLog) OnCommitted(f func(offset int64)) {
	l.p.mu.Lock()
	l.p.committed = f
	watermark := l.p.watermark.Load()
	l.p.mu.Unlock()
	if f != nil {
		f(watermark)
	}
}
