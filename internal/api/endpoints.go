package api

import (
	"slices"
	"unsafe"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// endpoint is where a client that came in by some listener reaches a node. ok is false where the node does not live.
func (a *API) endpoint(image *metadata.Image, peer server.Peer, id kafka.NodeID) (e wire.Endpoint, ok bool) {
	b := image.Broker(id)
	if b == nil {
		return e, false
	}
	e = wire.Endpoint{Node: id, Rack: b.Rack}
	if id == a.Node && peer.LocalHost != "" { // a client of another node has reached this one nowhere
		e.Host, e.Port = a.Advertised(peer)
		return e, true
	}
	for _, candidate := range b.Endpoints {
		if candidate.Listener == peer.Listener {
			e.Host, e.Port = candidate.Host, int32(candidate.Port)
			return e, true
		}
	}
	return e, false
}

// liveBrokers are the brokers that clients may be sent to, by id. There is always one: whoever is asked lives.
func (a *API) liveBrokers(image *metadata.Image, peer server.Peer) []wire.Endpoint {
	var live []wire.Endpoint
	image.Brokers(func(b *metadata.Broker) bool {
		if b.Fenced && b.ID != a.Node {
			return true
		}
		if e, ok := a.endpoint(image, peer, b.ID); ok {
			live = append(live, e)
		}
		return true
	})
	if len(live) == 0 {
		host, port := a.Advertised(peer)
		live = append(live, wire.Endpoint{Node: a.Node, Host: host, Port: port})
	}
	return live
}

func addEndpoint(list []wire.Endpoint, e wire.Endpoint) []wire.Endpoint {
	if slices.ContainsFunc(list, func(other wire.Endpoint) bool { return other.Node == e.Node }) {
		return list
	}
	return append(list, e)
}

// bytesAsString is the bytes as a string that is used at once and not kept.
func bytesAsString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// nodeIDs is node ids as the wire has them.
func nodeIDs(ids []kafka.NodeID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}
