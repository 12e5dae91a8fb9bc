package main

import "syscall"

// childAttributes: a group of its own, so that ^C is for the comparison alone; and no process outlives it, not even when it is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
