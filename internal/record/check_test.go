package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

func TestAGoodBatchIsAcceptedAsItIs(t *testing.T) {
	for _, codec := range codecs {
		b := foreign(codec, 10, 50, nil)
		before := bytes.Clone(b)
		verdict := Check(b, lenient(), now)
		if verdict.Code != kafka.None || verdict.MaxTimestamp != now+9 || !bytes.Equal(verdict.Batch, before) ||
			&verdict.Batch[0] != &b[0] {
			t.Fatalf("%s: %v %s", codec.testName(), verdict.Code, verdict.Message)
		}
	}
}

func TestRefusals(t *testing.T) {
	type change = func(*kmsg.RecordBatch, []kmsg.Record)
	producer := func(id int64, sequence int32) change {
		return func(b *kmsg.RecordBatch, _ []kmsg.Record) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = id, 0, sequence
		}
	}
	tests := []struct {
		name   string
		change change
		limits func(*Limits)
		after  func(Batch) Batch
		want   kafka.ErrorCode
		errors []int32
	}{
		{name: "base offset not 0", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.FirstOffset = 1 }, want: kafka.InvalidRecord},
		{name: "format v1", after: func(b Batch) Batch { b[offsetMagic] = 1; return b }, want: kafka.InvalidRecord},
		{name: "larger than max.message.bytes", limits: func(l *Limits) { l.MaxBytes = 100 }, want: kafka.MessageTooLarge},
		{name: "larger than segment.bytes", limits: func(l *Limits) { l.SegmentBytes = 100 }, want: kafka.RecordListTooLarge},
		{name: "checksum", after: func(b Batch) Batch { b[len(b)-1]++; return b }, want: kafka.CorruptMessage},
		{name: "truncated", after: func(b Batch) Batch { return b[:len(b)-1] }, want: kafka.CorruptMessage},
		{name: "nothing", after: func(Batch) Batch { return nil }, want: kafka.CorruptMessage},
		{name: "count 0", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.NumRecords, b.LastOffsetDelta = 0, -1 }, want: kafka.InvalidRecord},
		{name: "count and last offset disagree", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.LastOffsetDelta++ }, want: kafka.InvalidRecord},
		{name: "control", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.Attributes |= attributeControl }, want: kafka.InvalidRecord},
		{name: "delete horizon", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.Attributes |= attributeDeleteHorizon }, want: kafka.InvalidRecord},
		{name: "idempotent without sequence", change: producer(5, -1), want: kafka.InvalidRecord},
		{name: "idempotent", change: producer(5, 0)},
		{name: "codec 5", after: func(b Batch) Batch { b.setAttributes(5); b.Seal(); return b }, want: kafka.InvalidRecord},
		{name: "fewer records than counted", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.NumRecords++; b.LastOffsetDelta++ }, want: kafka.InvalidRecord},
		{name: "more records than counted", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.NumRecords--; b.LastOffsetDelta-- }, want: kafka.InvalidRecord},
		{name: "log append time bit", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.Attributes |= attributeLogAppendTime }, want: kafka.InvalidTimestamp},
		{name: "log append time bit on a log append time topic", change: func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.Attributes |= attributeLogAppendTime },
			limits: func(l *Limits) { l.LogAppendTime = true }, want: kafka.InvalidTimestamp},
		{name: "from the future", change: func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[2].TimestampDelta64 = 3_600_001 }, want: kafka.InvalidTimestamp, errors: []int32{2}},
		{name: "from the future, log append time", change: func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[2].TimestampDelta64 = 3_600_001 },
			limits: func(l *Limits) { l.LogAppendTime = true }},
		{name: "too old", change: func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[1].TimestampDelta64 = -101 },
			limits: func(l *Limits) { l.BeforeMaxMs = 100 }, want: kafka.InvalidTimestamp, errors: []int32{1}},
		{name: "no timestamps", change: func(b *kmsg.RecordBatch, r []kmsg.Record) {
			b.FirstTimestamp, b.MaxTimestamp = -1, -1
			for i := range r {
				r[i].TimestampDelta64 = 0
			}
		}, limits: func(l *Limits) { l.BeforeMaxMs = 100 }},
		{name: "keyless", change: func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[0].Key, r[2].Key = nil, nil }},
		{name: "keyless in a compacted topic", change: func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[0].Key, r[2].Key = nil, nil },
			limits: func(l *Limits) { l.Compacted = true }, want: kafka.InvalidRecord, errors: []int32{0, 2}},
		{name: "empty key in a compacted topic", change: func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[0].Key = []byte{} },
			limits: func(l *Limits) { l.Compacted = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, limits := foreign(Uncompressed, 3, 200, test.change), lenient()
			if test.limits != nil {
				test.limits(limits)
			}
			if test.after != nil {
				b = test.after(b)
			}
			before := bytes.Clone(b)
			verdict := Check(b, limits, now)
			var indexes []int32
			for _, e := range verdict.RecordErrors {
				indexes = append(indexes, e.Index)
			}
			if verdict.Code != test.want || fmt.Sprint(indexes) != fmt.Sprint(test.errors) {
				t.Fatalf("%v %v %q, want %v %v", verdict.Code, indexes, verdict.Message, test.want, test.errors)
			}
			if test.want != kafka.None && (!bytes.Equal(b, before) || verdict.Message == "" || verdict.Batch != nil) {
				t.Fatalf("refused, but touched or without a message: %+v", verdict)
			}
		})
	}
}

