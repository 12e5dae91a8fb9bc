package serde

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The bytes that Java's serdes write for these values.
func TestBytesAreJavas(t *testing.T) {
	check(t, String, "grün", "6772c3bc6e")
	check(t, Int32, -2, "fffffffe")
	check(t, Int64, 1, "0000000000000001")
	check(t, Float32, 1.5, "3fc00000")
	check(t, Float64, -0.5, "bfe0000000000000")
	check(t, Bytes, []byte{1, 2}, "0102")
	check(t, JSON[map[string]int](), map[string]int{"a": 1}, hex.EncodeToString([]byte(`{"a":1}`)))
	v := "x"
	check(t, Nullable(String), &v, "78")
}

func check[T any](t *testing.T, s Serde[T], v T, want string) {
	t.Helper()
	b, err := s.Encode([]byte{9}, v)
	if err != nil || b[0] != 9 || hex.EncodeToString(b[1:]) != want {
		t.Errorf("%v became %x, want %s (%v)", v, b[1:], want, err)
		return
	}
	if got, err := s.Decode(b[1:]); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%x became %v, want %v (%v)", b[1:], got, v, err)
	}
}

func TestMessagesComeBack(t *testing.T) {
	auto, ok := Auto[*wrapperspb.StringValue]()
	if !ok {
		t.Fatal("no serde for a message")
	}
	for _, s := range []Serde[*wrapperspb.StringValue]{Proto[*wrapperspb.StringValue](), auto} {
		b, err := s.Encode(nil, wrapperspb.String("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := s.Decode(b); err != nil || v.Value != "hello" {
			t.Errorf("%v, %v", v, err)
		}
	}
}

func TestWhatIsNotAValueIsRefused(t *testing.T) {
	if _, err := String.Decode([]byte{0xff}); err == nil {
		t.Error("bytes that are not UTF-8 became a string")
	}
	if _, err := Int64.Decode([]byte{1}); err == nil {
		t.Error("one byte became an int64")
	}
	if _, err := JSON[int]().Encode(nil, 1); err != nil {
		t.Error(err)
	}
	if _, err := JSON[float64]().Encode(nil, math.NaN()); err == nil {
		t.Error("NaN became JSON")
	}
	if _, ok := Auto[struct{ A int }](); ok {
		t.Error("there is a serde for any struct")
	}
	if b, err := Bytes.Decode([]byte("ab")); err != nil || !bytes.Equal(b, []byte("ab")) {
		t.Error(b, err)
	}
}
