package serde

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// JSON returns a serde that writes T as encoding/json does.
func JSON[T any]() Serde[T] {
	return Of(
		func(dst []byte, v T) ([]byte, error) {
			b, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("serde: JSON: %w", err)
			}
			return append(dst, b...), nil
		},
		func(b []byte) (v T, err error) {
			if err = json.Unmarshal(b, &v); err != nil {
				err = fmt.Errorf("serde: JSON: %w", err)
			}
			return v, err
		})
}

// Proto returns a serde of Protobuf messages; T is a pointer such as *pb.Order. The bytes are deterministic, because equal
// keys must have equal bytes. There is no schema registry header before them.
func Proto[T proto.Message]() Serde[T] {
	var zero T
	return Of(
		func(dst []byte, v T) ([]byte, error) {
			return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, v)
		},
		func(b []byte) (T, error) {
			v := zero.ProtoReflect().New().Interface().(T)
			return v, proto.Unmarshal(b, v)
		})
}

// Binary returns a serde of a type that marshals itself; *T is an encoding.BinaryUnmarshaler.
func Binary[T encoding.BinaryMarshaler, P interface {
	*T
	encoding.BinaryUnmarshaler
}]() Serde[T] {
	return Of(
		func(dst []byte, v T) ([]byte, error) {
			b, err := v.MarshalBinary()
			return append(dst, b...), err
		},
		func(b []byte) (v T, err error) {
			err = P(&v).UnmarshalBinary(b)
			return v, err
		})
}

// Auto finds the serde of T where there can be no doubt about it: the built-in types, pointers to them (as [Nullable])
// and Protobuf messages. It is what a topology falls back on where an operator brought a new type and nobody named a
// serde.
func Auto[T any]() (Serde[T], bool) {
	for _, s := range []any{String, Bytes, Int32, Int64, Float32, Float64, Void,
		Nullable(String), Nullable(Int32), Nullable(Int64), Nullable(Float32), Nullable(Float64)} {
		if s, ok := s.(Serde[T]); ok {
			return s, true
		}
	}
	t := reflect.TypeFor[T]()
	if t.Kind() == reflect.Pointer && t.Implements(reflect.TypeFor[proto.Message]()) {
		return Of(
			func(dst []byte, v T) ([]byte, error) {
				return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, any(v).(proto.Message))
			},
			func(b []byte) (T, error) {
				v := reflect.New(t.Elem()).Interface()
				return v.(T), proto.Unmarshal(b, v.(proto.Message))
			}), true
	}
	return nil, false
}
