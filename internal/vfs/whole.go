package vfs

import (
	"errors"
	"io"
	"path"
	"slices"
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

// Whole is a file and all its bytes.
type Whole struct {
	Name string
	Data []byte
}

// WriteFiles is WriteFile of many files, of which no two have one name: they are synced together, and so are their
// folders, which costs a disk much less than one after the other. After an error each may be old or new.
func WriteFiles(fs FS, all []Whole) error {
	files := make([]File, 0, len(all))
	var err error
	for _, whole := range all {
		var f File
		if f, err = writeTemporary(fs, whole.Name, whole.Data); err != nil {
			break
		}
		files = append(files, f)
	}
	if err == nil {
		err = fs.SyncFiles(files)
	}
	for _, f := range files {
		if released := f.Release(); err == nil {
			err = released
		}
	}
	if err != nil {
		return err
	}
	var folders []string
	for _, whole := range all {
		if err := fs.Rename(whole.Name+temporarySuffix, whole.Name); err != nil {
			return err
		}
		if dir := path.Dir(whole.Name); !slices.Contains(folders[max(0, len(folders)-1):], dir) {
			folders = append(folders, dir)
		}
	}
	return fs.SyncDirs(folders)
}

const temporarySuffix = ".tmp"

// writeTemporary makes the file that is to be renamed. It is open, and not synced.
func writeTemporary(fs FS, name string, data []byte) (File, error) {
	temporary := name + temporarySuffix
	if err := fs.Remove(temporary); err != nil && !errors.Is(err, ErrNotExist) {
		return nil, err
	}
	f, err := fs.Create(temporary)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Release()
		return nil, err
	}
	return f, nil
}

// WriteFileLazily is WriteFile without syncing the folder and, if sync is false, the file: for what can be rebuilt,
// whose readers check what they find.
func WriteFileLazily(fs FS, name string, data []byte, sync bool) error {
	f, err := writeTemporary(fs, name, data)
	if err != nil {
		return err
	}
	if sync {
		err = f.Sync()
	}
	if released := f.Release(); err == nil {
		err = released
	}
	if err != nil {
		return err
	}
	return fs.Rename(name+temporarySuffix, name)
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
