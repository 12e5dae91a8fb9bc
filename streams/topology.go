package streams

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Topology is a checked, immutable graph of sources, operators, stores and sinks. It corresponds to Java's Topology. Any
// number of tasks may run it at once.
type Topology struct {
	nodes    []*node
	stores   map[string]*storeNode
	internal []internalTopic
	groups   []group
	around   func(node string, process func())
	same     []copartition
}

// group is a sub-topology: nodes that are connected by records or by stores, and so have to run together.
type group struct {
	nodes  []*node
	global bool
}

func newTopology(b *Builder) *Topology {
	askForNulls(b.nodes)
	return &Topology{nodes: b.nodes, stores: b.stores, internal: b.internal, groups: groupsOf(b), around: b.around, same: b.same}
}

// askForNulls tells all nodes before a left or outer join that records without a key are of use (KIP-962). Nodes come after their
// parents, and the source of a repartition topic after its sink.
func askForNulls(nodes []*node) {
	for _, n := range slices.Backward(nodes) {
		if !n.wantsNulls {
			continue
		}
		for _, p := range n.parents {
			p.wantsNulls = true
		}
		if n.writer != nil {
			n.writer.wantsNulls = true
		}
	}
}

// groupsOf finds sub-topologies and numbers them as Java does: by their sources, in the order in which these came.
func groupsOf(b *Builder) []group {
	of := make([]int, len(b.nodes)) // a union of sets: each node points to another of its set, or to itself
	for i := range of {
		of[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if of[i] != i {
			of[i] = find(of[i])
		}
		return of[i]
	}
	users := map[string]*node{}
	for _, n := range b.nodes {
		for _, p := range n.parents {
			of[find(n.id)] = find(p.id)
		}
		for _, s := range n.stores {
			if b.stores[s].global {
				continue // everybody may read it
			}
			if other := users[s]; other != nil {
				of[find(n.id)] = find(other.id)
			}
			users[s] = n
		}
	}
	sorted := slices.Clone(b.nodes)
	slices.SortStableFunc(sorted, func(x, y *node) int { return cmp.Compare(x.kind, y.kind) })
	var groups []group
	numbers := map[int]int{}
	for _, n := range sorted {
		set := find(n.id)
		number, ok := numbers[set]
		if !ok {
			number = len(groups)
			numbers[set] = number
			groups = append(groups, group{})
		}
		groups[number].nodes = append(groups[number].nodes, n)
		groups[number].global = groups[number].global || n.global
	}
	return groups
}

// hasPattern reports whether any source reads topics by pattern.
func (t *Topology) hasPattern() bool {
	return slices.ContainsFunc(t.nodes, func(n *node) bool { return n.pattern != nil })
}

// Describe prints the topology in the form of Java's TopologyDescription, which visualisers read.
func (t *Topology) Describe() string {
	var out strings.Builder
	out.WriteString("Topologies:\n ")
	for i, g := range t.groups {
		fmt.Fprintf(&out, "  Sub-topology: %d", i)
		if g.global {
			out.WriteString(" for global store (will not generate tasks)")
		}
		out.WriteString("\n")
		for _, n := range inOrder(g.nodes) {
			describeNode(&out, n)
		}
		if !g.global {
			out.WriteString("\n")
		}
	}
	return out.String()
}

// inOrder sorts nodes as Java prints them: those with most nodes behind them first, then by name.
func inOrder(nodes []*node) []*node {
	sizes := map[*node]int{}
	var size func(n *node) int
	size = func(n *node) int {
		if s, ok := sizes[n]; ok {
			return s
		}
		s := 1
		for _, c := range n.children {
			s += size(c)
		}
		sizes[n] = s
		return s
	}
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(x, y *node) int {
		return cmp.Or(cmp.Compare(size(y), size(x)), cmp.Compare(x.name, y.name))
	})
	return nodes
}

func describeNode(out *strings.Builder, n *node) {
	switch n.kind {
	case sourceNode:
		if n.pattern != nil {
			fmt.Fprintf(out, "    Source: %s (topics: %s)\n", n.name, n.pattern)
		} else {
			fmt.Fprintf(out, "    Source: %s (topics: [%s])\n", n.name, strings.Join(n.topics, ", "))
		}
	case sinkNode:
		fmt.Fprintf(out, "    Sink: %s (%s)\n", n.name, n.target)
	default:
		fmt.Fprintf(out, "    Processor: %s (stores: [%s])\n", n.name, strings.Join(n.stores, ", "))
	}
	if n.kind != sinkNode {
		fmt.Fprintf(out, "      --> %s\n", namesOf(byName(n.children)))
	}
	if n.kind != sourceNode {
		fmt.Fprintf(out, "      <-- %s\n", namesOf(n.parents))
	}
}

func namesOf(nodes []*node) string {
	if len(nodes) == 0 {
		return "none"
	}
	var names []string
	for _, n := range nodes {
		if !slices.Contains(names, n.name) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

func byName(nodes []*node) []*node {
	return slices.SortedFunc(slices.Values(nodes), func(x, y *node) int { return cmp.Compare(x.name, y.name) })
}
