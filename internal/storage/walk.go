package storage

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
)

var errCorruptLog = errors.New("no valid batch where one should be")

const (
	walkStep = 16 << 10  // what a lookup reads at a time
	scanStep = 256 << 10 // what a recovery reads at a time
)

// Both pools hold *[]byte, of walkStep and of scanStep bytes.
var (
	walkBuffers = sync.Pool{New: func() any { b := make([]byte, walkStep); return &b }}
	scanBuffers = sync.Pool{New: func() any { b := make([]byte, scanStep); return &b }}
)

// walker goes from batch to batch through a file. It reads ahead, and looks at headers only, unless whole batches are
// asked for.
type walker struct {
	file     vfs.File
	position int64 // of the next batch
	size     int64 // where to stop

	buffer []byte
	start  int64 // position of buffer[0]
	filled int   // bytes in the buffer
	pool   *sync.Pool
	pooled *[]byte
}

func newWalker(file vfs.File, position, size int64) walker {
	return walkWith(&walkBuffers, file, position, size)
}

func newScanner(file vfs.File, position, size int64) walker {
	return walkWith(&scanBuffers, file, position, size)
}

func walkWith(pool *sync.Pool, file vfs.File, position, size int64) walker {
	pooled := pool.Get().(*[]byte)
	return walker{file: file, position: position, size: size, buffer: *pooled, start: position, pool: pool, pooled: pooled}
}

func (w *walker) close() {
	if w.pooled != nil {
		w.pool.Put(w.pooled)
		w.pooled, w.buffer = nil, nil
	}
}

// have makes n bytes at the walker's position available. It answers io.EOF where the file is shorter than that.
func (w *walker) have(n int) ([]byte, error) {
	if at := w.position - w.start; at >= 0 && at+int64(n) <= int64(w.filled) {
		return w.buffer[at : at+int64(n)], nil
	}
	if n > len(w.buffer) {
		w.close() // the larger buffer is not the pool's
		w.buffer = make([]byte, n+walkStep)
	}
	w.start, w.filled = w.position, 0
	want := min(int64(len(w.buffer)), w.size-w.position)
	if want < int64(n) {
		return nil, io.EOF
	}
	got, err := w.file.ReadAt(w.buffer[:want], w.position)
	w.filled = got
	if got >= n {
		return w.buffer[:n], nil
	}
	if err == nil {
		err = io.EOF
	}
	return nil, err
}

// peek returns the header of the next batch. At the end it answers io.EOF; where there is no plausible batch,
// errCorruptLog. Bytes are valid until the next call.
func (w *walker) peek() (record.Batch, error) {
	if w.position >= w.size {
		return nil, io.EOF
	}
	header, err := w.have(record.HeaderSize)
	if err == io.EOF {
		return nil, fmt.Errorf("%s at %d: %w", w.file.Name(), w.position, errCorruptLog)
	}
	if err != nil {
		return nil, err
	}
	b := record.Batch(header)
	if !plausible(b) || w.position+b.Size() > w.size {
		return nil, fmt.Errorf("%s at %d: %w", w.file.Name(), w.position, errCorruptLog)
	}
	return b, nil
}

// whole returns the batch that peek has just returned the header of, with its records.
func (w *walker) whole(header record.Batch) (record.Batch, error) {
	b, err := w.have(int(header.Size()))
	if err == io.EOF {
		return nil, fmt.Errorf("%s at %d: %w", w.file.Name(), w.position, errCorruptLog)
	}
	return b, err
}

// skip goes behind a batch.
func (w *walker) skip(b record.Batch) { w.position += b.Size() }

// plausible reports whether a header could be a batch's, as far as it alone can tell.
func plausible(b record.Batch) bool {
	return b.Magic() == record.Magic && b.Size() >= record.HeaderSize && b.LastOffsetDelta() >= 0 &&
		b.BaseOffset() >= 0 && b.Count() >= 0
}

// each visits every whole batch with its position, up to the end.
func (w *walker) each(visit func(position int64, b record.Batch) error) error {
	for {
		header, err := w.peek()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := w.whole(header)
		if err != nil {
			return err
		}
		if err := visit(w.position, b); err != nil {
			return err
		}
		w.skip(b)
	}
}
