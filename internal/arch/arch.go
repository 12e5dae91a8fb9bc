// Package arch is the architecture of the house, as a test: which room stands on which line, who may import whom, and
// which rooms may touch the world. Its tests read the whole source tree with the standard library's parser and type
// checker.
//
// It promises that a wall cannot be breached unseen. Nobody imports it. It does not judge style.
package arch
