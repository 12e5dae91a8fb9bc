// Package gregortest starts a real broker inside a Go test: the engine that runs in production, on a free port of the
// loopback interface, in milliseconds. Any Kafka client can use it.
//
//	func TestOrders(t *testing.T) {
//		broker := gregortest.Start(t)
//		client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
//		…
//	}
//
// StartCluster starts several brokers that are one cluster.
//
// It promises that every test has a broker of its own, that the broker and its data are gone when the test ends, and
// that what the broker has to say comes out in the test's log if the test fails.
// Tests of any module may use it. It does not mock, simulate or shorten anything, except that a consumer group does not
// wait three seconds for more members unless the test asks for that.
package gregortest

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/daemon"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Broker is a running broker.
type Broker struct {
	t      testing.TB
	daemon *daemon.Daemon
	setup  setup
	port   int
}

type setup struct {
	dir    string
	memory vfs.FS
	keys   config.Static
}

// Option changes how a broker is started.
type Option func(*setup)

// OnDisk keeps the data in a folder rather than in memory, so that acknowledgements wait for a real disk.
func OnDisk(dir string) Option { return func(s *setup) { s.dir, s.memory = dir, nil } }

// With sets a configuration key, by Kafka's name, such as With("num.partitions", "3").
func With(key, value string) Option { return func(s *setup) { s.keys[key] = value } }

// Start starts a broker that ends with the test. It fails the test if the broker does not start.
func Start(t testing.TB, options ...Option) *Broker {
	t.Helper()
	s := setup{dir: "/gregor", memory: vfs.NewMemory(), keys: config.Static{
		"listeners":                        "PLAINTEXT://127.0.0.1:0",
		"group.initial.rebalance.delay.ms": "0",
		"offsets.topic.num.partitions":     "5",
	}}
	for _, option := range options {
		option(&s)
	}
	b := &Broker{t: t, setup: s}
	if err := b.start(); err != nil {
		t.Fatalf("gregortest: %v", err)
	}
	t.Cleanup(b.Stop)
	return b
}

func (b *Broker) start() error {
	if _, err := b.setup.keys.Check(); err != nil {
		return err
	}
	d, err := daemon.Start(daemon.Config{Static: b.setup.keys, FS: b.setup.memory, Dir: b.setup.dir, HTTP: "off",
		Logger: slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	b.daemon, b.port = d, d.Addresses()[0].(*net.TCPAddr).Port
	return nil
}

// Addr is HOST:PORT, what clients call a bootstrap server or seed broker.
func (b *Broker) Addr() string { return b.daemon.Addresses()[0].String() }

// Stop stops the broker cleanly. Its data stays, for Restart, until the test ends.
func (b *Broker) Stop() {
	b.t.Helper()
	if b.daemon == nil {
		return
	}
	if err := b.daemon.Close(); err != nil {
		b.t.Errorf("gregortest: the broker did not stop cleanly: %v", err)
	}
	b.daemon = nil
}

// Restart starts the broker again on the same data and the same port, and stops it before if it runs.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Stop()
	b.setup.keys = maps.Clone(b.setup.keys)
	b.setup.keys["listeners"] = fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", b.port)
	if err := b.start(); err != nil {
		b.t.Fatalf("gregortest: restart: %v", err)
	}
}

// testLog writes to a test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("gregor: %s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
