package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// notMemory keeps the workloads whose point is what survives from the system that promises less.
func notMemory(system string) bool { return strings.Contains(system, ",") }

// metadataRest is after how long franz-go may ask for metadata again at once. By default it does not within 5 s of the last time, and a
// question that came up meanwhile, as in the round before, is asked at the end of those. A client that has just been told who leads would wait
// out what is left, whatever the brokers do; most have not asked for minutes.
const metadataRest = 2 * 5 * time.Second

// failover kills leaders.
func (b builder) failover() clusterWorkload {
	rounds := b.scaled(6)
	return clusterWorkload{name: "cluster-kill-leader", columns: []string{"median_ms", "max_ms", "rounds", "errors", "acknowledged", "lost", "twice"},
		what: fmt.Sprintf("kill -9 of a node that leads two of %d partitions, %d times, each node in turn; the longest time that any partition goes without an acknowledgement, for a franz-go producer with default settings that sends a record to each every %v. errors are records that it was told are lost; lost are acknowledged records that are not there at the end.", suite, rounds, probeEvery),
		skip: notMemory,
		run: func(f *fleet) (figures, error) {
			p, err := f.probed(func() error { return f.createTopic(probed, suite) })
			if err != nil {
				return nil, err
			}
			defer p.client.Close()
			var pauses []float64
			time.Sleep(metadataRest)
			for round := range rounds {
				m := f.nodes[round%len(f.nodes)]
				p.reset()
				killed := time.Now()
				m.end(syscall.SIGKILL)
				if err := p.acknowledgedSince(killed.Add(50*time.Millisecond), time.Minute); err != nil {
					return nil, err
				}
				time.Sleep(time.Second)
				pauses = append(pauses, milliseconds(p.pause()))
				if err := f.back(m); err != nil {
					return nil, err
				}
				time.Sleep(metadataRest)
			}
			slices.Sort(pauses)
			return p.judged(figures{"median_ms": pauses[len(pauses)/2], "max_ms": pauses[len(pauses)-1], "rounds": float64(rounds)})
		}}
}

// betweenRestarts is how long the load goes on when a node is back before the next one's turn comes. Without it a system that is back sooner would
// have its pauses counted against a shorter time.
const betweenRestarts = 10 * time.Second

// rolling restarts each node in good order.
func (b builder) rolling() clusterWorkload {
	return clusterWorkload{name: "cluster-rolling-restart", columns: []string{"p50_ms", "p99_ms", "p999_ms", "longest_ms", "took_s", "errors", "acknowledged", "lost", "twice"},
		what: fmt.Sprintf("SIGTERM, end and start of each node in turn, %v after the last one is in sync again, while the same producer goes on: from produce to acknowledgement, the longest time without an acknowledgement of any of %d partitions, and how long all took.", betweenRestarts, suite),
		skip: notMemory,
		run: func(f *fleet) (figures, error) {
			p, err := f.probed(func() error { return f.createTopic(probed, suite) })
			if err != nil {
				return nil, err
			}
			defer p.client.Close()
			time.Sleep(time.Second)
			p.reset()
			began := time.Now()
			for _, m := range f.nodes {
				m.end(syscall.SIGTERM)
				if err := f.back(m); err != nil {
					return nil, err
				}
				time.Sleep(betweenRestarts)
			}
			return p.judged(figures{"p50_ms": milliseconds(p.percentile(.5)), "p99_ms": milliseconds(p.percentile(.99)), "p999_ms": milliseconds(p.percentile(.999)),
				"longest_ms": milliseconds(p.pause()), "took_s": time.Since(began).Seconds()})
		}}
}

