package main

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// themes are what topologies are mostly about, so that some of them together have every operator. The rest of each is chance.
var themes = []string{
	"count", "window tumbling update", "sjoin inner", "tjoin left", "reduce", "window session close", "stjoin left", "fkjoin inner",
	"aggregate", "window hopping close", "wsuppress", "sjoin outer", "tgroup", "window sliding update", "seen", "tjoin outer",
	"cogroup", "sgjoin left", "suppress", "sjoin left", "repartition", "window tumbling close", "stjoin grace", "fkjoin left",
	"toTable", "window session update", "cowindow", "tjoin inner", "split", "window sliding close", "sgjoin inner", "wgroup",
	"stjoin inner", "window hopping update", "merge", "flatMap",
}

// mostInputs is when a topology stops to grow.
const mostInputs = 5

// growth is a topology that grows.
type growth struct {
	*rand.Rand
	spec  Spec
	graph *graph
}

// generate makes the topology of that number under a seed, always the same.
func generate(seed uint64, number int) Spec {
	theme := themes[(int(seed%uint64(len(themes)))+number)%len(themes)]
	for try := uint64(0); ; try++ {
		g := &growth{Rand: rand.New(rand.NewPCG(seed, uint64(number)<<8|try))}
		g.spec = Spec{Name: theme, Partitions: 1, OnDisk: g.IntN(2) == 0}
		if g.IntN(4) == 0 {
			g.spec.Partitions = 3
		}
		g.graph = &graph{partitions: g.spec.Partitions}
		if g.grow(theme) {
			return g.spec
		}
	}
}

func (g *growth) grow(theme string) bool {
	op, args := words(theme)
	if !g.step(op, args) {
		return false
	}
	for range 2 + g.IntN(5) {
		if g.spec.Inputs >= mostInputs {
			break
		}
		op, args := words(pick(g, append(themes, "filter", "filterNot", "tfilterNot", "mapValues", "selectKey", "map", "flatMapValues", "tfilter", "tmap", "peek", "wfilter")))
		g.step(op, args) // what does not fit is left out
	}
	g.finish()
	return true
}

func words(theme string) (op string, args [2]string) {
	fields := strings.Fields(theme)
	copy(args[:], fields[1:])
	return fields[0], args
}

func pick[T any](g *growth, from []T) T { return from[g.IntN(len(from))] }

// add adds a node if it fits, and returns its number.
func (g *growth) add(op string, in []int, args ...string) (int, bool) {
	n := Node{op, in, args}
	next := g.graph.clone()
	if !next.add(n) {
		return 0, false
	}
	g.graph = next
	g.spec.Nodes = append(g.spec.Nodes, n)
	return len(g.spec.Nodes) - 1, true
}

func (g *growth) topic() string {
	g.spec.Inputs++
	return "in" + strconv.Itoa(g.spec.Inputs-1)
}

// want finds a node of a kind, mostly one of the newest, or reads another topic.
func (g *growth) want(kind byte) int {
	for i := len(g.graph.nodes) - 1; i >= 0; i-- {
		if g.graph.nodes[i].kind == kind && g.IntN(3) > 0 {
			return i
		}
	}
	return g.source(kind)
}

func (g *growth) source(kind byte) int {
	var i int
	switch kind {
	case isStream:
		i, _ = g.add("stream", nil, g.topic())
	case isTable:
		i, _ = g.add("table", nil, g.topic(), g.maybe("table"), "-")
	case isGlobal:
		i, _ = g.add("global", nil, g.topic())
	case isWindow:
		g.window(pick(g, []string{"tumbling", "hopping", "sliding", "session"}), "update")
		i = len(g.spec.Nodes) - 1
	}
	return i
}

// maybe is a name for a store or topic, or none.
func (g *growth) maybe(what string) string {
	if g.IntN(2) == 0 {
		return "-"
	}
	return what + strconv.Itoa(len(g.spec.Nodes))
}

