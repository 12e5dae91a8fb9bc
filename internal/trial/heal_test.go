package trial

import (
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
)

// TestATopicMadeOnAFullDiskComesAlive makes a topic while there is no space for its log, and finds it usable soon after
// there is space again.
func TestATopicMadeOnAFullDiskComesAlive(t *testing.T) {
	w := newStandingNode(t).trial
	w.hosts[0].disk.full = "/logs/"
	made := false
	newClient(w, "maker").createTopic("late", 1, nil, func(id kafka.TopicID) {
		made = true
		w.shadow.topics["late"] = &topic{name: "late", id: id, partitions: 1, ready: true}
	})
	if !w.runUntil(5*time.Second, func() bool { return made }) {
		t.Fatal("the topic was not made")
	}
	p := newProducer(w, "writer", true, -1, w.partitions("late", 1)...)
	p.start()
	w.runUntil(2*time.Second, func() bool { return false })
	if n := w.counts["records acknowledged"]; n > 0 {
		t.Fatalf("%d records acknowledged on a full disk", n)
	}
	w.hosts[0].disk.full = ""
	if !w.runUntil(3*time.Second, func() bool { return w.counts["records acknowledged"] > 0 }) {
		t.Fatal("nothing is acknowledged 3 s after there is space")
	}
}

// TestANodeThatIsStoppedBeforeItIsLetInComesAgain stops a host that asks to join while nobody is there to let it in.
func TestANodeThatIsStoppedBeforeItIsLetInComesAgain(t *testing.T) {
	w := newTrial(1, Options{})
	w.gather(2)
	w.configure(config.Static{})
	w.hosts[1].start()
	w.runUntil(time.Second, func() bool { return false })
	first := w.hosts[1].life
	w.hosts[1].stop()
	if !w.runUntil(time.Second, func() bool { return w.hosts[1].life != nil && w.hosts[1].life != first }) {
		t.Fatal("it does not come again")
	}
	w.hosts[0].start()
	if !w.runUntil(10*time.Second, w.serving) {
		t.Fatalf("the cluster does not come to be: %s", w.restless())
	}
}
