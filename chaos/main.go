// Command chaos lives through a bad day with a cluster of real processes: it starts nodes, has clients of three languages work, hurts nodes,
// their disks and the network between them, heals all, and checks what the clients saw.
//
// It promises to end with 0 only if every promise that it checks was kept, with 1 if one was broken, and with 2 if it could not run; and
// to leave no process, namespace, mount or device behind. It is run by make chaos and by whoever looks for a bug by its seed.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	random "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

type options struct {
	duration   time.Duration
	seed       uint64
	loopback   bool
	binary     string
	nodes      int
	partitions int
	rate       float64
	faults     string
	clients    string
	sources    string
	cache      string
	disks      string
	keep       bool
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 20*time.Minute, "how long clients work and nodes are hurt")
	flag.Uint64Var(&o.seed, "seed", 0, "what faults are drawn from (0: a random one)")
	flag.BoolVar(&o.loopback, "loopback", false, "nodes on 127.0.0.1, and faults of processes only: needs no root and no Linux")
	flag.StringVar(&o.binary, "bin", "bin/gregor", "the program of the nodes")
	flag.IntVar(&o.nodes, "nodes", 3, "how many nodes")
	flag.IntVar(&o.partitions, "partitions", 6, "how many partitions the topic has")
	flag.Float64Var(&o.rate, "rate", 600, "records per second, by all producers")
	flag.StringVar(&o.faults, "faults", "", "only these faults, with commas")
	flag.StringVar(&o.clients, "clients", "all", "clients of other languages, with commas: rdkafka, java; all that can be built here, or none")
	flag.StringVar(&o.sources, "sources", "chaos/clients", "where those clients' sources are")
	flag.StringVar(&o.cache, "cache", "chaos/.cache", "where they are built")
	flag.StringVar(&o.disks, "disks", "auto", "device: an ext4 on a device that can be hurt; tmpfs: can be full; folder: cannot be hurt; auto: the first that works")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with data, logs and history also where nothing is wrong")
	flag.Parse()
	mounting := ownMounts()
	if mounting != nil && o.disks == "auto" {
		fmt.Println("disks          are folders:", mounting)
		o.disks, mounting = "folder", nil
	}
	if mounting != nil && o.disks != "folder" {
		fmt.Fprintln(os.Stderr, "chaos:", mounting)
		os.Exit(2)
	}
	if flag.NArg() > 0 || o.nodes < 3 || o.nodes > 9 || o.partitions < 1 || o.rate <= 0 || o.rate > 100_000 || o.duration <= 0 {
		fmt.Fprintln(os.Stderr, "chaos: these arguments make no sense; see chaos -help")
		os.Exit(2)
	}
	if o.seed == 0 {
		var bytes [4]byte
		_, _ = rand.Read(bytes[:])
		o.seed = uint64(binary.BigEndian.Uint32(bytes[:])) + 1
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	violations, err := run(ctx, o)
	cancel()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	case violations > 0:
		os.Exit(1)
	}
}

// run lives one run, and says how many violations it found.
func run(ctx context.Context, o options) (count int, err error) {
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return 0, err
	}
	place, network, err := newWorld(o)
	if err != nil {
		return 0, err
	}
	defer place.close()
	commands, err := foreigners(o.clients, o.sources, o.cache, os.Stdout)
	if err != nil {
		return 0, err
	}
	folder, err := os.MkdirTemp("", "gregor-chaos-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if count > 0 || o.keep {
			fmt.Println("data, logs and history are in", folder)
		} else {
			_ = os.RemoveAll(folder)
		}
	}()
	d, err := newDisks(o.disks, folder, o.nodes)
	switch {
	case d == nil && err != nil && o.disks != "auto":
		return 0, err
	case d == nil && err == nil:
	case d == nil:
		fmt.Println("disks          are folders, which cannot be hurt:", err)
	case err != nil:
		fmt.Printf("disks          %v, and not devices: %v\n", d, err)
	default:
		fmt.Println("disks         ", d)
	}
	if d != nil {
		defer func() { err = errors.Join(err, d.close()) }()
	}
	kinds, err := faultKinds(o.faults, network != nil, d)
	if err != nil {
		return 0, err
	}
	fmt.Printf("clients        franz-go %s\n", strings.Join(sortedKeys(commands), " "))
	fmt.Printf("seed %d: %d nodes, %v, faults %s\n", o.seed, o.nodes, o.duration, strings.Join(kinds, ", "))

	c := newCluster(place, d, binary, folder, o.nodes)
	defer c.killAll()
	w := &workload{history: newHistory(), partitions: int32(o.partitions), seeds: c.addresses(), dial: place.dial}
	w.errors.now = w.history.now
	client, err := w.client("admin")
	if err != nil {
		return 0, err
	}
	defer client.Close()
	c.client, c.admin = client, kadm.NewClient(client)
	if err := c.found(ctx, o.partitions); err != nil {
		return 0, fmt.Errorf("%w; the last that node 0 said: %s", err, tail(c.log(c.nodes[0])))
	}

	n := &nemesis{cluster: c, links: network, chance: random.New(random.NewPCG(o.seed, 1)), now: w.history.now, out: os.Stdout, kinds: kinds}
	defer w.endForeign()
	until, err := live(ctx, o, w, n, commands)
	if err != nil {
		return 0, err
	}
	violations := check(w.history)
	c.mu.Lock()
	violations = append(violations, c.problems...)
	c.mu.Unlock()
	report(os.Stdout, w, n.faults, violations, until)
	if network != nil {
		fmt.Println(network)
	}
	if len(violations) > 0 || o.keep {
		if err := w.history.write(filepath.Join(folder, "history.jsonl")); err != nil {
			fmt.Fprintln(os.Stderr, "chaos: the history could not be written:", err)
		}
	}
	return len(violations), nil
}

