package node

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/raft"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// Admission is what a cluster says to a node that it lets in: which cluster it is, and which node the new one is.
type Admission struct {
	Cluster string
	Node    kafka.NodeID
	RaftID  uint64
	Known   []peer.Address // of the cluster's nodes
}

// Formatted reports whether a data folder belongs to a node already.
func Formatted(fs vfs.FS, dir string) (bool, error) {
	_, ok, err := raft.Identify(fs, path.Join(dir, "metadata"))
	return ok, err
}

// JoinOptions are what a node with an empty data folder asks a cluster with.
type JoinOptions struct {
	Runtime loop.Runtime
	FS      vfs.FS
	Dir     string // the data folder
	Peers   peer.Network
	Seeds   []peer.Address // nodes of the cluster, any of them
	Config  config.Static
	Logger  *slog.Logger
}

const (
	joinPause = 500 * time.Millisecond
	// joinSay is how often it is said that a cluster is still being looked for.
	joinSay = 10 * time.Second
	// joinPatience is for how long a node is asked again for an id that is in use: its last process may have died just now.
	joinPatience = 15 * time.Second
)

// Join asks the seeds, one after another and for as long as it takes, to let a new node in. A node that was told to join
// never founds a cluster. done is told who it is now, or why the cluster does not want it.
func Join(o JoinOptions, done func(Admission, error)) {
	j := &joiner{o: o, loop: o.Runtime.Loop("join"), raft: raft.NewID(o.Runtime.Rand()), wish: kafka.NoNode, done: done}
	if j.o.Logger == nil {
		j.o.Logger = slog.New(slog.DiscardHandler)
	}
	// A node that has lost its metadata and not its logs is the node that it was.
	if meta, ok, err := storage.Identify(o.FS, path.Join(o.Dir, "logs")); err == nil && ok {
		j.logs, j.wish = meta, meta.NodeID
	}
	if id, ok := configuredID(o.Config); ok {
		j.wish = id
	}
	j.began = o.Runtime.Now()
	j.loop.Do(j.ask)
}

// configuredID is the node id that somebody has set.
func configuredID(static config.Static) (kafka.NodeID, bool) {
	for _, key := range []string{"node.id", "broker.id"} {
		if _, ok := static[key]; ok {
			return kafka.NodeID(config.Layers{Static: static.Layer()}.Int("node.id")), true
		}
	}
	return kafka.NoNode, false
}

type joiner struct {
	o     JoinOptions
	loop  loop.Loop
	raft  uint64
	wish  kafka.NodeID
	logs  storage.Meta // of the logs that it has; zero for none
	began time.Time
	said  time.Time
	word  string // why, as it was said last
	next  int
	done  func(Admission, error)
}

func (j *joiner) ask() {
	seed := j.o.Seeds[j.next%len(j.o.Seeds)]
	j.next++
	request := &wire.JoinClusterRequest{Cluster: j.logs.ClusterID, Node: int32(j.wish), RaftID: j.raft, Directory: j.logs.DirectoryID}
	j.o.Peers.Call(seed, peer.Control, request, func(r kmsg.Response, err error) {
		j.loop.Do(func() { j.answered(seed, r, err) })
	})
}

func (j *joiner) answered(seed peer.Address, r kmsg.Response, err error) {
	response, ok := r.(*wire.JoinClusterResponse)
	now := j.o.Runtime.Now()
	if err == nil && ok {
		switch code := kafka.ErrorCode(response.ErrorCode); {
		case code == kafka.None:
			j.done(j.admission(response), nil)
			return
		case code == kafka.NotController, code == kafka.DuplicateBrokerRegistration && now.Sub(j.began) < joinPatience:
			err = errors.New(response.Message)
		default:
			j.done(Admission{}, fmt.Errorf("the cluster at %s does not let this node in: %s", seed, response.Message))
			return
		}
	}
	if word := fmt.Sprint(err); word != j.word || now.Sub(j.said) >= joinSay {
		j.said, j.word = now, word
		j.o.Logger.Warn("not in a cluster yet; asking on", "seeds", fmt.Sprint(j.o.Seeds), "last", seed.String(), "because", err)
	}
	j.loop.After(joinPause, j.ask)
}

func (j *joiner) admission(r *wire.JoinClusterResponse) Admission {
	a := Admission{Cluster: r.Cluster, Node: kafka.NodeID(r.Node), RaftID: j.raft}
	for _, n := range r.Nodes {
		a.Known = append(a.Known, peer.Address{Host: n.Host, Port: n.Port})
	}
	return a
}
