package main

import "math/rand/v2"

// disks are what nodes keep their data on: file systems that the run has for itself, of a bounded size. One without a device has no
// faults but that it is full.
type disks interface {
	// folder is where a node's disk is mounted.
	folder(node int) string
	// fill takes all space that there is; free gives it back.
	fill(node int) error
	free(node int) error
	// device is what a node's disk is on, or nil.
	device(node int) *device
	// powerLoss takes the power from a node's disk and gives it back. The node must not run. Of what was not flushed, a share is lost.
	powerLoss(node int, chance *rand.Rand, loss float64) error
	// spoil turns some bits of files of a node's disk over, below the file system, and says in which. The node must not run.
	spoil(node int, chance *rand.Rand, files []string) error
	// String says what they are.
	String() string
	close() error
}

// diskSize is the size of a disk, in bytes. What is not written takes no space.
const diskSize = 2 << 30
