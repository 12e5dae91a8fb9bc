// Package streamsprom shows the metrics of a streams app to Prometheus.
//
//	prometheus.MustRegister(streamsprom.NewCollector(app))
//
// The names are those of Kafka Streams' metrics, in Prometheus' form. Non-goals: it keeps nothing itself, and serves nothing; promhttp
// does that.
package streamsprom

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gregorhq/gregor/streams"
)

// Source is an app, or what looks like one.
type Source interface{ Metrics() streams.Metrics }

type collector struct{ source Source }

// NewCollector returns a collector of an app's metrics. Two instances of one application in one registry need a label that tells them
// apart: register each with [prometheus.WrapRegistererWith].
func NewCollector(app Source) prometheus.Collector { return collector{app} }

var (
	descriptions []*prometheus.Desc

	paused      = described("paused", "1 while the app is paused.")
	polled      = described("poll_records_total", "Records that came from source topics.")
	busy        = described("process_seconds_total", "Time in which tasks processed records.")
	commits     = described("commit_seconds", "Commits of offsets, and how long they took.")
	rebalances  = described("rebalances_total", "Times that the group gave or took partitions.")
	cacheBytes  = described("cache_size_bytes", "Bytes of changes that cached stores hold back.")
	cacheMax    = described("cache_max_bytes", "Bytes of changes that cached stores may hold back.")
	tasks       = described("tasks", "Tasks of this instance.", "state")
	processed   = described("task_process_total", "Records that a task took from its inputs.", "task")
	dropped     = described("task_dropped_records_total", "Records that a task left out: late, without a key, or skipped as bad.", "task")
	punctuated  = described("task_punctuate_total", "Punctuations that a task ran.", "task")
	logged      = described("task_changelog_records_total", "Changes that a task wrote to changelogs.", "task")
	buffered    = described("task_active_buffer_count", "Records of a task that wait to be processed.", "task")
	streamTime  = described("task_stream_time_seconds", "The highest time of a record of a task, in seconds since 1970.", "task")
	restored    = described("task_restore_total", "Records that a task read from its changelogs.", "task")
	remaining   = described("task_restore_remaining_records", "Offsets of changelogs that a task has to read before it starts.", "task")
	restoreTook = described("task_restore_seconds", "How long a task read its changelogs when it started.", "task")
	diskBytes   = described("task_state_disk_bytes", "Bytes of a task's stores on disk.", "task")
	offset      = described("input_offset", "Offset of the next record of an input.", "task", "topic", "partition")
	committed   = described("input_committed_offset", "Committed offset of an input.", "task", "topic", "partition")
	lag         = described("input_lag_records", "Records of an input that were not processed.", "task", "topic", "partition")
	atNode      = described("node_process_total", "Records that a node of the topology was given.", "task", "node")
)

// described makes a description; its first label is the application id.
func described(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("kafka_streams_"+name, help, append([]string{"application_id"}, labels...), nil)
	descriptions = append(descriptions, d)
	return d
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		out <- d
	}
}

// shower sends metrics of one application, or of one of its tasks.
type shower struct {
	out    chan<- prometheus.Metric
	labels []string
}

func (s shower) with(labels ...string) shower {
	return shower{s.out, append(append([]string{}, s.labels...), labels...)}
}

func (s shower) gauge(d *prometheus.Desc, v float64) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.labels...)
}

func (s shower) count(d *prometheus.Desc, v float64) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, s.labels...)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	m := c.source.Metrics()
	app := shower{out, []string{m.Application}}
	on := 0.0
	if m.Paused {
		on = 1
	}
	app.gauge(paused, on)
	app.count(polled, float64(m.Polled))
	app.count(busy, m.Busy.Seconds())
	out <- prometheus.MustNewConstSummary(commits, uint64(m.Commits), m.Committing.Seconds(), nil, m.Application)
	app.count(rebalances, float64(m.Rebalances))
	app.gauge(cacheBytes, float64(m.CacheBytes))
	app.gauge(cacheMax, float64(max(0, m.CacheMax)))
	app.with("running").gauge(tasks, float64(len(m.Tasks)))
	app.with("restoring").gauge(tasks, float64(len(m.Restoring)))
	for _, t := range m.Tasks {
		showTask(app.with(t.Task.String()), t)
	}
	for _, r := range m.Restoring {
		at := app.with(r.Task.String())
		at.count(restored, float64(r.Restored))
		if r.Remaining >= 0 {
			at.gauge(remaining, float64(r.Remaining))
		}
	}
}

func showTask(at shower, t streams.TaskMetrics) {
	at.count(processed, float64(t.Processed))
	at.count(dropped, float64(t.Dropped))
	at.count(punctuated, float64(t.Punctuated))
	at.count(logged, float64(t.Logged))
	at.gauge(buffered, float64(t.Buffered))
	if !t.StreamTime.IsZero() {
		at.gauge(streamTime, float64(t.StreamTime.UnixMilli())/1000)
	}
	at.count(restored, float64(t.Restored))
	at.gauge(restoreTook, t.RestoreFor.Seconds())
	at.gauge(diskBytes, float64(t.DiskBytes))
	for _, in := range t.Inputs {
		at := at.with(in.Topic, strconv.Itoa(int(in.Partition)))
		for d, v := range map[*prometheus.Desc]int64{offset: in.Offset, committed: in.Committed, lag: in.Lag} {
			if v >= 0 {
				at.gauge(d, float64(v))
			}
		}
	}
	for _, n := range t.Nodes {
		at.with(n.Node).count(atNode, float64(n.Processed))
	}
}
