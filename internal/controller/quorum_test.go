package controller

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/raft"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/vfs"
)

// stack is a controller on a real quorum of one, on a disk that can lose power.
type stack struct {
	*Controller
	world    *sim.World
	node     *raft.Node
	follower *metadata.Follower
}

func newStack(t *testing.T, world *sim.World, fs vfs.FS) *stack {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := &stack{world: world, follower: metadata.NewFollower()}
	s.Controller = New(Options{Runtime: world, Configs: testConfigs{}, SessionTimeout: time.Hour, Log: quiet})
	var err error
	s.node, err = raft.Open(raft.Options{
		Runtime: world, FS: fs, Dir: "metadata", Node: 1, ClusterID: "c", Machine: s.follower, Log: quiet, SnapshotBytes: 4000,
		Bootstrap: func(cluster string) [][]byte {
			image := metadata.Empty().Delta()
			image.Replay(1, &metadata.ClusterID{ID: cluster})
			var batches [][]byte
			_ = image.Image().Snapshot(0, func(b []byte) error { batches = append(batches, slices.Clone(b)); return nil })
			return batches
		},
		OnLeader: func(epoch int32, leads bool) {
			if leads {
				s.Lead(epoch, s.node)
			} else {
				s.Resign()
			}
		},
		Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.node.Start()
	if !world.RunUntil(time.Second, s.Active) {
		t.Fatal("the controller does not become active")
	}
	return s
}

func dump(t *testing.T, i *metadata.Image) (all string) {
	t.Helper()
	if err := i.Snapshot(0, func(b []byte) error { all += string(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Requests are pipelined, snapshots are taken, the power goes, again and again. What was answered is there afterwards, and
// every life of the controller and its follower see the same metadata.
func TestWhatWasAnsweredSurvivesPowerCuts(t *testing.T) {
	world, disk := sim.New(1), vfs.NewMemory()
	answered := map[string]bool{}
	for life := range 8 {
		s := newStack(t, world, disk)
		if life == 0 {
			b := metadata.Broker{ID: 1, BootSequence: 1}
			s.RegisterBroker(Registration{b, "c"}, func(epoch int64, err error) {
				s.Heartbeat(Heartbeat{Broker: 1, Epoch: epoch, Applied: epoch}, func(r HeartbeatReply, err error) {
					if err != nil || r.Fenced {
						t.Errorf("heartbeat is answered %+v, %v", r, err)
					}
				})
			})
			world.Run(time.Second)
		}
		for name := range answered { // any order
			if s.follower.Image().Topic(name) == nil {
				t.Fatalf("life %d: topic %s was acknowledged and is gone", life, name)
			}
		}
		for n := range 40 {
			name := fmt.Sprintf("topic-%d-%d", life, n)
			req := kmsg.NewPtrCreateTopicsRequest()
			req.Topics = append(req.Topics, topic(name, 2, 1))
			s.CreateTopics(req, func(r *kmsg.CreateTopicsResponse) {
				if r.Topics[0].ErrorCode != 0 {
					t.Errorf("life %d: %s: %v", life, name, kafka.ErrorCode(r.Topics[0].ErrorCode))
				}
				answered[name] = true
				if s.follower.Image().Topic(name) == nil {
					t.Errorf("life %d: %s was answered before this node has it", life, name)
				}
			})
			if world.Rand().IntN(3) == 0 {
				world.RunUntil(time.Second, func() bool { return answered[name] })
			}
		}
		if life%2 == 0 {
			world.Run(time.Second)
			other := metadata.NewFollower()
			if err := s.node.Read(0, other.Apply); err != nil {
				t.Fatal(err)
			}
			other.Publish()
			if dump(t, other.Image()) != dump(t, s.follower.Image()) {
				t.Errorf("life %d: the log reads as another image than the one that followed it", life)
			}
		}
		disk = disk.Crash(world.Rand())
		world = sim.New(uint64(life + 2))
	}
	if len(answered) < 8*20 {
		t.Errorf("only %d topics were created", len(answered))
	}
}

// On the runtime of the world, with many callers at once, nothing is answered twice and every topic is there.
func TestManyCallersOnARealQuorum(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	follower := metadata.NewFollower()
	c := New(Options{Runtime: loop.Real(), Configs: testConfigs{}, SessionTimeout: time.Hour, Log: quiet})
	var node *raft.Node
	node, err := raft.Open(raft.Options{
		Runtime: loop.Real(), FS: vfs.NewMemory(), Dir: "metadata", Node: 1, ClusterID: "c", Machine: follower, Log: quiet, SnapshotBytes: 20_000,
		Bootstrap: func(string) (batches [][]byte) {
			d := metadata.Empty().Delta()
			d.Replay(1, &metadata.ClusterID{ID: "c"})
			_ = d.Image().Snapshot(0, func(b []byte) error { batches = append(batches, slices.Clone(b)); return nil })
			return batches
		},
		OnLeader: func(epoch int32, leads bool) {
			if leads {
				c.Lead(epoch, node)
			}
		},
		Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var registered sync.WaitGroup
	registered.Add(1)
	var register func()
	register = func() {
		c.RegisterBroker(Registration{metadata.Broker{ID: 1, BootSequence: 1}, "c"}, func(epoch int64, err error) {
			if err != nil {
				register() // not active yet
				return
			}
			c.Heartbeat(Heartbeat{Broker: 1, Epoch: epoch, Applied: epoch}, func(HeartbeatReply, error) { registered.Done() })
		})
	}
	node.Start()
	for !c.Active() {
		runtime.Gosched()
	}
	register()
	registered.Wait()
	var callers, answers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for n := range 50 {
				req := kmsg.NewPtrCreateTopicsRequest()
				name := fmt.Sprintf("topic-%d-%d", caller, n)
				req.Topics = append(req.Topics, topic(name, 1, 1))
				answers.Add(1)
				c.CreateTopics(req, func(r *kmsg.CreateTopicsResponse) {
					defer answers.Done()
					if r.Topics[0].ErrorCode != 0 || follower.Image().Topic(name) == nil {
						t.Errorf("%s is answered %v", name, kafka.ErrorCode(r.Topics[0].ErrorCode))
					}
				})
				node.Status()
			}
		})
	}
	callers.Wait()
	answers.Wait()
	if n := follower.Image().TopicCount(); n != 400 {
		t.Errorf("there are %d topics, want 400", n)
	}
	var closed sync.WaitGroup
	closed.Add(1)
	node.Close(func(err error) {
		if err != nil {
			t.Error(err)
		}
		closed.Done()
	})
	closed.Wait()
}
