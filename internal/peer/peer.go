// Package peer is the way from this node to the others: requests out, answers back.
//
// A Network carries requests of the Kafka protocol, and a few of our own (package wire), to a node at an address. It
// promises that an answer or an error comes exactly once; that requests of one lane to one address are dispatched there in
// the order of their calls, as long as their connection lasts; and that a call to a node that cannot be reached fails
// soon. It does not try again: whoever calls knows what trying again would mean.
// The rooms that replicate are given a Network by package node; the daemon's is made of sockets, the trial's of seeded
// delays and losses.
// It does not know who is where: addresses come from the metadata.
package peer

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Address is where a node is reached.
type Address struct {
	Host string
	Port uint16
}

// String is the address as people write it.
func (a Address) String() string {
	if ip, err := netip.ParseAddr(a.Host); err == nil && ip.Is6() {
		return "[" + a.Host + "]:" + strconv.Itoa(int(a.Port))
	}
	return a.Host + ":" + strconv.Itoa(int(a.Port))
}

// Lane separates requests that must not wait for each other's answers: each lane to an address is a connection of its own,
// opened when it is first used.
type Lane uint8

const (
	// Quorum carries what raft members say to each other, and reports of progress: all answered at once.
	Quorum Lane = iota
	// Control carries what brokers ask the active controller: registrations, heartbeats, changes of ISRs.
	Control
	// Forwarded carries clients' requests on their way to the active controller, which may take long.
	Forwarded
	// Records carries the one fetch that a follower has outstanding with each leader.
	Records
	// Metadata carries the one fetch of committed metadata that an observer has outstanding.
	Metadata
)

// ErrUnreachable is wrapped by errors about a node that could not be reached, or whose connection ended before the answer:
// the request may have been carried out or not.
var ErrUnreachable = errors.New("node is unreachable")

// Network carries requests to other nodes.
type Network interface {
	// Call sends a request, in the version that is set in it. answered is called exactly once, from anywhere but not before
	// Call returns, with the response or with an error.
	Call(to Address, lane Lane, request kmsg.Request, answered func(kmsg.Response, error))
}
