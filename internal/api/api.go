// Package api is one file per Kafka API, and the table of them all.
//
// A handler authorizes, shapes and hands on: it keeps no state and never waits. It returns when the ordered part of its
// work is done and replies, exactly once, when the answer is there. ApiVersions is made from the table, so that an API
// which does not work is not in it.
//
// It promises Kafka's versions and error codes; that what is staged by a produce request is appended before any later
// request of its connection is looked at; and that a request that cannot be understood closes its connection.
// The server brings it frames; package node makes it. It does not decide: rooms below do.
package api

import (
	"bytes"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
	"github.com/gregorhq/gregor/internal/wire"
)

// Options are the rooms that requests go to.
type Options struct {
	Runtime    loop.Runtime
	Node       kafka.NodeID
	Image      func() *metadata.Image
	Replicas   *replica.Manager
	Groups     *group.Service
	Controller *controller.Controller
	Producers  *txn.ProducerIDs
	// Layers are the configs in effect for a topic, or with "" for the broker, as of an image.
	Layers func(image *metadata.Image, topic string) config.Layers
	// Advertised is where a client that came in by some listener reaches this node.
	Advertised func(peer server.Peer) (host string, port int32)
	// AfterApplied runs f when this node has applied all metadata that is committed now.
	AfterApplied func(f func())
	// Quorum describes the metadata quorum.
	Quorum func() QuorumState
	// Features are the levels of features that this software supports.
	Features []metadata.FeatureRange
	// RackAware sends consumers to replicas in their own racks (replica.selector.class).
	RackAware bool
	// Cluster is the way to the other nodes; nil where there are none.
	Cluster Cluster
	// Serving reports whether clients are served: a node that begins is there for other nodes before. nil for always.
	Serving func() bool
	// Observe is told the key of each request and how long it took to answer; it may be nil.
	Observe Observer
}

// Observer counts requests.
type Observer interface {
	Request(key int16)
}

// API is the protocol as the server speaks it.
type API struct {
	Options
	rows       [maxAPIKey + 1]*row
	nodes      map[int16]*row // requests of our own, between nodes
	advertised []*row
	timers     loop.Loop // of requests that wait for an active controller
	losses     losses
}

// maxAPIKey is the largest key in the table.
const maxAPIKey = 94

// maxDecodedBytes bounds requests other than Produce: decoded, one may take a hundred times its size in memory.
const maxDecodedBytes = 16 << 20

// New makes the protocol.
func New(o Options) *API {
	a := &API{Options: o, nodes: map[int16]*row{}, timers: o.Runtime.Loop("forward")}
	a.losses = losses{image: o.Image, now: o.Runtime.Now, of: map[kafka.NodeID]loss{}}
	o.Replicas.Watch(&a.losses)
	for i := range table {
		a.rows[table[i].key] = &table[i]
		a.advertised = append(a.advertised, &table[i])
	}
	for i := range nodeTable {
		if nodeTable[i].key > wire.KeyProgress && o.Cluster == nil {
			continue
		}
		if key := nodeTable[i].key; key <= maxAPIKey {
			a.rows[key] = &nodeTable[i]
		} else {
			a.nodes[key] = &nodeTable[i]
		}
	}
	return a
}

// row finds an API by its key; nil where it is not served.
func (a *API) row(key int16) *row {
	if key >= 0 && key <= maxAPIKey {
		return a.rows[key]
	}
	return a.nodes[key]
}

// row is one API.
type row struct {
	key      int16
	min, max int16
	// serves is the lowest version that is answered, where that is above the lowest advertised.
	serves int16
	handle func(a *API, r *request)
	// decided requests are the active controller's to answer.
	decided bool
	// patience is how long such a request waits for an active controller, at most; 0 for as long as usual.
	patience time.Duration
	// between nodes: a node that does not serve clients yet answers it, and it may be as large as it is.
	between bool
}

// request is one decoded request on its way to its handler.
type request struct {
	session *session
	slot    server.Slot
	header  wire.Header
	body    kmsg.Request
	frame   []byte   // of a request that may have to be forwarded
	token   [16]byte // of a request that may be carried out more than once
	// intercept takes the answer in place of the client; nil for nobody.
	intercept func(kmsg.Response)
}

