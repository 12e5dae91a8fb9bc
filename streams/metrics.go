package streams

import (
	"slices"
	"strings"
	"time"
)

// Metrics is what an instance has done, and where it stands. Counts of a task begin anew when it starts, here or elsewhere. Package
// streamsprom shows them to Prometheus.
type Metrics struct {
	Application string        // application.id
	Paused      bool          // see App.Pause
	Polled      int64         // records that came from source topics
	Busy        time.Duration // time in which tasks processed (Java's process-ratio is its share)
	Commits     int64         // commits of offsets that went well (commit-total)
	Committing  time.Duration // how long they took (commit-latency)
	Rebalances  int64         // times that the group gave or took partitions
	CacheBytes  int64         // what cached stores hold back (cache-size-bytes-total)
	CacheMax    int64         // how much they may
	Tasks       []TaskMetrics
	Restoring   []RestoreMetrics
}

// TaskMetrics is about a task that runs.
type TaskMetrics struct {
	Task       TaskID
	Processed  int64         // records taken from inputs (process-total)
	Dropped    int64         // records left out (dropped-records-total), see [Task.Dropped]
	Punctuated int64         // punctuations that ran (punctuate-total)
	Logged     int64         // changes written to changelogs
	Buffered   int           // records that wait to be processed (active-buffer-count)
	StreamTime time.Time     // the highest time of a record so far; zero before the first
	Restored   int64         // records read from changelogs when it started
	RestoreFor time.Duration // how long that took
	DiskBytes  int64         // what its stores take on disk
	Inputs     []InputMetrics
	Nodes      []NodeMetrics
}

// InputMetrics is about a partition that a task reads.
type InputMetrics struct {
	Topic     string
	Partition int32
	Offset    int64 // of the next record to be processed; -1 before the first
	Committed int64 // -1 where nothing is
	Lag       int64 // records on the broker that were not processed; -1 before the first came
}

// NodeMetrics is about a node of the topology in a task.
type NodeMetrics struct {
	Node      string
	Processed int64 // records that it was given (process-total of the processor node)
}

// RestoreMetrics is about a task whose state is being read from its changelogs.
type RestoreMetrics struct {
	Task      TaskID
	Restored  int64 // records (restore-total)
	Remaining int64 // offsets to go (restore-remaining-records-total); -1 until that is known
}

// taskCounts is what a task counts. It is read while no record is processed.
type taskCounts struct{ processed, punctuated, logged int64 }

// appCounts is what an app counts, under its lock.
type appCounts struct {
	polled, commits, rebalances int64
	busy, committing            time.Duration
}

// Metrics takes stock, between two rounds of processing.
func (a *App) Metrics() Metrics {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := Metrics{Application: a.config.AppID, Paused: a.paused, Polled: a.counts.polled, Busy: a.counts.busy, Commits: a.counts.commits,
		Committing: a.counts.committing, Rebalances: a.counts.rebalances, CacheBytes: a.cache.used.Load(), CacheMax: a.cache.max}
	for _, t := range a.all() {
		m.Tasks = append(m.Tasks, t.metrics())
	}
	for id := range a.starting {
		r := RestoreMetrics{id, 0, -1}
		if now := a.restored[id]; now != nil {
			r = *now
		}
		m.Restoring = append(m.Restoring, r)
	}
	slices.SortFunc(m.Restoring, func(x, y RestoreMetrics) int { return x.Task.compare(y.Task) })
	return m
}

func (t *liveTask) metrics() TaskMetrics {
	m := TaskMetrics{Task: t.id, Processed: t.counts.processed, Dropped: t.dropped, Punctuated: t.counts.punctuated, Logged: t.counts.logged,
		Buffered: t.buffered, Restored: t.restoredRecords, RestoreFor: t.restoreTook}
	if t.streamTime >= 0 {
		m.StreamTime = time.UnixMilli(t.streamTime)
	}
	if t.disk != nil {
		m.DiskBytes = t.disk.Bytes()
	}
	for p, q := range t.queues {
		in := InputMetrics{p.topic, p.number, q.next, q.committed, -1}
		if at := max(q.next, q.committed); q.end >= 0 {
			in.Lag = max(0, q.end-max(0, at))
		}
		m.Inputs = append(m.Inputs, in)
	}
	slices.SortFunc(m.Inputs, func(x, y InputMetrics) int { return strings.Compare(x.Topic, y.Topic) })
	for _, at := range t.places {
		m.Nodes = append(m.Nodes, NodeMetrics{at.node.name, at.processed})
	}
	return m
}

// restoringNow tells the metrics how far a task has come that reads its changelogs.
func (a *App) restoringNow(id TaskID, restored, remaining int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.restored[id] = &RestoreMetrics{id, restored, remaining}
}
