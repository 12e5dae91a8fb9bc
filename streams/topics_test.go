package streams_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
)

func soon() streams.Config { return streams.Config{MetadataMaxAge: 100 * time.Millisecond} }

func (c *cluster) create(topic string, partitions int32) {
	c.t.Helper()
	if r, err := c.admin.CreateTopic(c.t.Context(), partitions, 1, nil, topic); err != nil || r.Err != nil {
		c.t.Fatal(err, r.Err)
	}
}

// Topics that match a pattern are read when they come, beside those that were there, and the app goes on when they go.
func TestAnAppReadsTopicsByPattern(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 1, "counts": 1})
	r := c.run(soon(), func(b *streams.Builder) {
		matched := streams.FromPattern(b, regexp.MustCompile(`^in-`), topicOf(""))
		counted := matched.GroupByKey().Count(counts("words"))
		streams.MapValues(counted.ToStream(), func(n int64) string { return fmt.Sprint(n) }).To(topicOf("counts"))
	})
	time.Sleep(300 * time.Millisecond) // nothing matches
	if tasks := r.app.Tasks(); len(tasks) > 0 {
		t.Errorf("there is nothing to do, and it has the tasks %v", tasks)
	}
	c.create("in-1", 2)
	for i := range 100 {
		c.send("in-1", fmt.Sprint("k", i%4), "v", int64(i))
	}
	c.flush()
	c.table("counts", map[string]string{"k0": "25", "k1": "25", "k2": "25", "k3": "25"})

	c.create("in-2", 2) // its records go to tasks that are at work
	for i := range 40 {
		c.send("in-2", fmt.Sprint("k", i%4), "v", int64(100+i))
	}
	c.flush()
	c.table("counts", map[string]string{"k0": "35", "k1": "35", "k2": "35", "k3": "35"})

	if _, err := c.admin.DeleteTopic(t.Context(), "in-1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	for i := range 40 {
		c.send("in-2", fmt.Sprint("k", i%4), "v", int64(200+i))
	}
	c.flush()
	c.table("counts", map[string]string{"k0": "45", "k1": "45", "k2": "45", "k3": "45"})
	for _, task := range r.app.Metrics().Tasks {
		for _, in := range task.Inputs {
			if in.Topic != "in-2" {
				t.Errorf("task %s reads %s still", task.Task, in.Topic)
			}
		}
	}
}

// Partitions that a topic gets later are read, too, where no state lies by partition.
func TestAnAppReadsNewPartitions(t *testing.T) {
	c := startCluster(t, map[string]int32{"in": 1, "out": 1})
	c.run(soon(), func(b *streams.Builder) { stream(b, "in").To(topicOf("out")) })
	c.send("in", "k", "v", 1)
	c.flush()
	c.table("out", map[string]string{"k": "v"})
	if _, err := c.admin.UpdatePartitions(t.Context(), 4, "in"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"k": "v"}
	deadline := time.Now().Add(20 * time.Second)
	for spread := map[int32]bool{}; len(spread) < 4; { // the client learns of the partitions when it looks next
		if time.Now().After(deadline) {
			t.Fatal("the client knows of one partition still")
		}
		key := fmt.Sprint("k", len(want))
		want[key] = "w"
		spread[c.sendNow("in", key, "w")] = true
	}
	c.table("out", want)
}

// A store lies by partition: more partitions would take rows away from their keys, so the app ends and says why.
func TestAnAppWithStateRefusesNewPartitions(t *testing.T) {
	c := startCluster(t, map[string]int32{"in": 1, "counts": 1})
	r := c.run(soon(), func(b *streams.Builder) {
		counted := stream(b, "in").GroupByKey().Count(counts("words"))
		streams.MapValues(counted.ToStream(), func(n int64) string { return fmt.Sprint(n) }).To(topicOf("counts"))
	})
	c.send("in", "k", "v", 1)
	c.flush()
	c.table("counts", map[string]string{"k": "1"})
	if _, err := c.admin.UpdatePartitions(t.Context(), 2, "in"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		if err == nil || !strings.Contains(err.Error(), "app-words-changelog has 1 partitions, and needs 2") {
			t.Error(err)
		}
		r.done <- nil
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// An input of which too much waits is fetched no more; whoever has it next fetches it, also if that is the same instance again.
func TestAnInputThatWasTooFullGoesOnWhenItComesBack(t *testing.T) {
	const each = 8000
	c := startCluster(t, map[string]int32{"L": 2, "R": 2, "out": 1})
	build := func(b *streams.Builder) { stream(b, "L").Merge(stream(b, "R")).To(topicOf("out")) }
	config := streams.Config{MaxTaskIdle: time.Hour}
	for i := range 2 * each {
		c.send("L", fmt.Sprint(i%64), "v", 1)
	}
	c.flush()
	until := func(what string, so func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	first := c.run(config, build)
	waiting := func() (least int) {
		tasks := first.app.Metrics().Tasks
		if len(tasks) < 2 {
			return 0
		}
		return min(tasks[0].Buffered, tasks[1].Buffered)
	}
	until("nothing waits for the other input", func() bool { return waiting() > 5000 })
	second := c.run(config, build)
	until("the second instance got no task", func() bool { return len(second.app.Tasks()) == 1 && len(first.app.Tasks()) == 1 })
	second.end()
	until("the first instance did not get the tasks back", func() bool { return len(first.app.Tasks()) == 2 })
	for i := range 64 {
		c.send("R", fmt.Sprint(i), "v", 2)
	}
	c.flush()
	until("not all of the input came out", func() bool {
		ends, err := c.admin.ListEndOffsets(t.Context(), "out")
		end, _ := ends.Lookup("out", 0)
		return err == nil && end.Offset == 2*each
	})
}
