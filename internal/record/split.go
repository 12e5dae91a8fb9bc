package record

import "errors"

var (
	// ErrShort says that the bytes end inside a batch, as a read that was cut at a byte limit does.
	ErrShort = errors.New("record: the bytes end inside a batch")
	// ErrCorrupt says that the bytes are not a batch of format v2.
	ErrCorrupt = errors.New("record: not a record batch")
)

// Next cuts the first batch off data, checking only that its length fits and that its format is v2.
// Empty data is ErrShort; what the batch holds is not looked at.
func Next(data []byte) (b Batch, rest []byte, err error) {
	if len(data) < HeaderSize {
		return nil, data, ErrShort
	}
	size := Batch(data).Size()
	switch {
	case size < HeaderSize || Batch(data).Magic() != Magic:
		return nil, data, ErrCorrupt
	case size > int64(len(data)):
		return nil, data, ErrShort
	}
	return Batch(data[:size:size]), data[size:], nil
}

// Split visits the batches of data in turn. It returns the first error of visit, ErrCorrupt where bytes are not a batch,
// and ErrShort where the last batch is incomplete; the batches before that have been visited.
func Split(data []byte, visit func(Batch) error) error {
	for len(data) > 0 {
		b, rest, err := Next(data)
		if err != nil {
			return err
		}
		if err := visit(b); err != nil {
			return err
		}
		data = rest
	}
	return nil
}
