// Package controller is the cluster's brain: it decides everything that is about metadata. Topics, partitions and their
// leaders, brokers and whether they live, configs, features, blocks of producer ids.
//
// It promises that an answer, also a refusal, is given only when everything it rests on is committed in the quorum's
// log; that a change is one atomic batch; and that its state is a metadata.Image, changed by replaying records only.
// Package api brings it requests that are authorized already; package node gives it the quorum's log when this node
// leads the quorum. On any other node every request is answered NOT_CONTROLLER.
// It does not authorize, does not forward to the node that is the active controller, and does not apply what it decided
// to this node: that comes back to every node alike, through the log.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/statemachine"
)

// Configs is what the controller has to know about configuration keys. Package node makes it of the table of them all.
type Configs interface {
	// Check says what is wrong with one key that a client sets for a resource, in words for the client; nil if nothing is.
	// An unknown key is wrong.
	Check(kind metadata.ResourceType, name, key, value string) error
	// IsList reports whether the key's value is a comma-separated list.
	IsList(kind metadata.ResourceType, key string) bool
	// Default is the value that a key has for a resource when the resource itself does not set it.
	Default(image *metadata.Image, kind metadata.ResourceType, name, key string) string
	// TopicConfigs are all the configs in effect for a topic that sets these, as CreateTopics v5+ returns them (KIP-525).
	TopicConfigs(image *metadata.Image, set *metadata.Configs) []kmsg.CreateTopicsResponseTopicConfig
	// NumPartitions and ReplicationFactor are those of topics created without any (KIP-464).
	NumPartitions(image *metadata.Image) int32
	ReplicationFactor(image *metadata.Image) int16
	// MinISR is min.insync.replicas as in effect for a topic.
	MinISR(image *metadata.Image, topic string) int
	// InternalReplicas is how many replicas an internal topic is to have where there are as many brokers; 0 for any other topic.
	InternalReplicas(image *metadata.Image, topic string) int
}

// Options are what a controller is made of.
type Options struct {
	Runtime loop.Runtime
	Configs Configs
	// SessionTimeout is how long a broker may be silent before it is fenced (broker.session.timeout.ms).
	SessionTimeout time.Duration
	// RebalanceEvery is how often leaders go back to the replicas that are preferred (leader.imbalance.check.interval.seconds);
	// 0 for never (auto.leader.rebalance.enable=false).
	RebalanceEvery time.Duration
	// ShareOutAfter is how long the last broker that has joined has been there when those that have joined are given their share
	// (auto.replica.rebalance.delay.ms); 0 for never (auto.replica.rebalance.enable=false).
	ShareOutAfter time.Duration
	// Features are the levels of features that this software supports.
	Features []metadata.FeatureRange
	Log      *slog.Logger // nil for the default one
}

// maxRecords is how many partitions one request may create or change (KIP-500's controller has the same bound): more would
// keep heartbeats waiting, and make a batch that the quorum refuses.
const maxRecords = 10_000

// Controller is a node's controller, active or not. Its methods may be called from anywhere; replies come from the
// controller's loop.
type Controller struct {
	options Options

	mu    sync.Mutex
	shard *shard // nil while not active
	turn  int    // counts shards, so that a late word of an old one is known
}

type shard = statemachine.Shard[metadata.Record, *machine]

// New makes a controller that is not active.
func New(options Options) *Controller {
	if options.Log == nil {
		options.Log = slog.Default()
	}
	return &Controller{options: options}
}

// Lead makes the controller active on the quorum's log in an epoch; Resign ends that. Package node calls them as the
// quorum says.
func (c *Controller) Lead(epoch int32, log statemachine.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lead(epoch, log)
}

func (c *Controller) lead(epoch int32, log statemachine.Log) {
	c.resign()
	m, turn := newMachine(&c.options), c.turn
	s := statemachine.Lead(c.options.Runtime, "controller", epoch, log, statemachine.Codec[metadata.Record](m.codec()), m,
		func(err error) { c.ended(turn, epoch, log, err) })
	c.shard = s
	s.OnLoaded(func(m *machine) {
		watchSessions(s, m)
		watchLeaders(s, m)
		watchNewcomers(s, m)
	})
}

// ended hears that a shard is over. If the quorum still lets this node lead, the log is loaded again, after a while: what
// was wrong with it may still be.
func (c *Controller) ended(turn int, epoch int32, log statemachine.Log, err error) {
	if err == nil || errors.Is(err, kafka.NotLeaderOrFollower) {
		return
	}
	level := slog.LevelError
	if errors.Is(err, kafka.NotController) {
		level = slog.LevelInfo // it was about to hand over, and may not have been able to
	}
	c.options.Log.Log(context.Background(), level, "the controller will load its log again", "epoch", epoch, "because", err)
	c.options.Runtime.Loop("controller again").After(time.Second, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.turn == turn {
			c.lead(epoch, log)
		}
	})
}

// Resign makes the controller inactive.
func (c *Controller) Resign() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resign()
}

func (c *Controller) resign() {
	c.turn++
	if c.shard != nil {
		c.shard.Resign()
		c.shard = nil
	}
}

// Active reports whether requests are decided here.
func (c *Controller) Active() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shard != nil && !c.shard.Loading() && !c.shard.Ended()
}

// decide lets the machine decide if this is the active controller, and answers NOT_CONTROLLER if it is not, or has stopped to
// be before the decision was committed.
func (c *Controller) decide(decide func(m *machine) []metadata.Record, answered func(error)) {
	c.mu.Lock()
	s := c.shard
	c.mu.Unlock()
	if s == nil {
		answered(kafka.NotController)
		return
	}
	s.Decide(decide, func(err error) {
		if errors.Is(err, kafka.NotCoordinator) || errors.Is(err, kafka.CoordinatorLoadInProgress) {
			err = kafka.NotController
		}
		answered(err)
	})
}

// refusal is an error for a client: a code, and words that help.
type refusal struct {
	code kafka.ErrorCode
	text string
}

func refuse(code kafka.ErrorCode, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.code.Error() + ": " + r.text }
func (r *refusal) Unwrap() error { return r.code }

// refusalOf makes one of the error of a decision.
func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	code := kafka.AsErrorCode(err)
	if code == kafka.NotController {
		return refuse(code, "this node is not the active controller")
	}
	return refuse(code, "the controller could not write its decision: %v", err)
}

// on puts the refusal, which may be nil, where a response has its error.
func (r *refusal) on(code *int16, message **string) {
	if r == nil {
		*code = 0
		return
	}
	*code = r.code.Code()
	*message = kmsg.StringPtr(r.text)
}
