package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Every topology is made again by its seed, can be built, and writes what nobody takes to a topic.
func TestTopologiesAreMadeBySeed(t *testing.T) {
	operators := map[string]int{}
	for seed := range uint64(60) {
		for number := range len(themes) {
			spec := generate(seed, number)
			if again := generate(seed, number); !reflect.DeepEqual(spec, again) {
				t.Fatalf("seed %d made\n%s and then\n%s", seed, spec.Lines(), again.Lines())
			}
			topology, err := build(spec, "app", 0)
			if err != nil {
				t.Fatalf("seed %d number %d: %v\n%s", seed, number, err, spec.Lines())
			}
			for _, n := range spec.Nodes {
				operators[n.Op]++
			}
			if !strings.Contains(topology.Describe(), "app.out0") {
				t.Fatalf("seed %d number %d has no result\n%s", seed, number, spec.Lines())
			}
		}
	}
	for op := range builders {
		if operators[op] == 0 {
			t.Errorf("no topology has %s", op)
		}
	}
	for op := range takes {
		if builders[op] == nil {
			t.Errorf("nothing builds %s", op)
		}
	}
}

// Operators are refused whose results would hang on which task is faster.
func TestWhatHangsOnChanceIsRefused(t *testing.T) {
	for name, nodes := range map[string][]Node{
		"two repartition topics of the same times": {
			{"stream", nil, []string{"in0"}}, {"map", []int{0}, []string{"value"}}, {"map", []int{0}, []string{"bucket"}},
			{"sjoin", []int{1, 2}, []string{"inner", "10", "10", "0"}},
		},
		"a repartition topic whose writer waits": {
			{"stream", nil, []string{"in0"}}, {"stream", nil, []string{"in1"}}, {"sjoin", []int{0, 1}, []string{"inner", "10", "10", "0"}},
			{"map", []int{2}, []string{"value"}}, {"stream", nil, []string{"in2"}}, {"sjoin", []int{3, 4}, []string{"inner", "10", "10", "0"}},
		},
		"a stream in place of a table": {{"stream", nil, []string{"in0"}}, {"toStream", []int{0}, nil}},
	} {
		g := &graph{partitions: 1}
		for i, n := range nodes {
			if fits := g.add(n); fits != (i < len(nodes)-1) {
				t.Errorf("%s: %s fits %v", name, n, fits)
			}
		}
	}
}

// Of what is left on a cluster any difference is found: a byte, an order, a topic, a configuration, an offset.
func TestDifferencesAreFound(t *testing.T) {
	fresh := func() *contents {
		return &contents{records: map[string][][]*kgo.Record{"a-x": {{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("l")}}}},
			configs: map[string]string{"a-x": "cleanup.policy=compact"}, offsets: map[string]string{"a.in-0": "3 meta"}}
	}
	for name, change := range map[string]func(c *contents){
		"":              func(*contents) {},
		"value":         func(c *contents) { c.records["a-x"][0][0].Value = []byte("w") },
		"null":          func(c *contents) { c.records["a-x"][0][1].Value = []byte{} },
		"header":        func(c *contents) { c.records["a-x"][0][0].Headers = []kgo.RecordHeader{{Key: "h"}} },
		"order":         func(c *contents) { p := c.records["a-x"][0]; p[0], p[1] = p[1], p[0] },
		"missing":       func(c *contents) { c.records["a-x"][0] = c.records["a-x"][0][:1] },
		"topic":         func(c *contents) { c.records["a-y"] = nil },
		"missing topic": func(c *contents) { delete(c.records, "a-x") },
		"partition":     func(c *contents) { c.records["a-x"] = append(c.records["a-x"], nil) },
		"configuration": func(c *contents) { c.configs["a-x"] = "" },
		"offset":        func(c *contents) { c.offsets["a.in-0"] = "3 other" },
	} {
		got := fresh()
		change(got)
		if c := compare(Spec{}, "a", "a", got, fresh()); (len(c.differences) > 0) != (name != "") {
			t.Errorf("%s: the differences are %v", name, c.differences)
		}
	}
}
