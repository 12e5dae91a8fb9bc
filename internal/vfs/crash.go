package vfs

import (
	"math/rand/v2"
	"sort"
)

// Crash is a file system that a power cut at this moment could leave behind. What was synced is in it. Of the rest, the
// chance given decides: per file and per folder nothing, everything, the first part, or any part of the unsynced changes
// has made it to the disk, and a write may be torn. The Memory itself goes on untouched.
func (m *Memory) Crash(chance *rand.Rand) *Memory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	crash := NewMemory()
	crash.root = m.root.survive(chance, map[*node]*node{})
	return crash
}

// Clone is a file system with everything in it durable, as if all had been synced.
func (m *Memory) Clone() *Memory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	clone := NewMemory()
	clone.root = m.root.clone()
	return clone
}

func (n *node) clone() *node {
	if !n.isFolder() {
		data := append([]byte(nil), n.data...)
		return &node{data: data, stable: append([]byte(nil), data...)}
	}
	folder := newFolder()
	for name, child := range n.entries { // any order
		c := child.clone()
		folder.entries[name], folder.stableEntries[name] = c, c
	}
	return folder
}

// survive copies what is left of a node. A node that two names lead to stays one node.
func (n *node) survive(chance *rand.Rand, done map[*node]*node) *node {
	if s, ok := done[n]; ok {
		return s
	}
	if !n.isFolder() {
		data := append([]byte(nil), n.stable...)
		pick := newSurvival(chance, len(n.pending))
		for i, c := range n.pending {
			switch {
			case !pick.keeps(i):
			case c.data != nil && pick.tears(i):
				torn := c
				torn.data = c.data[:chance.IntN(len(c.data)+1)]
				data = torn.apply(data)
			default:
				data = c.apply(data)
			}
		}
		s := &node{data: data, stable: append([]byte(nil), data...)}
		done[n] = s
		return s
	}
	names := make(map[string]*node, len(n.stableEntries))
	for name, child := range n.stableEntries { // any order
		names[name] = child
	}
	pick := newSurvival(chance, len(n.pendingNames))
	for i, c := range n.pendingNames {
		if pick.keeps(i) {
			c.apply(names)
		}
	}
	folder := newFolder()
	done[n] = folder
	sorted := make([]string, 0, len(names))
	for name := range names { // any order
		sorted = append(sorted, name)
	}
	sort.Strings(sorted) // so that the chance is spent in the same order each time
	for _, name := range sorted {
		s := names[name].survive(chance, done)
		folder.entries[name], folder.stableEntries[name] = s, s
	}
	return folder
}

// survival says which of a number of unsynced changes made it.
type survival struct {
	chance *rand.Rand
	mode   int
	count  int
	cut    int // of a first part: its length; the change at the cut is torn
}

func newSurvival(chance *rand.Rand, count int) survival {
	s := survival{chance: chance, mode: chance.IntN(4), count: count}
	if count > 0 {
		s.cut = chance.IntN(count)
	}
	return s
}

func (s survival) keeps(i int) bool {
	switch s.mode {
	case 0:
		return false
	case 1:
		return true
	case 2:
		return i <= s.cut
	default:
		return s.chance.IntN(2) == 0
	}
}

func (s survival) tears(i int) bool {
	switch s.mode {
	case 2:
		return i == s.cut
	case 3:
		return s.chance.IntN(4) == 0
	default:
		return false
	}
}
