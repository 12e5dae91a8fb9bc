package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// nodeAttributes: a group of its own, so that ^C is for the run alone; and nodes do not outlive it, however it ends.
func nodeAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// monotonic is the clock by which clients of all languages tell when something was.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}