func TestCompactedTopicsLookForKeysInCompressedBatches(t *testing.T) {
	limits := lenient()
	limits.Compacted = true
	for _, codec := range codecs {
		keyless := func(_ *kmsg.RecordBatch, r []kmsg.Record) { r[1].Key = nil }
		if verdict := Check(foreign(codec, 3, 20, keyless), limits, now); verdict.Code != kafka.InvalidRecord ||
			len(verdict.RecordErrors) != 1 || verdict.RecordErrors[0].Index != 1 {
			t.Errorf("%s: %+v", codec.testName(), verdict)
		}
		if verdict := Check(foreign(codec, 3, 20, nil), limits, now); verdict.Code != kafka.None {
			t.Errorf("%s with keys: %+v", codec.testName(), verdict)
		}
	}
}

func TestEveryCodecIsRecompressedToEveryOther(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			limits := lenient()
			limits.Compression = to
			b := foreign(from, 30, 100, func(b *kmsg.RecordBatch, _ []kmsg.Record) {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = 7, 2, 4, b.Attributes|attributeTransactional
			})
			want := listing(t, b)
			verdict := Check(b, limits, now)
			got := verdict.Batch
			if verdict.Code != kafka.None || got.Codec() != to || got.CRC() != got.ComputeCRC() || got.Size() != int64(len(got)) ||
				got.Producer() != b.Producer() || got.BaseSequence() != 4 || !got.Transactional() {
				t.Fatalf("%s to %s: %+v", from.testName(), to.testName(), verdict)
			}
			if fmt.Sprint(listing(t, got)) != fmt.Sprint(want) {
				t.Fatalf("%s to %s: records changed", from.testName(), to.testName())
			}
		}
	}
}

func TestUnnumberedRecordsAreRenumbered(t *testing.T) {
	unnumbered := func(_ *kmsg.RecordBatch, r []kmsg.Record) {
		for i := range r {
			r[i].OffsetDelta = 0
		}
	}
	for _, to := range []Codec{KeepCodec, Uncompressed, Zstd} {
		limits := lenient()
		limits.Compression = to
		verdict := Check(foreign(Uncompressed, 4, 20, unnumbered), limits, now)
		want := listing(t, foreign(Uncompressed, 4, 20, nil))
		if verdict.Code != kafka.None || fmt.Sprint(listing(t, verdict.Batch)) != fmt.Sprint(want) {
			t.Fatalf("to %d: %+v", to, verdict)
		}
	}
}

