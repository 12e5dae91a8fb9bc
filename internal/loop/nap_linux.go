package loop

import (
	"syscall"
	"time"
)

// nap sleeps in the kernel, to some ten microseconds exactly.
func nap(d time.Duration) {
	left := syscall.NsecToTimespec(d.Nanoseconds())
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}
