package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// children are the processes that run now: nodes and loads. None outlives the comparison, however it ends.
type children struct {
	mu   sync.Mutex
	live map[*child]bool
	over bool
}

// child is one process, the leader of a process group of its own, so that ^C is for the comparison alone.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read it once done is closed
}

var errOver = errors.New("the comparison was told to end")

// loadMost is how long one load may take before it counts as failed.
const loadMost = 10 * time.Minute

func newChildren() *children { return &children{live: map[*child]bool{}} }

// start starts a command, unless all was told to end.
func (c *children) start(cmd *exec.Cmd) (*child, error) {
	cmd.SysProcAttr = childAttributes()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, errOver
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &child{cmd: cmd, done: make(chan struct{})}
	c.live[p] = true
	go func() {
		p.err = cmd.Wait()
		c.mu.Lock()
		delete(c.live, p)
		c.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// output runs a load to its end, and returns what it printed.
func (c *children) output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := c.start(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
	case <-time.After(loadMost):
		p.end(syscall.SIGKILL, 0)
		p.err = fmt.Errorf("not done within %v", loadMost)
	}
	if p.err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), p.err, lastLine(out.String()))
	}
	return out.String(), nil
}

// end kills all that run, starts nothing any more, and returns when all have ended.
func (c *children) end() {
	c.mu.Lock()
	c.over = true
	var live []*child
	for p := range c.live {
		live = append(live, p)
	}
	c.mu.Unlock()
	for _, p := range live {
		p.end(syscall.SIGKILL, 0)
	}
}

func (p *child) pid() int { return p.cmd.Process.Pid }

func (p *child) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal signals the process, unless it has ended.
func (p *child) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// end signals the process and waits until it has ended; it is killed if it takes longer than most.
func (p *child) end(s syscall.Signal, most time.Duration) {
	p.signal(s)
	if s != syscall.SIGKILL {
		select {
		case <-p.done:
		case <-time.After(most):
			p.signal(syscall.SIGKILL)
		}
	}
	<-p.done
}
