// Package daemon is a node in a process: files, sockets, signals, HTTP.
//
// It promises that Start returns when clients are served, that Close leaves the data folder as after a clean shutdown,
// and that a node which cannot go on ends its process with an error that says what to do.
// The command line and gregortest use it. It decides nothing about what a node does.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Daemon is a running node.
type Daemon struct {
	node       *node.Node
	peers      *peer.Sockets
	server     *server.Server
	http       *httpServer
	logger     *slog.Logger
	advertised map[string]listener
	addresses  []net.Addr
	requests   requestCounts
	ready      chan struct{}
	failed     chan error
	closeOnce  sync.Once
	closeErr   error
}

// Config is what Start needs.
type Config struct {
	Static config.Static
	FS     vfs.FS // nil for the real disk
	Dir    string // the data folder; "" for what Static says
	HTTP   string // as in Options
	Logger *slog.Logger
}

// startTimeout is how long a node may take to serve. Recovery of a large folder after a crash is the longest part.
const startTimeout = 10 * time.Minute

// Start starts a node and waits until it serves.
func Start(c Config) (*Daemon, error) {
	layers := config.Layers{Static: c.Static.Layer()}
	listens, err := listeners(layers)
	if err != nil {
		return nil, err
	}
	d := &Daemon{logger: c.Logger, peers: peer.New("gregor"), ready: make(chan struct{}), failed: make(chan error, 1)}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	if d.advertised, err = advertised(layers); err != nil {
		return nil, err
	}
	if c.Dir == "" {
		if c.Dir, err = dataDir(layers); err != nil {
			return nil, err
		}
	}
	if c.FS == nil {
		c.FS = vfs.OS(false)
	}
	// The ports are taken first: a second node on the same port must not get as far as the first one's files.
	sockets, err := d.listen(listens)
	if err != nil {
		return nil, err
	}
	if err := d.openNode(c, layers, listens); err != nil {
		closeAll(sockets)
		d.peers.Close()
		return nil, err
	}
	if err := d.serve(c, layers, listens, sockets); err != nil {
		closeAll(sockets)
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Daemon) listen(listens []listener) ([]net.Listener, error) {
	var sockets []net.Listener
	for _, l := range listens {
		socket, err := net.Listen("tcp", net.JoinHostPort(l.host, strconv.Itoa(l.port)))
		if err != nil {
			closeAll(sockets)
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("cannot listen on %s: another program has the port; choose one with --listen HOST:PORT", net.JoinHostPort(l.host, strconv.Itoa(l.port)))
			}
			return nil, fmt.Errorf("cannot listen: %w", err)
		}
		sockets = append(sockets, socket)
		d.addresses = append(d.addresses, socket.Addr())
	}
	return sockets, nil
}

func closeAll(sockets []net.Listener) {
	for _, s := range sockets {
		_ = s.Close()
	}
}

func (d *Daemon) openNode(c Config, layers config.Layers, listens []listener) (err error) {
	o := node.Options{
		Runtime: loop.Real(), FS: c.FS, Dir: c.Dir, Config: c.Static, Logger: d.logger, Peers: d.peers,
		Endpoints: d.endpoints(listens), Advertised: d.advertise, Failed: d.fail, Observe: &d.requests,
	}
	if o.Seeds, err = seeds(layers, o.Endpoints); err != nil {
		return err
	}
	if len(layers.List("join")) > 0 {
		if o.Admission, err = d.join(c, o.Seeds); err != nil {
			return err
		}
	}
	d.node, err = node.Open(o)
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("the data folder %s is in use by another gregor: stop it, or choose another folder with --data-dir", c.Dir)
	}
	return err
}

// join asks a cluster to let in a node whose data folder is empty, until it does. One that was in a cluster before knows the
// way back by itself.
func (d *Daemon) join(c Config, seeds []peer.Address) (*node.Admission, error) {
	if formatted, err := node.Formatted(c.FS, c.Dir); err != nil || formatted {
		return nil, nil // what is wrong with a folder is said when it is opened
	}
	if len(seeds) == 0 {
		return nil, errors.New("--join names no node but this one: start the first node of a cluster without it")
	}
	d.logger.Info("joining a cluster", "seeds", fmt.Sprint(seeds))
	type result struct {
		admission node.Admission
		err       error
	}
	done := make(chan result, 1)
	node.Join(node.JoinOptions{Runtime: loop.Real(), FS: c.FS, Dir: c.Dir, Peers: d.peers, Seeds: seeds, Config: c.Static, Logger: d.logger},
		func(a node.Admission, err error) { done <- result{a, err} })
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	d.logger.Info("let in", "cluster", r.admission.Cluster, "node", int(r.admission.Node))
	return &r.admission, nil
}

// endpoints are where other nodes reach this one.
func (d *Daemon) endpoints(listens []listener) []metadata.Endpoint {
	var all []metadata.Endpoint
	for i, l := range listens {
		e := metadata.Endpoint{Listener: l.name, Host: l.host, Port: uint16(d.addresses[i].(*net.TCPAddr).Port)}
		if a, ok := d.advertisedFor(l.name); ok {
			e.Host, e.Port = a.host, uint16(a.port)
		} else if ip := net.ParseIP(l.host); l.host == "" || ip != nil && ip.IsUnspecified() {
			if name, err := os.Hostname(); err == nil {
				e.Host = name
			}
		}
		all = append(all, e)
	}
	return all
}

