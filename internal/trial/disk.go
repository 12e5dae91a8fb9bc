package trial

import (
	"errors"
	"io"
	"strings"

	"github.com/gregorhq/gregor/internal/vfs"
)

// errDead is what a dead process hears of the disk. Nobody is told.
var errDead = errors.New("the process is dead")

// trouble is what the disk suffers from.
type trouble struct {
	struck  bool   // some error was given in this life
	unread  bool   // some of them to a read: partitions are offline until the next start
	rotten  bool   // files are not what was written
	full    string // folder in which there is no space, "" for none
	failing []failing
	powerAt int // the power goes before so many more changes; 0 for never
	changes int // so far, over all lives
	// reserved is up to where each file has space of its own, however full the disk is.
	reserved map[string]int64
}

// failing is an error that strikes once.
type failing struct {
	op, folder string
	after      int // so many calls go through first
	err        error
}

func (d *trouble) heal()  { d.full, d.failing, d.powerAt = "", nil, 0 }
func (d *trouble) begin() { d.struck, d.unread = d.full != "" || d.rotten, false }

// filesystem is the disk as one life sees it.
func (h *host) filesystem(l *life) vfs.FS {
	var fs vfs.FS = &disk{FS: h.memory, life: l, locked: map[string]bool{}}
	if m := h.t.o.Mutant; m != nil && m.Disk != nil {
		fs = &liar{fs, m.Disk}
	}
	return fs
}

// disk is one life's door to the disk.
type disk struct {
	vfs.FS
	life   *life
	locked map[string]bool
}

// strike is called before each call that changes something, and says whether it fails.
func (d *disk) strike(op, name string) error {
	h := d.life.host
	if d.life.dead {
		return errDead
	}
	h.disk.changes++
	if h.disk.powerAt > 0 {
		if h.disk.powerAt--; h.disk.powerAt == 0 {
			h.powerCut("before %s %s", op, name)
			return errDead
		}
	}
	if err := d.fails(op, name); err != nil {
		return err
	}
	takesSpace := op == "write" || op == "create" || op == "mkdir"
	if full := h.disk.full; takesSpace && full != "" && strings.Contains(name, full) {
		h.disk.struck = true
		return vfs.ErrNoSpace
	}
	return nil
}

// fails lets an error strike that is about to.
func (d *disk) fails(op, name string) error {
	t, h := d.life.t, d.life.host
	for i := range h.disk.failing {
		f := &h.disk.failing[i]
		if f.op != op || !strings.Contains(name, f.folder) {
			continue
		}
		if f.after--; f.after < 0 {
			err := f.err
			h.disk.failing = append(h.disk.failing[:i], h.disk.failing[i+1:]...)
			h.disk.struck = true
			if op == "sync" && strings.Contains(name, "/logs/") {
				d.life.unsound = t.world.Now()
			}
			t.fault("disk error", "%s %s: %v", op, name, err)
			return err
		}
	}
	return nil
}

func (d *disk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d}, nil
}

func (d *disk) Create(name string) (vfs.File, error) {
	if err := d.strike("create", name); err != nil {
		return nil, err
	}
	return d.wrap(d.FS.Create(name))
}

func (d *disk) Open(name string) (vfs.File, error) {
	if d.life.dead {
		return nil, errDead
	}
	return d.wrap(d.FS.Open(name))
}

func (d *disk) Remove(name string) error {
	if err := d.strike("remove", name); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

func (d *disk) RemoveAll(name string) error {
	if err := d.strike("remove", name); err != nil {
		return err
	}
	return d.FS.RemoveAll(name)
}

func (d *disk) Rename(from, to string) error {
	if err := d.strike("rename", to); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *disk) MkdirAll(name string) error {
	if err := d.strike("mkdir", name); err != nil {
		return err
	}
	return d.FS.MkdirAll(name)
}

func (d *disk) SyncDir(name string) error {
	if err := d.strike("syncdir", name); err != nil {
		return err
	}
	return d.FS.SyncDir(name)
}

// SyncFiles makes durable what there is when it begins, and then takes its time.
func (d *disk) SyncFiles(files []vfs.File) error {
	for _, f := range files {
		if err := d.strike("sync", f.Name()); err != nil {
			return err
		}
		if err := inner(f).Sync(); err != nil {
			return err
		}
	}
	d.life.wait()
	return d.stillAlive()
}

func (d *disk) stillAlive() error {
	if d.life.dead {
		return errDead
	}
	return nil
}

func inner(f vfs.File) vfs.File {
	if w, ok := f.(*diskFile); ok {
		return w.File
	}
	return f
}

// Lock is the process's, not the disk's: it ends with the life.
func (d *disk) Lock(name string) (io.Closer, error) {
	if d.locked[name] {
		return nil, vfs.ErrLocked
	}
	d.locked[name] = true
	return lockFile{d, name}, nil
}

type lockFile struct {
	disk *disk
	name string
}

func (l lockFile) Close() error {
	delete(l.disk.locked, l.name)
	return nil
}

type diskFile struct {
	vfs.File
	disk *disk
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	if f.disk.life.dead {
		return 0, errDead
	}
	if err := f.disk.fails("read", f.Name()); err != nil {
		f.disk.life.host.disk.unread = true
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *diskFile) Preallocate(offset, length int64) error {
	h := f.disk.life.host
	if h.disk.full != "" && strings.Contains(f.Name(), h.disk.full) {
		return vfs.ErrNoSpace
	}
	if h.disk.reserved == nil {
		h.disk.reserved = map[string]int64{}
	}
	h.disk.reserved[f.Name()] = offset + length
	return nil
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.disk.strike("write", f.Name())
	if err == vfs.ErrNoSpace && off+int64(len(p)) <= f.disk.life.host.disk.reserved[f.Name()] {
		err = nil
	}
	if err != nil {
		return f.part(p, off, err), err
	}
	return f.File.WriteAt(p, off)
}

// part puts down some of a write that fails, unless the process is gone.
func (f *diskFile) part(p []byte, off int64, err error) int {
	if err == errDead {
		return 0
	}
	n, _ := f.File.WriteAt(p[:f.disk.life.t.chance.IntN(len(p)+1)], off)
	return n
}

func (f *diskFile) WritevAt(buffers [][]byte, offset int64) (int64, error) {
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

func (f *diskFile) Truncate(size int64) error {
	if err := f.disk.strike("truncate", f.Name()); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *diskFile) Sync() error {
	if err := f.disk.strike("sync", f.Name()); err != nil {
		return err
	}
	if err := f.File.Sync(); err != nil {
		return err
	}
	f.disk.life.wait()
	return f.disk.stillAlive()
}

// errIO is what a broken disk says.
var errIO = errors.New("input/output error")
