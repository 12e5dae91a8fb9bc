package main

import (
	"slices"
	"time"
)

// A graph knows of a topology that grows how it will lie in tasks: what reads which topics together. It refuses operators whose
// results would hang on chance, so that two runs, and two implementations, have to agree record by record.
type graph struct {
	partitions int
	nodes      []shape
	groups     []cluster
}

// kinds of what nodes are.
const (
	isStream = 's'
	isTable  = 't'
	isWindow = 'w'
	isGlobal = 'g'
	isSplit  = 'p'
	isSink   = '-'
)

// shape is what there is to know of a node.
type shape struct {
	kind    byte
	sources uint64 // the topics that its records, and so their times, come from
	group   int    // the tasks that make it
	rekeyed bool
	nulls   bool // keys may be null
	loose   bool // only the last result of each key is certain: several tasks wrote what it is made of
	raw     bool // the table of a topic as it is
	closed  bool // has results of windows, which may be suppressed
	history bool // a versioned table
}

// cluster is a set of nodes that run in the same tasks.
type cluster struct {
	joined int // with another one; its own number if with none
	queues []queue
}

// queue is a topic that a cluster reads: one of its own, or a repartition topic.
type queue struct {
	sources uint64
	from    int  // what writes it, -1 for a topic of its own
	async   bool // messages of a join by foreign key, whose order does not matter in the end
}

func (g *graph) clone() *graph {
	c := &graph{g.partitions, slices.Clone(g.nodes), slices.Clone(g.groups)}
	for i := range c.groups {
		c.groups[i].queues = slices.Clone(c.groups[i].queues)
	}
	return c
}

func (g *graph) root(i int) int {
	for g.groups[i].joined != i {
		i = g.groups[i].joined
	}
	return i
}

func (g *graph) newGroup(q queue) int {
	g.groups = append(g.groups, cluster{len(g.groups), []queue{q}})
	return len(g.groups) - 1
}

func (g *graph) unite(a, b int) int {
	a, b = g.root(a), g.root(b)
	if a != b {
		g.groups[a].queues = append(g.groups[a].queues, g.groups[b].queues...)
		g.groups[b].joined = a
	}
	return a
}

// through is a node after a repartition topic.
func (g *graph) through(n shape) shape {
	n.group = g.newGroup(queue{n.sources, n.group, false})
	n.rekeyed, n.nulls, n.raw = false, false, false
	n.loose = n.loose || g.partitions > 1
	return n
}

// byKey is a node whose keys are where they belong.
func (g *graph) byKey(n shape) shape {
	if n.rekeyed {
		return g.through(n)
	}
	return n
}

// certain reports whether the tasks will take their records in the same order in each run. Two topics are read in the order of
// time, and no two records of different topics have the same; but one that is written meanwhile must be waited for, and its
// writer must not wait itself.
func (g *graph) certain() bool {
	for i, c := range g.groups {
		if c.joined != i || len(c.queues) < 2 {
			continue
		}
		for j, q := range c.queues {
			if q.from < 0 || q.async {
				continue
			}
			if len(g.groups[g.root(q.from)].queues) > 1 {
				return false
			}
			for k, other := range c.queues {
				if k != j && q.sources&other.sources != 0 {
					return false
				}
			}
		}
	}
	return true
}

// add adds a node that has the right kinds of inputs, and reports false if it does not fit.
func (g *graph) add(n Node) bool {
	var in []shape
	for i, from := range n.In {
		in = append(in, g.nodes[from])
		if g.nodes[from].kind != takes[n.Op][i] {
			return false
		}
	}
	made, ok := g.result(n, in)
	if !ok {
		return false
	}
	g.nodes = append(g.nodes, made)
	return g.certain()
}

// idle is how long tasks should wait for records of one topic while they have some of another, so that records are taken by time
// in each run: longer where one of the topics is only being written meanwhile.
func (g *graph) idle() time.Duration {
	wait := time.Second
	for i, c := range g.groups {
		for _, q := range c.queues {
			if c.joined == i && len(c.queues) > 1 && q.from >= 0 && !q.async {
				wait = 6 * time.Second
			}
		}
	}
	return wait
}

// takes has the kinds of what operators take.
var takes = map[string]string{
	"filter": "s", "filterNot": "s", "mapValues": "s", "flatMapValues": "s", "selectKey": "s", "map": "s", "flatMap": "s", "peek": "s",
	"merge": "ss", "repartition": "s", "split": "s", "branch": "p", "seen": "s", "to": "s",
	"toTable": "s", "count": "s", "reduce": "s", "aggregate": "s", "toStream": "t", "cogroup": "ss", "tgroup": "t",
	"tfilter": "t", "tfilterNot": "t", "tmap": "t", "suppress": "t",
	"window": "s", "cowindow": "ss", "wfilter": "w", "wsuppress": "w", "wgroup": "w", "wstream": "w",
	"sjoin": "ss", "stjoin": "st", "sgjoin": "sg", "tjoin": "tt", "fkjoin": "tt",
}

// commutes reports whether an aggregation comes to the same in any order.
func commutes(how string) bool { return how == "count" || how == "sum" }

