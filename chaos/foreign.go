package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// language is a client library that is not ours to link: a program of its own that works as client.go does and prints its history.
type language struct {
	name string
	// build makes the program of the sources in a folder, unless it is there, and says how to run it. What it lacks is the error.
	build func(sources, cache string) ([]string, error)
}

var languages = []language{{"rdkafka", buildRdkafka}, {"java", buildJava}}

func buildRdkafka(sources, cache string) ([]string, error) {
	program, source := filepath.Join(cache, "rdkafka"), filepath.Join(sources, "rdkafka", "client.c")
	if newer(program, source) {
		return []string{program}, nil
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return nil, errors.New("there is no gcc")
	}
	return []string{program}, tool("gcc", "-O2", "-o", program, source, "-lrdkafka", "-lpthread")
}

func buildJava(sources, cache string) ([]string, error) {
	jars, classes, source := filepath.Join(cache, "jars"), filepath.Join(cache, "java"), filepath.Join(sources, "java", "Client.java")
	command := []string{"java", "-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", classes + ":" + jars + "/*", "Client"}
	for _, need := range []string{"java", "javac", "mvn"} {
		if _, err := exec.LookPath(need); err != nil {
			return nil, fmt.Errorf("there is no %s", need)
		}
	}
	if have, _ := filepath.Glob(filepath.Join(jars, "kafka-clients-*.jar")); have == nil {
		err := tool("mvn", "-q", "-B", "-f", filepath.Join(sources, "java", "pom.xml"),
			"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies", "-DoutputDirectory="+jars)
		if err != nil {
			return nil, err
		}
	}
	if newer(filepath.Join(classes, "Client.class"), source) {
		return command, nil
	}
	return command, tool("javac", "-d", classes, "-cp", jars+"/*", source)
}

func newer(made, source string) bool {
	m, err := os.Stat(made)
	if err != nil {
		return false
	}
	s, err := os.Stat(source)
	return err == nil && m.ModTime().After(s.ModTime())
}

func tool(name string, arguments ...string) error {
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.300s", name, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// foreigners builds the clients of other languages that are asked for: those of a list, of which all must be there, or with "all" those
// that can be had.
func foreigners(asked, sources, cache string, out io.Writer) (map[string][]string, error) {
	if asked == "none" {
		return nil, nil
	}
	if runtime.GOOS != "linux" {
		return nil, errors.New("clients of other languages tell the time by Linux's clocks: here there is only -clients none")
	}
	cache, err := filepath.Abs(cache)
	if err == nil {
		err = os.MkdirAll(cache, 0o755)
	}
	if err != nil {
		return nil, err
	}
	names := strings.Split(asked, ",")
	commands := map[string][]string{}
	for _, l := range languages {
		if asked != "all" && !slices.Contains(names, l.name) {
			continue
		}
		command, err := l.build(sources, cache)
		switch {
		case err == nil:
			commands[l.name] = command
		case asked != "all":
			return nil, fmt.Errorf("the client %s: %w", l.name, err)
		default:
			fmt.Fprintf(out, "clients        %s is left out (chaos/README.md says what it needs): %v\n", l.name, err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == l.name })
	}
	if asked != "all" && len(names) > 0 {
		return nil, fmt.Errorf("there is no client %s; there are rdkafka and java", strings.Join(names, ","))
	}
	return commands, nil
}

// foreign is a client program that runs.
type foreign struct {
	name    string
	history *history
	errors  *errorCounts
	count   func() // a record was read
	input   io.WriteCloser
	command *exec.Cmd
	settled chan struct{} // closed when its producer was answered for everything
	ended   chan struct{} // closed when all that it printed is in the history

	consumers map[string]*consumer
	fresh     map[string]map[int32]time.Duration
	sends     map[value]*send
	commits   map[string]*commit // those that may yet be answered
}

// startForeign starts a client program of another language among the clients of a world.
func (w *workload) startForeign(place world, name string, command []string, producer int32, perSecond float64, seed uint64, log string) error {
	f := &foreign{name: name, history: w.history, errors: &w.errors, count: func() { w.read.Add(1) },
		settled: make(chan struct{}), ended: make(chan struct{}),
		consumers: map[string]*consumer{}, fresh: map[string]map[int32]time.Duration{}, sends: map[value]*send{}, commits: map[string]*commit{}}
	arguments := append(slices.Clone(command[1:]), strings.Join(w.seeds, ","), topic, strconv.Itoa(int(w.partitions)),
		strconv.FormatInt(w.history.clock, 10), strconv.Itoa(int(producer)), strconv.FormatFloat(perSecond, 'f', 3, 64), strconv.FormatUint(seed%1_000_000, 10))
	f.command = exec.Command(command[0], arguments...)
	f.command.SysProcAttr = nodeAttributes()
	var output io.Reader
	err := f.pipes(&output, log)
	if err == nil {
		err = place.startClient(f.command)
	}
	if err != nil {
		return fmt.Errorf("start the client %s: %w", name, err)
	}
	w.foreign = append(w.foreign, f)
	go f.follow(output)
	return nil
}

func (f *foreign) pipes(output *io.Reader, log string) (err error) {
	if f.input, err = f.command.StdinPipe(); err != nil {
		return err
	}
	if *output, err = f.command.StdoutPipe(); err != nil {
		return err
	}
	said, err := os.Create(log)
	f.command.Stderr = said
	return err
}

func (f *foreign) tell(word string) { _, _ = io.WriteString(f.input, word+"\n") }

// follow takes what the program prints into the history until it ends.
func (f *foreign) follow(output io.Reader) {
	defer close(f.ended)
	settled := sync.OnceFunc(func() { close(f.settled) })
	defer settled()
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var e event
		err := json.Unmarshal(lines.Bytes(), &e)
		if err == nil && e.Kind == "settled" {
			settled()
			continue
		}
		f.history.do(func() {
			if err == nil {
				err = f.take(e)
			}
			if err != nil {
				f.history.Strange = append(f.history.Strange, fmt.Sprintf("%s said %q: %v", f.name, lines.Text(), err))
			}
		})
	}
	if err := f.command.Wait(); err != nil {
		f.errors.add(f.name, fmt.Errorf("the program ended: %w", err))
	}
	_ = f.command.Stderr.(io.Closer).Close()
}