func (g *growth) by() string { return pick(g, []string{"-", "-", "same", "bucket", "orNull", "value"}) }
func (g *growth) grace() string {
	return pick(g, []string{"0", "10", "1000"})
}

// step adds an operator with what it needs. It reports false if the operator did not fit.
func (g *growth) step(op string, args [2]string) bool {
	ok := false
	switch op {
	case "filter", "filterNot", "tfilterNot", "wfilter":
		kind := map[string]byte{"filter": isStream, "filterNot": isStream, "tfilterNot": isTable, "wfilter": isWindow}[op]
		_, ok = g.add(op, []int{g.want(kind)}, pick(g, []string{"even", "third"}))
	case "mapValues":
		_, ok = g.add(op, []int{g.want(isStream)}, pick(g, []string{"upper", "mark", "drop3", "length"}))
	case "tmap":
		_, ok = g.add(op, []int{g.want(isTable)}, pick(g, []string{"upper", "mark", "length"}))
	case "tfilter":
		_, ok = g.add(op, []int{g.want(isTable)}, pick(g, []string{"even", "third"}), g.maybe("filtered"))
	case "selectKey", "map":
		_, ok = g.add(op, []int{g.want(isStream)}, pick(g, []string{"same", "bucket", "orNull", "value"}))
	case "flatMapValues", "flatMap", "peek":
		_, ok = g.add(op, []int{g.want(isStream)})
	case "merge":
		_, ok = g.add(op, []int{g.want(isStream), g.other(isStream)})
	case "repartition":
		_, ok = g.add(op, []int{g.want(isStream)}, g.maybe("moved"))
	case "split":
		ok = g.split()
	case "seen":
		_, ok = g.add(op, []int{g.want(isStream)}, "seen"+strconv.Itoa(len(g.spec.Nodes)))
	case "toTable":
		_, ok = g.add(op, []int{g.want(isStream)}, g.maybe("table"))
	case "count", "reduce", "aggregate", "cogroup", "tgroup":
		ok = g.aggregation(op)
	case "suppress":
		_, ok = g.add(op, []int{g.want(isTable)}, pick(g, []string{"10", "25", "60"}))
	case "window":
		ok = g.window(args[0], args[1])
	case "cowindow":
		kind := pick(g, []string{"tumbling", "hopping", "sliding", "session"})
		_, ok = g.add(op, []int{g.want(isStream), g.other(isStream)}, append(g.size(kind), g.grace())...)
	case "wsuppress":
		_, ok = g.add(op, []int{g.want(isWindow)})
	case "wgroup":
		_, ok = g.add(op, []int{g.want(isWindow)}, pick(g, []string{"list", "sum"}))
	default:
		ok = g.join(op, args[0])
	}
	return ok
}

func (g *growth) split() bool {
	split, ok := g.add("split", []int{g.want(isStream)}, pick(g, []string{"even", "third", "empty"}))
	if ok {
		g.add("branch", []int{split}, "0")
		g.add("branch", []int{split}, "1")
	}
	return ok
}

func (g *growth) aggregation(op string) (ok bool) {
	switch op {
	case "count", "reduce":
		_, ok = g.add(op, []int{g.want(isStream)}, g.by(), g.maybe(op))
	case "aggregate":
		_, ok = g.add(op, []int{g.want(isStream)}, g.by(), pick(g, []string{"list", "some"}), g.maybe(op))
		if !ok {
			_, ok = g.add(op, []int{g.want(isStream)}, g.by(), "sum", g.maybe(op))
		}
	case "cogroup":
		_, ok = g.add(op, []int{g.want(isStream), g.other(isStream)}, g.maybe(op))
	case "tgroup":
		how := pick(g, []string{"count", "reduce", "list", "sum"})
		_, ok = g.add(op, []int{g.want(isTable)}, pick(g, []string{"same", "bucket"}), how, g.maybe(op))
	}
	return ok
}

