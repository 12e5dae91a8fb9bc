package main

import "syscall"

// nodeAttributes: a group of its own, so that ^C is for the run alone; and nodes do not outlive it, however it ends.
func nodeAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
