package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func brokersOf(racks ...string) (all []Broker) {
	for id, rack := range racks {
		all = append(all, Broker{int32(id), rack})
	}
	return all
}

func partition(topic string, number int32, replicas ...int32) Partition {
	return Partition{Topic: topic, Number: number, Replicas: replicas}
}

// loads are how many replicas brokers have, and of how many partitions they are the first.
func (s *Plan) loads() (replicas, leaders []int) {
	for _, b := range s.brokers {
		replicas, leaders = append(replicas, s.replicas[b.ID]), append(leaders, s.leaders[b.ID])
	}
	return replicas, leaders
}

// check says whether every partition has as many replicas as it had, on different brokers.
func (s *Plan) check(t *testing.T) {
	t.Helper()
	counted := map[int32]int{}
	for i, p := range s.partitions {
		if len(p.Replicas) != len(s.was[i]) {
			t.Errorf("%v was on %v", p, s.was[i])
		}
		for n, id := range p.Replicas {
			counted[id]++
			if slices.Contains(p.Replicas[:n], id) {
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
	var partitions []Partition
	for n := range int32(12) {
		partitions = append(partitions, partition("t", n, n%3, (n+1)%3, (n+2)%3))
	}
	s := New(brokersOf("", "", "", ""), partitions)
	s.Spread()
	s.check(t)
	if replicas, leaders := s.loads(); !slices.Equal(replicas, []int{9, 9, 9, 9}) || !slices.Equal(leaders, []int{3, 3, 3, 3}) {
		t.Errorf("brokers have %v replicas and lead %v", replicas, leaders)
	}
	copied := 0
	for _, m := range s.Moves() {
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
	again := New(brokersOf("", "", "", ""), s.partitions)
	if again.Spread(); len(again.Moves()) != 0 {
		t.Errorf("what is spread is moved again: %v", again.Moves())
	}
}

func TestRacksAreNotCrowdedForTheSakeOfShares(t *testing.T) {
	// Everything has a replica in each of two racks; of three brokers, one is alone in its rack.
	var partitions []Partition
	for n := range int32(6) {
		partitions = append(partitions, partition("t", n, 0, 2))
	}
	s := New(brokersOf("a", "a", "b"), partitions)
	s.Spread()
	s.check(t)
	for _, p := range s.partitions {
		if s.rack[p.Replicas[0]] == s.rack[p.Replicas[1]] {
			t.Errorf("%v has both replicas in one rack", p)
		}
	}
	if replicas, _ := s.loads(); !slices.Equal(replicas, []int{3, 3, 6}) {
		t.Errorf("brokers have %v replicas", replicas)
	}
}

func TestABrokerIsDrained(t *testing.T) {
	partitions := []Partition{partition("t", 0, 0, 1), partition("t", 1, 1, 2), partition("t", 2, 2, 0), partition("wide", 0, 0, 1, 2)}
	s := New(brokersOf("", "", ""), partitions)
	stuck := s.Drain(2)
	s.check(t)
	if got := fmt.Sprint(s.Moves()); got != "[{t 1 [1 2] [1 0]} {t 2 [2 0] [1 0]}]" {
		t.Errorf("moves are %s", got)
	}
	if len(stuck) != 1 || stuck[0].Topic != "wide" {
		t.Errorf("what cannot move is %v", stuck)
	}
}

func TestPlansAreEvenWhateverTheyBeginWith(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		brokers := 2 + chance.IntN(6)
		var partitions []Partition
		for n := range chance.IntN(60) {
			partitions = append(partitions, partition("t", int32(n)))
			for _, id := range chance.Perm(brokers)[:1+chance.IntN(min(3, brokers))] {
				partitions[n].Replicas = append(partitions[n].Replicas, int32(id))
			}
		}
		s := New(brokersOf(make([]string, brokers)...), partitions)
		s.Spread()
		s.check(t)
		if replicas, _ := s.loads(); slices.Max(replicas)-slices.Min(replicas) > 1 {
			t.Fatalf("brokers have %v replicas: %v", replicas, s.partitions)
		}
		gone := int32(chance.IntN(brokers))
		for _, p := range s.Drain(gone) {
			if len(p.Replicas) < brokers {
				t.Errorf("%v cannot leave broker %d of %d", p, gone, brokers)
			}
		}
		s.check(t)
	}
}

func TestOnlyThoseWhoTakeGetSomething(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		old, takers := 1+chance.IntN(4), []int32{}
		for n := range 1 + chance.IntN(3) {
			takers = append(takers, int32(old+n))
		}
		var partitions []Partition
		for n := range chance.IntN(80) {
			p := partition("t", int32(n))
			for _, id := range chance.Perm(old)[:1+chance.IntN(old)] {
				p.Replicas = append(p.Replicas, int32(id))
			}
			partitions = append(partitions, p)
		}
		brokers := brokersOf(make([]string, old+len(takers))...)
		// In steps, as whoever carries it out in steps would have it: each begins with what the last has left.
		for steps := 0; ; steps++ {
			s := New(brokers, partitions)
			s.SpreadTo(takers, 1+chance.IntN(5))
			s.check(t)
			moves := s.Moves()
			if len(moves) == 0 {
				break
			}
			if steps > 400 {
				t.Fatalf("there is still something to move: %v", moves)
			}
			for _, m := range moves {
				for n, id := range m.To {
					if !slices.Contains(m.From, id) && !slices.Contains(takers, id) || n == 0 && id != m.From[0] && !slices.Contains(takers, id) {
						t.Fatalf("%v gives something to a broker that is not to take", m)
					}
				}
			}
			partitions = s.partitions
		}
		s := New(brokers, partitions)
		replicas, _ := s.loads()
		for _, taker := range takers {
			if slices.Max(replicas)-replicas[taker] > 1 {
				t.Fatalf("brokers have %v replicas, and %v were to get their share: %v", replicas, takers, partitions)
			}
		}
	}
}

func TestEveryTopicIsSpread(t *testing.T) {
	var partitions []Partition
	for topic := range 10 {
		for n := range int32(12) {
			partitions = append(partitions, partition(fmt.Sprint("t", topic), n, n%3, (n+1)%3, (n+2)%3))
		}
	}
	s := New(brokersOf("", "", "", ""), partitions)
	s.SpreadTo([]int32{3}, 1000)
	s.check(t)
	if replicas, leaders := s.loads(); !slices.Equal(replicas, []int{90, 90, 90, 90}) || !slices.Equal(leaders, []int{30, 30, 30, 30}) {
		t.Errorf("brokers have %v replicas and lead %v", replicas, leaders)
	}
	for n, topic := range s.topics {
		for id := range int32(4) {
			if topic.replicas[id] < 8 || topic.replicas[id] > 10 || topic.leaders[id] < 2 || topic.leaders[id] > 4 {
				t.Errorf("of topic %d, broker %d has %d replicas of 36 and leads %d partitions of 12", n, id, topic.replicas[id], topic.leaders[id])
			}
		}
	}
}

func TestWhatIsFixedStays(t *testing.T) {
	fixed := partition("t", 0, 0)
	fixed.Fixed = true
	s := New(brokersOf("", ""), []Partition{fixed, partition("t", 1, 0), partition("u", 0, 0)})
	s.SpreadTo([]int32{1}, 10)
	s.Widen("t", 2, 10)
	for _, m := range s.Moves() {
		if m.Topic == "t" && m.Partition == 0 {
			t.Errorf("%v", m)
		}
	}
	if stuck := s.Drain(0); len(stuck) != 1 || s.replicas[0] != 2 { // t-1 is on both by now
		t.Errorf("%v cannot move, and %d replicas stay", stuck, s.replicas[0])
	}
}

func TestTopicsAreWidened(t *testing.T) {
	partitions := []Partition{partition("narrow", 0, 0), partition("narrow", 1, 0), partition("narrow", 2, 1, 2), partition("other", 0, 0)}
	brokers := brokersOf("a", "a", "b")
	s := New(brokers, partitions)
	if n := s.Widen("narrow", 2, 10); n != 2 {
		t.Errorf("%d partitions are widened", n)
	}
	if got := fmt.Sprint(s.Moves()); got != "[{narrow 0 [0] [0 2]} {narrow 1 [0] [0 2]}]" {
		t.Errorf("moves are %s: the replica in the other rack is what is missing", got)
	}
	s = New(brokers, partitions)
	if n := s.Widen("narrow", 5, 1); n != 1 {
		t.Errorf("%d partitions are widened", n)
	}
	if got := fmt.Sprint(s.Moves()); got != "[{narrow 0 [0] [0 2 1]}]" {
		t.Errorf("moves are %s", got)
	}
	s.Widen("narrow", 5, 10)
	if s.Widen("narrow", 5, 10) != 0 {
		t.Error("what has all brokers is widened again")
	}
}
