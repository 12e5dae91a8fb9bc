package main

import (
	"fmt"
	"strings"
	"time"
)

// Spec is a topology in words that both sides build alike: build.go with package streams, Building.java with Kafka Streams.
// Both must call the operators in the order of the nodes, because names of internal topics come from that order.
type Spec struct {
	Name       string // of what it is mostly about
	Partitions int    // of every topic
	OnDisk     bool   // whether the Go side keeps its stores on disk; Java always does
	Nodes      []Node
	Inputs     int           // topics in0, in1, …
	Idle       time.Duration // how long tasks wait for records of one topic while they have some of another
	Once       bool          // all of the input comes in the first part
	Fresh      bool          // each part begins without the state that the one before left on disk
	Loose      bool          // several tasks write what one reads, so that their order is left to chance
}

// Node is an operator: of which nodes it takes the results, and what else there is to say about it.
//
//	stream topic | table topic store history | global topic
//	filter p | filterNot p | mapValues f | flatMapValues | selectKey f | map f | flatMap | peek | merge | repartition name
//	split p | branch n | seen
//	toTable store | count by store | reduce by store | aggregate by how store | toStream
//	window by kind size advance grace emit how store | wfilter p | wsuppress | wgroup how | wstream
//	sjoin kind before after grace | stjoin kind grace | sgjoin kind | cogroup store | cowindow kind size advance grace
//	tfilter p store | tfilterNot p | tmap f | tjoin kind store | fkjoin kind | tgroup f how store | suppress ms
//	to topic
//
// Times are in milliseconds. "-" stands for nothing: no name, no history, the key that is there.
type Node struct {
	Op   string
	In   []int
	Args []string
}

// timely reports whether the store of a node has a time of its own, by which rows expire. Java's begins anew when a store is
// opened, and goes on when it is restored, so what it does with late records depends on what was on its disk.
func (n Node) timely() bool {
	switch n.Op {
	case "window", "cowindow", "sjoin":
		return true
	case "table":
		return n.Args[2] != "-"
	}
	return false
}

// forgetful reports whether Java goes on in another way after a restart than before it, and which way depends on when it last
// committed or on the wall clock. A buffer that is restored puts a row that was sent and came again between two commits where the
// row was before; one of a join with grace takes the time at which a row was logged for the stream's.
func (n Node) forgetful() bool {
	return n.Op == "suppress" || n.Op == "stjoin" && n.Args[1] != "-"
}

// foreign has the topics of the left and right sides of joins by foreign key. Where a row on the left changes, and changes again or
// its row on the right does before the answer is there, the result that Java ends with hangs on who was first: it can be that of a row
// that is gone. So after the first part, where all rows on the left are new, one side changes at a time, and each row on the left once.
func (s Spec) foreign() (lefts, rights map[string]bool) {
	lefts, rights = map[string]bool{}, map[string]bool{}
	for _, n := range s.Nodes {
		if n.Op == "fkjoin" {
			lefts[s.Nodes[n.In[0]].Args[0]] = true
			rights[s.Nodes[n.In[1]].Args[0]] = true
		}
	}
	return lefts, rights
}

func (n Node) String() string {
	in := "-"
	if len(n.In) > 0 {
		in = strings.Trim(strings.ReplaceAll(fmt.Sprint(n.In), " ", ","), "[]")
	}
	return strings.Join(append([]string{n.Op, in}, n.Args...), " ")
}

// Lines is the topology as Java reads it: one node a line, numbered from 0.
func (s Spec) Lines() string {
	var b strings.Builder
	for _, n := range s.Nodes {
		fmt.Fprintln(&b, n)
	}
	return b.String()
}

// operators names what the topology does, for people.
func (s Spec) operators() string {
	var names []string
	for i, n := range s.Nodes {
		name := n.Op
		switch n.Op {
		case "to", "branch":
			continue
		case "window", "cowindow", "sjoin", "stjoin", "sgjoin", "tjoin", "fkjoin":
			name = fmt.Sprintf("%s(%s)", n.Op, strings.Join(n.Args, ","))
		}
		names = append(names, fmt.Sprintf("%d:%s", i, name))
	}
	return strings.Join(names, " ")
}
