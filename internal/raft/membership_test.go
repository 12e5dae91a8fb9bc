package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// TestPlanningMembers tells, for members and nodes as the leader sees them, what is done next. Nodes are letters and have
// raft ids in their order; a leads. A small letter is a node that is ready, x! one that is not, x? one that is dead.
func TestPlanningMembers(t *testing.T) {
	for _, story := range []struct{ voters, learners, nodes, most, want string }{
		{"a", "", "a", "3", ""},
		{"a", "", "a b!", "3", "learn b"},
		{"a", "b", "a b", "3", ""}, // two voters would be worse than one
		{"a", "b", "a b c! d!", "3", "learn c"},
		{"a", "bc", "a b c!", "3", ""}, // both at once, so that there are never two
		{"a", "bc", "a b c", "3", "promote b promote c"},
		{"abc", "", "a b c d!", "3", ""},
		{"abc", "", "a b c d!", "5", "learn d"},
		{"abc", "d", "a b c d", "5", ""},
		{"abc", "de", "a b c d e", "5", "promote d promote e"},
		{"abc", "", "a b c?", "3", ""},        // it may come back
		{"abc", "", "a b c? d!", "3", ""},     // also while another waits
		{"abc", "", "a b d!", "3", "learn d"}, // c was unregistered
		{"abc", "d", "a b d!", "3", ""},       // its place is kept until d is ready
		{"abc", "d", "a b d", "3", "promote d remove c"},
		{"abc", "", "a b", "3", "demote b remove c"},
		{"abc", "", "a b?", "3", "demote b remove c"},
		{"abc", "", "a", "3", "remove b remove c"},
		{"abc", "", "a b c", "1", "remove b remove c"},
		{"abcde", "", "a b c d? e", "3", "remove d remove e"},
		{"a", "b", "a", "3", "remove b"},
		{"a", "bc", "a b? c!", "3", ""},
		{"a", "bc", "a b c d!", "3", "promote b promote c"},
		{"abc", "", "b c", "3", ""}, // the leader stays, whatever the metadata says
	} {
		var all []candidate
		for _, word := range strings.Fields(story.nodes) {
			id := uint64(word[0]-'a') + 1
			all = append(all, candidate{id: id, node: kafka.NodeID(id), alive: !strings.HasSuffix(word, "?"), ready: len(word) == 1})
		}
		ids := func(letters string) (list []uint64) {
			for _, l := range letters {
				list = append(list, uint64(l-'a')+1)
			}
			return list
		}
		var most int
		_, _ = fmt.Sscan(story.most, &most)
		c := planMembers(members{voters: ids(story.voters), learners: ids(story.learners)}, 1, all, most)
		var words []string
		for _, part := range []struct {
			verb string
			ids  []uint64
		}{{"learn", c.learn}, {"promote", c.promote}, {"demote", c.demote}, {"remove", c.remove}} {
			for _, id := range part.ids {
				words = append(words, part.verb+" "+string(rune('a'+id-1)))
			}
		}
		if got := strings.Join(words, " "); got != story.want {
			t.Errorf("voters %s, learners %q, nodes %q, at most %s: %q, want %q", story.voters, story.learners, story.nodes, story.most, got, story.want)
		}
	}
}

// TestMembersAreNeverFewerThanWouldDo lets clusters grow and shrink at random and looks at every step.
func TestMembersAreNeverFewerThanWouldDo(t *testing.T) {
	for seed := range uint64(2000) {
		chance := rand.New(rand.NewPCG(seed, 9))
		m, most := members{voters: []uint64{1}}, 1+2*chance.IntN(3)
		nodes := map[uint64]candidate{1: {1, 1, true, true}}
		for range 60 {
			id := uint64(2 + chance.IntN(6))
			switch chance.IntN(4) {
			case 0:
				delete(nodes, id)
			case 1:
				nodes[id] = candidate{id, kafka.NodeID(id), chance.IntN(4) > 0, chance.IntN(3) > 0}
			}
			var all []candidate
			for id := uint64(1); id < 8; id++ {
				if one, ok := nodes[id]; ok {
					one.ready = one.ready && one.alive && slices.Contains(slices.Concat(m.voters, m.learners), id) || id == 1
					all = append(all, one)
				}
			}
			before := m
			m = applied(m, planMembers(m, 1, all, most))
			if len(m.voters)%2 == 0 || !slices.Contains(m.voters, 1) || len(m.voters) > max(most, len(before.voters)) {
				t.Fatalf("seed %d: %+v becomes %+v with %+v, at most %d", seed, before, m, all, most)
			}
		}
	}
}

func applied(m members, c change) members {
	out := func(list []uint64, ids ...[]uint64) []uint64 {
		return slices.DeleteFunc(slices.Clone(list), func(id uint64) bool { return slices.Contains(slices.Concat(ids...), id) })
	}
	m.voters = slices.Concat(out(m.voters, c.demote, c.remove), c.promote)
	m.learners = slices.Concat(out(m.learners, c.promote, c.remove), c.demote, c.learn)
	slices.Sort(m.voters)
	slices.Sort(m.learners)
	return m
}
