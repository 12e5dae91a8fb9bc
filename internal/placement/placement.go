// Package placement plans where the replicas of partitions that exist are to be: how a broker that joins gets its share, how one
// that leaves gets rid of its own, how a partition gets more of them.
//
// It promises that plans change as little as they can, since copying is what costs (who of a partition's replicas is the first, and
// so leads, is changed for nothing); that none puts two replicas of a partition on one broker, or more of them into one rack than
// were there; and that the same cluster gives the same plan. The controller and gregor cluster make plans with it. It does not carry
// them out, and does not know how large a replica is.
package placement

import (
	"cmp"
	"slices"
)

// Broker is a node that replicas may be on.
type Broker struct {
	ID   int32
	Rack string // empty for none
}

// Partition is a partition and where its replicas are; the first is to lead.
type Partition struct {
	Topic    string
	Number   int32
	Replicas []int32
	// Fixed partitions are counted, and stay as they are.
	Fixed bool

	topic int // its topic's number in the plan
}

// Move is a partition whose replicas are to be elsewhere, or in another order.
type Move struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
}

// Plan is a plan that is being made.
type Plan struct {
	brokers    []Broker
	rack       map[int32]string
	partitions []Partition
	was        [][]int32
	load       // of all topics
	topics     []load
	takers     []int32 // who may get replicas and leadership from others; nil for everybody
}

// load is what brokers have of something.
type load struct {
	replicas map[int32]int // how many each has
	leaders  map[int32]int // of how many it is the first
}

func newLoad() load { return load{map[int32]int{}, map[int32]int{}} }

func (l load) count(id int32, place, by int) {
	l.replicas[id] += by
	if place == 0 {
		l.leaders[id] += by
	}
}

// New begins with what is. Brokers are those that replicas may go to.
func New(brokers []Broker, partitions []Partition) *Plan {
	s := &Plan{brokers: slices.Clone(brokers), rack: map[int32]string{}, partitions: slices.Clone(partitions), load: newLoad()}
	slices.SortFunc(s.brokers, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	for _, b := range s.brokers {
		s.rack[b.ID] = b.Rack
	}
	slices.SortFunc(s.partitions, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
	})
	for i := range s.partitions {
		p := &s.partitions[i]
		if i == 0 || p.Topic != s.partitions[i-1].Topic {
			s.topics = append(s.topics, newLoad())
		}
		p.topic = len(s.topics) - 1
		s.was = append(s.was, p.Replicas)
		p.Replicas = slices.Clone(p.Replicas)
		for n, id := range p.Replicas {
			s.count(p, id, n, 1)
		}
	}
	return s
}

func (s *Plan) count(p *Partition, id int32, place, by int) {
	s.load.count(id, place, by)
	s.topics[p.topic].count(id, place, by)
}

// put gives a place among a partition's replicas to another broker.
func (s *Plan) put(p *Partition, place int, id int32) {
	s.count(p, p.Replicas[place], place, -1)
	p.Replicas[place] = id
	s.count(p, id, place, 1)
}

// crowding is how many other replicas of a partition are in the rack of a broker that takes a place. Without racks nothing is crowded.
func (s *Plan) crowding(p *Partition, place int, id int32) (n int) {
	for i, other := range p.Replicas {
		if i != place && s.rack[id] != "" && s.rack[other] == s.rack[id] {
			n++
		}
	}
	return n
}

// Drain moves every replica off a broker. What has no place to go is returned.
func (s *Plan) Drain(id int32) (stuck []Partition) {
	s.brokers = slices.DeleteFunc(s.brokers, func(b Broker) bool { return b.ID == id })
	for i := range s.partitions {
		p := &s.partitions[i]
		place := slices.Index(p.Replicas, id)
		if place < 0 || p.Fixed {
			continue
		}
		best, found := s.bestFor(p, place)
		if !found {
			stuck = append(stuck, *p)
			continue
		}
		s.put(p, place, best)
	}
	return stuck
}

// bestFor is the broker that is best for a place among a partition's replicas; false if all have one.
func (s *Plan) bestFor(p *Partition, place int) (best int32, found bool) {
	for _, b := range s.brokers {
		if !slices.Contains(p.Replicas, b.ID) && (!found || s.better(p, place, b.ID, best)) {
			best, found = b.ID, true
		}
	}
	return best, found
}

// takes reports whether a broker may get something from others.
func (s *Plan) takes(id int32) bool { return s.takers == nil || slices.Contains(s.takers, id) }

// better says whether broker a is a better place than b.
func (s *Plan) better(p *Partition, place int, a, b int32) bool {
	leaders := 0
	if place == 0 {
		leaders = cmp.Compare(s.leaders[a], s.leaders[b])
	}
	return cmp.Or(cmp.Compare(s.crowding(p, place, a), s.crowding(p, place, b)), cmp.Compare(s.replicas[a], s.replicas[b]), leaders) < 0
}

