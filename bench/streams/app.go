package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

var (
	input  = streams.NewTopic("in", serde.String, serde.String)
	rows   = streams.NewTopic("table", serde.String, serde.String)
	output = streams.NewTopic("out", serde.String, serde.String)
	counts = streams.NewTopic("out", serde.String, serde.Int64)
)

// build makes the topology of a load. Java's twin is in Bench.java.
func build(load string, seen func()) (*streams.Topology, error) {
	b := streams.NewBuilder()
	store := streams.KV("st", serde.String, serde.Int64)
	if load == "restore" {
		streams.From(b, input).GroupByKey().Reduce(func(_, v string) string { return v }, streams.KV("st", serde.String, serde.String).OnDisk())
		return b.Build()
	}
	s := streams.From(b, input).Peek(func(_, _ string) { seen() })
	switch load {
	case "stateless":
		streams.MapValues(s, strings.ToUpper).To(output)
	case "count-memory":
		s.GroupByKey().Count(store).ToStream().To(counts)
	case "count-disk":
		s.GroupByKey().Count(store.OnDisk()).ToStream().To(counts)
	case "count-cached":
		s.GroupByKey().Count(store.OnDisk().Cached()).ToStream().To(counts)
	case "count-windows":
		w := s.GroupByKey().Windows(streams.Tumbling(10 * time.Second))
		t := streams.CountWindows(w, streams.Window("st", serde.String, serde.Int64).OnDisk())
		streams.ToStreamByKey(t, func(w streams.Windowed[string]) string { return w.Key }).To(counts)
	case "join":
		t := streams.TableFrom(b, rows, streams.KV("st", serde.String, serde.String).OnDisk())
		streams.JoinTable(s, t, func(_, v, row string) string { return v[:40] + row }).To(output)
	default:
		return nil, fmt.Errorf("no load %q", load)
	}
	return b.Build()
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// app runs a load until n records have come and are committed, and prints what that took: CPU and wall clock from the first
// record on, in nanoseconds. A restore runs until all tasks have their state.
func app(load, broker, dir string, n, tasks int64, profile string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var count, restored atomic.Int64
	var begun time.Time
	var before time.Duration
	var once sync.Once
	begin := func() { begun, before = time.Now(), cpu() }
	topology, err := build(load, func() {
		once.Do(begin)
		if count.Add(1) == n {
			stop()
		}
	})
	if err != nil {
		return err
	}
	config := streams.Config{AppID: "go-" + load, Brokers: []string{broker}, StateDir: dir, CommitInterval: time.Second}
	if load == "restore" {
		config.AppID = "restore"
		begin()
		config.OnRestored = func(streams.TaskID, int, time.Duration) {
			if restored.Add(1) == tasks {
				stop()
			}
		}
	}
	a, err := streams.New(topology, config)
	if err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if err := a.Run(ctx); err != nil {
		return err
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return err
	}
	fmt.Println("took", (cpu() - before).Nanoseconds(), time.Since(begun).Nanoseconds(), u.Maxrss)
	return nil
}
