package replica_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/replica"
)

// listOffsets asks a broker as a client does.
func (c *cluster) listOffsets(b *broker, version int16, timestamp int64) (code kafka.ErrorCode, offset int64) {
	c.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "orders"
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = timestamp, -1
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	answered := false
	network{b.life}.Call(peer.Address{Host: "broker", Port: uint16(b.n)}, 0, req, func(resp kmsg.Response, err error) {
		if err != nil {
			c.t.Fatal(err)
		}
		p := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		answered, code, offset = true, kafka.ErrorCode(p.ErrorCode), p.Offset
	})
	c.until("ListOffsets is answered", func() bool { return answered })
	return code, offset
}

func (b *broker) leads() bool {
	p := b.life.partition()
	return p != nil && p.CheckLeader(-1) == kafka.None
}

// A leader that has just been elected knows what it has, and not what of it was committed: until it does, its latest offset
// could be behind one that a consumer has been told (KIP-207).
func TestANewLeaderDoesNotTellOffsetsThatItDoesNotKnow(t *testing.T) {
	c := newCluster(t, 1, 3, nil)
	c.until("the leader leads", func() bool { return c.leader().leads() })
	c.produce(-1)
	c.until("all replicas know that it is committed", func() bool {
		for _, b := range c.brokers {
			if p := b.life.partition(); p == nil || p.HighWatermark() == 0 {
				return false
			}
		}
		return true
	})
	old := c.leader()
	committed, before := old.life.partition().HighWatermark(), c.world.Now().UnixMilli()
	c.world.Run(10 * time.Millisecond)
	sent := c.world.Now().UnixMilli()
	c.produce(-1)
	c.until("the followers have a record of which they do not know that it is committed", func() bool {
		for _, b := range c.brokers {
			if b != old && (b.life.partition().Log().End() == committed || b.life.partition().HighWatermark() > committed) {
				return false
			}
		}
		return true
	})
	end := old.life.partition().Log().End()
	old.stop(false)
	for _, a := range c.brokers {
		for _, b := range c.brokers {
			c.cut[[2]int{a.n, b.n}] = a != b
		}
	}
	c.until("there is a new leader", func() bool {
		b := c.leader()
		return b != nil && b != old && b.leads()
	})
	now := c.leader()
	for _, q := range []struct {
		version   int16
		timestamp int64
		code      kafka.ErrorCode
		offset    int64
	}{
		{11, replica.LatestTimestamp, kafka.OffsetNotAvailable, -1},
		{5, replica.LatestTimestamp, kafka.OffsetNotAvailable, -1},
		{4, replica.LatestTimestamp, kafka.LeaderNotAvailable, -1}, // clients before v5 do not know the other error
		{1, replica.LatestTimestamp, kafka.LeaderNotAvailable, -1},
		{11, replica.MaxTimestamp, kafka.OffsetNotAvailable, -1},
		{11, sent, kafka.OffsetNotAvailable, -1},
		{11, sent + 1e6, kafka.OffsetNotAvailable, -1},
		{11, 0, kafka.None, 0}, // below what is known to be committed
		{11, replica.EarliestTimestamp, kafka.None, 0},
		{11, replica.EarliestLocalTimestamp, kafka.None, 0},
	} {
		if code, offset := c.listOffsets(now, q.version, q.timestamp); code != q.code || offset != q.offset {
			t.Errorf("v%d of timestamp %d: %v, offset %d; want %v, offset %d", q.version, q.timestamp, code, offset, q.code, q.offset)
		}
	}
	clear(c.cut)
	c.until("the new leader knows", func() bool { return now.life.partition().HighWatermark() == end })
	if code, offset := c.listOffsets(now, 11, replica.LatestTimestamp); code != kafka.None || offset != end {
		t.Errorf("latest: %v, offset %d; want %d", code, offset, end)
	}
	if code, offset := c.listOffsets(now, 11, before+1); code != kafka.None || offset != committed {
		t.Errorf("by time: %v, offset %d; want %d", code, offset, committed)
	}
}
