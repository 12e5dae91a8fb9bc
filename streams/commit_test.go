package streams

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// A commit that fails for a reason that passes is made later; after five minutes of that the app ends.
func TestCommitsThatCannotBeMadeAreMadeLaterButNotForEver(t *testing.T) {
	a := &App{}
	for range 3 {
		if err := a.commitLater(kerr.NotCoordinator); err != nil {
			t.Fatal(err)
		}
	}
	a.uncommitted = a.uncommitted.Add(-commitTimeout - time.Second)
	if err := a.commitLater(kerr.NotCoordinator); err != kerr.NotCoordinator {
		t.Errorf("after five minutes it says %v", err)
	}
}
