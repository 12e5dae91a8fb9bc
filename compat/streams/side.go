package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gregorhq/gregor/streams"
)

// application is what a side is to run.
type application struct {
	id     string // the group, and the prefix of topics
	spec   Spec
	base   int64
	broker string
	dir    string // for its state; each side has one of its own
	stays  bool   // Java stays in the group when it stops, as it does unless told otherwise
}

// side is an implementation. run starts an application. The process that runs it goes on until stop; alive says whether it has
// ended before.
type side interface {
	run(a application) (process, error)
}

type process interface {
	alive() error
	stop() error
}

// session is how long Go's instances may be silent, as Java's: on a busy machine nobody should be taken for dead, and do again what
// another has done.
const session = 45 * time.Second

// goSide runs package streams in this process.
type goSide struct{}

type goProcess struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (goSide) run(a application) (process, error) {
	topology, err := build(a.spec, a.id, a.base)
	if err != nil {
		return nil, err
	}
	app, err := streams.New(topology, streams.Config{AppID: a.id, Brokers: []string{a.broker}, CommitInterval: 100 * time.Millisecond,
		MaxTaskIdle: a.spec.Idle, EmitEvery: -1, SessionTimeout: session, StateDir: filepath.Join(a.dir, "go"), CacheBytes: -1, PurgeInterval: -1})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &goProcess{cancel: cancel, done: make(chan struct{})}
	go func() {
		p.err = app.Run(ctx)
		close(p.done)
	}()
	return p, nil
}

func (p *goProcess) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("the Go side ended: %w", p.err)
	default:
		return nil
	}
}

func (p *goProcess) stop() error {
	p.cancel()
	<-p.done
	return p.err
}

// javaSide runs Kafka Streams in one JVM, which Twin.java is.
type javaSide struct {
	in io.WriteCloser

	mu      sync.Mutex
	answers map[string]chan string
	dead    map[string]string
	ended   error
}

// startJava starts the JVM. What it has to say goes to the log.
func startJava(classes string, log io.Writer) (*javaSide, error) {
	c := exec.Command("java", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-cp", classes, "Twin")
	c.Stderr = log
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	j := &javaSide{in: in, answers: map[string]chan string{}, dead: map[string]string{}}
	go j.listen(out, c)
	return j, nil
}

func (j *javaSide) listen(out io.Reader, c *exec.Cmd) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		what, rest, _ := strings.Cut(lines.Text(), " ")
		id, why, _ := strings.Cut(rest, " ")
		j.mu.Lock()
		switch what {
		case "died":
			j.dead[id] = why
		case "ok", "failed":
			if what == "ok" {
				why = ""
			}
			j.answers[id] <- why
		}
		j.mu.Unlock()
	}
	err := c.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = fmt.Errorf("the JVM ended: %w", errors.Join(err, lines.Err(), io.EOF))
	for _, a := range j.answers {
		close(a)
	}
}

func (j *javaSide) close() error { return j.in.Close() }

// ask has the JVM do something with an application, and waits until it is done.
func (j *javaSide) ask(id string, words ...string) error {
	answer := make(chan string, 1)
	j.mu.Lock()
	if j.ended != nil {
		defer j.mu.Unlock()
		return j.ended
	}
	j.answers[id] = answer
	_, err := fmt.Fprintln(j.in, strings.Join(words, " "))
	j.mu.Unlock()
	if err != nil {
		return err
	}
	why, ok := <-answer
	switch {
	case !ok:
		return j.ended
	case why != "":
		return fmt.Errorf("the Java side: %s", why)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.answers, id)
	return nil
}

type javaProcess struct {
	j     *javaSide
	id    string
	leave string
}

func (j *javaSide) run(a application) (process, error) {
	file := filepath.Join(a.dir, "topology")
	if err := os.WriteFile(file, []byte(a.spec.Lines()), 0o644); err != nil {
		return nil, err
	}
	p := &javaProcess{j, a.id, "leave"}
	words := []string{"start", a.id, file, fmt.Sprint(a.base), "bootstrap.servers=" + a.broker, "state.dir=" + filepath.Join(a.dir, "java"),
		fmt.Sprintf("max.task.idle.ms=%d", a.spec.Idle.Milliseconds())}
	if a.stays {
		p.leave = "stay"
		words = append(words, "consumer.session.timeout.ms=6000", "consumer.heartbeat.interval.ms=1000")
	}
	return p, j.ask(a.id, words...)
}

func (p *javaProcess) alive() error {
	p.j.mu.Lock()
	defer p.j.mu.Unlock()
	if why, dead := p.j.dead[p.id]; dead {
		return fmt.Errorf("the Java side ended: %s", why)
	}
	return p.j.ended
}

func (p *javaProcess) stop() error { return p.j.ask(p.id, "stop", p.id, p.leave) }
