package main

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEveryFaultStrikesBeforeAnyDoesAgain(t *testing.T) {
	kinds := slices.Concat(processFaults, networkFaults, fullFaults, deviceKinds)
	n := &nemesis{chance: rand.New(rand.NewPCG(1, 1)), kinds: kinds}
	var rounds [][]string
	for range 3 {
		var round []string
		for range kinds {
			round = append(round, n.draw())
		}
		if sorted := slices.Sorted(slices.Values(round)); !slices.Equal(sorted, slices.Sorted(slices.Values(kinds))) {
			t.Errorf("of %v there came %v", kinds, round)
		}
		rounds = append(rounds, round)
	}
	if slices.Equal(rounds[0], rounds[1]) && slices.Equal(rounds[1], rounds[2]) {
		t.Errorf("they always come in the order %v", rounds[0])
	}
}
