package trial

import (
	"testing"
	"time"

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
