package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/gregortest"
)

// start gives a test a broker that commands find without being told.
func start(t *testing.T, options ...gregortest.Option) *gregortest.Broker {
	t.Helper()
	b := gregortest.Start(t, options...)
	t.Setenv("GREGOR_BOOTSTRAP", b.Addr())
	return b
}

// must runs a command that has to work, and returns what it prints.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := run(stdin, args...)
	if r.status != 0 || r.stderr != "" {
		t.Fatalf("gregor %s: status %d\n%s", strings.Join(args, " "), r.status, r.stderr)
	}
	return r.stdout
}

// lines are many lines of many lengths, an empty one and a long one among them.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d %s\n", i, strings.Repeat("word ", i%37))
		if i%1000 == 0 {
			b.WriteString("\n")
		}
	}
	b.WriteString(strings.Repeat("long", 200_000) + "\n")
	return b.String()
}

func TestAFileComesBackByteForByteWithEveryCodec(t *testing.T) {
	start(t)
	text := lines(20_000)
	for _, codec := range codecNames {
		must(t, "", "topic", "create", codec, "-p", "1")
		must(t, text, "produce", codec, "-z", codec)
		if got := must(t, "", "consume", codec, "-e"); got != text {
			t.Errorf("%s: %d bytes became %d", codec, len(text), len(got))
		}
	}
}

func TestRecordsOfAllPartitionsAreReadToTheEnd(t *testing.T) {
	start(t)
	must(t, "", "topic", "create", "many", "-p", "7")
	must(t, lines(5000), "produce", "many", "--key-delimiter", " ")
	all := must(t, "", "consume", "many", "-e", "-f", `%p %k %v\n`)
	if n := strings.Count(all, "\n"); n != 5006 {
		t.Fatalf("%d records of 5006", n)
	}
	some := must(t, "", "consume", "many", "-e", "-p", "2,5", "-f", `%p\n`)
	for p := range 7 {
		want := 0
		if p == 2 || p == 5 {
			want = strings.Count("\n"+all, fmt.Sprintf("\n%d ", p))
		}
		if got := strings.Count("\n"+some, fmt.Sprintf("\n%d\n", p)); want > 0 && got == 0 || want == 0 && got > 0 {
			t.Errorf("partition %d: %d records, want %d", p, got, want)
		}
	}
}

func TestJSONRecordsAreCopiedWhole(t *testing.T) {
	start(t)
	must(t, "", "topic", "create", "a", "b", "-p", "3")
	must(t, "k\x00\xff:\xfe<v>\n:\nx:y\n", "produce", "a", "--key-delimiter", ":", "-H", "h=1", "-H", "h=\xff", "-p", "2")
	copied := must(t, "", "consume", "a", "-e", "-o", "json")
	must(t, copied, "produce", "b", "--json")
	if got := must(t, "", "consume", "b", "-e", "-o", "json"); got != strings.ReplaceAll(copied, `"topic":"a"`, `"topic":"b"`) {
		t.Errorf("copied\n%sgot\n%s", copied, got)
	}
}

