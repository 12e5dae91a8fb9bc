package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// others is the column that says how many cores other programs took meanwhile: what they take, the systems cannot have.
const others = "others_cores"

// watchOthers starts watching, and returns what says how many cores were busy since with what was neither this program nor
// a process of its that has ended by then. The kernel's own threads, and what the host of a virtual machine takes, count as others.
func watchOthers() func() float64 {
	began, busy, own := time.Now(), busySeconds(), ownSeconds()
	return func() float64 {
		return max(0, (busySeconds()-busy)-(ownSeconds()-own)) / time.Since(began).Seconds()
	}
}

// busySeconds is how long all cores together were not idle since the machine started.
func busySeconds() (seconds float64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal guest guest_nice; the guests' are part of user and nice
		if i >= 1 && i <= 8 && i != 4 && i != 5 {
			ticks, _ := strconv.ParseFloat(field, 64)
			seconds += ticks / 100
		}
	}
	return seconds
}

// ownSeconds is the CPU time of this process and of all its children that have ended.
func ownSeconds() (seconds float64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var use syscall.Rusage
		if syscall.Getrusage(who, &use) == nil {
			seconds += time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
		}
	}
	return seconds
}
