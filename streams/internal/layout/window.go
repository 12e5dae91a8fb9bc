// Package layout draws the bytes that Kafka Streams keeps in its internal topics: keys of window and session stores,
// changes of tables in repartition topics, foreign-key subscriptions and their answers, buffered records.
//
// It promises the same bytes as Apache Kafka's own library, so that an application can be handed over between the two with
// its state. Only package streams calls it. It knows no serdes and no stores: what goes in and comes out is already bytes.
package layout

import (
	"encoding/binary"
	"errors"
)

var errShort = errors.New("layout: too few bytes")

var be = binary.BigEndian

// WindowKey is the key of a row in a window store's changelog:
//
//	key ... | start of the window, 8 | sequence, 4
//
// The sequence is 0 unless the store keeps duplicates.
func WindowKey(key []byte, start int64, seq int32) []byte {
	b := make([]byte, 0, len(key)+12)
	b = append(b, key...)
	b = be.AppendUint64(b, uint64(start))
	return be.AppendUint32(b, uint32(seq))
}

// ParseWindowKey takes a [WindowKey] apart.
func ParseWindowKey(b []byte) (key []byte, start int64, seq int32, err error) {
	n := len(b) - 12
	if n < 0 {
		return nil, 0, 0, errShort
	}
	return b[:n], int64(be.Uint64(b[n:])), int32(be.Uint32(b[n+8:])), nil
}

// TimeWindowed is a windowed key in a topic (Java's TimeWindowedSerializer, KIP-393): the end is not written, who reads
// has to know the size.
//
//	key ... | start, 8
func TimeWindowed(key []byte, start int64) []byte {
	b := append(make([]byte, 0, len(key)+8), key...)
	return be.AppendUint64(b, uint64(start))
}

// ParseTimeWindowed takes a [TimeWindowed] key apart.
func ParseTimeWindowed(b []byte) (key []byte, start int64, err error) {
	n := len(b) - 8
	if n < 0 {
		return nil, 0, errShort
	}
	return b[:n], int64(be.Uint64(b[n:])), nil
}

// SessionKey is the key of a session, in its store's changelog and in topics (SessionWindowedSerializer).
//
//	key ... | end, 8 | start, 8
func SessionKey(key []byte, start, end int64) []byte {
	b := append(make([]byte, 0, len(key)+16), key...)
	b = be.AppendUint64(b, uint64(end))
	return be.AppendUint64(b, uint64(start))
}

// ParseSessionKey takes a [SessionKey] apart.
func ParseSessionKey(b []byte) (key []byte, start, end int64, err error) {
	n := len(b) - 16
	if n < 0 {
		return nil, 0, 0, errShort
	}
	return b[:n], int64(be.Uint64(b[n+8:])), int64(be.Uint64(b[n:])), nil
}

// TimeFirstKey is the key of a buffered record of a stream-table join with grace (KIP-923).
//
//	0, 1 | time, 8 | key ... | sequence, 4
func TimeFirstKey(time int64, key []byte, seq int32) []byte {
	b := be.AppendUint64(append(make([]byte, 0, len(key)+13), 0), uint64(time))
	b = append(b, key...)
	return be.AppendUint32(b, uint32(seq))
}

// ParseTimeFirstKey takes a [TimeFirstKey] apart.
func ParseTimeFirstKey(b []byte) (time int64, key []byte, seq int32, err error) {
	n := len(b) - 4
	if n < 9 {
		return 0, nil, 0, errShort
	}
	return int64(be.Uint64(b[1:])), b[9:n], int32(be.Uint32(b[n:])), nil
}

// Stamped is a row of a timestamped store: the time before the value. The changelog has the plain value and the time as
// the record's.
//
//	time, 8 | value ...
func Stamped(time int64, value []byte) []byte {
	b := be.AppendUint64(make([]byte, 0, len(value)+8), uint64(time))
	return append(b, value...)
}

// ParseStamped takes a [Stamped] row apart.
func ParseStamped(b []byte) (time int64, value []byte) {
	return int64(be.Uint64(b)), b[8:]
}
