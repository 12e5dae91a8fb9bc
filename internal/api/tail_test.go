package api_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// A fetch at the end of a log is woken by each append, whenever that comes.
func TestAFetchAtTheEndIsWokenByEveryAppend(t *testing.T) {
	for name, options := range map[string][]gregortest.Option{"memory": nil, "disk": {gregortest.OnDisk(t.TempDir())}} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, gregortest.Start(t, options...))
			p.createTopic("t", 1)
			producer := connect(t, p.broker)
			for i := range int64(300) {
				req := fetchFrom(11, "t", kafka.TopicID{}, 0, i)
				req.MaxWaitMillis = 15000
				correlation := p.send(req)
				if i%3 == 0 {
					time.Sleep(time.Millisecond) // certainly parked
				}
				producer.produce("t", 0, batchOf(record.Plain(), "v"))
				began := time.Now()
				got := p.receive(req, correlation).(*kmsg.FetchResponse).Topics[0].Partitions[0]
				if len(got.RecordBatches) == 0 || time.Since(began) > 5*time.Second {
					t.Fatalf("fetch %d: %d bytes after %v", i, len(got.RecordBatches), time.Since(began))
				}
			}
		})
	}
}