func (g *graph) result(n Node, in []shape) (out shape, ok bool) {
	if len(in) > 0 {
		out = in[0]
		out.raw, out.closed, out.history = false, false, false
	}
	if len(n.In) == 2 && n.In[0] == n.In[1] && n.Op != "sjoin" {
		return out, false
	}
	switch n.Op {
	case "stream", "table":
		topic := uint64(1) << len(g.nodes)
		kind := byte(isStream)
		if n.Op == "table" {
			kind = isTable
		}
		return shape{kind: kind, sources: topic, group: g.newGroup(queue{topic, -1, false}), raw: kind == isTable,
			nulls: kind == isStream && g.partitions == 1, history: kind == isTable && n.Args[2] != "-"}, true
	case "global":
		return shape{kind: isGlobal}, true
	case "filter", "filterNot", "mapValues", "flatMapValues", "peek":
		if n.Op == "filter" && n.Args[0] == "keyed" {
			out.nulls = false
		}
		return out, true
	case "selectKey", "map", "flatMap":
		if g.partitions > 1 && (n.Op == "flatMap" || n.Args[0] == "orNull") {
			return out, false
		}
		out.rekeyed, out.nulls = true, g.partitions == 1
		return out, !out.loose
	case "merge":
		out.rekeyed, out.nulls = out.rekeyed || in[1].rekeyed, out.nulls || in[1].nulls
		return g.both(out, in[0], in[1])
	case "repartition":
		return g.through(out), !out.loose
	case "split":
		out.kind = isSplit
		return out, true
	case "branch":
		out.kind = isStream
		return out, true
	case "seen":
		out.nulls = false
		return out, !out.loose
	case "toStream":
		out.kind, out.nulls = isStream, false
		return out, true
	case "to":
		return shape{kind: isSink}, true
	}
	return g.stateful(n, in, out)
}

// both is a node made of two, in the same tasks.
func (g *graph) both(out, a, b shape) (shape, bool) {
	out.group = g.unite(a.group, b.group)
	out.sources = a.sources | b.sources
	return out, !a.loose && !b.loose
}

// grouped is a node whose records are gathered by key, by a new one unless that is "-".
func (g *graph) grouped(n shape, by string) shape {
	if by != "-" {
		n.rekeyed = true
	}
	n = g.byKey(n)
	n.nulls = false
	return n
}

func (g *graph) stateful(n Node, in []shape, out shape) (shape, bool) {
	switch n.Op {
	case "toTable":
		out = g.byKey(out)
		out.kind, out.nulls = isTable, false
		return out, !out.loose
	case "count", "reduce", "aggregate":
		out = g.grouped(out, n.Args[0])
		out.kind = isTable
		return out, !out.loose || commutes(n.Op) || n.Op == "aggregate" && commutes(n.Args[1])
	case "window":
		out = g.grouped(out, n.Args[0])
		out.kind, out.closed = isWindow, n.Args[5] == "update"
		return out, !out.loose
	case "cogroup", "cowindow":
		if out.kind = isTable; n.Op == "cowindow" {
			out.kind, out.closed = isWindow, true
		}
		a, b := g.grouped(in[0], "-"), g.grouped(in[1], "-")
		out.rekeyed, out.nulls = false, false
		out, ok := g.both(out, a, b)
		return out, ok && !(in[0].rekeyed && in[1].rekeyed) // Java would need a name for each
	case "tfilter", "tfilterNot", "tmap":
		out.history = in[0].history
		return out, true
	case "suppress", "wfilter":
		return out, !out.loose && !in[0].history
	case "wsuppress":
		return out, in[0].closed && !out.loose
	case "wstream":
		out.kind, out.rekeyed = isStream, true
		return out, !out.loose
	case "tgroup":
		out = g.through(out)
		return out, !out.loose || g.partitions > 1 && !in[0].loose && commutes(n.Args[1])
	case "wgroup":
		out = g.through(out)
		out.kind = isTable
		return out, !out.loose || !in[0].loose && commutes(n.Args[0])
	}
	return g.join(n, in, out)
}

func (g *graph) join(n Node, in []shape, out shape) (shape, bool) {
	switch n.Op {
	case "sjoin":
		a, b := g.byKey(in[0]), g.byKey(in[1])
		out.rekeyed, out.nulls = false, (n.Args[0] != "inner") && (a.nulls || b.nulls)
		return g.both(out, a, b)
	case "stjoin":
		grace := n.Args[1] != "-"
		a := g.byKey(in[0])
		out.rekeyed, out.nulls = false, a.nulls
		out, ok := g.both(out, a, in[1])
		return out, ok && (!grace || in[1].history && !a.nulls)
	case "sgjoin":
		return out, true
	case "tjoin":
		return g.both(out, in[0], in[1])
	case "fkjoin":
		if !in[0].raw || !in[1].raw || g.root(in[0].group) == g.root(in[1].group) {
			return out, false
		}
		l, r := g.root(in[0].group), g.root(in[1].group)
		g.groups[r].queues = append(g.groups[r].queues, queue{in[0].sources, l, true})
		g.groups[l].queues = append(g.groups[l].queues, queue{in[0].sources | in[1].sources, r, true})
		out.loose = true
		return out, true
	}
	panic("no operator " + n.Op)
}
