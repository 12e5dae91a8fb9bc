package cli

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progress shows how far long work has come, on standard error and only if that is a terminal.
type progress struct {
	out     io.Writer
	shown   bool
	records atomic.Int64
	bytes   atomic.Int64
	began   time.Time
	stop    chan struct{}
	stopped sync.WaitGroup
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, shown: isTerminal(out), stop: make(chan struct{})}
}

func (p *progress) start() {
	p.began = time.Now()
	if !p.shown {
		return
	}
	p.stopped.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprintf(p.out, "\r\033[K%s", p.line())
			case <-p.stop:
				fmt.Fprint(p.out, "\r\033[K")
				return
			}
		}
	})
}

func (p *progress) add(records, bytes int64) {
	p.records.Add(records)
	p.bytes.Add(bytes)
}

func (p *progress) line() string {
	seconds := max(time.Since(p.began).Seconds(), 0.001)
	records, bytes := p.records.Load(), p.bytes.Load()
	return fmt.Sprintf("%s records  %s  %s records/s  %s/s", countText(records), bytesText(bytes),
		countText(int64(float64(records)/seconds)), bytesText(int64(float64(bytes)/seconds)))
}

// end stops showing. It may be called more than once.
func (p *progress) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.stopped.Wait()
}

// summary says at the end what was done.
func (p *progress) summary(what string) {
	p.end()
	if p.shown {
		fmt.Fprintf(p.out, "%s %s\n", what, p.line())
	}
}