// event is a line of a history.
type event struct {
	Kind string          `json:"kind"`
	Who  string          `json:"who"`
	What json.RawMessage `json:"what"`
}

// take notes an event. It is called under the history's lock.
func (f *foreign) take(e event) error {
	var what struct {
		Group     string        `json:"group"`
		Partition int32         `json:"partition"`
		At        time.Duration `json:"at"`
		Lost      bool          `json:"lost"`
		Text      string        `json:"text"`
	}
	switch e.Kind {
	case "send":
		return f.takeSend(e.What)
	case "commit":
		return f.takeCommit(e.What)
	case "read":
		return f.takeRead(e.Who, e.What)
	}
	if err := json.Unmarshal(e.What, &what); err != nil {
		return err
	}
	switch e.Kind {
	case "consumer":
		c := &consumer{Name: e.Who, Group: what.Group}
		f.consumers[e.Who], f.fresh[e.Who] = c, map[int32]time.Duration{}
		f.history.Consumers = append(f.history.Consumers, c)
	case "assigned":
		c := f.consumers[e.Who]
		if c == nil {
			return errors.New("there is no such consumer")
		}
		f.fresh[e.Who][what.Partition] = what.At
		f.history.assigned(c.Group, e.Who, what.Partition, what.At)
	case "gone":
		f.history.gone(e.Who, what.Partition, what.At, what.Lost)
	case "error":
		f.errors.add(f.name, errors.New(what.Text))
	case "strange":
		f.history.Strange = append(f.history.Strange, e.Who+": "+what.Text)
	default:
		return errors.New("there is no such event")
	}
	return nil
}

func (f *foreign) takeSend(what json.RawMessage) error {
	var s send
	if err := json.Unmarshal(what, &s); err != nil {
		return err
	}
	before := f.sends[s.Value]
	switch {
	case before == nil && s.Outcome == pending:
		f.sends[s.Value] = &s
		f.history.Sends = append(f.history.Sends, &s)
	case before == nil || before.Outcome != pending:
		return errors.New("this send was not pending")
	default:
		*before = s
		delete(f.sends, s.Value)
	}
	return nil
}

func (f *foreign) takeCommit(what json.RawMessage) error {
	var c commit
	if err := json.Unmarshal(what, &c); err != nil {
		return err
	}
	key := fmt.Sprint(c.Member, c.Partition)
	if c.Ended == 0 {
		f.commits[key] = &c
		f.history.Commits = append(f.history.Commits, &c)
		return nil
	}
	if f.commits[key] == nil {
		return errors.New("this commit had not begun")
	}
	*f.commits[key] = c
	delete(f.commits, key)
	return nil
}

func (f *foreign) takeRead(who string, what json.RawMessage) error {
	var r read
	if err := json.Unmarshal(what, &r); err != nil {
		return err
	}
	c := f.consumers[who]
	if c == nil {
		return errors.New("there is no such consumer")
	}
	f.history.readBy(c, r, f.fresh[who])
	f.count()
	return nil
}

// settleForeign has the producers of the foreign clients end, and waits until they were answered for everything.
func (w *workload) settleForeign(ctx context.Context) error {
	for _, f := range w.foreign {
		f.tell("settle")
	}
	for _, f := range w.foreign {
		select {
		case <-f.settled:
		case <-ctx.Done():
			return fmt.Errorf("the producer of %s: %w", f.name, ctx.Err())
		}
	}
	return nil
}

// endForeign ends the foreign clients, however they fare.
func (w *workload) endForeign() {
	for _, f := range w.foreign {
		f.tell("end")
	}
	for _, f := range w.foreign {
		select {
		case <-f.ended:
		case <-time.After(20 * time.Second):
			_ = f.command.Process.Kill()
			<-f.ended
		}
	}
}
