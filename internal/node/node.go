// Package node is the rooms put together into one member of a cluster: the metadata quorum, the controller, the
// replicas, the group coordinator, and the APIs in front of them.
//
// It promises that a node opened on any data folder that a node has left, however it was left, serves what that one had
// acknowledged; and that it cannot tell a simulation from the world.
// The daemon, the trial and gregortest open it. It holds wiring only, in the order of the house: it decides nothing.
package node

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
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
	publisher *publisher
	quorum    *raft.Node
	directory *storage.Directory
	register  *registrar
	house     *housekeeper
	failOnce  sync.Once
}

// Open opens a node's data folder, and makes it if it is new. The node does nothing before Start.
func Open(o Options) (*Node, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	static := config.Layers{Static: o.Config.Layer()}
	n := &Node{o: o, id: kafka.NodeID(static.Int("node.id")), logger: o.Logger}
	n.layers = layers{node: n.id, static: o.Config}
	n.follower = metadata.NewFollower()
	if err := vfs.MakeFolder(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("cannot make the data folder %s: %w", o.Dir, err)
	}
	if err := n.openQuorum(); err != nil {
		return nil, err
	}
	if err := n.openDirectory(static); err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	n.makeRooms(static)
	return n, nil
}

func (n *Node) openQuorum() (err error) {
	n.quorum, err = raft.Open(raft.Options{
		Runtime: n.o.Runtime, FS: n.o.FS, Dir: path.Join(n.o.Dir, "metadata"), Node: n.id, Machine: n.follower,
		Bootstrap: n.bootstrap, OnLeader: n.onLeader, Failed: n.fail, Log: n.logger, SnapshotBytes: n.o.SnapshotBytes,
	})
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
		Openers: int(static.Int("num.recovery.threads.per.data.dir"))})
	n.Replicas.Sessions.SetSlots(int(static.Int("max.incremental.fetch.session.cache.slots")))
	n.publisher = newPublisher(n)
	n.Groups = group.NewService(rt, groupConfig(static), groupTopics{n.publisher})
	n.Controller = controller.New(controller.Options{Runtime: rt, Configs: configs{n.layers}, Log: n.logger,
		SessionTimeout: ms(static.Int("broker.session.timeout.ms")), Features: api.SupportedFeatures()})
	n.register = newRegistrar(n)
	producers := txn.NewProducerIDs(n.register.allocateProducerIDs)
	n.API = api.New(api.Options{
		Runtime: rt, Node: n.id, Image: n.publisher.Image, Replicas: n.Replicas, Groups: n.Groups, Controller: n.Controller,
		Producers: producers, Layers: n.layers.of, Advertised: n.o.Advertised, AfterApplied: n.publisher.afterApplied,
		Quorum: n.describeQuorum, Features: api.SupportedFeatures(), Observe: n.o.Observe,
	})
	n.house = newHousekeeper(n, static)
}

// Start lets the node take part. ready is called once, when it serves.
func (n *Node) Start(ready func()) {
	n.register.ready = ready
	n.follower.Subscribe(n.publisher.publish)
	n.quorum.Start()
	n.house.start()
}

// Stop leaves in good order: who waits is answered, logs are synced and closed. done is told what went wrong.
func (n *Node) Stop(done func(error)) {
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

func (n *Node) describeQuorum() api.QuorumState {
	s := n.quorum.Status()
	state := api.QuorumState{Leader: kafka.NoNode, Epoch: s.Epoch, HighWatermark: s.Committed}
	if s.Leads {
		state.Leader = n.id
	}
	for _, m := range s.Members {
		if m.Voter {
			state.Voters = append(state.Voters, api.QuorumReplica{Node: n.id, LogEnd: m.End})
		}
	}
	return state
}
