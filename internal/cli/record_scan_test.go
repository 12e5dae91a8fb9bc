package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// split is the scanner's dumb twin.
func split(input, delimiter []byte) [][]byte {
	fields := bytes.Split(input, delimiter)
	if len(fields[len(fields)-1]) == 0 {
		fields = fields[:len(fields)-1]
	}
	return fields
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), []byte("\n"), false)
	f.Add([]byte("a--b---c--"), []byte("--"), true)
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef"), []byte("ef0"), false)
	f.Fuzz(func(t *testing.T, input, delimiter []byte, slow bool) {
		if len(delimiter) == 0 {
			return
		}
		var in io.Reader = bytes.NewReader(input)
		if slow {
			in = iotest.OneByteReader(in)
		}
		s := &scanner{in: in, limit: 1 << 30, chunk: 8}
		var got [][]byte
		for {
			field, found, err := s.until(delimiter)
			if err != nil {
				t.Fatal(err)
			}
			if !found && len(field) == 0 {
				break
			}
			got = append(got, field)
		}
		// Fields are compared at the end: they have to stay good.
		want := split(input, delimiter)
		if len(got) != len(want) {
			t.Fatalf("%d fields, want %d", len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("field %d is %q, want %q", i, got[i], want[i])
			}
		}
	})
}

func TestALongFieldIsRefusedAndNotLoaded(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("short\n"), forever{})
	s := &scanner{in: endless, limit: 1000}
	if field, _, err := s.until(newline); err != nil || string(field) != "short" {
		t.Fatal(err)
	}
	if _, _, err := s.until(newline); err != errTooLong {
		t.Fatalf("%v, want %v", err, errTooLong)
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) { return len(p), nil }

// FuzzFormat reads anything by any format, and prints and reads again what was read.
func FuzzFormat(f *testing.F) {
	f.Add(`%K %k%V %v\n`, []byte("1 k5 hello\n"))
	f.Add(`%k\t%h\t%T %v\n`, []byte("a\tx=1\t5 v\n"))
	f.Add(`<%p,%o,%d>%v`, []byte("<1,2,2026-01-02T03:04:05.000Z>v"))
	f.Fuzz(func(t *testing.T, format string, input []byte) {
		source, err := newFormatSource(&scanner{in: bytes.NewReader(input), limit: 1 << 20}, format)
		if err != nil {
			return
		}
		printer, err := newFormatPrinter(format, "")
		if err != nil {
			t.Fatalf("%q can be read by and not be printed by: %v", format, err)
		}
		for range 100 {
			r := &kgo.Record{}
			if source.next(r) != nil {
				return
			}
			if year := r.Timestamp.UTC().Year(); year < 1971 || year > 9999 || strings.ContainsAny(format, "to") || r.Partition < 0 {
				continue // is not printed as it was read
			}
			again := &kgo.Record{}
			source, _ := newFormatSource(&scanner{in: bytes.NewReader(printer(nil, r)), limit: 1 << 20}, format)
			if err := source.next(again); err != nil || !bytes.Equal(again.Value, r.Value) || !bytes.Equal(again.Key, r.Key) {
				t.Fatalf("%q: %q %q became %q %q: %v", format, r.Key, r.Value, again.Key, again.Value, err)
			}
		}
	})
}

func TestTimes(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for text, want := range map[string]int64{
		"0": 0, "1700000000123": 1_700_000_000_123, "-1h": 1_699_996_400_000, "1h": 1_699_996_400_000,
		"2023-11-14T22:13:20Z": 1_700_000_000_000, "2023-11-14T22:13:20.5+01:00": 1_699_996_400_500,
	} {
		if got, err := parseTime(text, now); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	if _, err := parseTime("noon", now); err == nil {
		t.Error("noon is a time")
	}
}

func TestTheNearestWordIsNear(t *testing.T) {
	names := []string{"topic", "produce", "consume", "group", "config"}
	for word, want := range map[string]string{
		"topik": "topic", "tpoic": "topic", "porduce": "produce", "cosnume": "consume", "gruop": "group", "x": "", "zzz": "", "topic": "", "start": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func BenchmarkReadingLines(b *testing.B) {
	input := []byte(strings.Repeat(strings.Repeat("x", 50)+"\n", 100_000))
	b.SetBytes(int64(len(input)))
	for b.Loop() {
		source := &lineSource{scanner: &scanner{in: bytes.NewReader(input), limit: 1 << 20}}
		r := kgo.Record{}
		for source.next(&r) == nil {
		}
	}
}