// live has clients work while the nemesis is about, and then everything come to rest. It returns when the producers were told to end.
func live(ctx context.Context, o options, w *workload, n *nemesis, commands map[string][]string) (until time.Duration, err error) {
	producing, stopProducing := context.WithCancel(ctx)
	defer stopProducing()
	consuming, stopConsuming := context.WithCancel(ctx)
	defer stopConsuming()
	settled, giveUp := context.WithCancel(ctx)
	defer giveUp()
	perSecond := o.rate / float64(franzProducers+len(commands))
	for id := range int32(franzProducers) {
		if err := w.produce(producing, settled, id, perSecond); err != nil {
			return 0, err
		}
	}
	for i, name := range sortedKeys(commands) {
		log := filepath.Join(n.cluster.folder, name+".log")
		if err := w.startForeign(n.cluster.world, name, commands[name], int32(franzProducers+i), perSecond, o.seed, log); err != nil {
			return 0, err
		}
	}
	for _, name := range []string{"consumer-0", "consumer-1"} {
		if err := w.consume(consuming, name); err != nil {
			return 0, err
		}
	}
	for slot := range 2 {
		w.join(consuming, slot, random.New(random.NewPCG(o.seed, uint64(2+slot))))
	}

	hurting, healed := context.WithTimeout(ctx, o.duration)
	err = n.run(hurting)
	healed()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	n.say("all is healed")
	within(ctx, n, 90*time.Second, "no-recovery", n.cluster.inSync)
	until = w.history.now()
	stopProducing()
	within(ctx, n, time.Minute, "stuck-producer", func(ctx context.Context) error {
		context.AfterFunc(ctx, giveUp)
		err := w.settleForeign(ctx)
		w.producing.Wait()
		return errors.Join(err, ctx.Err())
	})
	within(ctx, n, time.Minute, "unreadable-log", w.readLog)
	within(ctx, n, time.Minute, "stuck-consumer", w.caughtUp)
	stopConsuming()
	w.consuming.Wait()
	w.endForeign()
	within(ctx, n, 30*time.Second, "unreadable-commits", func(ctx context.Context) error { return w.readCommitted(ctx, n.cluster.admin) })
	return until, ctx.Err()
}

// within gives something a time, and calls it a violation if that was not enough.
func within(ctx context.Context, n *nemesis, limit time.Duration, kind string, f func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := f(limited); err != nil {
		n.cluster.problem(kind, "%v after all was healed: %v", limit, err)
	}
}

// found starts the nodes and makes the topic.
func (c *cluster) found(ctx context.Context, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i, n := range c.nodes {
		if err := c.start(n, i == 0); err != nil {
			return err
		}
	}
	if err := c.inSync(ctx); err != nil {
		return err
	}
	least := "2"
	if _, err := c.admin.CreateTopic(ctx, int32(partitions), 3, map[string]*string{"min.insync.replicas": &least}, topic); err != nil {
		return fmt.Errorf("create the topic: %w", err)
	}
	return c.inSync(ctx)
}
