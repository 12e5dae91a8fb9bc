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
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fleet is a cluster of one system's on this machine, each node a process with a folder of its own.
type fleet struct {
	name     string
	dir      string
	children *children
	nodes    []*member
	startup  float64     // seconds from the first process to a record that all replicas have
	client   *kgo.Client // says itself to which partition a record goes
	admin    *kadm.Client
}

// member is one node. Its command can be run again, on the same folder.
type member struct {
	id      int
	port    int
	dir     string
	command func() *exec.Cmd
	process *child // nil while it is down
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

// start starts a node's process; what it says goes to a file beside its folder.
func (f *fleet) start(m *member) error {
	log, err := os.OpenFile(m.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := m.command()
	cmd.Stdout, cmd.Stderr = log, log
	m.process, err = f.children.start(cmd)
	return err
}

func (m *member) log() string { return m.dir + ".log" }

// end sends a signal and waits for the end of the process.
func (m *member) end(signal syscall.Signal) {
	if m.process == nil {
		return
	}
	m.process.end(signal, 5*time.Minute) // Kafka takes minutes to close thousands of logs, and killed it would recover them all
	m.process = nil
}

// startFleet starts a cluster on fresh folders.
func startFleet(c config, kind fleetKind) (f *fleet, err error) {
	f = &fleet{name: kind.name, children: c.children}
	defer func() {
		if err != nil {
			f.explain()
			f.discard()
		}
	}()
	if f.dir, err = os.MkdirTemp(c.scratch, "fleet-"); err != nil {
		return f, err
	}
	for id := range c.cluster {
		if err := free(kind.port + id); err != nil {
			return f, err
		}
	}
	if f.nodes, err = kind.make(c, f.dir, kind.port, c.cluster); err != nil {
		return f, err
	}
	// What is measured is the brokers, and not for how long a client waits before it asks again.
	f.client, err = kgo.NewClient(kgo.SeedBrokers(f.addrs()...), kgo.MetadataMinAge(10*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RetryBackoffFn(func(int) time.Duration { return pollEvery }))
	if err != nil {
		return f, err
	}
	f.admin = kadm.NewClient(f.client)
	began := time.Now()
	if err = f.startAll(); err != nil {
		return f, err
	}
	if err = f.createTopic("first", 1); err != nil {
		return f, err
	}
	if err = f.serves("first"); err != nil {
		return f, err
	}
	f.startup = time.Since(began).Seconds()
	return f, nil
}

// startAll starts all processes and waits until all are brokers of the cluster.
func (f *fleet) startAll() error {
	for _, m := range f.nodes {
		if err := f.start(m); err != nil {
			return err
		}
	}
	return f.wait("all nodes serve", 5*time.Minute, func(ctx context.Context) error {
		for _, m := range f.nodes {
			if m.process.ended() {
				return fmt.Errorf("node %d has ended: %v", m.id, m.process.err)
			}
		}
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
		if time.Now().After(deadline) || errors.Is(err, errOver) {
			return fmt.Errorf("%s: not within %v: %w", what, most, err)
		}
		time.Sleep(pollEvery)
	}
}

// pollEvery is how often something is asked again.
const pollEvery = 20 * time.Millisecond

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

// settled waits until every partition of the topics has a leader that runs, and all its replicas in sync if allInSync.
func (f *fleet) settled(most time.Duration, allInSync bool, topics ...string) error {
	return f.eachPartition("leaders and replicas", most, topics, func(p kadm.PartitionDetail) bool {
		return p.Leader >= 0 && f.nodes[p.Leader].process != nil && (!allInSync || len(p.ISR) == len(p.Replicas))
	})
}

// eachPartition waits until something is true of every partition of the topics.
func (f *fleet) eachPartition(what string, most time.Duration, topics []string, true func(kadm.PartitionDetail) bool) error {
	return f.wait(what, most, func(ctx context.Context) error {
		all, err := f.admin.ListTopics(ctx, topics...)
		if err != nil {
			return err
		}
		for _, t := range all {
			if t.Err != nil {
				return t.Err
			}
			for _, p := range t.Partitions {
				if !true(p) {
					return fmt.Errorf("%s-%d: leader %d of %v, in sync %v: %w", t.Topic, p.Partition, p.Leader, p.Replicas, p.ISR, errNotYet)
				}
			}
		}
		return nil
	})
}

// serves waits until every partition of the topics has taken a record.
func (f *fleet) serves(topics ...string) error {
	var all kadm.TopicDetails
	if err := f.wait("the topics are known", time.Minute, func(ctx context.Context) (err error) {
		all, err = f.admin.ListTopics(ctx, topics...)
		return err
	}); err != nil {
		return err
	}
	return f.wait("every partition takes a record", 5*time.Minute, func(ctx context.Context) error {
		var records []*kgo.Record
		for _, t := range all {
			for n := range t.Partitions {
				records = append(records, &kgo.Record{Topic: t.Topic, Partition: n, Value: []byte("one")})
			}
		}
		return f.client.ProduceSync(ctx, records...).FirstErr()
	})
}

// controller is the node that leads the metadata quorum.
func (f *fleet) controller() (leader *member, err error) {
	err = f.wait("the quorum has a leader", time.Minute, func(ctx context.Context) error {
		req := kmsg.NewPtrDescribeQuorumRequest()
		topic := kmsg.NewDescribeQuorumRequestTopic()
		topic.Topic, topic.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(ctx, f.client)
		if err != nil {
			return err
		}
		if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
			return fmt.Errorf("the description of the quorum is empty: error %d", resp.ErrorCode)
		}
		id := resp.Topics[0].Partitions[0].LeaderID
		if id < 0 || int(id) >= len(f.nodes) || f.nodes[id].process == nil {
			return errNotYet
		}
		leader = f.nodes[id]
		return nil
	})
	return leader, err
}

func (f *fleet) cpu() (seconds float64) {
	for _, m := range f.nodes {
		if m.process != nil {
			seconds += cpuOf(m.process.pid())
		}
	}
	return seconds
}

func (f *fleet) memory(of func(pid int) float64) (mb float64) {
	for _, m := range f.nodes {
		if m.process != nil {
			mb += of(m.process.pid())
		}
	}
	return mb
}

// load runs a load generator while the CPU time of all nodes is watched. bytes is how much it moves.
func (f *fleet) load(bytes float64, name string, args ...string) (figures, string, error) {
	before := f.cpu()
	out, err := f.children.output(name, args...)
	if err != nil {
		return nil, "", err
	}
	return figures{"cpu_s_per_gb": (f.cpu() - before) / (bytes / 1e9)}, out, nil
}

// explain prints the last that each node said.
func (f *fleet) explain() {
	for _, m := range f.nodes {
		text, _ := os.ReadFile(m.log())
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines[max(0, len(lines)-5):] {
			fmt.Fprintf(os.Stderr, "  node %d: %s\n", m.id, line)
		}
	}
}

func (f *fleet) discard() {
	if f.client != nil {
		f.client.Close()
	}
	for _, m := range f.nodes {
		m.end(syscall.SIGKILL)
	}
	if f.dir != "" {
		_ = os.RemoveAll(f.dir)
	}
}
