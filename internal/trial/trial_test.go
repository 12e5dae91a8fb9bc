package trial

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"testing"
)

// live lives a seed with the chance that raft draws from crypto/rand being the seed's.
func live(seed uint64, o Options) Result {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.Reader = mathrand.NewChaCha8(key)
	return Run(seed, o)
}

func TestSomeLives(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		first := live(seed, Options{Faults: -1})
		if first.Failure != "" {
			t.Fatalf("seed %d: %s\nagain: go run ./cmd/trial -seed %d -v", seed, first.Failure, seed)
		}
		if seed%4 != 0 {
			continue
		}
		if second := live(seed, Options{Faults: -1}); second.Trace != first.Trace || second.Events != first.Events {
			t.Fatalf("seed %d tells two stories: %d events and %d", seed, first.Events, second.Events)
		}
	}
}

func TestEveryPlantedBugIsFound(t *testing.T) {
	for i := range Mutants {
		m := &Mutants[i]
		t.Run(m.Name, func(t *testing.T) {
			for seed := uint64(1); seed <= uint64(m.Seeds); seed++ {
				if live(seed, Options{Faults: -1, Mutant: m}).Failure != "" {
					return
				}
			}
			t.Errorf("not found within %d seeds: %s", m.Seeds, m.Doc)
		})
	}
}
