package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fleet is a cluster of one system's on this machine, each node a process with a folder of its own.
type fleet struct {
	name    string
	nodes   []*member
	startup float64 // seconds from the first process to a record that all replicas have
	client  *kgo.Client
	admin   *kadm.Client
}

// member is one node. Its command can be run again, on the same folder.
type member struct {
	id      int
	port    int
	dir     string
	command func() *exec.Cmd
	cmd     *exec.Cmd // nil while it is down
}

// fleetKind is a system that clusters are made of.
type fleetKind struct {
	name string
	port int // of the first node; the others follow
	make func(c config, dir string, port, nodes int) ([]*member, error)
}

func fleetKinds() []fleetKind {
	return []fleetKind{
		{"gregor", 25092, gregorFleet()},
		{"kafka", 26092, kafkaFleet},
		{"gregor, ack.durability=memory", 27092, gregorFleet("--set", "log.ack.durability=memory")},
	}
}

func gregorFleet(extra ...string) func(config, string, int, int) ([]*member, error) {
	return func(c config, dir string, port, nodes int) (all []*member, err error) {
		for id := range nodes {
			m := &member{id: id, port: port + id, dir: filepath.Join(dir, "node-"+strconv.Itoa(id))}
			args := append([]string{"start", "--data-dir", m.dir, "--node-id", strconv.Itoa(id), "--listen", m.addr(), "--http", "off", "--log-level", "warn",
				"--set", "min.insync.replicas=2"}, extra...)
			if id > 0 {
				args = append(args, "--join", all[0].addr())
			}
			m.command = func() *exec.Cmd { return exec.Command(c.gregor, args...) }
			all = append(all, m)
		}
		return all, nil
	}
}

// kafkaFleet is KRaft nodes that are brokers and vote, with the default configuration and heaps of 1 GB.
func kafkaFleet(c config, dir string, port, nodes int) (all []*member, err error) {
	var voters []string
	for id := range nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", id, port+100+id))
	}
	for id := range nodes {
		m := &member{id: id, port: port + id, dir: filepath.Join(dir, "node-"+strconv.Itoa(id))}
		properties, err := kafkaFormat(c, m.dir, []string{
			"process.roles=broker,controller", "node.id=" + strconv.Itoa(id),
			"controller.quorum.voters=" + strings.Join(voters, ","),
			fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", m.addr(), port+100+id),
			"advertised.listeners=PLAINTEXT://" + m.addr(),
			"controller.listener.names=CONTROLLER", "log.dirs=" + filepath.Join(m.dir, "data"), "min.insync.replicas=2",
		})
		if err != nil {
			return nil, err
		}
		m.command = func() *exec.Cmd { return kafkaServer(c, properties) }
		all = append(all, m)
	}
	return all, nil
}

func (m *member) addr() string { return "127.0.0.1:" + strconv.Itoa(m.port) }

