package main

import (
	"strings"
	"testing"
	"time"
)

func newForeign() *foreign {
	return &foreign{name: "other", history: newHistory(), errors: &errorCounts{now: newHistory().now}, count: func() {},
		consumers: map[string]*consumer{}, fresh: map[string]map[int32]time.Duration{}, sends: map[value]*send{}, commits: map[string]*commit{}}
}

func TestWhatAForeignClientPrintsIsItsHistory(t *testing.T) {
	f := newForeign()
	for _, e := range []event{
		{"send", "producer-9", []byte(`{"value":{"producer":9,"partition":1,"n":0},"outcome":"pending","offset":-1,"began":5}`)},
		{"send", "producer-9", []byte(`{"value":{"producer":9,"partition":1,"n":0},"outcome":"acknowledged","offset":0,"began":5,"ended":9}`)},
		{"send", "producer-9", []byte(`{"value":{"producer":9,"partition":1,"n":1},"outcome":"pending","offset":-1,"began":6}`)},
		{"consumer", "m", []byte(`{"group":"g"}`)},
		{"assigned", "m", []byte(`{"partition":1,"at":10}`)},
		{"read", "m", []byte(`{"partition":1,"offset":0,"value":{"producer":9,"partition":1,"n":0},"at":11}`)},
		{"commit", "m", []byte(`{"group":"g","member":"m","partition":1,"offset":1,"acked":false,"began":12,"ended":0}`)},
		{"commit", "m", []byte(`{"group":"g","member":"m","partition":1,"offset":1,"acked":true,"began":12,"ended":13}`)},
		{"gone", "m", []byte(`{"partition":1,"at":14,"lost":true}`)},
	} {
		if err := f.take(e); err != nil {
			t.Fatalf("%s: %v", e.Kind, err)
		}
	}
	h := f.history
	h.Log[1], h.Committed["g"] = []entry{{0, value{9, 1, 0}}}, map[int32]int64{1: 1}
	if found := check(h); len(found) != 0 {
		t.Fatal(found)
	}
	if len(h.Sends) != 2 || h.Sends[0].Outcome != acked || h.Sends[1].Outcome != pending {
		t.Errorf("sends are %v", h.Sends)
	}
	if r := h.Consumers[0].Reads[0]; !r.Fresh || r.Assigned != 10 {
		t.Errorf("the first read is %v", r)
	}
	if !h.Commits[0].Acked || len(h.Commits) != 1 {
		t.Errorf("commits are %v", h.Commits)
	}
	if own := h.Tenures[0]; own.From != 10 || own.To != 14 || !own.Lost {
		t.Errorf("the tenure is %v", own)
	}
}

func TestNonsenseOfAForeignClientIsToldApart(t *testing.T) {
	for _, e := range []event{
		{"send", "p", []byte(`{"value":{"producer":9,"partition":1,"n":0},"outcome":"acknowledged","offset":0}`)},
		{"read", "nobody", []byte(`{"partition":1,"offset":0}`)},
		{"assigned", "nobody", []byte(`{"partition":1}`)},
		{"commit", "m", []byte(`{"member":"m","partition":1,"ended":4}`)},
		{"dance", "m", []byte(`{}`)},
		{"error", "m", []byte(`[]`)},
	} {
		if err := newForeign().take(e); err == nil {
			t.Errorf("%s %s is taken", e.Kind, e.What)
		}
	}
}

func TestOnlyClientsThatThereAreCanBeAskedFor(t *testing.T) {
	var out strings.Builder
	if _, err := foreigners("cobol", "clients", t.TempDir(), &out); err == nil {
		t.Error("a client that there is not was found")
	}
	if all, err := foreigners("none", "clients", t.TempDir(), &out); err != nil || len(all) != 0 {
		t.Errorf("none are %v, %v", all, err)
	}
}
