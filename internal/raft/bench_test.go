package raft

import (
	"sync"
	"testing"

	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/vfs"
)

// A real disk and real loops: from Open to leading, and from Append to committed.
func openReal(b *testing.B, dir string) (n *Node, epoch int32) {
	b.Helper()
	var led sync.WaitGroup
	led.Add(1)
	n, err := Open(Options{
		Runtime: loop.Real(), FS: vfs.OS(false), Dir: dir, Node: 1, Machine: &diary{}, Log: quiet(),
		Bootstrap: func(string) [][]byte { return [][]byte{[]byte("cluster")} },
		OnLeader: func(e int32, leads bool) {
			if leads {
				epoch = e
				led.Done()
			}
		},
		Failed: func(err error) { b.Error(err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	n.Start()
	led.Wait()
	return n, epoch
}

func closeReal(b *testing.B, n *Node) {
	var closed sync.WaitGroup
	closed.Add(1)
	n.Close(func(err error) {
		if err != nil {
			b.Error(err)
		}
		closed.Done()
	})
	closed.Wait()
}

func BenchmarkStart(b *testing.B) {
	dir := b.TempDir() + "/metadata"
	for b.Loop() {
		n, _ := openReal(b, dir)
		closeReal(b, n)
	}
}

func BenchmarkCommit(b *testing.B) {
	n, epoch := openReal(b, b.TempDir()+"/metadata")
	var mu sync.Mutex
	moved := sync.NewCond(&mu)
	committed := int64(0)
	n.OnCommitted(func(end int64) {
		mu.Lock()
		committed = max(committed, end)
		moved.Broadcast()
		mu.Unlock()
	})
	for b.Loop() {
		next, err := n.Append(epoch, make([]byte, 200))
		if err != nil {
			b.Fatal(err)
		}
		mu.Lock()
		for committed < next {
			moved.Wait()
		}
		mu.Unlock()
	}
	closeReal(b, n)
}
