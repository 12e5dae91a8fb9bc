// Package node is the rooms put together into one member of a cluster: the metadata quorum, the controller, the
// replicas, the group coordinator, and the APIs in front of them.
//
// It promises that a node opened on any data folder that a node has left, however it was left, serves what that one had
// acknowledged; and that it cannot tell a simulation from the world.
// The daemon, the trial and gregortest open it. It holds wiring only, in the order of the house: it decides nothing.
package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/peer"
	"github.com/gregorhq/gregor/internal/raft"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/txn"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Options are what a node is made of.
type Options struct {
	Runtime loop.Runtime
	FS      vfs.FS
	Dir     string
	Config  config.Static
	Logger  *slog.Logger
	// Endpoints are where other nodes reach this one, by listener.
	Endpoints []metadata.Endpoint
	// Peers reaches other nodes; nil for a node that is alone for good.
	Peers peer.Network
	// Seeds are addresses of other nodes that somebody has told, beside those that the data folder knows.
	Seeds []peer.Address
	// Admission makes a new data folder that of a node which joins a cluster (see Join); nil founds one.
	Admission *Admission
	// Advertised is where a client that came in by some listener reaches this node.
	Advertised func(peer server.Peer) (host string, port int32)
	// SnapshotBytes is how much metadata log makes a snapshot due; 0 for the default.
	SnapshotBytes int64
	// Failed is told once why the node cannot go on.
	Failed  func(error)
	Observe api.Observer
}

// Node is one member of a cluster.
type Node struct {
	API        *api.API
	Replicas   *replica.Manager
	Groups     *group.Service
	Controller *controller.Controller

	o         Options
	id        kafka.NodeID
	logger    *slog.Logger
	layers    layers
	follower  *metadata.Follower
	roster    *roster
	publisher *publisher
	quorum    *raft.Node
	directory *storage.Directory
	register  *registrar
	house     *housekeeper
	control   loop.Loop // of calls to the active controller
	serving   atomic.Bool
	failOnce  sync.Once
}

// Open opens a node's data folder, and makes it if it is new. The node does nothing before Start.
func Open(o Options) (*Node, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.resolveID(); err != nil {
		return nil, err
	}
	static := config.Layers{Static: o.Config.Layer()}
	n := &Node{o: o, id: kafka.NodeID(static.Int("node.id")), logger: o.Logger, control: o.Runtime.Loop("control")}
	n.layers = layers{node: n.id, static: o.Config}
	n.follower = metadata.NewFollower()
	if err := vfs.MakeFolder(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("cannot make the data folder %s: %w", o.Dir, err)
	}
	n.roster = newRoster(n, static.String("inter.broker.listener.name"))
	if o.Admission != nil {
		n.roster.note(o.Admission.Known)
	}
	if err := n.openQuorum(static); err != nil {
		return nil, err
	}
	if err := n.openDirectory(static); err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	n.makeRooms(static)
	return n, nil
}

// mayFound refuses to found a cluster in a folder that was of another one, or was to be: its metadata is lost.
func (o *Options) mayFound() error {
	if o.Admission != nil {
		return nil
	}
	if _, ok, err := raft.Identify(o.FS, path.Join(o.Dir, "metadata")); err != nil || ok {
		return nil
	}
	meta, logs, err := storage.Identify(o.FS, path.Join(o.Dir, "logs"))
	if err != nil {
		return nil // opening it says what is wrong
	}
	if _, err := vfs.ReadFile(o.FS, path.Join(o.Dir, notesFile), notesLimit); err != nil && !logs {
		return nil
	}
	of := "of a cluster"
	if meta.ClusterID != "" {
		of = "of cluster " + meta.ClusterID
	}
	return fmt.Errorf("the data folder %s is %s and has lost its metadata: put the folder %s back, or start the node with --join HOST:PORT of another node",
		o.Dir, of, path.Join(o.Dir, "metadata"))
}

