// Package prewarm makes measurements on virtual machines comparable. Memory that the host has taken back costs ten times as much to
// write to as memory that was just used, so whoever comes first would pay for the others. Non-goals: anything but the page cache.
package prewarm

import "os"

// File writes and deletes a file as large as what is about to be written, so that the page cache has its memory. It does what it can:
// a full disk is no error.
func File(name string, bytes float64) {
	f, err := os.Create(name)
	if err != nil {
		return
	}
	block := make([]byte, 1<<20)
	for written := 0.0; written < bytes; written += float64(len(block)) {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	_ = f.Close()
	_ = os.Remove(name)
}
