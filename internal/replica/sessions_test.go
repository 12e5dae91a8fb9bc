package replica

import (
	"math"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/wire"
)

// begin opens a session for the partitions 0 to n-1 of a topic, and returns its id; 0 where there is no room.
func begin(s *Sessions, n int) int32 {
	u := Update{Epoch: initialEpoch}
	for i := range n {
		u.Set = append(u.Set, FetchPartition{Topic: "t", Number: int32(i)})
	}
	plan, _ := s.Plan(u)
	id, _ := s.Close(&plan, make([]wire.FetchResult, n))
	return id
}

// Partitions are read in order, and the first may take all that fits: those that were served stand at the end of the line
// next time, or the last would never be read.
func TestPartitionsOfASessionAreServedInTurns(t *testing.T) {
	s := newSessions(loop.Real(), 10)
	id := begin(s, 4)
	for round, want := range [][]int32{{0, 1, 2, 3}, {2, 3, 0, 1}, {0, 1, 2, 3}} {
		plan, code := s.Plan(Update{SessionID: id, Epoch: int32(round) + 1})
		if code != kafka.None {
			t.Fatal(code)
		}
		var order []int32
		results := make([]wire.FetchResult, 4)
		for i, p := range plan.Partitions {
			order = append(order, p.Number)
			results[i].DivergingEpoch, results[i].PreferredReplica = -1, -1
		}
		if !slices.Equal(order, want) {
			t.Fatalf("round %d: %v, want %v", round, order, want)
		}
		results[0].Records.Size, results[1].Records.Size = 100, 100
		_, keep := s.Close(&plan, results)
		if !keep(0) || !keep(1) || round > 0 && (keep(2) || keep(3)) {
			t.Fatalf("round %d: what changed is not what is answered", round)
		}
	}
}

func TestSessionEpochsBeginAnewAtOne(t *testing.T) {
	s := newSessions(loop.Real(), 10)
	id := begin(s, 1)
	s.byID[id].epoch = math.MaxInt32
	for _, epoch := range []int32{math.MaxInt32, 1, 2} {
		if _, code := s.Plan(Update{SessionID: id, Epoch: epoch}); code != kafka.None {
			t.Fatalf("epoch %d: %v", epoch, code)
		}
	}
}

// Where there is no room for a session the client is told id 0, and goes on without one.
func TestSessionsAreBounded(t *testing.T) {
	s := newSessions(loop.Real(), 2)
	for range 2 {
		if begin(s, 2) == 0 {
			t.Fatal("no session where there is room")
		}
	}
	if id := begin(s, 1); id != 0 || s.Len() != 2 {
		t.Fatalf("session %d, of %d", id, s.Len())
	}
	if id := begin(s, 3); id == 0 || s.Len() != 2 {
		t.Fatalf("a larger one has not taken a smaller one's place: %d, of %d", id, s.Len())
	}
}
