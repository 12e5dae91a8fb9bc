package trial

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

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

// TestNobodyIsSentToALeaderThatIsGone kills who leads the only partition there is. The others follow it, and lead nothing: what they say of it
// right after that, before it is fenced, some clients believe for seconds.
func TestNobodyIsSentToALeaderThatIsGone(t *testing.T) {
	for seed := range uint64(5) {
		w := newTrial(seed, Options{})
		w.gather(3)
		w.configure(config.Static{})
		w.assemble()
		client, made := newClient(w, "client"), false
		client.createTopic("t", 1, nil, func(kafka.TopicID) { made = true })
		if !w.runUntil(10*time.Second, func() bool { return made && w.outOfSync() == "" }) {
			t.Fatal("the topic does not come to be")
		}
		w.runUntil(2*time.Second, func() bool { return false }) // everybody follows
		gone := w.hostOf(w.image().Partition("t", 0).Leader)
		gone.kill("to see what the others say")
		w.runUntil(30*time.Millisecond, func() bool { return false }) // the connections' ends are on their way
		answers := 0
		for _, other := range w.hosts {
			if other == gone {
				continue
			}
			request := kmsg.NewPtrMetadataRequest()
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = kmsg.StringPtr("t")
			request.Topics = append(request.Topics, topic)
			newClient(w, "asker").ask(other, request, 12, func(r kmsg.Response) {
				answers++
				if r == nil {
					t.Errorf("seed %d: node %d does not answer", seed, other.number)
					return
				}
				if leader := r.(*kmsg.MetadataResponse).Topics[0].Partitions[0].Leader; leader == int32(gone.number) {
					t.Errorf("seed %d: node %d says that node %d leads", seed, other.number, leader)
				}
			})
		}
		if !w.runUntil(5*time.Second, func() bool { return answers == 2 }) {
			t.Errorf("seed %d: %d answers of 2", seed, answers)
		}
	}
}
