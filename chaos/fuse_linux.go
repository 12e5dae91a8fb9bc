package main

import (
	"fmt"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// image is a FUSE file system with one file: a device.
type image struct {
	fuse.RawFileSystem
	device *device
	size   int64
}

const (
	imageName = "disk"
	imageNode = 2 // 1 is the folder
	blockUnit = 512
)

// serveImage mounts a device as the file "disk" in a folder, until it is unmounted.
func serveImage(d *device, size int64, folder string) (*fuse.Server, error) {
	server, err := fuse.NewServer(&image{fuse.NewDefaultRawFileSystem(), d, size}, folder,
		&fuse.MountOptions{DirectMountStrict: true, FsName: "gregor-chaos", Name: "chaos", MaxWrite: 1 << 20, DisableXAttrs: true, MaxBackground: 64})
	if err != nil {
		return nil, fmt.Errorf("mount a FUSE file system: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, fmt.Errorf("wait for the FUSE file system: %w", err)
	}
	return server, nil
}

func (i *image) attributes(node uint64, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Mode = node, 1, fuse.S_IFDIR|0o700
	if node == imageNode {
		out.Mode, out.Size, out.Blocks = fuse.S_IFREG|0o600, uint64(i.size), uint64(i.size/blockUnit)
	}
}

func (i *image) String() string { return "device" }

func (i *image) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if in.NodeId != fuse.FUSE_ROOT_ID || name != imageName {
		return fuse.ENOENT
	}
	out.NodeId = imageNode
	i.attributes(imageNode, &out.Attr)
	return fuse.OK
}

func (i *image) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	i.attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

// SetAttr is asked to note times, which nobody needs.
func (i *image) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	i.attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

func (i *image) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (i *image) Read(_ <-chan struct{}, in *fuse.ReadIn, into []byte) (fuse.ReadResult, fuse.Status) {
	into = into[:in.Size]
	if err := i.device.read(into, int64(in.Offset)); err != nil {
		return nil, fuse.EIO
	}
	return fuse.ReadResultData(into), fuse.OK
}

func (i *image) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if err := i.device.write(data, int64(in.Offset)); err != nil {
		return 0, fuse.EIO
	}
	return uint32(len(data)), fuse.OK
}

// Fsync is what a flush of the block device becomes.
func (i *image) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status {
	if err := i.device.flush(); err != nil {
		return fuse.EIO
	}
	return fuse.OK
}

// Flush is asked when a file is closed, and promises nothing.
func (i *image) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (i *image) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Blocks: uint64(i.size / sector), Bsize: sector, NameLen: 255}
	return fuse.OK
}

// backing is the file that holds what a device does.
func backing(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return f, f.Truncate(size)
}
