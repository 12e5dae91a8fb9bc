package cli

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func brokersOf(racks ...string) (all []placedBroker) {
	for id, rack := range racks {
		all = append(all, placedBroker{int32(id), rack})
	}
	return all
}

// loads are how many replicas brokers have, and of how many partitions they are the first.
func (s *spreading) loads() (replicas, leaders []int) {
	for _, b := range s.brokers {
		replicas, leaders = append(replicas, s.replicas[b.id]), append(leaders, s.leaders[b.id])
	}
	return replicas, leaders
}

// check says whether every partition has as many replicas as it had, on different brokers.
func (s *spreading) check(t *testing.T) {
	t.Helper()
	counted := map[int32]int{}
	for i, p := range s.partitions {
		if len(p.replicas) != len(s.was[i]) {
			t.Errorf("%v was on %v", p, s.was[i])
		}
		for n, id := range p.replicas {
			counted[id]++
			if slices.Contains(p.replicas[:n], id) {
				t.Errorf("%v has broker %d twice", p, id)
			}
		}
	}
	for id, n := range counted { // any order
		if s.replicas[id] != n {
			t.Errorf("broker %d has %d replicas, and is taken to have %d", id, n, s.replicas[id])
		}
	}
}

func TestANewBrokerGetsItsShare(t *testing.T) {
	var partitions []placedPartition
	for n := range int32(12) {
		partitions = append(partitions, placedPartition{"t", n, []int32{n % 3, (n + 1) % 3, (n + 2) % 3}})
	}
	s := newSpreading(brokersOf("", "", "", ""), partitions)
	s.spread()
	s.check(t)
	if replicas, leaders := s.loads(); !slices.Equal(replicas, []int{9, 9, 9, 9}) || !slices.Equal(leaders, []int{3, 3, 3, 3}) {
		t.Errorf("brokers have %v replicas and lead %v", replicas, leaders)
	}
	copied := 0
	for _, m := range s.moves() {
		for _, id := range m.To {
			if !slices.Contains(m.From, id) {
				copied++
				if id != 3 {
					t.Errorf("%v copies to a broker that has enough", m)
				}
			}
		}
	}
	if copied != 9 {
		t.Errorf("%d replicas are copied, where 9 are enough", copied)
	}
	again := newSpreading(brokersOf("", "", "", ""), s.partitions)
	if again.spread(); len(again.moves()) != 0 {
		t.Errorf("what is spread is moved again: %v", again.moves())
	}
}

func TestRacksAreNotCrowdedForTheSakeOfShares(t *testing.T) {
	// Everything has a replica in each of two racks; of three brokers, one is alone in its rack.
	var partitions []placedPartition
	for n := range int32(6) {
		partitions = append(partitions, placedPartition{"t", n, []int32{0, 2}})
	}
	s := newSpreading(brokersOf("a", "a", "b"), partitions)
	s.spread()
	s.check(t)
	for _, p := range s.partitions {
		if s.rack[p.replicas[0]] == s.rack[p.replicas[1]] {
			t.Errorf("%v has both replicas in one rack", p)
		}
	}
	if replicas, _ := s.loads(); !slices.Equal(replicas, []int{3, 3, 6}) {
		t.Errorf("brokers have %v replicas", replicas)
	}
}

func TestABrokerIsDrained(t *testing.T) {
	partitions := []placedPartition{{"t", 0, []int32{0, 1}}, {"t", 1, []int32{1, 2}}, {"t", 2, []int32{2, 0}}, {"wide", 0, []int32{0, 1, 2}}}
	s := newSpreading(brokersOf("", "", ""), partitions)
	stuck := s.drain(2)
	s.check(t)
	if got := fmt.Sprint(s.moves()); got != "[{t 1 [1 2] [1 0]} {t 2 [2 0] [1 0]}]" {
		t.Errorf("moves are %s", got)
	}
	if len(stuck) != 1 || stuck[0].topic != "wide" {
		t.Errorf("what cannot move is %v", stuck)
	}
}

func TestPlansAreEvenWhateverTheyBeginWith(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		brokers := 2 + chance.IntN(6)
		var partitions []placedPartition
		for n := range chance.IntN(60) {
			partitions = append(partitions, placedPartition{"t", int32(n), nil})
			for _, id := range chance.Perm(brokers)[:1+chance.IntN(min(3, brokers))] {
				partitions[n].replicas = append(partitions[n].replicas, int32(id))
			}
		}
		s := newSpreading(brokersOf(make([]string, brokers)...), partitions)
		s.spread()
		s.check(t)
		if replicas, _ := s.loads(); slices.Max(replicas)-slices.Min(replicas) > 1 {
			t.Fatalf("brokers have %v replicas: %v", replicas, s.partitions)
		}
		gone := int32(chance.IntN(brokers))
		for _, p := range s.drain(gone) {
			if len(p.replicas) < brokers {
				t.Errorf("%v cannot leave broker %d of %d", p, gone, brokers)
			}
		}
		s.check(t)
	}
}
