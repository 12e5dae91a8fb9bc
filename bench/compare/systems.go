package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// system is a broker that can be started on a fresh data folder.
type system struct {
	name    string
	port    int
	command func(dir string, port int) (*exec.Cmd, error)
}

// running is a started broker.
type running struct {
	system
	children *children
	dir      string
	process  *child
	startup  float64 // seconds from the start of the process to the first accepted produce
}

func (r *running) addr() string { return "127.0.0.1:" + strconv.Itoa(r.port) }
func (r *running) pid() int     { return r.process.pid() }

func systems(c config) []system {
	gregor := func(extra ...string) func(string, int) (*exec.Cmd, error) {
		return func(dir string, port int) (*exec.Cmd, error) {
			args := append([]string{"start", "--data-dir", dir, "--listen", "127.0.0.1:" + strconv.Itoa(port), "--http", "off", "--log-level", "warn"}, extra...)
			return exec.Command(c.gregor, args...), nil
		}
	}
	kafka := func(extra ...string) func(string, int) (*exec.Cmd, error) {
		return func(dir string, port int) (*exec.Cmd, error) { return kafkaCommand(c, dir, port, extra) }
	}
	return []system{
		{"gregor", 21092, gregor()},
		{"kafka", 22092, kafka()},
		{"kafka, flush.messages=1", 23092, kafka("log.flush.interval.messages=1")},
		{"gregor, ack.durability=memory", 24092, gregor("--set", "log.ack.durability=memory")},
	}
}

// kafkaCommand formats a folder for a KRaft node with the default configuration, and a command with a 1 GB heap.
func kafkaCommand(c config, dir string, port int, extra []string) (*exec.Cmd, error) {
	properties, err := kafkaFormat(c, dir, append([]string{
		"process.roles=broker,controller", "node.id=1",
		fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", port+1),
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", port, port+1),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d", port),
		"controller.listener.names=CONTROLLER", "log.dirs=" + filepath.Join(dir, "data"),
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
	}, extra...))
	if err != nil {
		return nil, err
	}
	return kafkaServer(c, properties), nil
}

// kafkaFormat formats a node's folder, and says where its configuration is.
func kafkaFormat(c config, dir string, lines []string) (properties string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	properties = filepath.Join(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return "", err
	}
	jars := filepath.Join(c.cache, "jars", "*")
	if _, err := c.children.output("java", "-cp", jars, "kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", properties); err != nil {
		return "", err
	}
	return properties, nil
}

func kafkaServer(c config, properties string) *exec.Cmd {
	return exec.Command("java", "-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-cp", filepath.Join(c.cache, "jars", "*"), "kafka.Kafka", properties)
}

// start starts a system on a fresh folder and waits until it has accepted a produce request.
func start(c config, s system) (*running, error) {
	dir, err := os.MkdirTemp(c.scratch, "data-")
	if err != nil {
		return nil, err
	}
	return startIn(c, s, dir)
}

func startIn(c config, s system, dir string) (*running, error) {
	if err := free(s.port); err != nil {
		return nil, err
	}
	cmd, err := s.command(dir, s.port)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	process, err := c.children.start(cmd)
	if err != nil {
		return nil, err
	}
	r := &running{system: s, children: c.children, dir: dir, process: process}
	for {
		if err = r.firstProduce(); err == nil {
			r.startup = time.Since(began).Seconds()
			return r, nil
		}
		if time.Since(began) > 90*time.Second {
			r.stop()
			return nil, fmt.Errorf("%s does not start: %w (see %s.log)", s.name, err, dir)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *running) stop() { r.process.end(syscall.SIGTERM, 30*time.Second) }
func (r *running) kill() { r.process.end(syscall.SIGKILL, 0) }

func (r *running) discard() {
	r.stop()
	_ = os.RemoveAll(r.dir)
	_ = os.Remove(r.dir + ".log")
}

// free makes sure that nobody else answers at a port: what runs there would be measured in place of what is started.
func free(port int) error {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), time.Second)
	if err != nil {
		return nil
	}
	_ = c.Close()
	return fmt.Errorf("something runs at port %d: end it first", port)
}

// firstProduce creates a topic and produces one record to it.
func (r *running) firstProduce() error {
	if err := createTopic(r.addr(), "first", 1); err != nil {
		return err
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 7, -1, 5000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "first"
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = oneRecord()
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp := kmsg.NewPtrProduceResponse()
	if err := call(r.addr(), req, resp); err != nil {
		return err
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("produce answers error %d", code)
	}
	return nil
}

func createTopic(addr, name string, partitions int32) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 4, 30000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, topic)
	resp := kmsg.NewPtrCreateTopicsResponse()
	if err := call(addr, req, resp); err != nil {
		return err
	}
	if code := resp.Topics[0].ErrorCode; code != 0 && code != 36 {
		return fmt.Errorf("cannot create %s: error %d", name, code)
	}
	return nil
}

// call makes one request on a connection of its own.
func call(addr string, req kmsg.Request, resp kmsg.Response) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return err
	}
	resp.SetVersion(req.GetVersion())
	return resp.ReadFrom(body[4:])
}