// resolveID finds out which node this is: the one that it was admitted as, or that somebody has said, or that the data folder
// belongs to. From then on that is in the configuration.
func (o *Options) resolveID() error {
	if err := o.mayFound(); err != nil {
		return err
	}
	if _, set := configuredID(o.Config); set && o.Admission == nil {
		return nil
	}
	found, ok, err := raft.Identify(o.FS, path.Join(o.Dir, "metadata"))
	if err != nil {
		return nil // opening it says what is wrong, and what to do
	}
	if o.Admission != nil {
		if ok {
			return fmt.Errorf("the data folder %s belongs to node %d already: start it without joining anew", o.Dir, found.Node)
		}
		found.Node, ok = o.Admission.Node, true
	}
	if ok && found.Node != 0 {
		o.Config = maps.Clone(o.Config)
		if o.Config == nil {
			o.Config = config.Static{}
		}
		o.Config["node.id"] = strconv.Itoa(int(found.Node))
	}
	return nil
}

func (n *Node) openQuorum(static config.Layers) (err error) {
	options := raft.Options{
		Runtime: n.o.Runtime, FS: n.o.FS, Dir: path.Join(n.o.Dir, "metadata"), Node: n.id, Machine: n.follower,
		Bootstrap: n.bootstrap, OnLeader: n.onLeader, Failed: n.fail, Log: n.logger, SnapshotBytes: n.o.SnapshotBytes,
		Peers: n.o.Peers, Voters: int(static.Int("controller.quorum.voters.max")), Silent: func(id kafka.NodeID) { n.Controller.Lost(id) },
	}
	if n.o.Peers != nil {
		options.Roster = n.roster
	}
	options.Self, _ = n.roster.endpoint(n.o.Endpoints)
	if a := n.o.Admission; a != nil {
		options.ClusterID, options.Joining = a.Cluster, a.RaftID
	}
	n.quorum, err = raft.Open(options)
	return err
}

func (n *Node) openDirectory(static config.Layers) (err error) {
	n.directory, err = storage.OpenDirectory(n.o.Runtime, n.o.FS, path.Join(n.o.Dir, "logs"), storage.DirectoryConfig{
		ClusterID: n.quorum.ClusterID(), NodeID: n.id, Logger: n.logger, OnFailed: n.directoryFailed,
	})
	return err
}

// abandon closes what was opened of a node that does not come to be.
func (n *Node) abandon() error {
	n.quorum.Close(func(error) {})
	return nil
}

func (n *Node) makeRooms(static config.Layers) {
	rt := n.o.Runtime
	n.Replicas = replica.New(replica.Options{Runtime: rt, Node: n.id, Directory: n.directory, Logger: n.logger,
		Openers: int(static.Int("num.recovery.threads.per.data.dir")),
		Network: n.o.Peers, Address: n.roster.address, AlterPartition: n.alterPartition, AssignDirectories: n.assignDirectories,
		MaxLag: ms(static.Int("replica.lag.time.max.ms")), MaxHold: ms(static.Int("replica.slow.evict.ms")),
		Fetching: replica.Fetching{Wait: ms(static.Int("replica.fetch.wait.max.ms")), MaxBytes: int32(static.Int("replica.fetch.response.max.bytes")),
			MaxPartitionBytes: int32(static.Int("replica.fetch.max.bytes"))},
		Quota: replica.QuotaWindow{Count: int(static.Int("replication.quota.window.num")),
			Size: time.Duration(static.Int("replication.quota.window.size.seconds")) * time.Second}})
	n.Replicas.Sessions.SetSlots(int(static.Int("max.incremental.fetch.session.cache.slots")))
	n.publisher = newPublisher(n)
	n.Groups = group.NewService(rt, groupConfig(static), groupTopics{n.publisher})
	n.Controller = controller.New(controller.Options{Runtime: rt, Configs: configs{n.layers}, Log: n.logger,
		SessionTimeout: ms(static.Int("broker.session.timeout.ms")), RebalanceEvery: rebalanceEvery(static),
		ShareOutAfter: shareOutAfter(static), Features: api.SupportedFeatures()})
	n.register = newRegistrar(n)
	producers := txn.NewProducerIDs(n.register.allocateProducerIDs)
	n.API = api.New(api.Options{
		Runtime: rt, Node: n.id, Image: n.publisher.Image, Replicas: n.Replicas, Groups: n.Groups, Controller: n.Controller,
		Producers: producers, Layers: n.layers.of, Advertised: n.o.Advertised, AfterApplied: n.publisher.afterApplied,
		Quorum: n.describeQuorum, Features: api.SupportedFeatures(), Cluster: cluster{n}, Serving: n.serving.Load, Observe: n.o.Observe,
	})
	n.house = newHousekeeper(n, static)
}

