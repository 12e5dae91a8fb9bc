package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

var codecs = []Codec{Uncompressed, Gzip, Snappy, LZ4, Zstd}

func (c Codec) testName() string {
	return [...]string{"uncompressed", "gzip", "snappy", "lz4", "zstd"}[c]
}

// lenient allows everything a topic can allow.
func lenient() *Limits {
	return &Limits{
		MaxBytes: 1 << 20, SegmentBytes: 1 << 30, BeforeMaxMs: math.MaxInt64, AfterMaxMs: 3_600_000, Compression: KeepCodec,
	}
}

const now = int64(1_700_000_000_000)

// foreign builds a batch with franz-go's encoder, which knows nothing of ours. Records of size bytes, with keys.
func foreign(codec Codec, count, size int, change func(*kmsg.RecordBatch, []kmsg.Record)) Batch {
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: int16(codec), LastOffsetDelta: int32(count - 1),
		FirstTimestamp: now, MaxTimestamp: now + int64(count-1), ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(count),
	}
	records := make([]kmsg.Record, count)
	for i := range records {
		records[i] = kmsg.Record{
			TimestampDelta64: int64(i), OffsetDelta: int32(i), Key: fmt.Appendf(nil, "key-%d", i),
			Value:   bytes.Repeat([]byte{byte(i)}, size),
			Headers: []kmsg.Header{{Key: "h", Value: []byte("x")}, {Key: "null"}},
		}
	}
	if change != nil {
		change(&batch, records)
	}
	var payload []byte
	for _, r := range records {
		r.Length = 0
		body := r.AppendTo(nil)[1:] // one byte of length 0 in front
		payload = append(binary.AppendVarint(payload, int64(len(body))), body...)
	}
	batch.Records = compress(codec, 0, nil, payload)
	batch.Length = int32(HeaderSize - LengthOverhead + len(batch.Records))
	b := Batch(batch.AppendTo(nil))
	b.Seal()
	return b
}

type plainRecord struct {
	offset, timestamp int64
	key, value        string
	headers           string
}

func listing(t *testing.T, b Batch) []plainRecord {
	t.Helper()
	var all []plainRecord
	err := b.Records(1<<24, func(r Record) error {
		all = append(all, plainRecord{r.Offset, r.Timestamp, string(r.Key), string(r.Value), fmt.Sprint(r.Headers())})
		return nil
	})
	if err != nil {
		t.Fatalf("records: %v", err)
	}
	return all
}

func TestBatchesOfAnotherEncoderAreReadInEveryCodec(t *testing.T) {
	want := listing(t, foreign(Uncompressed, 20, 100, nil))
	if len(want) != 20 || want[3].timestamp != now+3 || want[3].key != "key-3" || want[3].headers != "[{h [120]} {null []}]" {
		t.Fatalf("records read wrongly: %+v", want[3])
	}
	for _, codec := range codecs {
		t.Run(codec.testName(), func(t *testing.T) {
			got := listing(t, foreign(codec, 20, 100, nil))
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("got %v\nwant %v", got, want)
			}
		})
	}
}

func TestAnotherDecoderReadsWhatTheBuilderWrites(t *testing.T) {
	for _, codec := range codecs {
		for _, level := range []int{-7, -1, 0, 1, 5, 9, 17, 22} {
			form := Plain()
			form.Codec, form.Level, form.BaseOffset, form.LeaderEpoch = codec, level, 77, 5
			form.Producer, form.Sequence, form.Transactional = kafka.Producer{ID: 9, Epoch: 3}, 11, true
			builder := NewBuilder(form)
			builder.Add(now, nil, []byte("v0"))
			builder.Add(now-5, []byte{}, nil, Header{Key: "a", Value: nil}, Header{Key: "", Value: []byte{}})
			built := builder.Build()

			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(built); err != nil {
				t.Fatal(err)
			}
			payload, _, err := built.payload(1 << 20)
			if err != nil {
				t.Fatalf("%s level %d: %v", codec.testName(), level, err)
			}
			var records [2]kmsg.Record
			for i := range records {
				length, n := binary.Varint(payload)
				if err := records[i].ReadFrom(payload[:n+int(length)]); err != nil {
					t.Fatal(err)
				}
				payload = payload[n+int(length):]
			}
			switch {
			case len(payload) != 0, batch.FirstOffset != 77, batch.PartitionLeaderEpoch != 5, batch.LastOffsetDelta != 1,
				batch.ProducerID != 9, batch.ProducerEpoch != 3, batch.FirstSequence != 11, batch.NumRecords != 2,
				batch.FirstTimestamp != now, batch.MaxTimestamp != now, batch.Attributes != int16(codec)|attributeTransactional,
				uint32(batch.CRC) != built.ComputeCRC():
				t.Fatalf("header: %+v", batch)
			case records[0].Key != nil, string(records[0].Value) != "v0", records[1].Key == nil, records[1].Value != nil,
				records[1].TimestampDelta64 != -5, records[1].OffsetDelta != 1, len(records[1].Headers) != 2,
				records[1].Headers[0].Value != nil, records[1].Headers[1].Value == nil:
				t.Fatalf("records: %+v", records)
			}
		}
	}
}

