//go:build !linux

package vfs

import "io"

// syncFilesystem does not exist here.
var syncFilesystem func(fd int) error

// syncData uses os.File's Sync, which on darwin is F_FULLFSYNC: the only sync there that reaches the platter.
func syncData(f *osFile) error { return f.f.Sync() }

func preallocate(*osFile, int64, int64) error { return nil }
func startWriteback(*osFile, int64, int64)    {}

func writev(f *osFile, buffers [][]byte, offset int64) (int64, error) {
	return writevPlain(f.f, buffers, offset)
}

// writevPlain is the vectored write for systems that have none: small buffers are gathered, to spare system calls.
func writevPlain(w io.WriterAt, buffers [][]byte, offset int64) (int64, error) {
	var written int64
	var gathered []byte
	flush := func() error {
		n, err := w.WriteAt(gathered, offset+written)
		written += int64(n)
		gathered = gathered[:0]
		return err
	}
	for _, b := range buffers {
		if len(gathered)+len(b) > 1<<20 && len(gathered) > 0 {
			if err := flush(); err != nil {
				return written, err
			}
		}
		gathered = append(gathered, b...)
	}
	if len(gathered) > 0 {
		return written, flush()
	}
	return written, nil
}