// Start lets the node take part. ready is called once, when it serves.
func (n *Node) Start(ready func()) {
	n.register.ready = ready
	n.follower.Subscribe(n.publisher.publish)
	n.quorum.Start()
	n.house.start()
	n.roster.check()
	if n.Clustered() {
		n.register.begin() // a node that is alone does when it leads
	}
}

// Clustered reports whether the node has others, without which it may not come to serve: then it has to be reached by them
// before.
func (n *Node) Clustered() bool { return !n.quorum.Alone() }

// Leave takes leave of the cluster: whatever this node leads others lead when done is called, or it has taken too long. The node
// serves until it is stopped.
func (n *Node) Leave(done func()) {
	n.register.leave(func() { n.quorum.Yield(done) })
}

// Stop leaves in good order: others take over, who waits is answered, logs are synced and closed. done is told what went wrong.
func (n *Node) Stop(done func(error)) { n.Leave(func() { n.stop(done) }) }

func (n *Node) stop(done func(error)) {
	n.house.stop()
	n.register.stop()
	n.publisher.stop(func() {
		n.publisher.resignAll()
		n.Replicas.Close()
		n.Controller.Resign()
		err := n.directory.Close()
		n.quorum.Close(func(closing error) { done(errors.Join(err, closing)) })
	})
}

// ClusterID names the cluster that the node belongs to.
func (n *Node) ClusterID() string { return n.quorum.ClusterID() }

// ID is the node's id.
func (n *Node) ID() kafka.NodeID { return n.id }

// Image is the metadata as this node has applied it.
func (n *Node) Image() *metadata.Image { return n.publisher.Image() }

// Directory is where the node keeps its logs.
func (n *Node) Directory() *storage.Directory { return n.directory }

func (n *Node) onLeader(epoch int32, leads bool) {
	if leads {
		n.Controller.Lead(epoch, n.quorum)
		n.register.begin()
	} else {
		n.Controller.Resign()
	}
}

// directoryFailed is told when the disk with the logs has failed: nothing that is on it can be served any more.
func (n *Node) directoryFailed(err error) {
	n.Replicas.DirectoryFailed()
	n.fail(fmt.Errorf("the data folder %s has failed: %w", n.directory.Path(), err))
}

func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		if n.o.Failed != nil {
			n.o.Failed(err)
		}
	})
}

// Quorum is the metadata quorum as this node sees it.
func (n *Node) Quorum() raft.Status { return n.quorum.Status() }

func (n *Node) describeQuorum() api.QuorumState {
	s := n.quorum.Status()
	image := n.publisher.Image()
	replicaOf := func(node kafka.NodeID, end int64, heard time.Time) api.QuorumReplica {
		r := api.QuorumReplica{Node: node, LogEnd: end, Heard: heard}
		if b := image.Broker(node); b != nil && len(b.Directories) > 0 {
			r.Directory = b.Directories[0]
		}
		return r
	}
	state := api.QuorumState{Leader: s.LeaderNode, Epoch: s.Epoch, HighWatermark: s.Committed}
	for _, m := range s.Members {
		if r := replicaOf(m.Node, m.End, m.Heard); m.Voter {
			state.Voters = append(state.Voters, r)
		} else {
			state.Observers = append(state.Observers, r)
		}
	}
	for _, o := range s.Observers {
		state.Observers = append(state.Observers, replicaOf(o.Node, o.End, o.At))
	}
	for _, list := range [][]api.QuorumReplica{state.Voters, state.Observers} {
		slices.SortFunc(list, func(a, b api.QuorumReplica) int { return cmp.Compare(a.Node, b.Node) })
	}
	return state
}
