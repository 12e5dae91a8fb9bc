package controller

import (
	"math/rand/v2"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// place spreads the replicas of new partitions over brokers: partition after partition begins one broker further, so that
// leaders are spread evenly, and racks take turns within a partition as long as there are racks without a replica. Which
// broker is the first is drawn, so that small topics do not all meet on one. replicas must not be more than brokers.
func place(chance *rand.Rand, brokers []*metadata.Broker, partitions, replicas int) [][]kafka.NodeID {
	ring := byRack(brokers)
	start := chance.IntN(len(ring))
	placed := make([][]kafka.NodeID, partitions)
	for n := range placed {
		// After each round the followers of a leader shift, so that a broker's load does not fall on one other if it is lost.
		first, shift := (start+n)%len(ring), n/len(ring)
		placed[n] = placeOne(ring, first, shift, replicas)
	}
	return placed
}

// byRack orders brokers so that neighbours are of different racks as far as possible.
func byRack(brokers []*metadata.Broker) []*metadata.Broker {
	var racks []string
	of := map[string][]*metadata.Broker{}
	for _, b := range brokers {
		if len(of[b.Rack]) == 0 {
			racks = append(racks, b.Rack)
		}
		of[b.Rack] = append(of[b.Rack], b)
	}
	slices.Sort(racks)
	var ring []*metadata.Broker
	for round := 0; len(ring) < len(brokers); round++ {
		for _, rack := range racks {
			if round < len(of[rack]) {
				ring = append(ring, of[rack][round])
			}
		}
	}
	return ring
}

func placeOne(ring []*metadata.Broker, first, shift, replicas int) []kafka.NodeID {
	chosen := []kafka.NodeID{ring[first].ID}
	racks := map[string]bool{ring[first].Rack: true}
	for _, newRack := range []bool{true, false} {
		for n := range len(ring) - 1 {
			if len(chosen) == replicas {
				return chosen
			}
			b := ring[(first+1+(shift+n)%(len(ring)-1))%len(ring)]
			if slices.Contains(chosen, b.ID) || newRack && racks[b.Rack] {
				continue
			}
			chosen = append(chosen, b.ID)
			racks[b.Rack] = true
		}
	}
	return chosen
}

// placeable are the brokers that may get new replicas.
func (m *machine) placeable() []*metadata.Broker {
	var brokers []*metadata.Broker
	m.image().Brokers(func(b *metadata.Broker) bool {
		if b.Active() {
			brokers = append(brokers, b)
		}
		return true
	})
	return brokers
}

// placeNew places partitions, or says why it cannot.
func (m *machine) placeNew(partitions, replicas int) ([][]kafka.NodeID, *refusal) {
	brokers := m.placeable()
	if len(brokers) < replicas {
		registered := 0
		m.image().Brokers(func(*metadata.Broker) bool { registered++; return true })
		return nil, refuse(kafka.InvalidReplicationFactor,
			"replication factor %d needs as many live brokers, but there are %d (%d registered)", replicas, len(brokers), registered)
	}
	return place(m.options.Runtime.Rand(), brokers, partitions, replicas), nil
}

// checkAssignment says what is wrong with replicas that a client wants for a partition.
func (m *machine) checkAssignment(partition int, replicas []kafka.NodeID) *refusal {
	if len(replicas) == 0 {
		return refuse(kafka.InvalidReplicaAssignment, "partition %d is assigned no replicas", partition)
	}
	for n, id := range replicas {
		if slices.Contains(replicas[:n], id) {
			return refuse(kafka.InvalidReplicaAssignment, "partition %d is assigned broker %d twice", partition, id)
		}
		if m.image().Broker(id) == nil {
			return refuse(kafka.InvalidReplicaAssignment, "partition %d is assigned broker %d, which is not registered", partition, id)
		}
	}
	return nil
}

// newPartition is a partition with everybody live in sync, led by the first of them.
func (m *machine) newPartition(number int32, replicas []kafka.NodeID) (metadata.Partition, *refusal) {
	p := metadata.Partition{Number: number, Replicas: replicas, Directories: m.newDirectories(replicas)}
	for _, id := range replicas {
		if m.active(id) {
			p.ISR = append(p.ISR, id)
		}
	}
	if len(p.ISR) == 0 {
		return p, refuse(kafka.InvalidReplicaAssignment, "partition %d is assigned only brokers that are fenced or shutting down", number)
	}
	p.Leader = p.ISR[0]
	return p, nil
}

func nodeIDs(ids []int32) []kafka.NodeID {
	list := make([]kafka.NodeID, len(ids))
	for n, id := range ids {
		list[n] = kafka.NodeID(id)
	}
	return list
}
