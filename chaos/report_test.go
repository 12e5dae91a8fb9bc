package main

import (
	"testing"
	"time"
)

func TestAPauseIsOfTheFaultInWhichItBegan(t *testing.T) {
	s := time.Second
	faults := []fault{{"cut", 10 * s, 20 * s}, {"kill", 12 * s, 14 * s}, {"kill", 40 * s, 41 * s}}
	all := []pause{{0, 10 * s, 11 * s}, {1, 10 * s, 12 * s}, {0, 13 * s, 16 * s}, {0, 17 * s, 18 * s}, {2, 30 * s, 39 * s}}
	u := unavailability(faults, all)
	if cut := u["cut"]; len(cut.worst) != 1 || cut.worst[0] != 2*s || len(cut.each) != 2 || percentile(cut.each, 50) != s {
		t.Errorf("the cut is %v", cut)
	}
	if kill := u["kill"]; len(kill.worst) != 2 || kill.worst[0] != 0 || kill.worst[1] != 3*s || len(kill.each) != 1 {
		t.Errorf("the kills are %v", kill)
	}
	if i := cause(faults, all[4]); i != -1 {
		t.Errorf("a pause long after all faults is of fault %d", i)
	}
}

func TestAPercentileIsOneOfTheTimes(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(i+1))
	}
	for percent, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := percentile(all, percent); got != want {
			t.Errorf("%d %%: %d, not %d", percent, got, want)
		}
	}
	if percentile(nil, 99) != 0 {
		t.Error("nothing has a percentile")
	}
}
