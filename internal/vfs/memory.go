package vfs

import (
	"fmt"
	"io"
	"math"
	"path"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Memory is a file system in memory that knows which of its bytes and names would survive a power cut. Crash makes the
// file system that such a cut could leave behind.
//
// A file's data is durable up to its last Sync; each later write and truncation is kept aside and may be lost, alone or
// with others, or be torn. A folder's names are durable up to its last SyncDir, in the same way.
type Memory struct {
	mu     sync.RWMutex
	root   *node
	locked map[string]bool
	before func(Change)
}

// Change is a call that is about to change a Memory: an operation, and the name that it is about.
type Change struct {
	Op   string // "create", "remove", "removeall", "rename", "mkdir", "write", "truncate", "sync", "syncdir"
	Name string
}

// NewMemory makes an empty file system whose root folder is durable.
func NewMemory() *Memory {
	return &Memory{root: newFolder(), locked: map[string]bool{}}
}

// BeforeChange sets what is called before each call that changes anything or makes it durable, while nothing is locked:
// the callee may take a Crash. Set it before the file system is used by more than one goroutine.
func (m *Memory) BeforeChange(f func(Change)) { m.before = f }

// node is a file or a folder.
type node struct {
	// A file: its bytes as a reader sees them, as they are on stable storage, and what leads from the one to the other.
	data    []byte
	stable  []byte
	pending []fileChange

	// A folder, likewise. Nil in a file.
	entries       map[string]*node
	stableEntries map[string]*node
	pendingNames  []nameChange
}

type fileChange struct {
	offset int64
	data   []byte // nil: truncation to offset
}

// nameChange is atomic: a rename takes the old name away and gives the new one in one change.
type nameChange struct {
	remove string
	add    string
	node   *node
}

func newFolder() *node {
	return &node{entries: map[string]*node{}, stableEntries: map[string]*node{}}
}

func (n *node) isFolder() bool { return n.entries != nil }

func (n *node) change(c fileChange) {
	n.data = c.apply(n.data)
	n.pending = append(n.pending, c)
}

func (c fileChange) apply(data []byte) []byte {
	if c.data == nil {
		if int64(len(data)) >= c.offset {
			return data[:c.offset:c.offset]
		}
		return append(data, make([]byte, c.offset-int64(len(data)))...)
	}
	if gap := c.offset - int64(len(data)); gap > 0 {
		data = append(data, make([]byte, gap)...)
	}
	n := copy(data[c.offset:], c.data)
	return append(data, c.data[n:]...)
}

func (n *node) changeNames(c nameChange) {
	c.apply(n.entries)
	n.pendingNames = append(n.pendingNames, c)
}

func (c nameChange) apply(entries map[string]*node) {
	if c.remove != "" {
		delete(entries, c.remove)
	}
	if c.add != "" {
		entries[c.add] = c.node
	}
}

func (n *node) sync() {
	for _, c := range n.pending {
		n.stable = c.apply(n.stable)
	}
	n.pending = nil
	for _, c := range n.pendingNames {
		c.apply(n.stableEntries)
	}
	n.pendingNames = nil
}

func pathError(op, name string, err error) error {
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// find walks to a name; parent is nil only for the root.
func (m *Memory) find(name string) (parent, found *node, last string) {
	parts := strings.FieldsFunc(path.Clean(name), func(r rune) bool { return r == '/' })
	found = m.root
	for i, part := range parts {
		if part == "." {
			continue
		}
		if found == nil || !found.isFolder() {
			return nil, nil, part
		}
		parent, last = found, part
		found = parent.entries[part]
		if found == nil && i < len(parts)-1 {
			return nil, nil, part
		}
	}
	return parent, found, last
}

func (m *Memory) announce(op, name string) {
	if m.before != nil {
		m.before(Change{op, name})
	}
}

func (m *Memory) Create(name string) (File, error) {
	m.announce("create", name)
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, found, last := m.find(name)
	if parent == nil {
		return nil, pathError("create", name, ErrNotExist)
	}
	if found != nil {
		return nil, pathError("create", name, ErrExist)
	}
	n := &node{}
	parent.changeNames(nameChange{add: last, node: n})
	return m.handle(name, n), nil
}

func (m *Memory) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, found, _ := m.find(name)
	if found == nil {
		return nil, pathError("open", name, ErrNotExist)
	}
	if found.isFolder() {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return m.handle(name, found), nil
}

func (m *Memory) Remove(name string) error {
	m.announce("remove", name)
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, found, last := m.find(name)
	if parent == nil || found == nil {
		return pathError("remove", name, ErrNotExist)
	}
	if found.isFolder() && len(found.entries) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	parent.changeNames(nameChange{remove: last})
	return nil
}

func (m *Memory) RemoveAll(name string) error {
	m.announce("removeall", name)
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, found, last := m.find(name)
	if parent == nil || found == nil {
		return nil
	}
	parent.changeNames(nameChange{remove: last})
	return nil
}

func (m *Memory) Rename(from, to string) error {
	m.announce("rename", to)
	m.mu.Lock()
	defer m.mu.Unlock()
	fromParent, found, fromLast := m.find(from)
	toParent, _, toLast := m.find(to)
	if fromParent == nil || found == nil || toParent == nil {
		return pathError("rename", from, ErrNotExist)
	}
	if fromParent == toParent {
		fromParent.changeNames(nameChange{remove: fromLast, add: toLast, node: found})
		return nil
	}
	toParent.changeNames(nameChange{add: toLast, node: found})
	fromParent.changeNames(nameChange{remove: fromLast})
	return nil
}

func (m *Memory) MkdirAll(name string) error {
	m.announce("mkdir", name)
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.root
	for _, part := range strings.FieldsFunc(path.Clean(name), func(r rune) bool { return r == '/' }) {
		if part == "." {
			continue
		}
		next := at.entries[part]
		if next == nil {
			next = newFolder()
			at.changeNames(nameChange{add: part, node: next})
		}
		if !next.isFolder() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		at = next
	}
	return nil
}

func (m *Memory) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, found, _ := m.find(dir)
	if found == nil || !found.isFolder() {
		return nil, pathError("list", dir, ErrNotExist)
	}
	names := make([]string, 0, len(found.entries))
	for name, n := range found.entries { // any order
		if n.isFolder() {
			name += "/"
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (m *Memory) Size(name string) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, found, _ := m.find(name)
	if found == nil {
		return 0, pathError("size", name, ErrNotExist)
	}
	return int64(len(found.data)), nil
}

func (m *Memory) SyncDir(dir string) error {
	m.announce("syncdir", dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, found, _ := m.find(dir)
	if found == nil || !found.isFolder() {
		return pathError("syncdir", dir, ErrNotExist)
	}
	found.sync()
	return nil
}

func (m *Memory) SyncDirs(dirs []string) error {
	for _, dir := range dirs {
		if err := m.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) SyncFiles(files []File) error {
	for _, f := range files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.locked[name] {
		return nil, pathError("lock", name, ErrLocked)
	}
	parent, found, last := m.find(name)
	if parent == nil {
		return nil, pathError("lock", name, ErrNotExist)
	}
	if found == nil {
		parent.changeNames(nameChange{add: last, node: &node{}})
	}
	m.locked[name] = true
	return &memoryLock{m, name}, nil
}

type memoryLock struct {
	m    *Memory
	name string
}

func (l *memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locked, l.name)
	return nil
}

// Usage says that there is plenty of room. For a full disk, see Faulty.
func (m *Memory) Usage(string) (total, free int64, err error) { return 1 << 40, 1 << 40, nil }

func (m *Memory) handle(name string, n *node) *memoryFile {
	f := &memoryFile{m: m, node: n, name: name}
	f.refs.Store(1)
	return f
}

type memoryFile struct {
	m    *Memory
	node *node
	name string
	refs atomic.Int32
}

func (f *memoryFile) Name() string { return f.name }

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	if off < 0 || off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.announce("write", f.name)
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off < 0 || off > math.MaxInt32 {
		return 0, pathError("write", f.name, syscall.EFBIG)
	}
	if len(p) > 0 {
		f.node.change(fileChange{off, append([]byte(nil), p...)})
	}
	return len(p), nil
}

// WritevAt writes each buffer on its own, so that a power cut may come between them.
func (f *memoryFile) WritevAt(buffers [][]byte, offset int64) (int64, error) {
	var written int64
	for _, b := range buffers {
		n, err := f.WriteAt(b, offset+written)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (f *memoryFile) Size() (int64, error) {
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	return int64(len(f.node.data)), nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.m.announce("truncate", f.name)
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if size != int64(len(f.node.data)) {
		f.node.change(fileChange{offset: size})
	}
	return nil
}

func (f *memoryFile) Sync() error {
	f.m.announce("sync", f.name)
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.node.sync()
	return nil
}

func (f *memoryFile) Preallocate(int64, int64) error { return nil }
func (f *memoryFile) StartWriteback(int64, int64)    {}
func (f *memoryFile) Retain() bool                   { return retain(&f.refs) }
func (f *memoryFile) Release() error                 { f.refs.Add(-1); return nil }
func (f *memoryFile) Descriptor() (uintptr, bool)    { return 0, false }
