package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/wire"
)

// Cluster is the way to the other nodes.
type Cluster interface {
	// Receive takes messages of the metadata quorum.
	Receive(r *wire.RaftRequest) kafka.ErrorCode
	// Disconnected says that a connection has ended by which messages of a member came.
	Disconnected(member uint64)
	// FetchMetadata serves committed metadata.
	FetchMetadata(r *wire.FetchMetadataRequest, reply func(*wire.FetchMetadataResponse))
	// Forward brings a client's request to the active controller. It does not try again.
	Forward(r *wire.ForwardRequest, answered func(*wire.ForwardResponse, error))
	// CallController brings a request of a node to the active controller, this node or another, and tries for a while.
	CallController(r kmsg.Request, answered func(kmsg.Response, error))
	// Confirm tells, from anywhere, whether this node is the quorum's leader: true when a majority has said so after the call, and
	// this node has applied all that was committed before it.
	Confirm(answer func(leads bool))
	// AfterOffset runs f when this node has applied the metadata up to an offset.
	AfterOffset(offset int64, f func())
}

// What the members of the quorum say to each other.
func handleRaft(a *API, r *request) {
	req := r.body.(*wire.RaftRequest)
	code := a.Cluster.Receive(req)
	if code == kafka.None {
		r.session.member = req.From
	}
	r.reply(&wire.RaftResponse{ErrorCode: code.Code()})
}

func handleFetchMetadata(a *API, r *request) {
	a.Cluster.FetchMetadata(r.body.(*wire.FetchMetadataRequest), func(resp *wire.FetchMetadataResponse) { r.reply(resp) })
}

// What brokers ask the active controller: registrations, heartbeats, producer ids (KIP-500). By the connection on which a
// broker says that it lives the controller sees its end.
func handleController(a *API, r *request) {
	switch req := r.body.(type) {
	case *kmsg.BrokerRegistrationRequest:
		r.session.broker = kafka.NodeID(req.BrokerID)
	case *kmsg.BrokerHeartbeatRequest:
		r.session.broker = kafka.NodeID(req.BrokerID)
		a.losses.BrokerHeard(r.session.broker)
	}
	a.Controller.Serve(r.body, func(resp kmsg.Response) { r.reply(resp) })
}

// JoinCluster lets a node in. Any node may be asked, and asks the active controller.
func handleJoinCluster(a *API, r *request) {
	req := r.body.(*wire.JoinClusterRequest)
	if req.Relayed {
		a.Controller.Serve(req, func(resp kmsg.Response) { r.reply(resp) })
		return
	}
	relayed := *req
	relayed.Relayed = true
	a.Cluster.CallController(&relayed, func(response kmsg.Response, err error) {
		resp, ok := response.(*wire.JoinClusterResponse)
		if err != nil || !ok {
			resp = &wire.JoinClusterResponse{ErrorCode: kafka.NotController.Code(), Message: "the cluster has no active controller just now"}
		}
		image := a.Image()
		resp.Cluster = image.ClusterID()
		resp.Nodes = nil
		image.Brokers(func(b *metadata.Broker) bool {
			if len(b.Endpoints) > 0 {
				resp.Nodes = append(resp.Nodes, wire.KnownNode{Node: int32(b.ID), Host: b.Endpoints[0].Host, Port: b.Endpoints[0].Port})
			}
			return true
		})
		r.reply(resp)
	})
}
