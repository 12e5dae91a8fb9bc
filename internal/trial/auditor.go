package trial

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// auditor reads every partition as a whole when all is over, and has it compared with what must be in it.
type auditor struct {
	*client
	parts  []kafka.TopicPartition
	reader *consumer
	begin  int64
	end    int64
	done   bool
}

func newAuditor(t *trial) *auditor {
	a := &auditor{client: newClient(t, "auditor")}
	for _, name := range sorted(t.shadow.topics) {
		a.parts = append(a.parts, t.partitions(name, int(t.shadow.topics[name].partitions))...)
	}
	return a
}

func (a *auditor) idle() bool { return a.done }

func (a *auditor) start() {
	if len(a.parts) == 0 {
		a.groups()
		return
	}
	a.listOffset(a.parts[0], -2, func(begin int64, ok bool) {
		if !ok {
			a.again(a.start)
			return
		}
		a.listOffset(a.parts[0], -1, func(end int64, ok bool) {
			if !ok {
				a.again(a.start)
				return
			}
			a.begin, a.end = begin, end
			a.read(a.parts[0])
		})
	})
}

func (a *auditor) read(tp kafka.TopicPartition) {
	known := a.t.shadow.part(tp.Topic, tp.Partition)
	a.t.expect(a.end >= known.end(), "%s: lost: the log ends at %d, and offset %d was there", tp, a.end, known.end()-1)
	a.reader = newConsumer(a.t, "auditor of "+tp.String(), tp)
	a.reader.places[0].found = map[int64]string{}
	a.reader.start()
	a.await()
}

// await looks whether the reader has come to the end.
func (a *auditor) await() {
	p := a.reader.places[0]
	if p.next < a.end {
		a.again(a.await)
		return
	}
	a.t.shadow.audit(a.t.shadow.part(p.Topic, p.Partition), p.begin, a.end, p.found)
	a.parts = a.parts[1:]
	a.start()
}

// groups reads what was committed, and the list of topics.
func (a *auditor) groups() {
	type place struct {
		group     string
		partition int32
	}
	var places []place
	for _, name := range sorted(a.t.shadow.groups) {
		for p := range a.t.shadow.topics["plain"].partitions {
			if a.t.shadow.groups[name].offsets[p] != nil {
				places = append(places, place{name, p})
			}
		}
	}
	var next func()
	next = func() {
		if len(places) == 0 {
			a.list()
			return
		}
		one := places[0]
		places = places[1:]
		a.fetchOffset(one.group, one.partition, func(int64) { next() })
	}
	next()
}

// list looks whether the topics are those that must be there.
func (a *auditor) list() {
	a.describe(nil, func(topics []kmsg.MetadataResponseTopic) {
		wrong := a.t.shadow.listed(sorted(a.t.shadow.topics), topics)
		a.done = a.soon(wrong == "", a.list, "%s", wrong)
	})
}
