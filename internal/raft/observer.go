package raft

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/wire"
)

const (
	// A node to which raft has brought nothing for this long pulls what is committed, also if it believes to be a member: it
	// may have been removed without hearing of it.
	fedFor = 1500 * time.Millisecond
	// A member that is heard from, but to which raft has brought nothing for sureFor, asks whether there is something: it may be
	// that its leader has no snapshot to begin with, because its disk is full.
	sureFor = 3 * time.Second
	// pullWait is how long a pull waits for something new, pullPatience how much longer it may take until somebody else is asked,
	// and pullBytes about how much it brings.
	pullWait     = 500 * time.Millisecond
	pullPatience = time.Second
	pullBytes    = 4 << 20
	// recentBytes is about how much of what was applied last is kept for those who pull.
	recentBytes = 8 << 20
)

// leaderSeen is who leads, as others have told an observer.
type leaderSeen struct {
	Node    kafka.NodeID
	Address peer.Address
	Epoch   int32
}

// recent are the batches that were applied last, for those who pull.
type recent struct {
	floor   uint64 // everything behind it is here
	batches []wire.MetadataBatch
	size    int
}

func (r *recent) add(index uint64, batch []byte) {
	r.batches = append(r.batches, wire.MetadataBatch{Offset: int64(index), Bytes: batch})
	r.size += len(batch) + entryHeader
	if r.size <= recentBytes {
		return
	}
	half := 0
	for r.size > recentBytes/2 && half < len(r.batches)-1 {
		r.size -= len(r.batches[half].Bytes) + entryHeader
		r.floor = uint64(r.batches[half].Offset)
		half++
	}
	r.batches = append([]wire.MetadataBatch(nil), r.batches[half:]...)
}

// behind returns batches from an offset on, up to a size but at least one, and the end of what they are complete to.
func (r *recent) behind(offset int64, most int, end int64) ([]wire.MetadataBatch, int64) {
	first := len(r.batches)
	for first > 0 && r.batches[first-1].Offset >= offset {
		first--
	}
	last, size := first, 0
	for ; last < len(r.batches); last++ {
		if size += len(r.batches[last].Bytes); size > most && last > first {
			return r.batches[first:last], r.batches[last-1].Offset + 1
		}
	}
	return r.batches[first:], end
}

// Leader is the node that leads the quorum, and where it is reached; NoNode where this node does not know.
func (n *Node) Leader() (kafka.NodeID, peer.Address) {
	n.mu.Lock()
	leads, leader, seen := n.leads, n.leader, n.seen
	fed, epoch := n.fed(), int32(n.term)
	learned, known := n.learned[leader]
	n.mu.Unlock()
	if leads {
		return n.identity.node, n.o.Self
	}
	if leader != 0 && n.o.Roster != nil && (fed || epoch > seen.Epoch || seen.Node == kafka.NoNode) {
		for _, r := range n.o.Roster.Registered() {
			if r.ID == leader {
				if known {
					r.Address = learned
				}
				return r.Node, r.Address
			}
		}
	}
	return seen.Node, seen.Address
}

// fed reports whether raft brings this node what is committed. The mutex is held.
func (n *Node) fed() bool {
	return n.leads || n.leader != 0 && n.o.Runtime.Now().Sub(n.heard[n.leader]) < fedFor
}

// pull asks another node for what is committed, if raft does not bring it: first the leader, else one after another.
func (n *Node) pull() {
	n.mu.Lock()
	idle := n.pulling || n.closed || n.failed || n.fed() && (n.leads || n.o.Runtime.Now().Sub(n.brought) < sureFor)
	n.mu.Unlock()
	if idle || n.o.Peers == nil {
		return
	}
	to, ok := n.nextSource()
	if !ok {
		return
	}
	n.pulling = true
	request := &wire.FetchMetadataRequest{Cluster: n.identity.cluster, Node: int32(n.identity.node), RaftID: n.identity.raft,
		Offset: int64(n.known) + 1, MaxBytes: pullBytes, MaxWaitMillis: int32(pullWait / time.Millisecond)}
	n.pulls++
	pull := n.pulls
	settle := func(r kmsg.Response, err error) {
		if n.pulling && n.pulls == pull {
			n.pulled(to, r, err)
		}
	}
	// Whoever is asked may stand still.
	stop := n.loop.After(pullWait+pullPatience, func() { settle(nil, peer.ErrUnreachable) })
	n.o.Peers.Call(to, peer.Metadata, request, func(r kmsg.Response, err error) {
		n.loop.Do(func() {
			stop()
			settle(r, err)
		})
	})
}

func (n *Node) nextSource() (peer.Address, bool) {
	if node, leader := n.Leader(); !n.failing && node != kafka.NoNode && node != n.identity.node && leader != (peer.Address{}) {
		return leader, true
	}
	known := n.o.Roster.Known()
	if len(known) == 0 {
		return peer.Address{}, false
	}
	n.source++
	return known[n.source%len(known)], true
}

func (n *Node) pulled(from peer.Address, r kmsg.Response, err error) {
	n.pulling = false
	n.mu.Lock()
	over := n.closed || n.failed
	n.mu.Unlock()
	if over {
		return
	}
	response, ok := r.(*wire.FetchMetadataResponse)
	if err != nil || !ok || response.ErrorCode != 0 {
		if ok && response.ErrorCode == kafka.InconsistentClusterID.Code() {
			n.o.Log.Warn("a node that was asked for metadata is of another cluster", "address", from.String(), "cluster", n.identity.cluster)
		}
		n.failing = true
		n.mu.Lock()
		if n.seen.Address == from {
			n.seen.Node, n.seen.Address = kafka.NoNode, peer.Address{}
		}
		n.mu.Unlock()
		return // the next tick asks somebody else
	}
	n.failing, n.brought = false, n.o.Runtime.Now()
	n.see(response)
	before := n.known
	if err := n.take(response); err != nil {
		n.fail(err)
		return
	}
	if n.known > before {
		n.pull() // there may be more
	}
}

