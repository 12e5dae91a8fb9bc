// Package vfs is the disk: the one door through which Gregor reads and writes files.
//
// It has three implementations. OS is the real one, with what the hot path needs: vectored writes, preallocation,
// write-back hints, group syncs. Memory keeps files in memory and can lose power: what was not synced is then gone,
// wholly or in part. Faulty wraps another and makes calls fail, be slow, or run out of space as a test says.
//
// It promises durability as POSIX gives it and no more: bytes are safe once Sync or SyncFiles has returned nil; a
// file's existence and name are safe once SyncDir of its folder has returned nil after it. A failed sync means that
// the data may be lost although a later sync succeeds: callers must not try again and believe it.
// Every room that touches files may use it; nothing else in the house opens one.
// It does not retry, cache, check sums, or know any file's format.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// Errors that every implementation answers, tested with errors.Is.
var (
	ErrNotExist = fs.ErrNotExist
	ErrExist    = fs.ErrExist
	ErrNoSpace  = error(syscall.ENOSPC)
	ErrLocked   = errors.New("locked by another process")
)

// FS is a file system. Names are slash-separated paths. All methods are safe for concurrent use.
type FS interface {
	// Create makes a new empty file, open for reading and writing. It fails with ErrExist where the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Remove deletes a file or an empty folder.
	Remove(name string) error
	// RemoveAll deletes a folder and everything in it; a name that does not exist is no error.
	RemoveAll(name string) error
	// Rename moves a file or folder, replacing a file that has the new name.
	Rename(from, to string) error
	// MkdirAll makes a folder and its parents, as far as they are missing.
	MkdirAll(name string) error
	// List returns the names in a folder, sorted, folders with a trailing slash.
	List(dir string) ([]string, error)
	// Size returns a file's length in bytes, or ErrNotExist.
	Size(name string) (int64, error)
	// SyncDir makes the names in a folder durable: creations, removals and renames in it so far.
	SyncDir(dir string) error
	// SyncDirs is SyncDir of many folders, choosing the cheapest way. On an error none may be taken as durable.
	SyncDirs(dirs []string) error
	// SyncFiles makes the data of all the files durable, choosing the cheapest way for so many. On an error none may be
	// taken as durable.
	SyncFiles(files []File) error
	// Lock takes a lock file that no other process can take until it is closed or this process ends; ErrLocked if taken.
	Lock(name string) (io.Closer, error)
	// Usage returns the capacity of the file system that holds the folder, and what is still free for us, in bytes.
	Usage(dir string) (total, free int64, err error)
}

// File is an open file. It is reference-counted, so that a reader may go on while the owner closes or deletes it: it
// starts with one reference, and the last Release closes it. All methods are safe for concurrent use, but concurrent
// writers of one range get what they deserve.
type File interface {
	io.ReaderAt
	// Name is the name it was opened by.
	Name() string
	// WriteAt writes all of p at an offset, or says how much it wrote and why not more.
	io.WriterAt
	// WritevAt writes the buffers one after another at an offset, in as few system calls as possible. It returns how many
	// bytes were written, fewer than all only with an error. It may modify the slice of buffers, not their bytes.
	WritevAt(buffers [][]byte, offset int64) (int64, error)
	// Size is the file's length in bytes.
	Size() (int64, error)
	// Truncate sets the length.
	Truncate(size int64) error
	// Sync makes the file's data durable, and as much metadata as reading it back needs.
	Sync() error
	// Preallocate reserves disk space for a range beyond the end without changing the length. It is a hint: an error
	// other than ErrNoSpace means only that it is not supported.
	Preallocate(offset, length int64) error
	// StartWriteback asks the system to begin writing a range to disk, and does not wait. It is a hint.
	StartWriteback(offset, length int64)
	// Retain takes another reference. It reports false if the last one is already gone.
	Retain() bool
	// Release gives a reference back; the last closes the file and returns what closing said.
	Release() error
	// Descriptor is the operating system's file descriptor for zero-copy transfer, valid while a reference is held.
	// ok is false where there is none.
	Descriptor() (fd uintptr, ok bool)
}
