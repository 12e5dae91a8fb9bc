package main

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// kernel asks an image what the kernel asks it.
type kernel struct {
	t     *testing.T
	image *image
}

func newKernel(t *testing.T, sectors int) kernel {
	return kernel{t, &image{fuse.NewDefaultRawFileSystem(), newDevice(platter(of(0, sectors))), int64(sectors * sector)}}
}

func (k kernel) write(data []byte, at uint64) fuse.Status {
	in := &fuse.WriteIn{InHeader: fuse.InHeader{NodeId: imageNode}, Offset: at, Size: uint32(len(data))}
	n, status := k.image.Write(nil, in, data)
	if status.Ok() && int(n) != len(data) {
		k.t.Errorf("%d of %d bytes were written, and that was no error", n, len(data))
	}
	return status
}

func (k kernel) read(size, room int, at uint64) ([]byte, fuse.Status) {
	in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: imageNode}, Offset: at, Size: uint32(size)}
	result, status := k.image.Read(nil, in, make([]byte, room))
	if !status.Ok() {
		return nil, status
	}
	return result.Bytes(make([]byte, room))
}

func (k kernel) sync() fuse.Status { return k.image.Fsync(nil, &fuse.FsyncIn{}) }

func TestAnImageIsOneFileOfTheSizeOfItsDevice(t *testing.T) {
	k := newKernel(t, 8)
	var entry fuse.EntryOut
	if status := k.image.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, imageName, &entry); !status.Ok() {
		t.Fatal(status)
	}
	if entry.NodeId != imageNode || entry.Attr.Size != 8*sector || entry.Attr.Blocks != 8*sector/blockUnit || entry.Attr.Mode&fuse.S_IFREG == 0 {
		t.Errorf("the file is %+v", entry)
	}
	for name, of := range map[string]uint64{"another": fuse.FUSE_ROOT_ID, imageName: imageNode} {
		if status := k.image.Lookup(nil, &fuse.InHeader{NodeId: of}, name, &entry); status != fuse.ENOENT {
			t.Errorf("%s in %d: %v", name, of, status)
		}
	}
	var folder fuse.AttrOut
	if status := k.image.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}}, &folder); !status.Ok() || folder.Mode&fuse.S_IFDIR == 0 {
		t.Errorf("the folder is %+v, %v", folder.Attr, status)
	}
	// A cache of the kernel's own, between the loop device and this one, would outlive a power cut.
	var open fuse.OpenOut
	if status := k.image.Open(nil, &fuse.OpenIn{}, &open); !status.Ok() || open.OpenFlags&fuse.FOPEN_DIRECT_IO == 0 {
		t.Errorf("the file is opened with %#x, %v", open.OpenFlags, status)
	}
}

func TestAnImageReadsWhatItsDeviceTook(t *testing.T) {
	k := newKernel(t, 4)
	if status := k.write(of('a', 2), sector); !status.Ok() {
		t.Fatal(status)
	}
	// The kernel's buffer may be larger than what it asks for.
	got, status := k.read(3*sector, 16*sector, 0)
	if want := append(of(0, 1), of('a', 2)...); !status.Ok() || !bytes.Equal(got, want) {
		t.Errorf("%v: %d bytes", status, len(got))
	}
}

func TestOnlyASyncOfAnImageOutlivesAPowerCut(t *testing.T) {
	k := newKernel(t, 2)
	statuses := []fuse.Status{k.write(of('a', 1), 0), k.sync(), k.write(of('b', 1), 0), k.image.Flush(nil, &fuse.FlushIn{})}
	for _, status := range statuses {
		if !status.Ok() {
			t.Fatal(statuses)
		}
	}
	k.image.device.cut()
	if err := k.image.device.restore(rand.New(rand.NewPCG(1, 1)), 1); err != nil {
		t.Fatal(err)
	}
	if got, status := k.read(sector, sector, 0); !status.Ok() || !bytes.Equal(got, of('a', 1)) {
		t.Errorf("%v: it begins with %q", status, got[:1])
	}
}

func TestWhatADeviceCannotDoIsAnErrorToTheKernel(t *testing.T) {
	k := newKernel(t, 2)
	try := map[string]func() fuse.Status{
		"read":  func() fuse.Status { _, status := k.read(sector, sector, 0); return status },
		"write": func() fuse.Status { return k.write(of('a', 1), 0) },
		"flush": k.sync,
	}
	for failing, faults := range map[string]deviceFaults{"read": {failReads: true}, "write": {failWrites: true}, "flush": {failFlushes: true}} {
		k.image.device.set(faults)
		for what, do := range try {
			if status := do(); (status == fuse.EIO) != (what == failing) || status != fuse.EIO && !status.Ok() {
				t.Errorf("%s fails: a %s is %v", failing, what, status)
			}
		}
	}
	k.image.device.set(deviceFaults{})
	for what, do := range try {
		if status := do(); !status.Ok() {
			t.Errorf("all is well: a %s is %v", what, status)
		}
	}
}
