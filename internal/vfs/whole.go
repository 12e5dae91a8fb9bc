package vfs

import (
	"errors"
	"io"
	"path"
)

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Release()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, pathError("read", name, io.ErrShortBuffer)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && (err != io.EOF || int64(n) < size) {
		return nil, err
	}
	return data, nil
}

// WriteFile makes a file have exactly these bytes, durably, and never a mix of old and new: a new file is written,
// synced, renamed over the old one, and the folder synced.
func WriteFile(fs FS, name string, data []byte) error {
	if err := WriteFileLazily(fs, name, data, true); err != nil {
		return err
	}
	return fs.SyncDir(path.Dir(name))
}

// WriteFileLazily is WriteFile without syncing the folder and, if sync is false, the file: for what can be rebuilt,
// whose readers check what they find.
func WriteFileLazily(fs FS, name string, data []byte, sync bool) error {
	temporary := name + ".tmp"
	if err := fs.Remove(temporary); err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	f, err := fs.Create(temporary)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil && sync {
		err = f.Sync()
	}
	if closed := f.Release(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return fs.Rename(temporary, name)
}

// MakeFolder makes a folder and its parents, as far as they are missing, durably: a power cut does not take it away with
// everything that is in it. Its name in the folder above is made durable even if it was there, because whoever made it may
// not have come as far as that.
func MakeFolder(fs FS, name string) error {
	above := path.Dir(name)
	if _, err := fs.List(above); errors.Is(err, ErrNotExist) && above != name {
		if err := MakeFolder(fs, above); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(name); err != nil {
		return err
	}
	if above == name {
		return nil
	}
	return fs.SyncDir(above)
}
