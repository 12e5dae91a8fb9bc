package vfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
)

// parallelSyncs is how many files are synced at once: enough to keep a disk's queue full, few enough to spare threads.
const parallelSyncs = 16

// OS is the real file system. ownsFilesystem says that nobody else writes much to the file system that holds our files;
// large groups of files are then synced by one syncfs, which writes out everybody's data.
func OS(ownsFilesystem bool) FS { return osFS{ownsFilesystem} }

type osFS struct{ ownsFilesystem bool }

func (osFS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	return newOSFile(f, err)
}

func (osFS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	return newOSFile(f, err)
}

func (osFS) Remove(name string) error     { return os.Remove(name) }
func (osFS) RemoveAll(name string) error  { return os.RemoveAll(name) }
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) MkdirAll(name string) error   { return os.MkdirAll(name, 0o755) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (osFS) Size(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncDirectory(f)
}

// SyncDirs syncs folders side by side.
func (o osFS) SyncDirs(dirs []string) error {
	if len(dirs) == 0 {
		return nil // as in almost every flush: it allocates nothing
	}
	return sideBySide(len(dirs), func(i int) error { return o.SyncDir(dirs[i]) })
}

// SyncFiles syncs one or two files in turn, more of them side by side, and a crowd by syncing the whole file system if
// that is ours. Measured on virtio ext4, 64 files of 16 KiB: 17 ms in turn, 7 ms side by side, 3 ms by syncfs.
func (o osFS) SyncFiles(files []File) error {
	if len(files) <= 2 {
		for _, f := range files {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		return nil
	}
	if len(files) > parallelSyncs && o.ownsFilesystem {
		if f, ok := files[0].(*osFile); ok && syncFilesystem != nil {
			if err := syncFilesystem(f.fd); err != nil {
				return fmt.Errorf("sync file system of %s: %w", f.Name(), err)
			}
			return nil
		}
	}
	return sideBySide(len(files), func(i int) error { return files[i].Sync() })
}

// sideBySide does n things, some at a time, and returns an error if one failed.
func sideBySide(n int, do func(i int) error) error {
	var (
		next  atomic.Int64
		group sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	for range min(parallelSyncs, n) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return first
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (osFS) Usage(dir string) (total, free int64, err error) {
	return usage(filepath.Clean(dir))
}

// osFile keeps the *os.File as well as its descriptor: without the former the garbage collector would close the latter.
type osFile struct {
	f    *os.File
	fd   int
	name string
	refs atomic.Int32
}

func newOSFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	file := &osFile{f: f, fd: int(f.Fd()), name: f.Name()}
	file.refs.Store(1)
	return file, nil
}

func (f *osFile) Name() string                                { return f.name }
func (f *osFile) ReadAt(p []byte, off int64) (int, error)     { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error)    { return f.f.WriteAt(p, off) }
func (f *osFile) Truncate(size int64) error                   { return f.f.Truncate(size) }
func (f *osFile) Descriptor() (uintptr, bool)                 { return uintptr(f.fd), true }
func (f *osFile) Sync() error                                 { return syncData(f) }
func (f *osFile) Preallocate(offset, length int64) error      { return preallocate(f, offset, length) }
func (f *osFile) StartWriteback(offset, length int64)         { startWriteback(f, offset, length) }
func (f *osFile) WritevAt(b [][]byte, o int64) (int64, error) { return writev(f, b, o) }

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) Retain() bool { return retain(&f.refs) }

func (f *osFile) Release() error {
	if f.refs.Add(-1) == 0 {
		return f.f.Close()
	}
	return nil
}

// retain takes a reference unless the last is gone.
func retain(refs *atomic.Int32) bool {
	for {
		n := refs.Load()
		if n <= 0 {
			return false
		}
		if refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}