func TestALyingMaxTimestampIsPutRight(t *testing.T) {
	for _, lie := range []int64{-1, now, now + 1_000_000} {
		b := foreign(Uncompressed, 4, 20, func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.MaxTimestamp = lie })
		verdict := Check(b, lenient(), now)
		if verdict.MaxTimestamp != now+3 || verdict.Batch.MaxTimestamp() != now+3 || verdict.Batch.CRC() != verdict.Batch.ComputeCRC() {
			t.Fatalf("%+v", verdict)
		}
	}
}

func TestCompressedBatchesAreBoundedByTheirHeadersTimestamps(t *testing.T) {
	for _, codec := range codecs {
		b := foreign(codec, 3, 20, func(b *kmsg.RecordBatch, r []kmsg.Record) {
			b.MaxTimestamp, r[2].TimestampDelta64 = now+4_000_000, 4_000_000
		})
		if verdict := Check(b, lenient(), now); verdict.Code != kafka.InvalidTimestamp {
			t.Fatalf("%s: %v", codec.testName(), verdict.Code)
		}
	}
}

func TestSequencesWrapToZero(t *testing.T) {
	if got := AddSequence(1<<31-1, 1); got != 0 {
		t.Fatalf("largest + 1 = %d", got)
	}
}

func TestCheckingAnUncompressedBatchAllocatesNothing(t *testing.T) {
	b, limits := foreign(Uncompressed, 100, 100, nil), lenient()
	if allocations := testing.AllocsPerRun(100, func() { Check(b, limits, now) }); allocations != 0 {
		t.Fatalf("%v allocations", allocations)
	}
}

func FuzzCheck(f *testing.F) {
	for _, codec := range codecs {
		f.Add([]byte(foreign(codec, 3, 20, nil)), byte(codec), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, to byte, compacted bool) {
		b := Batch(data)
		if len(b) >= HeaderSize { // let the fuzzer past the length and the checksum
			binary.BigEndian.PutUint32(b[offsetLength:], uint32(len(b)-LengthOverhead))
			b.Seal()
		}
		limits := lenient()
		limits.Compression, limits.Compacted = Codec(to%6)-1, compacted
		verdict := Check(b, limits, now)
		if verdict.Code != kafka.None {
			return
		}
		got := verdict.Batch
		if got.Size() != int64(len(got)) || got.CRC() != got.ComputeCRC() || got.MaxTimestamp() != verdict.MaxTimestamp {
			t.Fatal("accepted a batch that is not sound")
		}
		if b.Codec() != Uncompressed && !compacted && (limits.Compression == KeepCodec || limits.Compression == b.Codec()) {
			return // what is stored compressed as the producer sent it has not been read
		}
		count := int64(0)
		err := got.Records(DecompressLimit(limits.MaxBytes), func(r Record) error {
			if r.Offset != count {
				t.Fatalf("record %d has offset %d", count, r.Offset)
			}
			r.Headers()
			count++
			return nil
		})
		if err != nil || count != int64(got.Count()) {
			t.Fatalf("read %d of %d records of an accepted batch: %v", count, got.Count(), err)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add(append(append([]byte{}, foreign(LZ4, 2, 5, nil)...), foreign(Gzip, 2, 5, nil)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		err := Split(data, func(b Batch) error {
			total += len(b)
			_ = b.Records(1<<16, func(r Record) error { r.Headers(); return nil })
			return nil
		})
		if total > len(data) || err == nil && total != len(data) {
			t.Fatalf("split %d of %d bytes: %v", total, len(data), err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, codec := range codecs {
		for _, size := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/100x%dB", codec.testName(), size), func(b *testing.B) {
				batch, limits := foreign(codec, 100, size, nil), lenient()
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				for b.Loop() {
					if verdict := Check(batch, limits, now); verdict.Code != kafka.None {
						b.Fatal(verdict.Message)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
			})
		}
	}
}
