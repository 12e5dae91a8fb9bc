package node

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/must"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// controlPause is how long to wait before the active controller is looked for again, and controlPatience for how long it is.
	controlPause    = 10 * time.Millisecond
	controlPatience = 2 * time.Second
	// leaderWatch is how often somebody who waits for a controller looks whether it is one still.
	leaderWatch = 200 * time.Millisecond
)

// callController brings a request to the active controller, on this node or another. While there is none, or the one that was
// cannot be reached, it looks for another, for a while; so a request may be carried out more than once. answered is called
// once, from anywhere but not before callController returns, with an error if nobody has answered.
func (n *Node) callController(request kmsg.Request, answered func(kmsg.Response, error)) {
	n.control.Do(func() { n.tryController(request, n.o.Runtime.Now().Add(controlPatience), answered) })
}

func (n *Node) tryController(request kmsg.Request, deadline time.Time, answered func(kmsg.Response, error)) {
	again := func(err error) {
		if n.o.Runtime.Now().After(deadline) {
			answered(nil, err)
			return
		}
		n.control.After(controlPause, func() { n.tryController(request, deadline, answered) })
	}
	heard := func(response kmsg.Response, err error) {
		if err == nil && refusedAs(response) == kafka.NotController {
			err = kafka.NotController
		}
		if err != nil {
			again(err)
			return
		}
		answered(response, nil)
	}
	if n.Controller.Active() {
		served := n.Controller.Serve(request, func(response kmsg.Response) { heard(response, nil) })
		must.Be(served, "%T is no request to a controller", request)
		return
	}
	leader, address := n.quorum.Leader()
	if leader == kafka.NoNode || leader == n.id || n.o.Peers == nil {
		again(kafka.NotController)
		return
	}
	n.callWhileLeads(leader, address, peer.Control, request, heard)
}

// callWhileLeads calls the node that leads the quorum, and gives up waiting when another one does: a process that stands still
// answers nothing, and its connection stays.
func (n *Node) callWhileLeads(leader kafka.NodeID, to peer.Address, lane peer.Lane, request kmsg.Request, answered func(kmsg.Response, error)) {
	settled, stop := false, func() {}
	settle := func(response kmsg.Response, err error) {
		if !settled {
			settled = true
			stop()
			answered(response, err)
		}
	}
	var watch func()
	watch = func() {
		stop = n.control.After(leaderWatch, func() {
			if now, _ := n.quorum.Leader(); now != leader && now != kafka.NoNode {
				settle(nil, kafka.NotController)
				return
			}
			watch()
		})
	}
	n.control.Do(func() {
		if !settled {
			watch()
		}
	})
	n.o.Peers.Call(to, lane, request, func(response kmsg.Response, err error) {
		n.control.Do(func() { settle(response, err) })
	})
}

// refusedAs is the error of an answer of the controller to a node.
func refusedAs(response kmsg.Response) kafka.ErrorCode {
	switch r := response.(type) {
	case *kmsg.BrokerRegistrationResponse:
		return kafka.ErrorCode(r.ErrorCode)
	case *kmsg.BrokerHeartbeatResponse:
		return kafka.ErrorCode(r.ErrorCode)
	case *kmsg.AllocateProducerIDsResponse:
		return kafka.ErrorCode(r.ErrorCode)
	case *kmsg.AssignReplicasToDirsResponse:
		return kafka.ErrorCode(r.ErrorCode)
	case *kmsg.AlterPartitionResponse:
		return kafka.ErrorCode(r.ErrorCode)
	case *wire.JoinClusterResponse:
		return kafka.ErrorCode(r.ErrorCode)
	}
	return kafka.None
}

// cluster is the way to other nodes, as the API room sees it.
type cluster struct{ node *Node }

func (c cluster) Receive(r *wire.RaftRequest) kafka.ErrorCode { return c.node.quorum.Receive(r) }
func (c cluster) Disconnected(member uint64)                  { c.node.quorum.Disconnected(member) }
func (c cluster) Confirm(answer func(leads bool))             { c.node.quorum.Confirm(answer) }
func (c cluster) AfterOffset(offset int64, f func())          { c.node.publisher.afterOffset(offset, f) }

func (c cluster) FetchMetadata(r *wire.FetchMetadataRequest, reply func(*wire.FetchMetadataResponse)) {
	c.node.quorum.FetchMetadata(r, reply)
}

func (c cluster) CallController(r kmsg.Request, answered func(kmsg.Response, error)) {
	c.node.callController(r, answered)
}

// Forward brings a client's request to the active controller, if that is another node.
func (c cluster) Forward(r *wire.ForwardRequest, answered func(*wire.ForwardResponse, error)) {
	n := c.node
	leader, address := n.quorum.Leader()
	if leader == kafka.NoNode || leader == n.id || n.o.Peers == nil {
		n.control.Do(func() { answered(nil, kafka.NotController) })
		return
	}
	n.callWhileLeads(leader, address, peer.Forwarded, r, func(response kmsg.Response, err error) {
		resp, ok := response.(*wire.ForwardResponse)
		if err == nil && !ok {
			err = kafka.NotController
		}
		answered(resp, err)
	})
}

// alterPartition asks the active controller for other ISRs.
func (n *Node) alterPartition(r *kmsg.AlterPartitionRequest, answered func(*kmsg.AlterPartitionResponse, error)) {
	n.callController(r, func(response kmsg.Response, err error) {
		resp, _ := response.(*kmsg.AlterPartitionResponse)
		answered(resp, err)
	})
}

// assignDirectories tells the active controller where replicas are.
func (n *Node) assignDirectories(r *kmsg.AssignReplicasToDirsRequest, answered func(*kmsg.AssignReplicasToDirsResponse, error)) {
	n.callController(r, func(response kmsg.Response, err error) {
		resp, _ := response.(*kmsg.AssignReplicasToDirsResponse)
		answered(resp, err)
	})
}
