package node

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/raft"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// roster knows who is in the cluster and where: from the metadata, from what it noted of that in an earlier life, and from what
// an operator said.
//
// The notes are a file in the data folder, one line "HOST:PORT" for each other node. They are hints: what is wrong with them
// costs a moment.
type roster struct {
	node     *Node
	loop     loop.Loop
	listener string // that other nodes come in by; "" for a broker's first one
	seeds    []peer.Address

	mu    sync.Mutex
	noted []peer.Address
}

const (
	notesFile  = "nodes"
	notesLimit = 1 << 20
)

func newRoster(n *Node, listener string) *roster {
	r := &roster{node: n, loop: n.o.Runtime.Loop("roster"), listener: listener, seeds: n.o.Seeds}
	if data, err := vfs.ReadFile(n.o.FS, r.file(), notesLimit); err == nil {
		for line := range strings.Lines(string(data)) {
			if a, err := ParseAddress(strings.TrimSpace(line)); err == nil {
				r.noted = append(r.noted, a)
			}
		}
	}
	n.follower.Subscribe(r.follow)
	return r
}

func (r *roster) file() string { return path.Join(r.node.o.Dir, notesFile) }

// ParseAddress reads HOST:PORT.
func ParseAddress(text string) (peer.Address, error) {
	at := strings.LastIndexByte(text, ':')
	if at <= 0 {
		return peer.Address{}, fmt.Errorf("%q is not HOST:PORT", text)
	}
	port, err := strconv.ParseUint(text[at+1:], 10, 16)
	if err != nil || port == 0 {
		return peer.Address{}, fmt.Errorf("%q has no port from 1 to 65535", text)
	}
	host := text[:at]
	if bare, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(bare, "]")
		if _, err := netip.ParseAddr(host); err != nil {
			return peer.Address{}, fmt.Errorf("%q is not HOST:PORT", text)
		}
	}
	return peer.Address{Host: host, Port: uint16(port)}, nil
}

// endpoint is the one of these by which other nodes come in.
func (r *roster) endpoint(endpoints []metadata.Endpoint) (peer.Address, bool) {
	if len(endpoints) == 0 {
		return peer.Address{}, false
	}
	e := endpoints[0]
	for _, one := range endpoints {
		if one.Listener == r.listener {
			e = one
		}
	}
	return peer.Address{Host: e.Host, Port: e.Port}, true
}

// address is where a broker is reached by other nodes.
func (r *roster) address(b *metadata.Broker) (peer.Address, bool) { return r.endpoint(b.Endpoints) }

// Registered are the brokers that the metadata has.
func (r *roster) Registered() (all []raft.Registered) {
	r.node.follower.Image().Brokers(func(b *metadata.Broker) bool {
		address, _ := r.address(b)
		all = append(all, raft.Registered{ID: b.RaftID, Node: b.ID, Address: address, Alive: b.Active(), Barred: b.Barred})
		return true
	})
	return all
}

// Known are addresses of other nodes.
func (r *roster) Known() (all []peer.Address) {
	self, _ := r.endpoint(r.node.o.Endpoints)
	add := func(a peer.Address) {
		if a != self && a != (peer.Address{}) && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, b := range r.Registered() {
		if b.Node != r.node.id {
			add(b.Address)
		}
	}
	r.mu.Lock()
	noted := r.noted
	r.mu.Unlock()
	for _, a := range slices.Concat(noted, r.seeds) {
		add(a)
	}
	return all
}

// follow notes where other nodes are when that has changed.
func (r *roster) follow(delta *metadata.Delta) {
	if len(delta.BrokersChanged()) == 0 {
		return
	}
	var others []peer.Address
	delta.Image().Brokers(func(b *metadata.Broker) bool {
		if a, ok := r.address(b); ok && b.ID != r.node.id {
			others = append(others, a)
		}
		return true
	})
	r.note(others)
}

func (r *roster) note(others []peer.Address) {
	r.mu.Lock()
	same := slices.Equal(others, r.noted)
	r.noted = others
	r.mu.Unlock()
	if same {
		return
	}
	r.loop.Do(func() {
		var text strings.Builder
		for _, a := range others {
			fmt.Fprintln(&text, a)
		}
		if err := vfs.WriteFile(r.node.o.FS, r.file(), []byte(text.String())); err != nil {
			r.node.logger.Warn("cannot note where other nodes are", "error", err)
		}
	})
}

// check asks the nodes that somebody has told which cluster they are in. One that belongs to another cluster than this node
// would be a surprise later.
func (r *roster) check() {
	n := r.node
	if n.o.Peers == nil {
		return
	}
	for _, seed := range r.seeds {
		request := &wire.FetchMetadataRequest{Cluster: n.ClusterID(), Node: int32(kafka.NoNode), Offset: math.MaxInt64}
		n.o.Peers.Call(seed, peer.Metadata, request, func(response kmsg.Response, err error) {
			if resp, ok := response.(*wire.FetchMetadataResponse); err == nil && ok && resp.ErrorCode == kafka.InconsistentClusterID.Code() {
				n.fail(fmt.Errorf("the data folder %s belongs to cluster %s, and the node at %s is in another cluster: "+
					"to join that one start with an empty --data-dir, or leave --join out", n.o.Dir, n.ClusterID(), seed))
			}
		})
	}
}
