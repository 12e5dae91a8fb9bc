package cli

import (
	"cmp"
	"slices"
)

// Where replicas are to be. Plans are made of what the cluster tells, and change as little as they can: a replica that need not
// move does not. Copying is what costs; who of a partition's replicas is the first, and so leads, is changed for nothing.

// placedBroker is a node that replicas may be on.
type placedBroker struct {
	id   int32
	rack string
}

// placedPartition is a partition and where its replicas are; the first is to lead.
type placedPartition struct {
	topic    string
	number   int32
	replicas []int32
}

// partitionMove is a partition whose replicas are to be elsewhere, or in another order.
type partitionMove struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
}

// spreading is a plan that is being made.
type spreading struct {
	brokers    []placedBroker
	rack       map[int32]string
	partitions []placedPartition
	was        [][]int32
	replicas   map[int32]int // how many each broker has
	leaders    map[int32]int // of how many it is the first
}

// newSpreading begins with what is. Brokers are those that replicas may go to.
func newSpreading(brokers []placedBroker, partitions []placedPartition) *spreading {
	s := &spreading{brokers: slices.Clone(brokers), rack: map[int32]string{}, partitions: partitions, replicas: map[int32]int{}, leaders: map[int32]int{}}
	slices.SortFunc(s.brokers, func(a, b placedBroker) int { return cmp.Compare(a.id, b.id) })
	for _, b := range s.brokers {
		s.rack[b.id] = b.rack
	}
	slices.SortFunc(s.partitions, func(a, b placedPartition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.number, b.number))
	})
	for i := range s.partitions {
		p := &s.partitions[i]
		s.was = append(s.was, p.replicas)
		p.replicas = slices.Clone(p.replicas)
		for n, id := range p.replicas {
			s.count(id, n, 1)
		}
	}
	return s
}

func (s *spreading) count(id int32, place, by int) {
	s.replicas[id] += by
	if place == 0 {
		s.leaders[id] += by
	}
}

// put gives a place among a partition's replicas to another broker.
func (s *spreading) put(p *placedPartition, place int, id int32) {
	s.count(p.replicas[place], place, -1)
	p.replicas[place] = id
	s.count(id, place, 1)
}

// crowding is how many other replicas of a partition are in the rack of a broker that takes a place. Without racks nothing is crowded.
func (s *spreading) crowding(p *placedPartition, place int, id int32) (n int) {
	for i, other := range p.replicas {
		if i != place && s.rack[id] != "" && s.rack[other] == s.rack[id] {
			n++
		}
	}
	return n
}

// drain moves every replica off a broker. What has no place to go is returned.
func (s *spreading) drain(id int32) (stuck []placedPartition) {
	s.brokers = slices.DeleteFunc(s.brokers, func(b placedBroker) bool { return b.id == id })
	for i := range s.partitions {
		p := &s.partitions[i]
		place := slices.Index(p.replicas, id)
		if place < 0 {
			continue
		}
		best := int32(-1)
		for _, b := range s.brokers {
			if !slices.Contains(p.replicas, b.id) && (best < 0 || s.better(p, place, b.id, best)) {
				best = b.id
			}
		}
		if best < 0 {
			stuck = append(stuck, *p)
			continue
		}
		s.put(p, place, best)
	}
	return stuck
}

// better says whether broker a is a better place than b.
func (s *spreading) better(p *placedPartition, place int, a, b int32) bool {
	leaders := 0
	if place == 0 {
		leaders = cmp.Compare(s.leaders[a], s.leaders[b])
	}
	return cmp.Or(cmp.Compare(s.crowding(p, place, a), s.crowding(p, place, b)), cmp.Compare(s.replicas[a], s.replicas[b]), leaders) < 0
}

// spread moves replicas from brokers that have many to brokers that have few until no two differ by more than one, where racks allow
// it, and then has as many led by each.
func (s *spreading) spread() {
	for s.moveOne() {
	}
	for s.leadOne() {
	}
}

// moveOne moves one replica, from the fullest broker that can give to the emptiest that can take.
func (s *spreading) moveOne() bool {
	byLoad := slices.Clone(s.brokers)
	slices.SortStableFunc(byLoad, func(a, b placedBroker) int { return cmp.Compare(s.replicas[b.id], s.replicas[a.id]) })
	for _, full := range byLoad {
		for n := len(byLoad) - 1; n >= 0; n-- {
			empty := byLoad[n]
			if s.replicas[full.id]-s.replicas[empty.id] < 2 {
				break
			}
			if p, place := s.movable(full.id, empty.id); p != nil {
				s.put(p, place, empty.id)
				return true
			}
		}
	}
	return false
}

// movable finds a replica that may go from one broker to another without crowding a rack more; a follower rather than a leader,
// unless leaders are what the other one lacks.
func (s *spreading) movable(from, to int32) (found *placedPartition, at int) {
	lead := s.leaders[from]-s.leaders[to] >= 2
	for i := range s.partitions {
		p := &s.partitions[i]
		place := slices.Index(p.replicas, from)
		if place < 0 || slices.Contains(p.replicas, to) || s.crowding(p, place, to) > s.crowding(p, place, from) {
			continue
		}
		if (place == 0) == lead {
			return p, place
		}
		if found == nil {
			found, at = p, place
		}
	}
	return found, at
}

// leadOne has a broker that is the first of few partitions be the first of one that is led by one of many.
func (s *spreading) leadOne() bool {
	for i := range s.partitions {
		p := &s.partitions[i]
		for place := 1; place < len(p.replicas); place++ {
			first, other := p.replicas[0], p.replicas[place]
			if _, known := s.rack[other]; known && s.leaders[first]-s.leaders[other] >= 2 {
				p.replicas[0], p.replicas[place] = other, first
				s.leaders[first]--
				s.leaders[other]++
				return true
			}
		}
	}
	return false
}

// moves are the partitions that are to change.
func (s *spreading) moves() []partitionMove {
	moves := []partitionMove{}
	for i, p := range s.partitions {
		if !slices.Equal(p.replicas, s.was[i]) {
			moves = append(moves, partitionMove{p.topic, p.number, s.was[i], p.replicas})
		}
	}
	return moves
}
