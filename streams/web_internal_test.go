package streams

import (
	"testing"
	"time"
)

// Keys are text where their type is, and JSON otherwise.
func TestKeysAreReadFromAddresses(t *testing.T) {
	type name string
	type point struct{ X, Y int }
	check(t, "7", "7")
	check(t, name("7"), "7")
	check(t, int64(7), "7")
	check(t, -1.5, "-1.5")
	check(t, point{1, 2}, `{"X":1,"Y":2}`)
	check(t, time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC), "2026-01-31T10:00:00Z")
	if b, err := keyOf[[]byte]("\x00\xff"); err != nil || string(b) != "\x00\xff" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := keyOf[int32]("seven"); err == nil || err.Error() != "the key seven is no int32: invalid character 's' looking for beginning of value" {
		t.Error(err)
	}
}

func check[K comparable](t *testing.T, want K, text string) {
	t.Helper()
	if got, err := keyOf[K](text); err != nil || got != want {
		t.Errorf("%s is read as %v: %v", text, got, err)
	}
}