func TestSnappyIsReadWithAndWithoutXerialFraming(t *testing.T) {
	src := bytes.Repeat([]byte("abcdefgh"), 20_000) // more than one xerial block
	framed := compress(Snappy, 0, nil, src)
	if !bytes.HasPrefix(framed, xerialHeader) {
		t.Fatal("snappy is written without framing")
	}
	got, err := decompress(Snappy, nil, framed, len(src))
	if err != nil || !bytes.Equal(got, src) {
		t.Fatalf("framed: %d bytes, %v", len(got), err)
	}
	small := src[:1000]
	block := compressSnappy(nil, small)[len(xerialHeader)+4:] // as librdkafka sends it
	if got, err = decompress(Snappy, nil, block, len(src)); err != nil || !bytes.Equal(got, small) {
		t.Fatalf("plain: %d bytes, %v", len(got), err)
	}
}

func TestBombsAreBounded(t *testing.T) {
	bomb := make([]byte, 8<<20)
	for _, codec := range codecs[1:] {
		compressed := compress(codec, 0, nil, bomb)
		if out, err := decompress(codec, nil, compressed, 1<<20); !errors.Is(err, ErrTooLarge) || cap(out) > 4<<20 {
			t.Errorf("%s: %v with a buffer of %d bytes", codec.testName(), err, cap(out))
		}
		if out, err := decompress(codec, nil, compressed, len(bomb)); err != nil || len(out) != len(bomb) {
			t.Errorf("%s: exactly at the limit: %d bytes, %v", codec.testName(), len(out), err)
		}
	}
}

func TestSplitStopsAtTheFirstIncompleteBatch(t *testing.T) {
	one, two := foreign(Uncompressed, 1, 10, nil), foreign(Zstd, 5, 10, nil)
	both := append(append([]byte{}, one...), two...)
	for cut := 0; cut <= len(both); cut++ {
		var sizes []int
		err := Split(both[:cut], func(b Batch) error { sizes = append(sizes, len(b)); return nil })
		wantErr, want := ErrShort, 0
		switch {
		case cut == len(both):
			wantErr, want = nil, 2
		case cut == len(one):
			wantErr, want = nil, 1
		case cut == 0:
			wantErr = nil
		case cut > len(one):
			want = 1
		}
		if !errors.Is(err, wantErr) || len(sizes) != want {
			t.Fatalf("cut at %d: %v, %v", cut, sizes, err)
		}
	}
	one[offsetMagic] = 1
	if _, _, err := Next(one); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("format v1: %v", err)
	}
	one[offsetMagic] = 2
	binary.BigEndian.PutUint32(one[offsetLength:], 0xffffffff)
	if _, _, err := Next(one); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("negative length: %v", err)
	}
}

func TestRebuiltBatchesKeepOffsetsGapsAndHorizon(t *testing.T) {
	form := Plain()
	form.BaseOffset, form.DeleteHorizon, form.Codec = 100, now+9, Zstd
	builder := NewBuilder(form)
	var original []Record
	_ = foreign(Uncompressed, 8, 3, func(b *kmsg.RecordBatch, _ []kmsg.Record) { b.FirstOffset = 100 }).Records(1, func(r Record) error {
		original = append(original, r)
		return nil
	})
	builder.AddRecord(original[2])
	builder.AddRecord(original[5])
	builder.ReachTo(107)
	b := builder.Build()
	got := listing(t, b)
	horizon, ok := b.DeleteHorizon()
	if len(got) != 2 || got[0].offset != 102 || got[1].offset != 105 || got[1].timestamp != now+5 || got[1].headers == "" ||
		b.LastOffset() != 107 || b.Count() != 2 || !ok || horizon != now+9 || b.MaxTimestamp() != now+5 {
		t.Fatalf("%+v, last %d, horizon %d %v", got, b.LastOffset(), horizon, ok)
	}
	empty := NewBuilder(form)
	empty.ReachTo(107)
	b = empty.Build()
	if len(b) != HeaderSize || b.LastOffset() != 107 || len(listing(t, b)) != 0 {
		t.Fatalf("an emptied batch: %d bytes, last %d", len(b), b.LastOffset())
	}
	if again := FormOf(b); again != form {
		t.Fatalf("form %+v, want %+v", again, form)
	}
}

func TestLogAppendTimeIsEveryRecordsTimestamp(t *testing.T) {
	limits := lenient()
	limits.LogAppendTime = true
	for _, codec := range codecs {
		verdict := Check(foreign(codec, 3, 1, nil), limits, now+50)
		if verdict.Code != kafka.None || verdict.MaxTimestamp != now+50 || !verdict.Batch.LogAppendTime() ||
			verdict.Batch.CRC() != verdict.Batch.ComputeCRC() {
			t.Fatalf("%s: %+v", codec.testName(), verdict)
		}
		for _, r := range listing(t, verdict.Batch) {
			if r.timestamp != now+50 {
				t.Fatalf("record stamped %d", r.timestamp)
			}
		}
	}
}
