package streams_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
)

// victimOf is the variable that makes a process of this test an instance of the app, on the broker that it names; victimIn names
// its state folder.
const (
	victimOf = "GREGOR_STREAMS_TEST_BROKER"
	victimIn = "GREGOR_STREAMS_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	addr := os.Getenv(victimOf)
	if addr == "" {
		os.Exit(m.Run())
	}
	b := streams.NewBuilder()
	collect(b)
	topology, err := b.Build()
	if err == nil {
		var app *streams.App
		if app, err = streams.New(topology, streams.Config{AppID: "app", Brokers: []string{addr}, CommitInterval: 50 * time.Millisecond, SessionTimeout: 6 * time.Second,
			StateDir: os.Getenv(victimIn)}); err == nil {
			err = app.Run(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, "instance:", err)
	os.Exit(1)
}

// collect keeps the set of what came for each key, so that a record that is processed twice changes nothing.
func collect(b *streams.Builder) {
	byValue := streams.SelectKey(stream(b, "lines"), func(_, v string) string { return v[:1] })
	sets := streams.Aggregate(byValue.GroupByKey(), func() string { return "" }, func(_, v, sofar string) string {
		all := strings.Fields(sofar)
		if i, found := slices.BinarySearch(all, v); !found {
			all = slices.Insert(all, i, v)
		}
		return strings.Join(all, " ")
	}, kv("sets").OnDisk())
	sets.ToStream().To(topicOf("counts"))
}

// Instances are killed again and again, by SIGKILL in the middle of what they do, and go on with what their folders then hold.
// Everything that was sent is in the result.
func TestNothingIsLostWhenInstancesAreKilled(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 4, "counts": 2})
	start := func(folder string) *exec.Cmd {
		victim := exec.Command(os.Args[0], "-test.run=^$")
		victim.Env = append(os.Environ(), victimOf+"="+c.addr, victimIn+"="+folder)
		victim.Stderr = os.Stderr
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		return victim
	}
	kill := func(victim *exec.Cmd) {
		_ = victim.Process.Kill()
		_ = victim.Wait()
	}
	folders := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	instances := []*exec.Cmd{start(folders[0]), start(folders[1]), start(folders[2])}
	defer func() {
		for _, i := range instances {
			kill(i)
		}
	}()
	sets, n := map[string][]string{}, 0
	end := time.Now().Add(6 * time.Second)
	next := time.Now().Add(2 * time.Second)
	for time.Now().Before(end) {
		for range 20 {
			v := fmt.Sprintf("%c%05d", 'a'+n%5, n)
			c.send("lines", fmt.Sprint(n), v, int64(n))
			sets[v[:1]] = append(sets[v[:1]], v)
			n++
		}
		c.flush()
		if time.Now().After(next) {
			i := rand.IntN(len(instances))
			kill(instances[i])
			instances[i] = start(folders[i])
			next = time.Now().Add(time.Duration(1+rand.IntN(3)) * time.Second)
		}
		time.Sleep(50 * time.Millisecond)
	}
	want := map[string]string{}
	for k, all := range sets {
		slices.Sort(all)
		want[k] = strings.Join(all, " ")
	}
	c.table("counts", want)
	t.Logf("%d records, all in the result", n)
}
