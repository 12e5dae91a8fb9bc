package replica_test

import (
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/replica"
)

func TestRecordsThatAreNotCommittedYetAreDeletedWhenTheyAre(t *testing.T) {
	c := newCluster(t, 31, 3, nil)
	c.until("the leader leads", func() bool {
		p := c.leader().life.partition()
		return p != nil && p.State().Leading
	})
	p := c.leader().life.partition()
	// produce appends five records, and does not wait.
	produce := func() {
		builder := record.NewBuilder(record.Plain())
		for range 5 {
			builder.Add(c.world.Now().UnixMilli(), nil, []byte("value"))
		}
		r := &replica.Produce{Done: func() {}}
		r.Begin(1, 2000, 1)
		r.Stage(0, p, builder.Build(), c.world.Now().UnixMilli())
		d := c.leader().life.replicas.NewDrain()
		d.Add(r)
		d.Flush()
	}
	// deleteTo asks for a deletion, and says how to know what became of it.
	deleteTo := func(offset int64, timeout time.Duration) (answered func() bool, code *kafka.ErrorCode) {
		done := false
		code = new(kafka.ErrorCode)
		c.leader().life.replicas.DeleteRecords([]*replica.Deletion{{Partition: p, Offset: offset, Done: func(_ int64, is kafka.ErrorCode) {
			if done {
				t.Error("answered twice")
			}
			done, *code = true, is
		}}}, timeout)
		return func() bool { return done }, code
	}
	produce()
	if p.HighWatermark() >= 3 {
		t.Fatal("the records are committed at once: the test would show nothing")
	}
	answered, code := deleteTo(3, 10*time.Second)
	if answered() {
		t.Fatalf("answered %v before the records are committed", *code)
	}
	c.until("the deletion is answered", answered)
	if *code != kafka.None || p.Log().LogStart() != 3 {
		t.Errorf("answered %v, and the log begins at %d", *code, p.Log().LogStart())
	}
	if answered, code := deleteTo(6, 10*time.Second); !answered() || *code != kafka.OffsetOutOfRange {
		t.Errorf("records that are not there: answered %v with %v", answered(), *code)
	}
	// Nothing is committed while nobody follows.
	for _, b := range c.brokers {
		if b != c.leader() {
			c.cut[[2]int{b.n, c.leader().n}] = true
		}
	}
	produce()
	answered, code = deleteTo(8, 500*time.Millisecond)
	c.until("the deletion is answered", answered)
	if *code != kafka.OffsetOutOfRange || p.Log().LogStart() != 3 {
		t.Errorf("not committed in time: answered %v, and the log begins at %d", *code, p.Log().LogStart())
	}
}
