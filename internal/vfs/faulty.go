package vfs

import (
	"io"
	"path"
	"strings"
	"sync"
	"time"
)

// Rule is one fault. It strikes calls whose operation and name it matches.
type Rule struct {
	// Op is the operation: one of Change's, or "open", "read", "list", "size", "preallocate", "lock"; "" is any.
	Op string
	// Name is a pattern as in path.Match for the last part of the name, or, with a slash in it, for all of it; "" is any.
	Name string
	// Skip is how many matching calls go through first.
	Skip int
	// Times is how many calls it then strikes; 0 is all.
	Times int
	// Delay is how long a struck call takes before it goes on.
	Delay time.Duration
	// Err is what a struck call fails with; nil only delays.
	Err error
	// Partial lets a struck write put down half of its bytes before it fails.
	Partial bool

	seen int
}

// Faulty wraps a file system and makes calls fail or be slow.
type Faulty struct {
	inner FS
	mu    sync.Mutex
	rules []*Rule
}

// NewFaulty wraps a file system, at first without faults.
func NewFaulty(inner FS) *Faulty { return &Faulty{inner: inner} }

// Add puts a rule behind those there are; the first one that strikes decides.
func (f *Faulty) Add(r Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &r)
}

// Clear heals everything.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

func (f *Faulty) strike(op, name string) (partial bool, err error) {
	f.mu.Lock()
	var struck *Rule
	for _, r := range f.rules {
		if !r.matches(op, name) {
			continue
		}
		r.seen++
		if r.seen > r.Skip && (r.Times == 0 || r.seen <= r.Skip+r.Times) {
			struck = r
			break
		}
	}
	f.mu.Unlock()
	if struck == nil {
		return false, nil
	}
	if struck.Delay > 0 {
		time.Sleep(struck.Delay)
	}
	if struck.Err == nil {
		return false, nil
	}
	return struck.Partial, pathError(op, name, struck.Err)
}

func (r *Rule) matches(op, name string) bool {
	if r.Op != "" && r.Op != op {
		return false
	}
	if r.Name == "" {
		return true
	}
	if !strings.Contains(r.Name, "/") {
		name = path.Base(name)
	}
	ok, _ := path.Match(r.Name, name)
	return ok
}

func (f *Faulty) Create(name string) (File, error) {
	if _, err := f.strike("create", name); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.Create(name))
}

func (f *Faulty) Open(name string) (File, error) {
	if _, err := f.strike("open", name); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.Open(name))
}

func (f *Faulty) wrap(file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f}, nil
}

func (f *Faulty) Remove(name string) error {
	if _, err := f.strike("remove", name); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

func (f *Faulty) RemoveAll(name string) error {
	if _, err := f.strike("removeall", name); err != nil {
		return err
	}
	return f.inner.RemoveAll(name)
}

func (f *Faulty) Rename(from, to string) error {
	if _, err := f.strike("rename", to); err != nil {
		return err
	}
	return f.inner.Rename(from, to)
}

func (f *Faulty) MkdirAll(name string) error {
	if _, err := f.strike("mkdir", name); err != nil {
		return err
	}
	return f.inner.MkdirAll(name)
}

func (f *Faulty) List(dir string) ([]string, error) {
	if _, err := f.strike("list", dir); err != nil {
		return nil, err
	}
	return f.inner.List(dir)
}

func (f *Faulty) Size(name string) (int64, error) {
	if _, err := f.strike("size", name); err != nil {
		return 0, err
	}
	return f.inner.Size(name)
}

func (f *Faulty) SyncDir(dir string) error {
	if _, err := f.strike("syncdir", dir); err != nil {
		return err
	}
	return f.inner.SyncDir(dir)
}

func (f *Faulty) SyncDirs(dirs []string) error {
	for _, dir := range dirs {
		if _, err := f.strike("syncdir", dir); err != nil {
			return err
		}
	}
	return f.inner.SyncDirs(dirs)
}

func (f *Faulty) SyncFiles(files []File) error {
	inner := make([]File, len(files))
	for i, file := range files {
		if _, err := f.strike("sync", file.Name()); err != nil {
			return err
		}
		inner[i] = file
		if wrapped, ok := file.(*faultyFile); ok {
			inner[i] = wrapped.File
		}
	}
	return f.inner.SyncFiles(inner)
}

func (f *Faulty) Lock(name string) (io.Closer, error) {
	if _, err := f.strike("lock", name); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

func (f *Faulty) Usage(dir string) (total, free int64, err error) { return f.inner.Usage(dir) }

// faultyFile has no descriptor: bytes that bypass it could not be made to fail.
type faultyFile struct {
	File
	fs *Faulty
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.fs.strike("read", f.Name()); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	partial, err := f.fs.strike("write", f.Name())
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	if !partial {
		return 0, err
	}
	n, _ := f.File.WriteAt(p[:len(p)/2], off)
	return n, err
}

func (f *faultyFile) WritevAt(buffers [][]byte, offset int64) (int64, error) {
	partial, err := f.fs.strike("write", f.Name())
	if err == nil {
		return f.File.WritevAt(buffers, offset)
	}
	if !partial {
		return 0, err
	}
	n, _ := f.File.WriteAt(buffers[0][:len(buffers[0])/2], offset)
	return int64(n), err
}

func (f *faultyFile) Truncate(size int64) error {
	if _, err := f.fs.strike("truncate", f.Name()); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Sync() error {
	if _, err := f.fs.strike("sync", f.Name()); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Preallocate(offset, length int64) error {
	if _, err := f.fs.strike("preallocate", f.Name()); err != nil {
		return err
	}
	return f.File.Preallocate(offset, length)
}

func (f *faultyFile) Descriptor() (uintptr, bool) { return 0, false }