func (n *Node) see(r *wire.FetchMetadataResponse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Epoch < n.seen.Epoch || r.Leader < 0 {
		return
	}
	n.seen = leaderSeen{kafka.NodeID(r.Leader), peer.Address{Host: r.Host, Port: r.Port}, r.Epoch}
}

// take gives the machine what was pulled. Raft may have brought some of it meanwhile.
func (n *Node) take(r *wire.FetchMetadataResponse) error {
	before := n.known
	if r.Snapshot {
		if len(r.Batches) == 0 || uint64(r.Batches[0].Offset) <= n.known {
			return nil
		}
		var batches [][]byte
		for _, b := range r.Batches {
			batches = append(batches, b.Bytes)
		}
		if err := n.load(uint64(r.Batches[0].Offset), batches); err != nil {
			return err
		}
		n.tellCommitted()
		return nil
	}
	for _, b := range r.Batches {
		if uint64(b.Offset) <= n.known {
			continue
		}
		if err := n.o.Machine.Apply(b.Offset, b.Bytes); err != nil {
			return err
		}
		n.known = uint64(b.Offset)
		n.recent.add(n.known, b.Bytes)
	}
	if n.known > before {
		n.o.Machine.Publish()
	}
	n.known = max(n.known, uint64(max(r.Committed-1, 0)))
	if n.known > before {
		n.tellCommitted()
	}
	return nil
}

// fetch is somebody who waits for something to be committed.
type fetch struct {
	request *wire.FetchMetadataRequest
	reply   func(*wire.FetchMetadataResponse)
	stop    func()
}

// FetchMetadata serves another node what is committed. It answers when there is something new, when the leader changes, or
// when the time is up.
func (n *Node) FetchMetadata(request *wire.FetchMetadataRequest, reply func(*wire.FetchMetadataResponse)) {
	n.loop.Do(func() {
		if request.Cluster != n.identity.cluster {
			reply(&wire.FetchMetadataResponse{ErrorCode: kafka.InconsistentClusterID.Code(), Leader: -1})
			return
		}
		n.watch(request)
		if n.serve(request, reply) {
			return
		}
		f := &fetch{request: request, reply: reply}
		n.waiting = append(n.waiting, f)
		f.stop = n.loop.After(min(request.Wait(), 30*time.Second), func() {
			for i, other := range n.waiting {
				if other == f {
					n.waiting = append(n.waiting[:i], n.waiting[i+1:]...)
					reply(n.newAnswer())
					return
				}
			}
		})
	})
}

// newAnswer is an answer that has nothing but who leads.
func (n *Node) newAnswer() *wire.FetchMetadataResponse {
	node, address := n.Leader()
	n.mu.Lock()
	epoch := max(int32(n.term), n.seen.Epoch)
	if !n.leads && !n.fed() {
		epoch = n.seen.Epoch // of who was seen to lead; an election that is under way has no leader yet
	}
	n.mu.Unlock()
	return &wire.FetchMetadataResponse{Leader: int32(node), Host: address.Host, Port: address.Port, Epoch: epoch, Committed: int64(n.known) + 1}
}

// serve answers if there is something to say.
func (n *Node) serve(request *wire.FetchMetadataRequest, reply func(*wire.FetchMetadataResponse)) bool {
	n.mu.Lock()
	over := n.closed || n.failed
	n.mu.Unlock()
	answer := n.newAnswer()
	switch {
	case over || n.known == 0:
		answer.ErrorCode = kafka.BrokerNotAvailable.Code()
	case request.Offset > int64(n.known):
		return false
	case request.Offset > int64(n.recent.floor):
		answer.Batches, answer.Committed = n.recent.behind(request.Offset, int(request.MaxBytes), answer.Committed)
	default:
		n.serveState(answer, reply)
		return true
	}
	reply(answer)
	return true
}

// serveState dumps the state as of now, beside everything else, and answers with it.
func (n *Node) serveState(answer *wire.FetchMetadataResponse, reply func(*wire.FetchMetadataResponse)) {
	index := int64(n.known)
	dump := n.o.Machine.Snapshot(n.o.Runtime.Now())
	n.writer.Do(func() {
		answer.Snapshot = true
		err := dump(func(batch []byte) error {
			answer.Batches = append(answer.Batches, wire.MetadataBatch{Offset: index, Bytes: append([]byte(nil), batch...)})
			return nil
		})
		if err != nil {
			answer.ErrorCode, answer.Batches = kafka.UnknownServerError.Code(), nil
		}
		reply(answer)
	})
}

// serveWaiting answers those who wait for what has come.
func (n *Node) serveWaiting() {
	kept := n.waiting[:0]
	for _, f := range n.waiting {
		if n.serve(f.request, f.reply) {
			f.stop()
		} else {
			kept = append(kept, f)
		}
	}
	clear(n.waiting[len(kept):])
	n.waiting = kept
}

// release answers everybody who waits, because who leads has changed or because the node stops.
func (n *Node) release() {
	waiting := n.waiting
	n.waiting = nil
	for _, f := range waiting {
		f.stop()
		if !n.serve(f.request, f.reply) {
			f.reply(n.newAnswer())
		}
	}
}

// watch notes how far somebody is who pulls.
func (n *Node) watch(r *wire.FetchMetadataRequest) {
	if r.Node < 0 {
		return // somebody who only asks which cluster this is
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watchers[kafka.NodeID(r.Node)] = Observer{Node: kafka.NodeID(r.Node), End: r.Offset, At: n.o.Runtime.Now()}
}
