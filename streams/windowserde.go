package streams

import (
	"time"

	"github.com/gregorhq/gregor/streams/internal/layout"
	"github.com/gregorhq/gregor/streams/serde"
)

// TimeWindowedKeys is the serde of the keys of time windows, in Java's format (TimeWindowedSerde): the key, then the start
// of the window. The end is not written, so who reads has to know the windows' size.
func TimeWindowedKeys[K any](keys serde.Serde[K], size time.Duration) serde.Serde[Windowed[K]] {
	return timeWindowedKeys(keys, size.Milliseconds())
}

func timeWindowedKeys[K any](keys serde.Serde[K], size int64) serde.Serde[Windowed[K]] {
	return serde.Of(
		func(dst []byte, w Windowed[K]) ([]byte, error) {
			k, err := keys.Encode(nil, w.Key)
			return append(dst, layout.TimeWindowed(k, w.Start.UnixMilli())...), err
		},
		func(b []byte) (w Windowed[K], err error) {
			k, start, err := layout.ParseTimeWindowed(b)
			if err != nil {
				return w, err
			}
			w.Start = time.UnixMilli(start)
			w.End = time.UnixMilli(start + size)
			w.Key, err = keys.Decode(k)
			return w, err
		})
}

// SessionKeys is the serde of the keys of sessions, in Java's format (SessionWindowedSerde): the key, the end, the start.
func SessionKeys[K any](keys serde.Serde[K]) serde.Serde[Windowed[K]] {
	return serde.Of(
		func(dst []byte, w Windowed[K]) ([]byte, error) {
			k, err := keys.Encode(nil, w.Key)
			return append(dst, layout.SessionKey(k, w.Start.UnixMilli(), w.End.UnixMilli())...), err
		},
		func(b []byte) (w Windowed[K], err error) {
			k, start, end, err := layout.ParseSessionKey(b)
			if err != nil {
				return w, err
			}
			w.Start, w.End = time.UnixMilli(start), time.UnixMilli(end)
			w.Key, err = keys.Decode(k)
			return w, err
		})
}

func windowedKeys[K any](keys serde.Serde[K], w windowing) serde.Serde[Windowed[K]] {
	if keys = autoSerde(keys); keys == nil {
		return nil // the store has complained
	}
	return timeWindowedKeys(keys, w.sizeMillis())
}

func sessionKeys[K any](keys serde.Serde[K]) serde.Serde[Windowed[K]] {
	if keys = autoSerde(keys); keys == nil {
		return nil
	}
	return SessionKeys(keys)
}