func (d *Daemon) advertisedFor(name string) (listener, bool) {
	if a, ok := d.advertised[name]; ok {
		return a, true
	}
	a, ok := d.advertised[""]
	return a, ok
}

// advertise is the address that a client is told: what was set, or the one that it reached us at, which it can reach.
func (d *Daemon) advertise(peer server.Peer) (host string, port int32) {
	if a, ok := d.advertisedFor(peer.Listener); ok {
		return a.host, int32(a.port)
	}
	return peer.LocalHost, int32(peer.LocalPort)
}

func (d *Daemon) serve(c Config, layers config.Layers, listens []listener, sockets []net.Listener) error {
	d.server = server.New(server.Config{
		MaxRequestBytes:     int32(layers.Int("socket.request.max.bytes")),
		MaxQueuedBytes:      layers.Int("queued.max.request.bytes"),
		MaxIdle:             time.Duration(layers.Int("connections.max.idle.ms")) * time.Millisecond,
		MaxConnections:      int(layers.Int("max.connections")),
		MaxConnectionsPerIP: int(layers.Int("max.connections.per.ip")),
		Logger:              d.logger,
	}, d.node.API)
	if err := d.serveHTTP(c.HTTP); err != nil {
		return err
	}
	d.node.Start(func() { close(d.ready) })
	// A node that needs others to come to serve has to be reached by them; clients are served when it is ready.
	early := d.node.Clustered()
	if early {
		if err := d.accept(listens, sockets); err != nil {
			return err
		}
	}
	select {
	case <-d.ready:
	case err := <-d.failed:
		return err
	case <-time.After(startTimeout):
		return fmt.Errorf("the node did not become ready within %v", startTimeout)
	}
	if early {
		return nil
	}
	return d.accept(listens, sockets)
}

// accept takes connections.
func (d *Daemon) accept(listens []listener, sockets []net.Listener) error {
	for i, socket := range sockets {
		if err := d.server.Serve(listens[i].name, socket); err != nil {
			return err
		}
	}
	return nil
}

func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// Failed receives why the node cannot go on.
func (d *Daemon) Failed() <-chan error { return d.failed }

// Addresses are those that the node listens on.
func (d *Daemon) Addresses() []net.Addr { return d.addresses }

// Node is the node.
func (d *Daemon) Node() *node.Node { return d.node }

// Close stops serving, and leaves the data folder as after a clean shutdown.
func (d *Daemon) Close() error {
	d.closeOnce.Do(func() {
		// Whoever comes now is refused, which clients take for what it is; those who are here are served until others lead.
		d.server.StopAccepting()
		d.leave()
		d.server.AwaitFirstAnswers(firstAnswerTimeout)
		d.server.Close()
		d.closeErr = d.stopNode()
		d.peers.Close()
		d.http.close()
	})
	return d.closeErr
}

// firstAnswerTimeout is how long a connection that was accepted just before the node began to stop may take to ask something.
const firstAnswerTimeout = 500 * time.Millisecond

// leaveTimeout is how long taking leave of a cluster may take. It bounds itself; this is for a node that has stopped to turn.
const leaveTimeout = 30 * time.Second

// leave has others lead what this node leads, while it still serves.
func (d *Daemon) leave() {
	left := make(chan struct{})
	d.node.Leave(func() { close(left) })
	select {
	case <-left:
	case <-time.After(leaveTimeout):
	}
}

// stopTimeout is how long a clean shutdown may take; what it did not get done, the next start recovers.
const stopTimeout = 2 * time.Minute

func (d *Daemon) stopNode() error {
	done := make(chan error, 1)
	d.node.Stop(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return fmt.Errorf("the node did not stop within %v", stopTimeout)
	}
}

// Run runs a node until it is told to stop by a signal, and reports what went wrong.
func Run(ctx context.Context, o Options, logger *slog.Logger, started func(d *Daemon, dir string)) error {
	began := time.Now()
	static, notices, err := o.Resolve()
	if err != nil {
		return err
	}
	for _, notice := range notices {
		logger.Info(notice)
	}
	tune()
	dir, err := dataDir(config.Layers{Static: static.Layer()})
	if err != nil {
		return err
	}
	d, err := Start(Config{Static: static, Dir: dir, HTTP: o.HTTP, Logger: logger})
	if err != nil {
		return err
	}
	logger.Info("serving", "node", int(d.node.ID()), "cluster", d.node.ClusterID(), "listeners", fmt.Sprint(d.addresses),
		"http", d.http.address(), "data", dir, "started_in", time.Since(began).Round(time.Millisecond))
	if started != nil {
		started(d, dir)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	select {
	case <-ctx.Done():
		stop() // a second signal ends the process at once
		logger.Info("stopping")
		err := d.Close()
		logger.Info("stopped")
		return err
	case err := <-d.failed:
		return fmt.Errorf("the node stops: %w", err)
	}
}

// tune fits the Go runtime to a broker: a thread that waits for the disk must not hold up those that serve the network,
// and buffers are pooled, so that collecting garbage often would only cost.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}
