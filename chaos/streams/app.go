package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// Every input is a number. It has to be in each of these topics in the end, however often.
var (
	lines  = streams.NewTopic("lines", serde.String, serde.String)
	names  = streams.NewTopic("names", serde.String, serde.String)
	copies = streams.NewTopic("copies", serde.String, serde.String) // as it came
	joined = streams.NewTopic("joined", serde.String, serde.String) // with the name that the table has for its key
	sets   = streams.NewTopic("sets", serde.String, serde.Bytes)    // in the set of its group, which is a row of a store on disk
)

// groups is how many sets there are: few enough that each grows all the time, so that what is lost of one is missed.
const groups = 2000

// build makes the topology. What it computes stays the same if an input comes twice, as it may after a kill.
func build() (*streams.Topology, error) {
	b := streams.NewBuilder()
	in := streams.From(b, lines)
	in.To(copies)
	table := streams.TableFrom(b, names, streams.KV("names", serde.String, serde.String).OnDisk())
	streams.JoinTable(in, table, func(_, n, name string) string { return n + " " + name }).To(joined)
	byGroup := streams.SelectKey(in, func(_, n string) string { return strconv.Itoa(atoi(n) % groups) })
	streams.Aggregate(byGroup.GroupByKey(), func() []byte { return []byte{} }, func(_, n string, set []byte) []byte {
		return added(set, atoi(n)/groups)
	}, streams.KV("sets", serde.String, serde.Bytes).OnDisk()).ToStream().To(sets)
	return b.Build()
}

func atoi(n string) int {
	i, err := strconv.Atoi(n)
	if err != nil {
		panic(err)
	}
	return i
}

// added is a set of bits with one more.
func added(set []byte, bit int) []byte {
	bits := slices.Clone(set)
	for len(bits) <= bit/8 {
		bits = append(bits, 0)
	}
	bits[bit/8] |= 1 << (bit % 8)
	return bits
}

func has(set []byte, bit int) bool { return bit/8 < len(set) && set[bit/8]&(1<<(bit%8)) != 0 }

// instance runs the application until it is told to end.
func instance(broker, folder string) error {
	topology, err := build()
	if err != nil {
		return err
	}
	app, err := streams.New(topology, streams.Config{AppID: "kills", Brokers: strings.Split(broker, ","), StateDir: folder, CommitInterval: time.Second})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return app.Run(ctx)
}