// frozen has a follower stand still, and come back.
func (b builder) frozen() clusterWorkload {
	rest := time.Duration(b.scaled(20)) * time.Second
	n := b.scaled(100_000)
	return clusterWorkload{name: "cluster-frozen-follower", columns: []string{"longest_ms", "p50_ms", "p99_ms", "before_mb", "peak_mb", "back_s", "errors", "acknowledged", "lost", "twice"},
		what: fmt.Sprintf("SIGSTOP of a node that leads nothing and is not the controller, while the same producer goes on: the longest time that any of %d partitions goes without an acknowledgement. It stands still for %v more, in which %d records of 1 KiB are produced beside; mb are the two other nodes' memory, before and at most. back is from SIGCONT to when the node is in sync with everything.", suite, rest, n),
		skip: notMemory,
		run: func(f *fleet) (figures, error) {
			active, err := f.controller()
			if err != nil {
				return nil, err
			}
			still := f.nodes[(active.id+1)%len(f.nodes)]
			p, err := f.probed(func() error { return f.createLedByOthers(probed, suite, still) })
			if err != nil {
				return nil, err
			}
			defer p.client.Close()
			result := figures{"before_mb": f.memory(residentMB) - residentMB(still.process.pid())}
			p.reset()
			began := time.Now()
			still.process.signal(syscall.SIGSTOP)
			defer func() { still.process.signal(syscall.SIGCONT) }()
			// Something may have been answered before it stood still.
			if err := p.acknowledgedSince(began.Add(100*time.Millisecond), time.Minute); err != nil {
				return nil, err
			}
			until := time.Now().Add(rest)
			result["longest_ms"] = milliseconds(p.pause())
			if _, _, err := f.load(1, b.tool("rdload"), "produce", f.bootstrap(), probed, strconv.Itoa(n), "1024", "linger.ms=5"); err != nil {
				return nil, err
			}
			time.Sleep(time.Until(until))
			result["longest_ms"] = max(result["longest_ms"], milliseconds(p.pause()))
			result["p50_ms"], result["p99_ms"] = milliseconds(p.percentile(.5)), milliseconds(p.percentile(.99))
			result["peak_mb"] = f.memory(peakMB) - peakMB(still.process.pid())
			began = time.Now()
			still.process.signal(syscall.SIGCONT)
			if err := f.settled(2*time.Minute, true, probed); err != nil {
				return nil, err
			}
			result["back_s"] = time.Since(began).Seconds()
			return p.judged(result)
		}}
}

// probed is the topic whose records are watched.
const probed = "probed"

// probed starts the producer on a topic of its own, once all is quiet.
func (f *fleet) probed(create func() error) (*probe, error) {
	if err := create(); err != nil {
		return nil, err
	}
	if err := f.settled(time.Minute, true, probed); err != nil {
		return nil, err
	}
	p, err := startProbe(f, probed, suite)
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second)
	return p, nil
}

// judged ends the producer, and adds what became of its records.
func (p *probe) judged(result figures) (figures, error) {
	failures, first := p.close()
	if first != nil {
		fmt.Fprintln(os.Stderr, "  the producer was told:", first)
	}
	v, err := p.readBack()
	if err != nil {
		return nil, err
	}
	result["errors"], result["acknowledged"], result["lost"], result["twice"] = float64(failures), float64(v.acknowledged), float64(v.lost), float64(v.twice)
	return result, nil
}

// createLedByOthers makes a topic whose first replicas are never on a node, and whose last always is.
func (f *fleet) createLedByOthers(name string, partitions int, not *member) error {
	var lead []int32
	for _, m := range f.nodes {
		if m != not {
			lead = append(lead, int32(m.id))
		}
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
	for n := range partitions {
		first := n % len(lead)
		replicas := append(slices.Concat(lead[first:], lead[:first]), int32(not.id))
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(n), Replicas: replicas})
	}
	two := "2"
	topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: "min.insync.replicas", Value: &two})
	req.Topics = append(req.Topics, topic)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := req.RequestWith(ctx, f.client)
	if err != nil {
		return err
	}
	if code := resp.Topics[0].ErrorCode; code != 0 {
		return fmt.Errorf("cannot create %s: error %d", name, code)
	}
	return nil
}

// back starts a node again, waits until it has everything, and gives it back what it is to lead.
func (f *fleet) back(m *member) error {
	if err := f.start(m); err != nil {
		return err
	}
	if err := f.settled(2*time.Minute, true, probed); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = f.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil) // where it leads already, that is an error
	if err := f.eachPartition("the node leads", time.Minute, []string{probed}, func(p kadm.PartitionDetail) bool { return p.Leader == p.Replicas[0] }); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	return nil
}
