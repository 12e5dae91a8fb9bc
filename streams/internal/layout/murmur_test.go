package layout

import (
	"fmt"
	"testing"
)

// The hash of "l0" as Java's foreign-key join wrote it into a subscription.
func TestHashIsJavas(t *testing.T) {
	h := HashOf([]byte("l0"))
	if got := fmt.Sprintf("%016x%016x", h.Sum[0], h.Sum[1]); got != "d7f9a5436aede82701c9956f06f4f6a5" {
		t.Fatal(got)
	}
}
