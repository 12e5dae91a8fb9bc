package record

import (
	"math/rand/v2"
	"testing"
)

// quick must agree with parse wherever it has an answer.
func TestTheQuickWayReadsWhatTheLongWayReads(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	quick := 0
	for range 200_000 {
		var key, value []byte
		if r.IntN(2) == 0 {
			key = make([]byte, r.IntN(200))
		}
		if r.IntN(8) > 0 {
			value = make([]byte, r.IntN(300))
		}
		p := appendRecord(nil, r.Int64N(1<<r.IntN(20)), int32(r.IntN(1<<r.IntN(16)+1)), key, value, nil)
		p = append(p, make([]byte, r.IntN(20))...)
		for range r.IntN(3) { // sometimes damaged
			p[r.IntN(len(p))] = byte(r.Uint32())
		}
		p = p[:r.IntN(len(p))+1]
		var a, b fields
		restA, okA := a.quick(p)
		restB, okB := b.parse(p)
		if !okA {
			continue
		}
		quick++
		if !okB || len(restA) != len(restB) || a.timeDelta != b.timeDelta || a.offsetDelta != b.offsetDelta || (a.key == nil) != (b.key == nil) {
			t.Fatalf("%x: quick %+v, parse %v %+v", p, a, okB, b)
		}
	}
	if quick < 5_000 {
		t.Fatalf("only %d were quick", quick)
	}
}

func BenchmarkCheckPlain100B(b *testing.B) {
	builder := NewBuilder(Plain())
	for range 100 {
		builder.Add(1000, nil, make([]byte, 100))
	}
	batch := builder.Build()
	limits := Limits{MaxBytes: 1 << 20, SegmentBytes: 1 << 30, BeforeMaxMs: 1 << 60, AfterMaxMs: 1 << 60, Compression: KeepCodec}
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if v := Check(batch, &limits, 1000); v.Code != 0 {
			b.Fatal(v)
		}
	}
}
