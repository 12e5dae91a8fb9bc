//go:build linux

package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const maxVector = 1024 // IOV_MAX

var syncFilesystem = func(fd int) error { return again(func() error { return unix.Syncfs(fd) }) }

// again repeats a call that a signal interrupted before it did anything.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func syncDirectory(f *os.File) error { return f.Sync() }

func syncData(f *osFile) error {
	for {
		err := unix.Fdatasync(f.fd)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.name, Err: err}
		}
		return nil
	}
}

func preallocate(f *osFile, offset, length int64) error {
	for {
		err := unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, offset, length)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fallocate", Path: f.name, Err: err}
		}
		return nil
	}
}

func startWriteback(f *osFile, offset, length int64) {
	// A hint, whose failure the next sync will report.
	_ = unix.SyncFileRange(f.fd, offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// vectors keeps unix.Pwritev from allocating a slice per call: x/sys builds its iovecs on the heap beyond 8 buffers.
var vectors = sync.Pool{New: func() any { return new([maxVector]unix.Iovec) }}

func writev(f *osFile, buffers [][]byte, offset int64) (int64, error) {
	if len(buffers) == 1 {
		n, err := f.f.WriteAt(buffers[0], offset)
		return int64(n), err
	}
	iovecs := vectors.Get().(*[maxVector]unix.Iovec)
	defer func() {
		clear(iovecs[:])
		vectors.Put(iovecs)
	}()
	var written int64
	for len(buffers) > 0 {
		count := 0
		for _, b := range buffers {
			if count == maxVector {
				break
			}
			if len(b) > 0 {
				iovecs[count].Base = &b[0]
				iovecs[count].SetLen(len(b))
			} else {
				iovecs[count] = unix.Iovec{}
			}
			count++
		}
		n, err := pwritev(f.fd, iovecs[:count], offset+written)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return written, &os.PathError{Op: "pwritev", Path: f.name, Err: err}
		}
		written += int64(n)
		rest := n
		for len(buffers) > 0 && rest >= len(buffers[0]) {
			rest -= len(buffers[0])
			buffers = buffers[1:]
		}
		if rest > 0 {
			buffers[0] = buffers[0][rest:]
		}
		if n == 0 && len(buffers) > 0 {
			return written, &os.PathError{Op: "pwritev", Path: f.name, Err: io.ErrShortWrite}
		}
	}
	return written, nil
}

func lockFile(f *os.File) error {
	err := again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func usage(dir string) (total, free int64, err error) {
	var s unix.Statfs_t
	if err := again(func() error { return unix.Statfs(dir, &s) }); err != nil {
		return 0, 0, fmt.Errorf("usage of %s: %w", dir, err)
	}
	return int64(s.Blocks) * int64(s.Bsize), int64(s.Bavail) * int64(s.Bsize), nil
}
