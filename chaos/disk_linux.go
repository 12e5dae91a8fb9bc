package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const mountsVariable = "GREGOR_CHAOS_MOUNTS"

// ownMounts has the program begin again in a mount namespace of its own, unless it is in one: whatever it mounts there the kernel
// unmounts when the last process in it has ended, however that came.
func ownMounts() error {
	if os.Getenv(mountsVariable) != "" {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(program, os.Args, append(os.Environ(), mountsVariable+"=1"))
}

// newDisks makes the disks of nodes in a folder: "device", real file systems on devices that can be hurt; "tmpfs", which can be full; or
// "auto", the first of them that this kernel allows, with what was wrong with others in the second result.
func newDisks(kind, folder string, nodes int) (d disks, err error) {
	switch kind {
	case "device":
		return newDevices(folder, nodes)
	case "tmpfs":
		return newTemporary(folder, nodes)
	case "folder":
		return nil, nil
	case "auto":
		var all disks
		if all, err = newDevices(folder, nodes); err == nil {
			return all, nil
		}
		temporary, also := newTemporary(folder, nodes)
		if also != nil {
			return nil, errors.Join(err, also)
		}
		return temporary, err
	}
	return nil, fmt.Errorf("there are no disks %q; there are auto, device, tmpfs and folder", kind)
}

// mounts are disks without a device.
type mounts struct{ folders []string }

func (m *mounts) folder(node int) string                   { return m.folders[node] }
func (m *mounts) device(int) *device                       { return nil }
func (m *mounts) powerLoss(int, *rand.Rand, float64) error { return errors.ErrUnsupported }
func (m *mounts) spoil(int, *rand.Rand, []string) error    { return errors.ErrUnsupported }
func (m *mounts) String() string                           { return "a tmpfs of 2 GiB for each node" }
func (m *mounts) filler(node int) string                   { return filepath.Join(m.folders[node], "filler") }
func (m *mounts) free(node int) error                      { return os.Remove(m.filler(node)) }

// fill reserves ever smaller pieces until none is left.
func (m *mounts) fill(node int) error {
	f, err := os.OpenFile(m.filler(node), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	at := int64(0)
	for piece := int64(1 << 28); piece >= sector; {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, piece); {
		case err == nil:
			at += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("fill a disk: %w", err)
		}
	}
	return nil
}

func (m *mounts) close() (err error) {
	for _, folder := range m.folders {
		err = errors.Join(err, unmount(folder))
	}
	return err
}

// unmount waits for whoever still has something open: a process that was killed ends a moment after it was waited for.
func unmount(folder string) error {
	var err error
	for range 50 {
		if err = unix.Unmount(folder, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", folder, err)
	}
	return nil
}

func newTemporary(folder string, nodes int) (disks, error) {
	m := &mounts{}
	for node := range nodes {
		at := filepath.Join(folder, "disk-"+strconv.Itoa(node))
		err := os.MkdirAll(at, 0o700)
		if err == nil {
			err = unix.Mount("gregor-chaos", at, "tmpfs", 0, "size="+strconv.Itoa(diskSize))
		}
		if err != nil {
			_ = m.close()
			return nil, fmt.Errorf("mount a tmpfs: %w", err)
		}
		m.folders = append(m.folders, at)
	}
	return m, nil
}

// devices are an ext4 each, on a loop device, on a file of a FUSE file system, which this process serves: see device.
type devices struct {
	mounts
	all []*oneDevice
}

type oneDevice struct {
	*device
	image  string // where FUSE is mounted
	store  *os.File
	server *fuse.Server
}

func newDevices(folder string, nodes int) (disks, error) {
	d := &devices{}
	for node := range nodes {
		err := d.add(folder, node)
		if err == nil {
			err = d.prove(node, rand.New(rand.NewPCG(1, 1)))
		}
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

func (d *devices) add(folder string, node int) error {
	name := strconv.Itoa(node)
	one := &oneDevice{image: filepath.Join(folder, "device-"+name)}
	at := filepath.Join(folder, "disk-"+name)
	err := errors.Join(os.MkdirAll(one.image, 0o700), os.MkdirAll(at, 0o700))
	if err != nil {
		return err
	}
	if one.store, err = backing(one.image+".img", diskSize); err != nil {
		return err
	}
	if err = tool("mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(sector), "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", one.store.Name()); err != nil {
		return errors.Join(err, one.store.Close())
	}
	one.device = newDevice(one.store)
	if one.server, err = serveImage(one.device, diskSize, one.image); err != nil {
		return errors.Join(err, one.store.Close())
	}
	d.all, d.folders = append(d.all, one), append(d.folders, at)
	if err := one.mount(at); err != nil {
		d.folders = d.folders[:len(d.folders)-1]
		return err
	}
	return nil
}

// mount attaches a loop device to the image and mounts its file system. The loop device goes with the mount.
func (o *oneDevice) mount(at string) error {
	file, err := unix.Open(filepath.Join(o.image, imageName), unix.O_RDWR|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("open the image: %w", err)
	}
	defer unix.Close(file)
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/loop-control: %w", err)
	}
	defer unix.Close(control)
	for range 20 {
		number, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("find a free loop device: %w", err)
		}
		err = attach(file, "/dev/loop"+strconv.Itoa(number), at)
		if !errors.Is(err, unix.EBUSY) {
			return err // another program was faster
		}
	}
	return errors.New("no loop device stays free long enough")
}

func attach(file int, path, at string) error {
	loop, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(loop)
	config := &unix.LoopConfig{Fd: uint32(file), Size: sector}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	if err := unix.IoctlLoopConfigure(loop, config); err != nil {
		return fmt.Errorf("configure %s: %w", path, err)
	}
	if status, err := unix.IoctlLoopGetStatus64(loop); err != nil || status.Flags&unix.LO_FLAGS_DIRECT_IO == 0 {
		return fmt.Errorf("%s would keep a cache of its own (%v)", path, err)
	}
	if err := unix.Mount(path, at, "ext4", unix.MS_NOATIME, "errors=continue"); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

func (d *devices) device(node int) *device { return d.all[node].device }

func (d *devices) String() string {
	return "an ext4 of 2 GiB for each node, on a loop device, on FUSE, with a cache that a power cut empties"
}

func (d *devices) powerLoss(node int, chance *rand.Rand, loss float64) error {
	one := d.all[node]
	one.cut()
	// What the file system would still write goes nowhere.
	if err := unmount(d.folders[node]); err != nil {
		return err
	}
	if err := one.restore(chance, loss); err != nil {
		return fmt.Errorf("bring a disk back: %w", err)
	}
	return one.mount(d.folders[node])
}

// spoil unmounts the disk meanwhile: no page of it stays in memory.
func (d *devices) spoil(node int, chance *rand.Rand, files []string) error {
	one := d.all[node]
	var at []int64
	for _, path := range files {
		where, err := placeOf(path, chance)
		if err != nil {
			return err
		}
		if where >= 0 {
			at = append(at, where)
		}
	}
	if err := unmount(d.folders[node]); err != nil {
		return err
	}
	for _, where := range at {
		if err := one.flip(where, uint(chance.IntN(8))); err != nil {
			return err
		}
	}
	return one.mount(d.folders[node])
}

const (
	fiemapRequest = 0xC020660B // FS_IOC_FIEMAP
	fiemapSync    = 1
)

// fiemap is struct fiemap of linux/fiemap.h, with room for one extent.
type fiemap struct {
	start, length                   uint64
	flags, mapped, count, reserved  uint32
	logical, physical, extentLength uint64
	_                               [2]uint64
	extentFlags                     uint32
	_                               [3]uint32
}

// placeOf is where on the device a byte of a file is that chance picks, or -1 if there is none, or a hole.
func placeOf(path string, chance *rand.Rand) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() == 0 {
		return -1, nil
	}
	offset := chance.Int64N(info.Size())
	m := fiemap{start: uint64(offset), length: 1, flags: fiemapSync, count: 1}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapRequest, uintptr(unsafe.Pointer(&m))); errno != 0 {
		return 0, fmt.Errorf("ask where %s is: %w", path, errno)
	}
	if m.mapped == 0 {
		return -1, nil
	}
	return int64(m.physical) + offset - int64(m.logical), nil
}

func (d *devices) close() error {
	err := d.mounts.close()
	for _, one := range d.all {
		err = errors.Join(err, one.server.Unmount(), one.store.Close())
	}
	return err
}

// prove sees to it that a disk is what the run takes it for: what was synced outlives a power cut, and what was not is gone. A kernel
// that keeps a cache of its own between the file system and the device would make all that is found worthless.
func (d *devices) prove(node int, chance *rand.Rand) error {
	kept, gone := filepath.Join(d.folder(node), "kept"), filepath.Join(d.folder(node), "gone")
	text := []byte("whoever reads this was synced")
	f, err := os.Create(kept)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close(), os.WriteFile(gone, text, 0o600), d.powerLoss(node, chance, 1)); err != nil {
		return err
	}
	if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, text) {
		return fmt.Errorf("a disk lost what was synced: %w", err)
	}
	if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a disk kept what was not synced: %w", err)
	}
	return os.Remove(kept)
}
