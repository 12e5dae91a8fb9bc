//go:build linux

package vfs

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pwritev is the bare system call. unix.Pwritev takes byte slices and makes the kernel's array of them on the heap, once
// per write; the hot path has the array ready.
func pwritev(fd int, iovecs []unix.Iovec, offset int64) (int, error) {
	// The kernel takes the offset as two longs, low and high; on 64 bits the low one has it all.
	low, high := uintptr(offset), uintptr(0)
	if unsafe.Sizeof(low) == 4 {
		high = uintptr(offset >> 32)
	}
	n, _, errno := syscall.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iovecs[0])),
		uintptr(len(iovecs)), low, high, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
