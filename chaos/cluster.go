package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// world is where nodes and clients are: namespaces with a network that can be hurt, or the loopback device.
type world interface {
	address(node int) string
	// start starts the command where the node is.
	start(node int, command *exec.Cmd) error
	// startClient starts the command where the clients are.
	startClient(command *exec.Cmd) error
	dial(ctx context.Context, network, address string) (net.Conn, error)
	close()
}

// loopback has nodes on ports of 127.0.0.1, and a network that works.
type loopback struct{ addresses []string }

func newLoopback(nodes int) (*loopback, error) {
	l := &loopback{}
	for range nodes {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		l.addresses = append(l.addresses, listener.Addr().String())
	}
	return l, nil
}

func (l *loopback) address(node int) string          { return l.addresses[node] }
func (l *loopback) start(_ int, cmd *exec.Cmd) error { return cmd.Start() }
func (l *loopback) startClient(cmd *exec.Cmd) error  { return cmd.Start() }
func (l *loopback) close()                           {}
func (l *loopback) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// cluster is the processes of the nodes. Its methods are called from one goroutine.
type cluster struct {
	world  world
	disks  disks // nil: nodes keep their data in folders
	binary string
	folder string
	nodes  []*node
	client *kgo.Client
	admin  *kadm.Client // on client

	mu       sync.Mutex
	problems []violation // a node that ended by itself, or did not when it should
}

type node struct {
	id      int
	data    string
	command *exec.Cmd
	ended   chan struct{} // closed when the process has
	stopped bool          // by SIGSTOP
	// expected is set before the process is made to end.
	expected *bool
}

func newCluster(w world, d disks, binary, folder string, count int) *cluster {
	c := &cluster{world: w, disks: d, binary: binary, folder: folder}
	for id := range count {
		n := &node{id: id, data: filepath.Join(folder, "data-"+strconv.Itoa(id))}
		if d != nil {
			n.data = filepath.Join(d.folder(id), "data")
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *cluster) addresses() (all []string) {
	for _, n := range c.nodes {
		all = append(all, c.world.address(n.id))
	}
	return all
}

func (c *cluster) problem(kind, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, violation{kind, fmt.Sprintf(format, args...)})
}

func (n *node) runs() bool {
	if n.command == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// start starts a node that does not run. Only the founder's first start is without --join.
func (c *cluster) start(n *node, found bool) error {
	arguments := []string{"start", "--node-id", strconv.Itoa(n.id), "--data-dir", n.data, "--listen", c.world.address(n.id), "--http", "off",
		"--set", "auto.create.topics.enable=false", "--set", "group.initial.rebalance.delay.ms=500", "--set", "offsets.topic.replication.factor=3"}
	if !found {
		var others []string
		for _, other := range c.nodes {
			if other != n {
				others = append(others, c.world.address(other.id))
			}
		}
		arguments = append(arguments, "--join", strings.Join(others, ","))
	}
	log, err := os.OpenFile(c.log(n), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(c.binary, arguments...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = nodeAttributes()
	if err := c.world.start(n.id, command); err != nil {
		return fmt.Errorf("start node %d: %w", n.id, err)
	}
	ended, expected := make(chan struct{}), new(bool)
	n.command, n.ended, n.expected, n.stopped = command, ended, expected, false
	go func() {
		err := command.Wait()
		c.mu.Lock()
		asked := *expected
		c.mu.Unlock()
		if !asked {
			c.problem("node-ended", "node %d ended by itself (%v); the last that it said: %s", n.id, err, tail(c.log(n)))
		}
		close(ended)
	}()
	return nil
}

func (c *cluster) log(n *node) string {
	return filepath.Join(c.folder, "node-"+strconv.Itoa(n.id)+".log")
}

func tail(path string) string {
	text, _ := os.ReadFile(path)
	return string(text[max(0, len(text)-500):])
}

func (c *cluster) expectEnd(n *node) {
	c.mu.Lock()
	*n.expected = true
	c.mu.Unlock()
}

func (c *cluster) kill(n *node) {
	if !n.runs() {
		return
	}
	c.expectEnd(n)
	_ = n.command.Process.Kill()
	<-n.ended
}

// patience is how long a node may take to end in good order. It syncs all it has: on a disk whose flushes take a second or two that is long.
func (c *cluster) patience(n *node) time.Duration {
	if c.disks != nil {
		if d := c.disks.device(n.id); d != nil && d.isSlow() {
			return 3 * time.Minute
		}
	}
	return 30 * time.Second
}

// stop asks a node to end, and waits.
func (c *cluster) stop(n *node) {
	if !n.runs() {
		return
	}
	c.expectEnd(n)
	_ = n.command.Process.Signal(syscall.SIGTERM)
	patience := c.patience(n)
	select {
	case <-n.ended:
	case <-time.After(patience):
		c.problem("slow-stop", "node %d still ran %v after SIGTERM", n.id, patience)
		c.kill(n)
	}
}

func (c *cluster) pause(n *node) {
	if n.runs() {
		_ = n.command.Process.Signal(syscall.SIGSTOP)
		n.stopped = true
	}
}

func (c *cluster) resume(n *node) {
	if n.runs() && n.stopped {
		_ = n.command.Process.Signal(syscall.SIGCONT)
	}
	n.stopped = false
}

// heal has every node run.
func (c *cluster) heal() error {
	for _, n := range c.nodes {
		c.resume(n)
		if !n.runs() {
			if err := c.start(n, false); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) killAll() {
	for _, n := range c.nodes {
		c.kill(n)
	}
}

// inSync waits until every node says that every replica of every partition is in sync and every node is there. One node's word would not
// do: it may not have heard yet of what has just happened.
func (c *cluster) inSync(ctx context.Context) error {
	last := errors.New("nobody answered")
	for {
		err := c.lacking(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not in sync: %w", last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *cluster) lacking(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := c.lackingAt(ctx, n); err != nil {
			return fmt.Errorf("node %d: %w", n.id, err)
		}
	}
	return nil
}

func (c *cluster) lackingAt(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	response, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, c.client.Broker(n.id))
	if err != nil {
		return err
	}
	if len(response.Brokers) != len(c.nodes) {
		return fmt.Errorf("%d of %d nodes are there", len(response.Brokers), len(c.nodes))
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
				return fmt.Errorf("partition %d of %s: leader %d, replicas %v, in sync %v, error %d", p.Partition, *t.Topic, p.Leader, p.Replicas, p.ISR, p.ErrorCode)
			}
		}
	}
	return nil
}
