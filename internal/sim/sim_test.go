package sim

import (
	"testing"
	"time"
)

func story(seed uint64) (trace uint64, order string) {
	w := New(seed)
	a, b := w.Loop("a"), w.Loop("b")
	for i := range 20 {
		a.Do(func() { order += string(rune('a' + i)) })
		b.After(time.Duration(w.Rand().IntN(5))*time.Millisecond, func() { order += string(rune('A' + i)) })
	}
	w.Run(time.Second)
	return w.Trace(), order
}

func TestTheSameSeedLivesTheSameLife(t *testing.T) {
	trace1, order1 := story(7)
	trace2, order2 := story(7)
	if trace1 != trace2 || order1 != order2 {
		t.Fatalf("two lives of one seed differ: %x %s, %x %s", trace1, order1, trace2, order2)
	}
	if trace3, _ := story(8); trace3 == trace1 {
		t.Fatal("two seeds lived the same life")
	}
}

func TestALoopKeepsItsOrder(t *testing.T) {
	w := New(1)
	l := w.Loop("l")
	var got []int
	for i := range 50 {
		l.Do(func() { got = append(got, i) })
	}
	w.Run(0)
	for i, v := range got {
		if i != v {
			t.Fatalf("out of order: %v", got)
		}
	}
}

func TestAStoppedTimerDoesNotFire(t *testing.T) {
	w := New(1)
	l := w.Loop("l")
	fired := false
	stop := l.After(time.Millisecond, func() { fired = true })
	l.After(time.Millisecond, func() { stop() })
	stop()
	w.Run(time.Second)
	if fired {
		t.Fatal("fired after stop")
	}
	if got := w.Now().Sub(Epoch); got != time.Second {
		t.Fatalf("time is %v", got)
	}
}
