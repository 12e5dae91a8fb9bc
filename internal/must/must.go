// Package must states what has to be true, or the node stops.
//
// It promises that a broken invariant is never survived: Be panics, and nothing in Gregor recovers that panic.
// Any room may call it, for its own invariants only: bytes that came from outside (a client, a disk) are checked
// with errors and never reach it.
// It does not log, count, or clean up: a node that is wrong about its own state must not touch its disk again.
package must

import "fmt"

// Violation is the panic value of a broken invariant.
type Violation struct{ Message string }

func (v Violation) Error() string { return "invariant broken: " + v.Message }

// Be stops the node unless condition holds. The message says what should have been true, with the values that were not.
func Be(condition bool, format string, args ...any) {
	if !condition {
		panic(Violation{fmt.Sprintf(format, args...)})
	}
}

// NoError stops the node on an error that cannot happen.
func NoError(err error, doing string) {
	if err != nil {
		panic(Violation{doing + ": " + err.Error()})
	}
}