// reply answers. The response takes the request's version.
func (r *request) reply(response kmsg.Response) {
	response.SetVersion(r.header.Version)
	if r.intercept != nil {
		r.intercept(response)
		return
	}
	r.slot.Send(wire.AppendResponse(r.slot.Buffer(), r.header.Correlation, response), nil)
}

// client is who asks, as groups know their members.
func (r *request) client() group.Client {
	return group.Client{ID: string(r.header.ClientID), Host: "/" + r.session.peer.RemoteHost}
}

// session is one connection.
type session struct {
	api       *API
	peer      server.Peer
	drain     *replica.Drain
	fetches   fetchSet
	overtaken overtaken

	forwarded bool              // it is of a client of another node
	token     [16]byte          // of the one request that it is made for, then
	broker    kafka.NodeID      // that says on it that it lives; NoNode for none
	member    uint64            // of the quorum, whose messages come on it; 0 for none
	follower  *replica.Follower // that fetches on it; nil for none
}

// Open begins a connection's session.
func (a *API) Open(peer server.Peer) server.Session {
	return &session{api: a, peer: peer, drain: a.Replicas.NewDrain(), broker: kafka.NoNode}
}

// Drained appends what the produce requests of this wakeup brought.
func (s *session) Drained() { s.drain.Flush() }

// Closed lets go of fetches that nobody waits for any more. The end of another node's connection may be the end of the node.
func (s *session) Closed() {
	s.fetches.cancel()
	if s.broker != kafka.NoNode {
		s.api.Controller.Lost(s.broker)
		s.api.losses.BrokerLost(s.broker)
	}
	if s.member != 0 {
		s.api.Cluster.Disconnected(s.member)
	}
	if s.follower != nil {
		s.api.losses.lost(s.follower.ID, s.follower.Epoch)
	}
}

// Request dispatches one request.
func (s *session) Request(frame []byte, slot server.Slot) error {
	h, err := wire.ParseHeader(frame)
	if err != nil {
		return err
	}
	row := s.api.row(h.Key)
	if row == nil {
		return fmt.Errorf("%w: %s is not served", wire.ErrMalformed, kmsg.NameForKey(h.Key))
	}
	// Which APIs there are is told at once: a connection that ends before its first answer looks like a broker that wants TLS, and some
	// clients tell their users so.
	if !row.between && h.Key != wire.KeyAPIVersions && s.api.Serving != nil && !s.api.Serving() {
		return fmt.Errorf("%w: the node has just been started", server.ErrTooEarly)
	}
	if s.api.Observe != nil {
		s.api.Observe.Request(h.Key)
	}
	if h.Version < row.min || h.Version < row.serves || h.Version > row.max {
		if h.Key == wire.KeyAPIVersions {
			s.drain.Flush()
			unsupportedAPIVersions(s.api, h, slot)
			return nil
		}
		return fmt.Errorf("%w: version %d of %s is not served, versions %d to %d are", wire.ErrMalformed, h.Version, kmsg.NameForKey(h.Key), max(row.min, row.serves), row.max)
	}
	if h.Key == wire.KeyProduce {
		return s.handleProduce(h, slot)
	}
	// What the same connection has produced comes before whatever it asks next.
	s.drain.Flush()
	if len(frame) > maxDecodedBytes && !row.between {
		return fmt.Errorf("%w: a %s request of %d bytes", wire.ErrMalformed, kmsg.NameForKey(h.Key), len(frame))
	}
	// The decoded request may outlive the frame, and byte fields of it would lie in the frame.
	body, err := wire.Decode(h.Key, h.Version, bytes.Clone(h.Body))
	if err != nil {
		return err
	}
	h.ClientID = bytes.Clone(h.ClientID)
	h.Body = nil
	r := &request{session: s, slot: slot, header: h, body: body}
	if row.decided {
		r.frame, r.token = bytes.Clone(frame), s.token
		s.api.decide(r, row)
		return nil
	}
	row.handle(s.api, r)
	return nil
}

// message is a text for a nullable field.
func message(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