// start starts the node's process; what it says goes to a file beside its folder.
func (m *member) start() error {
	log, err := os.OpenFile(m.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = m.command()
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return m.cmd.Start()
}

// end sends a signal and waits for the end of the process.
func (m *member) end(signal syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(signal)
	done := make(chan struct{})
	go func() { _ = m.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		_ = m.cmd.Process.Kill()
		<-done
	}
	m.cmd = nil
}

// startFleet starts a cluster on fresh folders.
func startFleet(c config, kind fleetKind) (*fleet, error) {
	dir, err := os.MkdirTemp(c.scratch, "fleet-")
	if err != nil {
		return nil, err
	}
	f := &fleet{name: kind.name}
	if f.nodes, err = kind.make(c, dir, kind.port, c.cluster); err != nil {
		return nil, err
	}
	if f.client, err = kgo.NewClient(kgo.SeedBrokers(f.addrs()...), kgo.MetadataMinAge(10*time.Millisecond)); err != nil {
		return nil, err
	}
	f.admin = kadm.NewClient(f.client)
	began := time.Now()
	if err := f.startAll(); err != nil {
		f.discard()
		return nil, err
	}
	if err := f.createTopic("first", 1); err != nil {
		f.discard()
		return nil, err
	}
	if err := f.client.ProduceSync(context.Background(), &kgo.Record{Topic: "first", Value: []byte("first")}).FirstErr(); err != nil {
		f.discard()
		return nil, err
	}
	f.startup = time.Since(began).Seconds()
	return f, nil
}

// startAll starts all processes and waits until all are brokers of the cluster.
func (f *fleet) startAll() error {
	for _, m := range f.nodes {
		if err := m.start(); err != nil {
			return err
		}
	}
	return f.wait("all nodes serve", 2*time.Minute, func(ctx context.Context) error {
		brokers, err := f.admin.ListBrokers(ctx)
		if err == nil && len(brokers) < len(f.nodes) {
			err = fmt.Errorf("%d of %d", len(brokers), len(f.nodes))
		}
		return err
	})
}

func (f *fleet) addrs() (addrs []string) {
	for _, m := range f.nodes {
		addrs = append(addrs, m.addr())
	}
	return addrs
}

func (f *fleet) bootstrap() string { return strings.Join(f.addrs(), ",") }

// wait tries something until it succeeds.
func (f *fleet) wait(what string, most time.Duration, try func(context.Context) error) error {
	deadline := time.Now().Add(most)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, most, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// createTopic makes a topic with a replica on every node, of which two must have a record before it is acknowledged.
func (f *fleet) createTopic(name string, partitions int32) error {
	two := "2"
	return f.wait("create "+name, time.Minute, func(ctx context.Context) error {
		answer, err := f.admin.CreateTopic(ctx, partitions, int16(len(f.nodes)), map[string]*string{"min.insync.replicas": &two}, name)
		if err == nil || answer.Err != nil && strings.Contains(answer.Err.Error(), "ALREADY_EXISTS") {
			return nil
		}
		return err
	})
}

var errNotYet = errors.New("not yet")

// settled waits until every partition of the topics has a leader, and all its replicas in sync if allInSync.
func (f *fleet) settled(most time.Duration, allInSync bool, topics ...string) error {
	return f.wait("leaders and replicas", most, func(ctx context.Context) error {
		all, err := f.admin.ListTopics(ctx, topics...)
		if err != nil {
			return err
		}
		for _, t := range all {
			if t.Err != nil {
				return t.Err
			}
			for _, p := range t.Partitions {
				if p.Leader < 0 || f.nodes[p.Leader].cmd == nil || allInSync && len(p.ISR) < len(p.Replicas) {
					return fmt.Errorf("%s-%d: leader %d, in sync %v: %w", t.Topic, p.Partition, p.Leader, p.ISR, errNotYet)
				}
			}
		}
		return nil
	})
}

func (f *fleet) cpu() (seconds float64) {
	for _, m := range f.nodes {
		if m.cmd != nil {
			seconds += cpuOf(m.cmd.Process.Pid)
		}
	}
	return seconds
}

func (f *fleet) memory(of func(pid int) float64) (mb float64) {
	for _, m := range f.nodes {
		if m.cmd != nil {
			mb += of(m.cmd.Process.Pid)
		}
	}
	return mb
}

// load runs a load generator while the CPU time of all nodes is watched. bytes is how much it moves.
func (f *fleet) load(bytes float64, name string, args ...string) (figures, string, error) {
	before := f.cpu()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return nil, "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, lastLine(string(out)))
	}
	return figures{"cpu_s_per_gb": (f.cpu() - before) / (bytes / 1e9)}, string(out), nil
}

func (f *fleet) discard() {
	f.client.Close()
	for _, m := range f.nodes {
		m.end(syscall.SIGKILL)
		_ = os.RemoveAll(m.dir)
	}
}