// size is a kind of window with its size and advance. All of them fit whole into an hour.
func (g *growth) size(kind string) []string {
	switch kind {
	case "tumbling":
		return []string{kind, pick(g, []string{"20", "50"}), "-"}
	case "hopping":
		return []string{kind, "20", pick(g, []string{"5", "10"})}
	case "sliding":
		return []string{kind, pick(g, []string{"15", "30"}), "-"}
	}
	return []string{kind, pick(g, []string{"10", "20"}), "-"}
}

func (g *growth) window(kind, emit string) bool {
	how := pick(g, []string{"count", "list", "reduce"})
	if kind == "session" && how == "reduce" { // Java's needs values
		how = "list"
	}
	args := append([]string{g.by()}, g.size(kind)...)
	_, ok := g.add("window", []int{g.want(isStream)}, append(args, g.grace(), emit, how, g.maybe("windows"))...)
	return ok
}

// other is the second input of an operator: mostly a topic of its own.
func (g *growth) other(kind byte) int {
	if g.IntN(3) == 0 {
		return g.want(kind)
	}
	return g.source(kind)
}

func (g *growth) join(op, kind string) (ok bool) {
	switch op {
	case "sjoin":
		w := pick(g, [][]string{{"10", "10", "0"}, {"10", "10", "15"}, {"0", "20", "5"}, {"20", "0", "5"}, {"5", "12", "1000"}})
		left := g.want(isStream)
		right := g.other(isStream)
		_, ok = g.add(op, []int{left, right}, append([]string{kind}, w...)...)
	case "stjoin":
		ok = g.joinTable(kind)
	case "sgjoin":
		_, ok = g.add(op, []int{g.want(isStream), g.source(isGlobal)}, kind)
	case "tjoin":
		left := g.want(isTable)
		_, ok = g.add(op, []int{left, g.other(isTable)}, kind, g.maybe("joined"))
	case "fkjoin":
		_, ok = g.add(op, []int{g.source(isTable), g.source(isTable)}, kind)
	}
	return ok
}

// joinTable joins a stream with a table, "grace" with the history of one.
func (g *growth) joinTable(kind string) (ok bool) {
	left := g.want(isStream)
	if kind != "grace" {
		_, ok = g.add("stjoin", []int{left, g.other(isTable)}, kind, "-", "-")
		return ok
	}
	keyed, ok := g.add("filter", []int{left}, "keyed")
	if !ok {
		return false
	}
	n := strconv.Itoa(len(g.spec.Nodes))
	right, ok := g.add("table", nil, g.topic(), "history"+n, pick(g, []string{"20", "1000"}))
	if ok {
		_, ok = g.add("stjoin", []int{keyed, right}, pick(g, []string{"inner", "left"}), "12", "late"+n)
	}
	return ok
}

// finish sends what nobody takes to a topic of its own.
func (g *growth) finish() {
	taken := map[int]bool{}
	for _, n := range g.spec.Nodes {
		for _, i := range n.In {
			taken[i] = true
		}
	}
	outs := 0
	for i := range len(g.spec.Nodes) {
		last := i
		switch kind := g.graph.nodes[i].kind; {
		case taken[i] || kind == isGlobal || kind == isSplit || kind == isSink:
			continue
		case kind == isTable:
			last, _ = g.add("toStream", []int{i})
		case kind == isWindow:
			last, _ = g.add("wstream", []int{i})
		}
		g.add("to", []int{last}, "out"+strconv.Itoa(outs))
		outs++
	}
	g.spec.Idle = g.graph.idle()
	g.spec.Fresh = slices.ContainsFunc(g.spec.Nodes, Node.timely)
	g.spec.Once = slices.ContainsFunc(g.spec.Nodes, Node.forgetful)
	for _, n := range g.graph.nodes {
		g.spec.Loose = g.spec.Loose || n.loose || g.spec.Partitions > 1 && n.rekeyed
	}
}
