//go:build !linux

package main

import (
	"syscall"
	"time"
)

var started = time.Now()

// monotonic is not the clock of other processes here: only our own clients run.
func monotonic() int64 { return int64(time.Since(started)) }

func nodeAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
