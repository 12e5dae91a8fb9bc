package storage

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/vfs"
)

// epochStart is where a leader epoch begins (KIP-101). A log has them rising in both fields.
// On disk they are lines of leader-epoch-checkpoint. The file may lack the latest ones after a crash: batches carry their
// epoch, and recovery reads those above the recovery point, below which the file is complete.
type epochStart struct {
	epoch int32
	start int64
}

const (
	noEpoch  = -1
	noOffset = -1
)

func (l *Log) epochList() []epochStart { return *l.epochs.Load() }

func (l *Log) setEpochs(list []epochStart) {
	l.epochs.Store(&list)
	l.epochsDirty.Store(true)
}

// startEpoch notes where an epoch starts. Epochs that would start there or later never held a record that survived.
func (l *Log) startEpoch(epoch int32, start int64) {
	list := l.epochList()
	keep := len(list)
	for keep > 0 && (list[keep-1].epoch >= epoch || list[keep-1].start >= start) {
		keep--
	}
	l.setEpochs(append(list[:keep:keep], epochStart{epoch, start}))
}

// LatestEpoch is the largest leader epoch with a start offset, or -1.
func (l *Log) LatestEpoch() int32 {
	list := l.epochList()
	if len(list) == 0 {
		return noEpoch
	}
	return list[len(list)-1].epoch
}

// EpochAt is the leader epoch that an offset was or will be written in, or -1.
func (l *Log) EpochAt(offset int64) int32 {
	list := l.epochList()
	i := sort.Search(len(list), func(i int) bool { return list[i].start > offset })
	if i == 0 {
		return noEpoch
	}
	return list[i-1].epoch
}

// EndOffsetForEpoch is the largest known epoch not above the one asked for, and where it ends (KIP-101, KIP-279);
// -1, -1 where the log knows nothing of it. An epoch before all known ones ends where those begin.
func (l *Log) EndOffsetForEpoch(epoch int32) (found int32, end int64) {
	list := l.epochList()
	if epoch < 0 || len(list) == 0 || epoch > list[len(list)-1].epoch {
		return noEpoch, noOffset
	}
	if epoch == list[len(list)-1].epoch {
		return epoch, l.end.Load()
	}
	above := sort.Search(len(list), func(i int) bool { return list[i].epoch > epoch })
	if above == 0 {
		return epoch, list[0].start
	}
	return list[above-1].epoch, list[above].start
}

// AssignEpochStart notes that an epoch starts at the log's end. Writer.
func (l *Log) AssignEpochStart(epoch int32) error {
	if err := l.usable(); err != nil {
		return err
	}
	if epoch > l.LatestEpoch() {
		l.startEpoch(epoch, l.end.Load())
	}
	return nil
}

// truncateEpochs forgets epochs that start at or behind an end, unless they are the current leader's to come.
func (l *Log) truncateEpochs(end int64) {
	list := l.epochList()
	keep := sort.Search(len(list), func(i int) bool { return list[i].start >= end })
	if keep < len(list) {
		l.setEpochs(list[:keep:keep])
	}
}

// advanceEpochs moves the earliest epochs to the log's new start: the last one that starts at or before it stays.
func (l *Log) advanceEpochs(start int64) {
	list := l.epochList()
	first := sort.Search(len(list), func(i int) bool { return list[i].start > start }) - 1
	if first < 0 || first == 0 && list[0].start == start {
		return
	}
	moved := append([]epochStart{{list[first].epoch, start}}, list[first+1:]...)
	l.setEpochs(moved)
}

// encodeEpochs is what leader-epoch-checkpoint is to hold.
func (l *Log) encodeEpochs() []byte {
	var lines []string
	for _, e := range l.epochList() {
		lines = append(lines, fmt.Sprintf("%d %d", e.epoch, e.start))
	}
	return encodeCheckpoint(lines)
}

// readEpochs returns nil where there is no file, or none that can be used.
func readEpochs(fs vfs.FS, folder string) ([]epochStart, error) {
	name := path.Join(folder, leaderEpochFile)
	data, err := vfs.ReadFile(fs, name, checkpointMaxBytes)
	if errors.Is(err, vfs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines, err := decodeCheckpoint(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	list := make([]epochStart, 0, len(lines))
	for _, line := range lines {
		first, second, _ := strings.Cut(line, " ")
		epoch, err1 := strconv.ParseInt(first, 10, 32)
		start, err2 := strconv.ParseInt(second, 10, 64)
		if err1 != nil || err2 != nil ||
			len(list) > 0 && (int32(epoch) <= list[len(list)-1].epoch || start <= list[len(list)-1].start) {
			return nil, fmt.Errorf("%s: %w", name, errBadCheckpoint)
		}
		list = append(list, epochStart{int32(epoch), start})
	}
	return list, nil
}
