package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAnAppOutlivesWhatPasses(t *testing.T) {
	for err, want := range map[error]bool{
		context.DeadlineExceeded:                                  false,
		errors.New("connection refused"):                          false,
		&kgo.ErrDataLoss{Topic: "t"}:                              false,
		&kgo.ErrGroupSession{Err: kerr.UnknownMemberID}:           false,
		fmt.Errorf("fetching: %w", kerr.NotLeaderForPartition):    false,
		&kgo.ErrGroupSession{Err: kerr.InconsistentGroupProtocol}: true,
		kerr.TopicAuthorizationFailed:                             true,
	} {
		if got := lasting(err); got != want {
			t.Errorf("%v: stops the app %v, want %v", err, got, want)
		}
	}
}

// Every task has one owner, nobody has more than an even share, and no more tasks move than that needs.
func TestTasksAreSharedEvenlyAndStay(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 4))
		var tasks []TaskID
		for i := range 1 + random.IntN(40) {
			tasks = append(tasks, TaskID{i % 3, int32(i / 3)})
		}
		members := 1 + random.IntN(6)
		owners := map[TaskID]int{}
		before := make([]int, members)
		for _, id := range tasks {
			if random.IntN(5) > 0 {
				owners[id] = random.IntN(members)
				before[owners[id]]++
			}
		}
		shared := share(tasks, owners, members)
		after := make([]int, members)
		moved := 0
		for _, id := range tasks {
			member, ok := shared[id]
			if !ok {
				t.Fatalf("seed %d: nobody has task %s", seed, id)
			}
			after[member]++
			if owner, ok := owners[id]; ok && owner != member {
				moved++
			}
		}
		least, extra := len(tasks)/members, len(tasks)%members
		for m, n := range after {
			if n < least || n > least+1 {
				t.Fatalf("seed %d: member %d has %d of %d tasks among %d", seed, m, n, len(tasks), members)
			}
		}
		needed := 0 // what is above an even share has to go; extra members may have one more
		for _, n := range before {
			if n > least && extra > 0 {
				extra--
				n--
			}
			needed += max(0, n-least)
		}
		if moved > needed {
			t.Fatalf("seed %d: %d tasks moved, %d had to", seed, moved, needed)
		}
	}
}

func TestAGroupThatHasItsSharesMovesNothing(t *testing.T) {
	tasks := []TaskID{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}}
	first := share(tasks, nil, 2)
	if again := share(tasks, first, 2); len(again) != 5 {
		t.Fatal(again)
	} else {
		for id, m := range again {
			if first[id] != m {
				t.Errorf("task %s moved from %d to %d", id, first[id], m)
			}
		}
	}
}
