package trial

import (
	"testing"
)

// TestAPowerCutBeforeEveryChangeOfTheDisk lives one short life of a whole node again and again. Each time the power goes
// before another call that changes the disk or makes something durable, from the first one that a new data folder sees to
// the last of a clean stop; and when it is back, everything that was promised has to be there.
func TestAPowerCutBeforeEveryChangeOfTheDisk(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 10
	}
	whole := live(1, Options{Script: &Script{}})
	if whole.Failure != "" {
		t.Fatal(whole.Failure)
	}
	changes := whole.Counts["changes of the disk"]
	if changes < 300 {
		t.Fatalf("the script changes the disk only %d times", changes)
	}
	for at := 1; at <= changes; at += step {
		// The same story up to there; what of the unsynced changes survives is another draw each time.
		if r := live(1, Options{Script: &Script{PowerAt: at}}); r.Failure != "" {
			t.Fatalf("power cut before change %d of %d: %s", at, changes, r.Failure)
		}
	}
	t.Logf("%d power cuts", changes/step)
}
