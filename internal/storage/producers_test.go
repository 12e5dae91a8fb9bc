package storage

import (
	"math"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

func TestIdempotentProducers(t *testing.T) {
	_, _, _, l := fresh(t, smallSegments())
	steps := []struct {
		name      string
		b         record.Batch
		err       kafka.ErrorCode
		duplicate bool
		base      int64
	}{
		{"unknown producers may start anywhere", produced(7, 1, 10, 2), kafka.None, false, 0},
		{"the next one", produced(7, 1, 12, 3), kafka.None, false, 2},
		{"a gap", produced(7, 1, 20, 1), kafka.OutOfOrderSequenceNumber, false, -1},
		{"the first again", produced(7, 1, 10, 2), kafka.None, true, 0},
		{"as long as another, but not the same", produced(7, 1, 11, 2), kafka.OutOfOrderSequenceNumber, false, -1},
		{"an old epoch", produced(7, 0, 15, 1), kafka.InvalidProducerEpoch, false, -1},
		{"a new epoch that does not start at 0", produced(7, 2, 15, 1), kafka.OutOfOrderSequenceNumber, false, -1},
		{"a new epoch", produced(7, 2, 0, 1), kafka.None, false, 5},
		{"the epoch before", produced(7, 1, 12, 3), kafka.InvalidProducerEpoch, false, -1},
		{"another producer", produced(8, 0, math.MaxInt32-1, 2), kafka.None, false, 6},
		{"wrapped", produced(8, 0, 0, 2), kafka.None, false, 8},
		{"across the wrap again", produced(8, 0, math.MaxInt32-1, 2), kafka.None, true, 6},
		{"2", produced(8, 0, 2, 1), kafka.None, false, 10},
		{"3", produced(8, 0, 3, 1), kafka.None, false, 11},
		{"4", produced(8, 0, 4, 1), kafka.None, false, 12},
		{"5", produced(8, 0, 5, 1), kafka.None, false, 13},
		{"out of the window of five", produced(8, 0, math.MaxInt32-1, 2), kafka.OutOfOrderSequenceNumber, false, -1},
		{"the oldest in the window", produced(8, 0, 0, 2), kafka.None, true, 8},
	}
	for _, s := range steps {
		a := appendOne(t, l, 0, s.b)
		if a.Err != s.err || a.Duplicate != s.duplicate || a.BaseOffset != s.base {
			t.Errorf("%s: %+v", s.name, a)
		}
	}
	list := l.Producers()
	if len(list) != 2 || list[1].LastSequence != 5 || list[0].Producer != (kafka.Producer{ID: 7, Epoch: 2}) {
		t.Errorf("%+v", list)
	}
	last := list[1].LastTimestamp + l.Options().ProducerExpirationMs
	if early, due := l.ExpireProducers(last-1), l.ExpireProducers(last); early != 0 || due != 2 {
		t.Errorf("%d forgotten too early, %d when due", early, due)
	}
}

func TestDuplicateWithinOneCallIsWrittenOnce(t *testing.T) {
	_, _, _, l := fresh(t, smallSegments())
	appends := []*Append{{Batch: produced(7, 0, 0, 2)}, {Batch: produced(7, 0, 0, 2)}, {Batch: produced(7, 0, 2, 2)}}
	if err := l.AppendAsLeader(0, 1, appends); err != nil {
		t.Fatal(err)
	}
	if !appends[1].Duplicate || appends[1].LastOffset != 1 || appends[2].BaseOffset != 2 || l.End() != 4 {
		t.Fatalf("%+v %+v", appends[1], appends[2])
	}
}

func TestTruncationTakesProducersBack(t *testing.T) {
	_, _, _, l := fresh(t, smallSegments())
	for i := range 60 {
		mustAppend(t, l, 0, produced(7, 0, int32(i), 1))
	}
	if end, err := l.Truncate(23); err != nil || end != 23 {
		t.Fatal(end, err)
	}
	if a := appendOne(t, l, 1, produced(7, 0, 22, 1)); !a.Duplicate || a.BaseOffset != 22 {
		t.Fatalf("%+v", a)
	}
	if a := appendOne(t, l, 1, produced(7, 0, 19, 1)); !a.Duplicate {
		t.Fatalf("%+v", a)
	}
	if a := appendOne(t, l, 1, produced(7, 0, 23, 1)); a.Duplicate || a.BaseOffset != 23 {
		t.Fatalf("%+v", a)
	}
}

func TestSnapshotsSurviveEncodingAndKafkasForm(t *testing.T) {
	p := newProducers()
	for i := range 8 {
		b := produced(int64(1+i%2), 3, int32(i/2*2), 2)
		b.SetBaseOffset(int64(i * 2))
		p.replay(b)
	}
	data := p.encode()
	again, err := decodeProducers(data)
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range p.byID { // any order
		if *again.byID[id] != *s {
			t.Errorf("%+v, want %+v", *again.byID[id], *s)
		}
	}
	// The first entry, field by field as Kafka reads it.
	if got := data[6+4 : 6+4+46]; got[7] != 1 || got[9] != 3 || got[13] != 7 || got[21] != 13 || got[25] != 1 || got[37] != 0xff || got[45] != 0xff {
		t.Errorf("% x", got)
	}
	for i := range data {
		data[i] ^= 0x10
		if _, err := decodeProducers(data); err == nil {
			t.Fatalf("byte %d may be anything", i)
		}
		data[i] ^= 0x10
	}
}
