// Package serde turns values into the bytes of Kafka records and back.
//
// A [Serde] is what Java Kafka Streams calls a Serde, and the built-in ones write the same bytes as Java's: strings are
// UTF-8, integers and floats are big-endian and of fixed width. They promise that what was encoded decodes to an equal
// value, and that an encoder appends and never keeps the slice it was given.
//
// Anybody may implement Serde; nothing needs to be registered.
//
// A serde never sees Kafka's null: streams keeps nulls apart (see the package comment there). [Nullable] makes them
// visible as nil pointers. Nothing here talks to a schema registry.
package serde

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// A Serde encodes and decodes values of one type. It corresponds to Java's Serde.
//
// Encode appends the encoding of v to dst and returns the longer slice. Decode may keep no reference to b.
type Serde[T any] interface {
	Encode(dst []byte, v T) ([]byte, error)
	Decode(b []byte) (T, error)
}

// The built-in serdes. Each writes what the Java serde in its comment writes.
var (
	String  Serde[string]   = stringSerde{}     // Serdes.String: UTF-8
	Bytes   Serde[[]byte]   = bytesSerde{}      // Serdes.ByteArray: as they are
	Int32   Serde[int32]    = fixed[int32]{4}   // Serdes.Integer: 4 bytes, big-endian
	Int64   Serde[int64]    = fixed[int64]{8}   // Serdes.Long: 8 bytes, big-endian
	Float32 Serde[float32]  = fixed[float32]{4} // Serdes.Float: IEEE 754, big-endian
	Float64 Serde[float64]  = fixed[float64]{8} // Serdes.Double: IEEE 754, big-endian
	Void    Serde[struct{}] = voidSerde{}       // Serdes.Void: no bytes at all
)

type stringSerde struct{}

func (stringSerde) Encode(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

// Bytes that are not UTF-8 are refused: they would not come back as they were from a Java program.
func (stringSerde) Decode(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", fmt.Errorf("serde: %d bytes are not UTF-8", len(b))
	}
	return string(b), nil
}

type bytesSerde struct{}

func (bytesSerde) Encode(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (bytesSerde) Decode(b []byte) ([]byte, error)             { return append([]byte{}, b...), nil }

type voidSerde struct{}

func (voidSerde) Encode(dst []byte, _ struct{}) ([]byte, error) { return dst, nil }
func (voidSerde) Decode([]byte) (struct{}, error)               { return struct{}{}, nil }

type fixed[T int32 | int64 | float32 | float64] struct{ width int }

func (f fixed[T]) Encode(dst []byte, v T) ([]byte, error) {
	switch v := any(v).(type) {
	case int32:
		return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
	case int64:
		return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
	case float32:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(v)), nil
	case float64:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
	}
	panic("unreachable: the constraint names every type")
}

func (f fixed[T]) Decode(b []byte) (v T, err error) {
	if len(b) != f.width {
		return v, fmt.Errorf("serde: %T wants %d bytes, got %d", v, f.width, len(b))
	}
	switch p := any(&v).(type) {
	case *int32:
		*p = int32(binary.BigEndian.Uint32(b))
	case *int64:
		*p = int64(binary.BigEndian.Uint64(b))
	case *float32:
		*p = math.Float32frombits(binary.BigEndian.Uint32(b))
	case *float64:
		*p = math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return v, nil
}

// Nullable makes a serde of pointers out of s: nil stands for Kafka's null, so functions of a topology see nulls as Java's
// do.
func Nullable[T any](s Serde[T]) Serde[*T] { return nullable[T]{s} }

type nullable[T any] struct{ of Serde[T] }

func (n nullable[T]) Encode(dst []byte, v *T) ([]byte, error) {
	if v == nil {
		return nil, fmt.Errorf("serde: nil reached a serde, which never sees nulls")
	}
	return n.of.Encode(dst, *v)
}

func (n nullable[T]) Decode(b []byte) (*T, error) {
	v, err := n.of.Decode(b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// Of makes a serde out of two functions.
func Of[T any](encode func(dst []byte, v T) ([]byte, error), decode func(b []byte) (T, error)) Serde[T] {
	return pair[T]{encode, decode}
}

type pair[T any] struct {
	encode func([]byte, T) ([]byte, error)
	decode func([]byte) (T, error)
}

func (p pair[T]) Encode(dst []byte, v T) ([]byte, error) { return p.encode(dst, v) }
func (p pair[T]) Decode(b []byte) (T, error)             { return p.decode(b) }
