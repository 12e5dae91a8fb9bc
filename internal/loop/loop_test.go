package loop

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestALoopRunsOneFunctionAtATimeAndInOrder(t *testing.T) {
	l := Real().Loop("l")
	var running, last atomic.Int64
	var done sync.WaitGroup
	done.Add(1000)
	for i := range int64(1000) {
		l.Do(func() {
			defer done.Done()
			if running.Add(1) != 1 {
				t.Error("two at a time")
			}
			if i > 0 && last.Load() != i-1 {
				t.Errorf("%d after %d", i, last.Load())
			}
			last.Store(i)
			running.Add(-1)
		})
	}
	done.Wait()
}

func TestTimersFireOnTheLoopAndNotAfterStop(t *testing.T) {
	l := Real().Loop("l")
	for _, d := range []time.Duration{0, 50 * time.Microsecond, 3 * time.Millisecond} {
		fired := make(chan time.Duration, 1)
		began := time.Now()
		l.After(d, func() { fired <- time.Since(began) })
		if took := <-fired; took < d {
			t.Errorf("%v fired after %v", d, took)
		}
		var late atomic.Bool
		stopped := make(chan struct{})
		l.Do(func() {
			stop := l.After(d, func() { late.Store(true) })
			time.Sleep(d) // it may be queued by now, behind this
			stop()
			close(stopped)
		})
		<-stopped
		time.Sleep(5 * time.Millisecond)
		if late.Load() {
			t.Errorf("%v fired after it was stopped on its loop", d)
		}
	}
}

func TestALoopAndItsTimersMayBeUsedFromItself(t *testing.T) {
	l := Real().Loop("l")
	done := make(chan struct{})
	l.Do(func() { l.Do(func() { l.After(time.Microsecond, func() { close(done) }) }) })
	<-done
}
