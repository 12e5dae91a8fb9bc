// Command streams kills instances of a stream processing application at random, and checks that every input is reflected in its
// results: three instances on a Gregor node of this machine, killed in the middle of what they do, one or all, restarted at once or after
// others have taken over, with their state or without, now and then stopped in good order.
//
// It promises to end with 0 only if nothing was lost, and to leave no process. It is run by make streams-kills. What it draws from its
// seed are the kills; when they meet what is another matter.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	gregor   = flag.String("gregor", "bin/gregor", "the node's binary")
	duration = flag.Duration("duration", 10*time.Minute, "how long instances are killed")
	seed     = flag.Uint64("seed", 0, "what is killed when; random if 0")
	rate     = flag.Int("rate", 500, "inputs per second")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	if args := flag.Args(); len(args) == 3 && args[0] == "instance" {
		if err := instance(args[1], args[2]); err != nil {
			log.Fatal("instance: ", err)
		}
		return
	}
	for *seed == 0 {
		*seed = rand.Uint64N(1_000_000_000)
	}
	fmt.Printf("seed %d, %v, %d inputs per second\n", *seed, *duration, *rate)
	if err := run(); err != nil {
		log.Fatal("FAILED: ", err)
	}
}

// day is a run: what there is of it.
type day struct {
	dir       string
	broker    string
	random    *rand.Rand
	instances [3]*exec.Cmd
	checker   *checker
	counts    map[string]int
}

func run() (err error) {
	dir, err := os.MkdirTemp("", "streams-kills")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &day{dir: dir, random: rand.New(rand.NewPCG(*seed, 0)), checker: newChecker(), counts: map[string]int{}}
	stop, err := d.startNode()
	if err != nil {
		return err
	}
	defer stop()
	client, err := kgo.NewClient(kgo.SeedBrokers(d.broker), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := prepare(client); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reading, sending := make(chan error, 1), make(chan error, 1)
	go func() { reading <- d.checker.read(ctx, d.broker) }()
	working, enough := context.WithTimeout(ctx, *duration)
	defer enough()
	go func() { sending <- d.send(working, client) }()
	defer d.endAll()
	if err := d.kills(working); err != nil {
		return err
	}
	if err := <-sending; err != nil {
		return err
	}
	if err := d.settle(reading); err != nil {
		return err
	}
	for i := range d.instances {
		if err := d.end(i); err != nil {
			return fmt.Errorf("instance %d did not end in good order: %w", i, err)
		}
	}
	fmt.Println("kills:", d.counts)
	fmt.Println(d.checker.summary())
	return nil
}

func (d *day) startNode() (stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d.broker = l.Addr().String()
	l.Close()
	node := exec.Command(*gregor, "start", "--data-dir", filepath.Join(d.dir, "node"), "--listen", d.broker, "--http", "off", "--log-level", "warn")
	node.Stderr = os.Stderr
	if err := node.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = node.Process.Kill()
		_ = node.Wait()
	}, nil
}

func nameOf(key string) string { return "name of " + key }

// keys is how many rows the table has, which inputs are joined with.
const keys = 97

// prepare makes the topics, and fills the table.
func prepare(client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for client.Ping(ctx) != nil && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	made, err := kadm.NewClient(client).CreateTopics(ctx, 4, 1, nil, lines.Name(), names.Name(), copies.Name(), joined.Name(), sets.Name())
	if err := errors.Join(err, made.Error()); err != nil {
		return err
	}
	for i := range keys {
		key := strconv.Itoa(i)
		r := &kgo.Record{Topic: names.Name(), Key: []byte(key), Value: []byte(nameOf(key))}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

// send sends inputs at the rate.
func (d *day) send(ctx context.Context, client *kgo.Client) error {
	var failed error
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && failed == nil {
		<-tick.C
		for range *rate / 20 {
			n := d.checker.send()
			client.Produce(context.Background(), &kgo.Record{Topic: lines.Name(), Key: []byte(strconv.Itoa(n % keys)), Value: []byte(strconv.Itoa(n))},
				func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
		}
		if err := client.Flush(context.Background()); err != nil {
			return err
		}
	}
	return failed
}

func (d *day) folder(i int) string { return filepath.Join(d.dir, fmt.Sprint("instance-", i)) }

func (d *day) start(i int) error {
	c := exec.Command(os.Args[0], "instance", d.broker, d.folder(i))
	c.Stderr = os.Stderr
	d.instances[i] = c
	return c.Start()
}

// kill ends an instance in the middle of what it does. One that has ended by itself did so without a reason.
func (d *day) kill(i int) error {
	c := d.instances[i]
	if c == nil {
		return nil
	}
	d.instances[i] = nil
	if err := c.Process.Kill(); err != nil {
		return fmt.Errorf("instance %d has ended by itself: %w", i, c.Wait())
	}
	if err := c.Wait(); c.ProcessState.ExitCode() >= 0 {
		return fmt.Errorf("instance %d has ended by itself: %w", i, err)
	}
	return nil
}

// end ends an instance in good order.
func (d *day) end(i int) error {
	c := d.instances[i]
	if c == nil {
		return nil
	}
	d.instances[i] = nil
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return c.Wait()
}

func (d *day) endAll() {
	for i := range d.instances {
		_ = d.kill(i) // the run has failed, or they have ended
	}
}

// settle waits until all results are there.
func (d *day) settle(reading <-chan error) error {
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		count, example, err := d.checker.missing()
		switch {
		case err != nil:
			return err
		case count == 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%d results are missing, for instance %s", count, example)
		}
		select {
		case err := <-reading:
			return err
		default:
		}
	}
}