func TestEveryCommandPrintsJSON(t *testing.T) {
	start(t)
	for _, args := range []string{
		"version", "topic create t", "topic list", "topic describe t", "topic alter t -p 2", "config set --topic t retention.ms=5",
		"config get --topic t", "config get --broker 0", "config unset --topic t retention.ms", "cluster describe", "cluster spread",
		"group reset g --topic t --to earliest", "group list", "group describe g", "group delete g", "topic delete t",
		"bench produce --records 1000 --partitions 1", "bench consume --records 1000", "bench latency --rate 100 --duration 100ms",
	} {
		out := must(t, "", append(strings.Fields(args), "-o", "json")...)
		d := json.NewDecoder(strings.NewReader(out))
		var v any
		if err := d.Decode(&v); err != nil || d.More() {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
}

func TestTheClusterIsDescribed(t *testing.T) {
	b := start(t)
	out := must(t, "", "cluster", "describe")
	for _, want := range []string{"controller  0", b.Addr(), "quorum leader 0", "metadata.version"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestABenchmarkDeletesItsTopic(t *testing.T) {
	start(t)
	out := must(t, "", "bench", "produce", "--records", "5000", "--random", "-z", "lz4")
	for _, want := range []string{"records     5,000", "records/s", "p99.9"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got := must(t, "", "topic", "list"); got != "" {
		t.Errorf("left behind:\n%s", got)
	}
}

func TestAGroupInUseIsNeitherResetNorDeleted(t *testing.T) {
	b := start(t)
	must(t, "", "topic", "create", "t")
	must(t, "a\nb\n", "produce", "t")
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ClientID("worker"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if fetches := c.PollRecords(t.Context(), 1); fetches.Err() != nil || fetches.Empty() {
		t.Fatal(fetches.Err())
	}
	for _, args := range []string{"group reset g --to earliest", "group reset g --to earliest --dry-run", "group delete g"} {
		r := run("", strings.Fields(args)...)
		if r.status != 1 || !strings.Contains(r.stderr, `group "g" is in use: 1 member (worker at 127.0.0.1)`) {
			t.Errorf("%s: %d %s", args, r.status, r.stderr)
		}
	}
	out := must(t, "", "group", "describe", "g")
	if !strings.Contains(out, "Stable") || !strings.Contains(out, "worker") {
		t.Error(out)
	}
}

// waiter is an output that says when something was written to it.
type waiter struct {
	bytes.Buffer
	wrote chan struct{}
}

func (w *waiter) Write(p []byte) (int, error) {
	select {
	case w.wrote <- struct{}{}:
	default:
	}
	return w.Buffer.Write(p)
}

func TestFollowingEndsCleanlyWithASignal(t *testing.T) {
	start(t)
	must(t, "", "topic", "create", "t")
	must(t, "a\nb\n", "produce", "t")
	for _, group := range [][]string{nil, {"-g", "g"}} {
		out, stderr := &waiter{wrote: make(chan struct{}, 1)}, &bytes.Buffer{}
		status := make(chan int)
		go func() { status <- Main(append([]string{"consume", "t"}, group...), strings.NewReader(""), out, stderr) }()
		<-out.wrote
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if s := <-status; s != 0 || out.String() != "a\nb\n" || stderr.Len() > 0 {
			t.Errorf("status %d, out %q, stderr %q", s, out.String(), stderr)
		}
	}
	if out := must(t, "", "consume", "t", "-e", "-g", "g"); out != "" {
		t.Errorf("what was written was not committed: %q", out)
	}
}

func TestABrokerThatGoesAwayIsNamed(t *testing.T) {
	b := start(t)
	addr := b.Addr()
	must(t, "", "topic", "create", "t")
	in, feed := io.Pipe()
	var stdout, stderr bytes.Buffer
	status := make(chan int)
	go func() {
		status <- Main([]string{"produce", "t", "--timeout", "1s"}, in, &stdout, &stderr)
	}()
	if _, err := io.WriteString(feed, "first\n"); err != nil {
		t.Fatal(err)
	}
	for must(t, "", "consume", "t", "-e") == "" {
		time.Sleep(10 * time.Millisecond)
	}
	b.Stop()
	if _, err := io.WriteString(feed, "second\n"); err != nil {
		t.Fatal(err)
	}
	if s := <-status; s != 1 {
		t.Errorf("status %d", s)
	}
	for _, want := range []string{"cannot reach " + addr, "trying again for 1s", "no broker has acknowledged anything for 1s; 1 record acknowledged"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, stderr.String())
		}
	}
}

func TestANodeThatJoinsGetsItsShareAndIsDrainedAgain(t *testing.T) {
	cluster := gregortest.StartCluster(t, 3, gregortest.With("offsets.topic.num.partitions", "3"))
	t.Setenv("GREGOR_BOOTSTRAP", cluster.Addrs())
	must(t, "", "topic", "create", "orders", "-p", "6", "-r", "2")
	must(t, strings.Repeat("a line\n", 1000), "produce", "orders")
	must(t, "", "topic", "create", "wide", "-p", "1", "-r", "3")
	load := func() map[int32]int {
		var topics []struct {
			Partitions []struct {
				Replicas, ISR []int32
			} `json:"partition_list"`
		}
		if err := json.Unmarshal([]byte(must(t, "", "topic", "describe", "orders", "wide", "-o", "json")), &topics); err != nil {
			t.Fatal(err)
		}
		replicas := map[int32]int{}
		for _, topic := range topics {
			for _, p := range topic.Partitions {
				for _, id := range p.Replicas {
					replicas[id]++
				}
			}
		}
		return replicas
	}
	// A node that lists all topics may not have heard yet of one that was created a moment ago.
	r := run("", "cluster", "drain", "1", "--dry-run")
	for deadline := time.Now().Add(10 * time.Second); r.status == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r = run("", "cluster", "drain", "1", "--dry-run")
	}
	if r.status != 1 || !strings.Contains(r.stderr, "wide-0 has 3 replicas, and without node 1") {
		t.Errorf("draining one of three nodes that a topic has to be on ends with %d and says %q", r.status, r.stderr)
	}
	joined := gregortest.Start(t, gregortest.With("join", cluster.Brokers[0].Addr()))
	// The node that is asked may not have heard yet that the new one serves.
	r = run("", "cluster", "spread", "--at-once", "100")
	for deadline := time.Now().Add(10 * time.Second); strings.Contains(r.stderr, "does not serve") && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r = run("", "cluster", "spread", "--at-once", "100")
	}
	if r.status != 0 || r.stderr != "" {
		t.Fatalf("spreading ends with %d and says %q", r.status, r.stderr)
	}
	for id, n := range load() { // any order
		if n < 3 || n > 4 {
			t.Errorf("node %d has %d of 15 replicas", id, n)
		}
	}
	must(t, "", "cluster", "drain", "1")
	if n := load()[1]; n != 0 {
		t.Errorf("node 1 has %d replicas after it was drained", n)
	}
	if r := run("", "cluster", "remove", "3"); r.status != 1 || !strings.Contains(r.stderr, "node 3 serves: stop it first") {
		t.Errorf("removing a node that serves ends with %d and says %q", r.status, r.stderr)
	}
	joined.Stop()
	must(t, "", "cluster", "remove", "3") // at once: it may take a moment until the cluster has seen the end
	if lines := must(t, "", "consume", "orders", "-e"); strings.Count(lines, "a line\n") != 1000 {
		t.Errorf("%d lines are left of 1000", strings.Count(lines, "\n"))
	}
}

func TestAVoterIsTakenOutOfTheQuorumAndLetInAgain(t *testing.T) {
	cluster := gregortest.StartCluster(t, 4)
	t.Setenv("GREGOR_BOOTSTRAP", cluster.Addrs())
	roles := func() (voters, observers []int32) {
		var d describedCluster
		if err := json.Unmarshal([]byte(must(t, "", "cluster", "describe", "-o", "json")), &d); err != nil {
			t.Fatal(err)
		}
		for _, m := range d.Quorum.Members {
			if m.Role == "observer" {
				observers = append(observers, m.Node)
			} else {
				voters = append(voters, m.Node)
			}
		}
		return voters, observers
	}
	voters, observers := roles()
	for deadline := time.Now().Add(20 * time.Second); len(voters) != 3 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		voters, observers = roles()
	}
	if len(voters) != 3 {
		t.Fatalf("voters %v, observers %v", voters, observers)
	}
	out := strconv.Itoa(int(voters[2]))
	must(t, "", "cluster", "remove", "--vote", out)
	if after, observers := roles(); slices.Contains(after, voters[2]) {
		t.Errorf("of voters %v, %s was taken out, which leaves voters %v, observers %v", voters, out, after, observers)
	}
	must(t, "", "cluster", "add", out)
	if r := run("", "cluster", "remove", "--vote", "17"); r.status != 1 || !strings.Contains(r.stderr, "node 17 is no voter") {
		t.Errorf("taking out a node that there is not ends with %d and says %q", r.status, r.stderr)
	}
}
