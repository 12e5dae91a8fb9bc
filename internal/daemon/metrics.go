package daemon

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
)

// requestCounts counts requests by API.
type requestCounts [128]atomic.Int64

// Request counts one.
func (c *requestCounts) Request(key int16) {
	if key >= 0 && int(key) < len(c) {
		c[key].Add(1)
	}
}

// collector reads the node's counters when somebody asks, so that counting costs an addition.
type collector struct{ d *Daemon }

func newCollector(d *Daemon) prometheus.Collector { return &collector{d} }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gregor_"+name, help, labels, nil)
}

var (
	descConnections = describe("connections", "Open client connections.")
	descAccepted    = describe("connections_accepted_total", "Connections that were accepted.")
	descRefused     = describe("connections_refused_total", "Connections that were refused because of a limit.")
	descRejected    = describe("connections_rejected_total", "Connections that were closed for what they sent.")
	descNetworkIn   = describe("network_in_bytes_total", "Bytes read from clients.")
	descNetworkOut  = describe("network_out_bytes_total", "Bytes sent to clients.")
	descRequests    = describe("requests_total", "Requests, by API.", "api")
	descRecordsIn   = describe("records_in_total", "Records appended.")
	descBatchesIn   = describe("batches_in_total", "Record batches appended.")
	descBytesIn     = describe("bytes_in_total", "Bytes of record batches appended.")
	descBytesOut    = describe("bytes_out_total", "Bytes of record batches given to consumers.")
	descProduceFail = describe("produce_errors_total", "Partitions of produce requests that were answered with an error.")
	descFetchFail   = describe("fetch_errors_total", "Partitions of fetch requests that were answered with an error.")
	descSessions    = describe("fetch_sessions", "Incremental fetch sessions.")
	descTopics      = describe("topics", "Topics in the cluster.")
	descPartitions  = describe("partitions", "Partitions in the cluster.")
	descOffline     = describe("offline_partitions", "Partitions of this node that cannot be served.")
	descMetadata    = describe("metadata_offset", "Offset of the metadata that this node has applied.")
	descLogStart    = describe("log_start_offset", "First offset of a partition.", "topic", "partition")
	descLogEnd      = describe("log_end_offset", "Offset after the last record of a partition.", "topic", "partition")
	descWatermark   = describe("high_watermark", "Offset below which records of a partition are committed.", "topic", "partition")
	descLogSize     = describe("log_size_bytes", "Bytes of a partition's log.", "topic", "partition")
	descGroupOffset = describe("consumer_group_offset", "Committed offset of a group.", "group", "topic", "partition")
	descGroupLag    = describe("consumer_group_lag", "Records committed to the log that a group has not committed as read.", "group", "topic", "partition")
)

func (c *collector) Describe(descs chan<- *prometheus.Desc) { descs <- descConnections }

func (c *collector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	door, in := &c.d.server.Stats, &c.d.node.Replicas.Stats
	gauge(descConnections, door.Connections.Load())
	counter(descAccepted, door.Accepted.Load())
	counter(descRefused, door.Refused.Load())
	counter(descRejected, door.Rejected.Load())
	counter(descNetworkIn, door.BytesIn.Load())
	counter(descNetworkOut, door.BytesOut.Load())
	for key := range c.d.requests {
		if n := c.d.requests[key].Load(); n > 0 {
			counter(descRequests, n, kmsg.NameForKey(int16(key)))
		}
	}
	counter(descRecordsIn, in.RecordsIn.Load())
	counter(descBatchesIn, in.BatchesIn.Load())
	counter(descBytesIn, in.BytesIn.Load())
	counter(descBytesOut, in.BytesOut.Load())
	counter(descProduceFail, in.FailedProduce.Load())
	counter(descFetchFail, in.FailedFetch.Load())
	gauge(descSessions, int64(c.d.node.Replicas.Sessions.Len()))
	image := c.d.node.Image()
	gauge(descTopics, int64(image.TopicCount()))
	gauge(descPartitions, int64(image.PartitionCount()))
	gauge(descMetadata, image.Offset())
	c.partitions(gauge)
	c.lag(gauge)
}

type gaugeFunc func(d *prometheus.Desc, v int64, labels ...string)

func (c *collector) partitions(gauge gaugeFunc) {
	offline := int64(0)
	c.d.node.Replicas.Partitions(func(p *replica.Partition) {
		log := p.Log()
		if log == nil || log.Offline() {
			offline++
			return
		}
		number := strconv.Itoa(int(p.TopicPartition.Partition))
		gauge(descLogStart, log.LogStart(), p.Topic, number)
		gauge(descLogEnd, log.End(), p.Topic, number)
		gauge(descWatermark, p.HighWatermark(), p.Topic, number)
		gauge(descLogSize, log.Size(), p.Topic, number)
	})
	gauge(descOffline, offline)
}

// lag is told by the node that coordinates a group, for the partitions that it leads itself.
func (c *collector) lag(gauge gaugeFunc) {
	c.d.node.Groups.Offsets(func(group string, tp kafka.TopicPartition, offset int64) {
		number := strconv.Itoa(int(tp.Partition))
		gauge(descGroupOffset, offset, group, tp.Topic, number)
		if p := c.d.node.Replicas.TopicNamed(tp.Topic).Partition(tp.Partition); p != nil {
			gauge(descGroupLag, max(p.HighWatermark()-offset, 0), group, tp.Topic, number)
		}
	})
}