// Knows reports whether replicas may go to a broker, or are on it.
func (s *Plan) Knows(id int32) bool {
	_, may := s.rack[id]
	return may || s.replicas[id] > 0
}

// Spread moves replicas from brokers that have many to brokers that have few until no two differ by more than one, where racks allow
// it, and then has as many led by each.
func (s *Plan) Spread() {
	for s.moveOne() {
	}
	for s.leadOne() {
	}
}

// SpreadTo gives some brokers their share, and changes nothing between the others. It ends after so many changes: then there may be
// more to do.
func (s *Plan) SpreadTo(takers []int32, most int) {
	s.takers = takers
	for most > 0 && (s.moveOne() || s.leadOne()) {
		most--
	}
	s.takers = nil
}

// Widen gives the partitions of a topic as many replicas, where they have fewer and there are brokers for more. It ends after so many
// partitions, and says how many it has changed.
func (s *Plan) Widen(topic string, replicas, most int) (widened int) {
	for i := range s.partitions {
		p := &s.partitions[i]
		if widened == most {
			break
		}
		if p.Topic != topic || p.Fixed || len(p.Replicas) >= min(replicas, len(s.brokers)) {
			continue
		}
		had := len(p.Replicas)
		for len(p.Replicas) < replicas {
			best, found := s.bestFor(p, len(p.Replicas))
			if !found {
				break
			}
			s.count(p, best, len(p.Replicas), 1)
			p.Replicas = append(p.Replicas, best)
		}
		if len(p.Replicas) > had {
			widened++
		}
	}
	return widened
}

// moveOne moves one replica, from the fullest broker that can give to the emptiest that can take.
func (s *Plan) moveOne() bool {
	byLoad := slices.Clone(s.brokers)
	slices.SortStableFunc(byLoad, func(a, b Broker) int { return cmp.Compare(s.replicas[b.ID], s.replicas[a.ID]) })
	for _, full := range byLoad {
		for n := len(byLoad) - 1; n >= 0; n-- {
			empty := byLoad[n]
			if s.replicas[full.ID]-s.replicas[empty.ID] < 2 {
				break
			}
			if !s.takes(empty.ID) {
				continue
			}
			if p, place := s.movable(full.ID, empty.ID); p != nil {
				s.put(p, place, empty.ID)
				return true
			}
		}
	}
	return false
}

// movable finds a replica that may go from one broker to another without crowding a rack more; a follower rather than a leader,
// unless leaders are what the other one lacks. It is of the topic of which the one has most more than the other, so that nobody gets all
// of one topic and nothing of the next.
func (s *Plan) movable(from, to int32) (found *Partition, at int) {
	lead, most, fits := s.leaders[from]-s.leaders[to] >= 2, 0, false
	for i := range s.partitions {
		p := &s.partitions[i]
		place := slices.Index(p.Replicas, from)
		if place < 0 || p.Fixed || slices.Contains(p.Replicas, to) {
			continue
		}
		fitsToo, more := (place == 0) == lead, s.topics[p.topic].more(from, to, lead)
		if found != nil && (fits && !fitsToo || fits == fitsToo && more <= most) || s.crowding(p, place, to) > s.crowding(p, place, from) {
			continue
		}
		found, at, most, fits = p, place, more, fitsToo
	}
	return found, at
}

// more is how many replicas or leaders one broker has more than another.
func (l load) more(one, than int32, lead bool) int {
	if lead {
		return l.leaders[one] - l.leaders[than]
	}
	return l.replicas[one] - l.replicas[than]
}

// leadOne has a broker that is the first of few partitions be the first of one that is led by one of many, of the topic of which the one leads
// most more than the other.
func (s *Plan) leadOne() bool {
	var found *Partition
	at, most := 0, 0
	for i := range s.partitions {
		p := &s.partitions[i]
		for place := 1; place < len(p.Replicas) && !p.Fixed; place++ {
			first, other := p.Replicas[0], p.Replicas[place]
			if _, known := s.rack[other]; !known || !s.takes(other) || s.leaders[first]-s.leaders[other] < 2 {
				continue
			}
			if more := s.topics[p.topic].more(first, other, true); found == nil || more > most {
				found, at, most = p, place, more
			}
		}
	}
	if found == nil {
		return false
	}
	first, other := found.Replicas[0], found.Replicas[at]
	s.count(found, first, 0, -1)
	s.count(found, other, at, -1)
	found.Replicas[0], found.Replicas[at] = other, first
	s.count(found, other, 0, 1)
	s.count(found, first, at, 1)
	return true
}

// Moves are the partitions that are to change.
func (s *Plan) Moves() []Move {
	moves := []Move{}
	for i, p := range s.partitions {
		if !slices.Equal(p.Replicas, s.was[i]) {
			moves = append(moves, Move{p.Topic, p.Number, s.was[i], p.Replicas})
		}
	}
	return moves
}
