package raft

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// TestWhatAKilledProcessLeftUnsyncedIsSyncedBeforeItCounts ends a process between a write and the sync of its file or its
// folder, lets the next one read what was written, and cuts the power then.
func TestWhatAKilledProcessLeftUnsyncedIsSyncedBeforeItCounts(t *testing.T) {
	for seed := range uint64(40) {
		memory := vfs.NewMemory()
		if err := vfs.MakeFolder(memory, "/metadata"); err != nil {
			t.Fatal(err)
		}
		fs := vfs.NewFaulty(memory)
		first, err := createWAL(fs, "/metadata", 7, hardState{term: 1}, snapshotID{})
		if err != nil {
			t.Fatal(err)
		}
		killed := errors.New("killed")
		if seed%2 == 0 {
			fs.Add(vfs.Rule{Op: "sync", Err: killed})
			err = first.append([]entry{{index: 1, term: 1, data: []byte("last")}}, hardState{term: 1})
		} else {
			fs.Add(vfs.Rule{Op: "syncdir", Err: killed})
			err = first.begin(2)
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		second, found, err := openWAL(memory, "/metadata", 7, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if seed%2 == 1 {
			if err := second.append([]entry{{index: 1, term: 1, data: []byte("last")}}, hardState{term: 1}); err != nil {
				t.Fatal(err)
			}
			found.entries = append(found.entries, entry{index: 1})
		}
		_, after, err := openWAL(memory.Crash(rand.New(rand.NewPCG(seed, 1))), "/metadata", 7, quiet())
		if err != nil || len(after.entries) != len(found.entries) {
			t.Fatalf("seed %d: %d entries before the power cut, %d after it: %v", seed, len(found.entries), len(after.entries), err)
		}
	}
}
