package streams_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// nowhere takes what a task sends.
type nowhere struct{}

func (nowhere) Send(streams.Message) {}
func (nowhere) Log(streams.Message)  {}

// The cost of the engine alone, by record: decode, operators, stores, encode.
func BenchmarkTask(b *testing.B) {
	for name, build := range map[string]func(b *streams.Builder){
		"MapValues": func(b *streams.Builder) { streams.MapValues(stream(b, "in"), same).To(topicOf("out")) },
		"Count":     func(b *streams.Builder) { toOut(stream(b, "in").GroupByKey().Count(counts("n")), "out") },
		"CountWindows": func(b *streams.Builder) {
			endWindows(streams.CountWindows(stream(b, "in").GroupByKey().Windows(streams.Tumbling(time.Second)), streams.Window("n", plain, serde.Int64)))
		},
		"JoinTable": func(b *streams.Builder) {
			r := table(b, "R")
			streams.LeftJoinTable(stream(b, "in"), r, firstOf).To(topicOf("out"))
		},
	} {
		b.Run(name, func(b *testing.B) {
			builder := streams.NewBuilder()
			build(builder)
			topology, err := builder.Build()
			if err != nil {
				b.Fatal(err)
			}
			task, err := topology.NewTask(streams.TaskConfig{AppID: "bench"}, nowhere{})
			if err != nil {
				b.Fatal(err)
			}
			keys := make([][]byte, 10_000)
			for i := range keys {
				keys[i] = fmt.Append(nil, "key-", i)
			}
			value := make([]byte, 90)
			for i := range value {
				value[i] = 'x'
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m := streams.Message{Topic: "in", Key: keys[i*7919%len(keys)], Value: value, Timestamp: int64(i / 100)}
				if err := task.Process(m); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
