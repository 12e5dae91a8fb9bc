package layout

import (
	"encoding/binary"
	"fmt"
)

// Headed is a row of a store that keeps headers (KIP-1271): their size and they themselves before the row. The changelog has the
// plain value, and the headers as its record's. No headers are a size of 0.
func Headed(headers []Header, row []byte) []byte {
	var b []byte
	if len(headers) > 0 {
		b = binary.AppendVarint(nil, int64(len(headers)))
		for _, h := range headers {
			b = append(binary.AppendVarint(b, int64(len(h.Key))), h.Key...)
			if h.Value == nil {
				b = binary.AppendVarint(b, -1)
				continue
			}
			b = append(binary.AppendVarint(b, int64(len(h.Value))), h.Value...)
		}
	}
	out := make([]byte, 0, binary.MaxVarintLen32+len(b)+len(row))
	return append(append(binary.AppendVarint(out, int64(len(b))), b...), row...)
}

// ParseHeaded takes a [Headed] row apart. The row is a part of b.
func ParseHeaded(b []byte) (headers []Header, row []byte, err error) {
	size, b, err := sized(b, 0)
	if err != nil {
		return nil, nil, err
	}
	b, row = b[:size], b[size:]
	if size == 0 {
		return nil, row, nil
	}
	count, n := binary.Varint(b)
	if n <= 0 || count < 0 || count > int64(len(b)) {
		return nil, nil, fmt.Errorf("layout: %d headers in %d bytes", count, len(b))
	}
	for b = b[n:]; count > 0; count-- {
		var h Header
		if size, b, err = sized(b, 0); err != nil {
			return nil, nil, err
		}
		h.Key, b = string(b[:size]), b[size:]
		if size, b, err = sized(b, -1); err != nil {
			return nil, nil, err
		}
		if size >= 0 {
			h.Value, b = append([]byte{}, b[:size]...), b[size:]
		}
		headers = append(headers, h)
	}
	return headers, row, nil
}

// sized reads a size that what follows has, or least, which stands for nothing.
func sized(b []byte, least int64) (size int64, rest []byte, err error) {
	size, n := binary.Varint(b)
	if n <= 0 || size < least || size > int64(len(b)-n) {
		return 0, nil, fmt.Errorf("layout: a part of %d bytes in %d", size, len(b))
	}
	return size, b[n:], nil
}
