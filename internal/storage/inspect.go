package storage

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

// InspectLog visits the batches of a .log file, with their positions, whole and unchecked, up to the first place where
// there is none. The bytes are valid during the visit only.
func InspectLog(fs vfs.FS, name string, visit func(position int64, b record.Batch) error) error {
	file, err := fs.Open(name)
	if err != nil {
		return err
	}
	defer file.Release()
	size, err := file.Size()
	if err != nil {
		return err
	}
	w := newScanner(file, 0, size)
	defer w.close()
	return w.each(visit)
}

// baseOfName reads the base offset that a segment's file is named after.
func baseOfName(name string) (int64, error) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	digits, _, _ := strings.Cut(name, ".")
	base, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not named after an offset", name)
	}
	return base, nil
}

// InspectIndex visits the entries of a .index file: a batch's last offset, and where it starts.
func InspectIndex(fs vfs.FS, name string, visit func(offset, position int64) error) error {
	base, err := baseOfName(name)
	if err != nil {
		return err
	}
	data, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		return err
	}
	for ; len(data) >= indexEntrySize; data = data[indexEntrySize:] {
		if err := visit(base+int64(binary.BigEndian.Uint32(data)), int64(binary.BigEndian.Uint32(data[4:]))); err != nil {
			return err
		}
	}
	return nil
}

// InspectTimeIndex visits the entries of a .timeindex file: a timestamp, and the end of the batch that has it.
func InspectTimeIndex(fs vfs.FS, name string, visit func(ms, offset int64) error) error {
	base, err := baseOfName(name)
	if err != nil {
		return err
	}
	data, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		return err
	}
	for ; len(data) >= timeIndexEntrySize; data = data[timeIndexEntrySize:] {
		if err := visit(int64(binary.BigEndian.Uint64(data)), base+int64(binary.BigEndian.Uint32(data[8:]))); err != nil {
			return err
		}
	}
	return nil
}

// InspectedProducer is one entry of a .snapshot file.
type InspectedProducer struct {
	ActiveProducer
	FirstSequence int32
	LastOffset    int64
	OffsetDelta   int32
}

// InspectSnapshot reads a .snapshot file.
func InspectSnapshot(fs vfs.FS, name string) ([]InspectedProducer, error) {
	data, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		return nil, err
	}
	p, err := decodeProducers(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var list []InspectedProducer
	for _, s := range p.sorted() {
		e := InspectedProducer{ActiveProducer: s.active(), FirstSequence: -1, LastOffset: -1}
		if s.count > 0 {
			b := &s.batches[s.count-1]
			e.FirstSequence, e.LastOffset, e.OffsetDelta = b.firstSequence(), b.lastOffset, b.offsetDelta
		}
		list = append(list, e)
	}
	return list, nil
}

func (s *producerState) active() ActiveProducer {
	a := ActiveProducer{
		Producer: kafka.Producer{ID: s.id, Epoch: s.epoch}, LastSequence: -1, LastTimestamp: s.lastTimestamp,
		CoordinatorEpoch: s.coordinatorEpoch, TxnStartOffset: s.txnFirstOffset,
	}
	if s.count > 0 {
		a.LastSequence = s.batches[s.count-1].lastSequence
	}
	return a
}
