// Command monitoring watches machines: readings come in, some late and some too late, and every few seconds there is a row of what
// all machines did, and an alarm for each that is hot or silent.
//
//	go run ./examples/monitoring
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gregorhq/gregor/examples/internal/stage"
	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
)

// A Reading is what a machine says of itself. Its record's key is the machine.
type Reading struct {
	CPU  float64 `json:"cpu"`   // in percent
	AtMs int64   `json:"at_ms"` // when it was measured, which may be long before it arrives
}

// A Summary is what the readings of one machine in one window come to.
type Summary struct {
	Readings int     `json:"readings"`
	Sum      float64 `json:"sum"`
	Highest  float64 `json:"highest"`
}

// Mean is the mean of the readings.
func (s Summary) Mean() float64 { return s.Sum / float64(max(s.Readings, 1)) }

// An Alarm says what is wrong with a machine.
type Alarm struct {
	Machine string `json:"machine"`
	What    string `json:"what"`
}

const (
	window  = 2 * time.Second
	grace   = 2 * time.Second // readings that are so late still count
	hot     = 90.0
	silence = 3 * time.Second
)

var (
	readings  = streams.NewTopic("readings", serde.String, serde.JSON[Reading]()).EventTime(measured)
	summaries = streams.NewTopic("summaries", streams.TimeWindowedKeys(serde.String, window), serde.JSON[Summary]())
	alarms    = streams.NewTopic("alarms", serde.String, serde.JSON[Alarm]())

	perWindow = streams.Window("per-window", serde.String, serde.JSON[Summary]())
	heard     = streams.KV("heard", serde.String, serde.Int64)

	topics = []stage.Topic{{Name: "readings", Partitions: 2}, {Name: "summaries", Partitions: 2}, {Name: "alarms", Partitions: 2}}
)

// measured is a reading's time: when it was taken, not when it came.
func measured(r streams.Record[string, Reading], _ time.Time) (time.Time, error) {
	return time.UnixMilli(r.Value.AtMs), nil
}

// topology sums readings up by machine and window. A window's summary is sent once, when the window and its grace are over.
func topology() (*streams.Topology, error) {
	b := streams.NewBuilder()
	in := streams.From(b, readings)
	perMachine := in.GroupByKey().Windows(streams.Tumbling(window).Grace(grace)).EmitOnClose()
	closed := streams.AggregateWindows(perMachine,
		func() Summary { return Summary{} },
		func(_ string, r Reading, sofar Summary) Summary {
			return Summary{sofar.Readings + 1, sofar.Sum + r.CPU, max(sofar.Highest, r.CPU)}
		}, perWindow).ToStream()
	closed.To(summaries)

	tooHot := streams.Map(closed.Filter(func(_ streams.Windowed[string], s Summary) bool { return s.Mean() > hot }),
		func(w streams.Windowed[string], s Summary) (string, Alarm) {
			return w.Key, Alarm{w.Key, fmt.Sprintf("is hot: %.0f %% on average from %s on", s.Mean(), w.Start.Format(time.TimeOnly))}
		})
	silent := streams.Process(in, func() streams.Processor[string, Reading, string, Alarm] { return &watchdog{} }, streams.Stores(heard))
	tooHot.Merge(silent).To(alarms)
	return b.Build()
}

// watchdog looks every half second, by the wall clock, for machines that have not been heard of: no record tells of silence.
type watchdog struct {
	c     *streams.Context[string, Alarm]
	heard *streams.KVRows[string, int64]
}

// Init opens the store of when machines were heard of, and sets the clock.
func (w *watchdog) Init(c *streams.Context[string, Alarm]) error {
	w.c, w.heard = c, heard.Open(c)
	c.Schedule(500*time.Millisecond, streams.WallTime, w.look)
	return nil
}

func (w *watchdog) look(now time.Time) error {
	for machine, at := range w.heard.All() {
		if now.UnixMilli()-at < silence.Milliseconds() {
			continue
		}
		w.heard.Delete(machine) // it is said once
		alarm := Alarm{machine, fmt.Sprintf("is silent since %s", time.UnixMilli(at).Format(time.TimeOnly))}
		if err := w.c.Forward(streams.Record[string, Alarm]{Key: machine, Value: alarm, Time: now}); err != nil {
			return err
		}
	}
	return nil
}

// Process notes that a machine was heard of.
func (w *watchdog) Process(r streams.Record[string, Reading]) error {
	w.heard.Put(r.Key, w.c.WallTime().UnixMilli())
	return nil
}

func main() {
	stage.Main("monitoring makes up readings of machines, some of them late, and shows what they come to.", topics, play)
}

func play(ctx context.Context, s *stage.Stage) error {
	t, err := topology()
	if err != nil {
		return err
	}
	app, err := streams.New(t, streams.Config{AppID: "monitoring", Brokers: s.Brokers, CommitInterval: time.Second})
	if err != nil {
		return err
	}
	p := &park{s: s, began: time.Now(), rows: map[int64]Summary{}}
	defer p.report()
	return s.Together(ctx, app.Run, p.measure, p.watchSummaries, p.watchAlarms)
}
