package main

import (
	"fmt"
	"syscall"
	"time"
)

// clusterPartitions has very many partitions.
func (b builder) clusterPartitions() clusterWorkload {
	topics := b.scaled(50)
	return clusterWorkload{name: "cluster-partitions", columns: []string{"create_s", "idle_mb", "idle_cpu_percent", "start_s", "failover_s", "failover_controller_s"},
		what: fmt.Sprintf("%d partitions with 3 replicas each, in topics of 100. idle is of all nodes together, with nobody connected but who asks; start is from the start of all processes to when every partition has a leader and has taken a record; failover from kill -9 of a node, and of the one with the active controller, to when no partition is led by it and every partition has taken a record.", topics*100),
		skip: notMemory,
		run: func(f *fleet) (figures, error) {
			var names []string
			began := time.Now()
			for i := range topics {
				names = append(names, fmt.Sprintf("many-%d", i))
				if err := f.createTopic(names[i], 100); err != nil {
					return nil, err
				}
			}
			if err := f.settled(5*time.Minute, true, names...); err != nil {
				return nil, err
			}
			result := figures{"create_s": time.Since(began).Seconds()}
			if err := f.serves(names...); err != nil {
				return nil, err
			}
			time.Sleep(5 * time.Second)
			before := f.cpu()
			time.Sleep(10 * time.Second)
			result["idle_cpu_percent"], result["idle_mb"] = (f.cpu()-before)/10*100, f.memory(residentMB)
			if err := f.restarted(result, names); err != nil {
				return nil, err
			}
			active, err := f.controller()
			if err != nil {
				return nil, err
			}
			if result["failover_s"], err = f.without(f.nodes[(active.id+1)%len(f.nodes)], names); err != nil {
				return nil, err
			}
			if active, err = f.controller(); err != nil {
				return nil, err
			}
			result["failover_controller_s"], err = f.without(active, names)
			return result, err
		}}
}

// restarted stops all nodes in good order and starts them.
func (f *fleet) restarted(result figures, names []string) error {
	for _, m := range f.nodes {
		m.process.signal(syscall.SIGTERM)
	}
	for _, m := range f.nodes {
		m.end(syscall.SIGTERM)
	}
	began := time.Now()
	if err := f.startAll(); err != nil {
		return err
	}
	if err := f.settled(5*time.Minute, false, names...); err != nil {
		return err
	}
	if err := f.serves(names...); err != nil {
		return err
	}
	result["start_s"] = time.Since(began).Seconds()
	return nil
}

// without kills a node once all is in sync, returns after how many seconds everything was served again, and has the node back.
func (f *fleet) without(m *member, names []string) (seconds float64, err error) {
	if err := f.settled(5*time.Minute, true, names...); err != nil {
		return 0, err
	}
	time.Sleep(3 * time.Second)
	began := time.Now()
	m.end(syscall.SIGKILL)
	if err := f.settled(2*time.Minute, false, names...); err != nil {
		return 0, err
	}
	if err := f.serves(names...); err != nil {
		return 0, err
	}
	seconds = time.Since(began).Seconds()
	return seconds, f.start(m)
}
