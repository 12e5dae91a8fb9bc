package trial

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/wire"
)

// client is what all simulated client programs have: a name and a connection to each node, made anew when it breaks.
type client struct {
	t           *trial
	name        string
	links       map[*host]*link
	formatter   *kmsg.RequestFormatter
	correlation int32
	from        *link // where the answer that is being looked at came from
}

// call is a request and who waits for its answer.
type call struct {
	correlation int32
	request     kmsg.Request
	done        func(kmsg.Response) // nil: nobody knows what became of it
	cancel      func()
}

func newClient(t *trial, name string) *client {
	return &client{t: t, name: name, links: map[*host]*link{}, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID(name))}
}

func (c *client) String() string { return c.name }

// connect is a connection to a node; nil if that cannot be.
func (c *client) connect(to *host) *link {
	if l := c.links[to]; l != nil && !l.broken {
		return l
	}
	c.links[to] = to.dial(c)
	return c.links[to]
}

// call sends a request to any node.
func (c *client) call(request kmsg.Request, version int16, done func(kmsg.Response)) {
	c.ask(c.t.any(), request, version, done)
}

// ask sends a request to a node. done is told the answer, or nil when it is not known whether the node has heard it.
func (c *client) ask(to *host, request kmsg.Request, version int16, done func(kmsg.Response)) {
	link := c.connect(to)
	if link == nil {
		c.t.after(c.t.between(5*time.Millisecond, 200*time.Millisecond), func() { done(nil) })
		return
	}
	k := &call{request: request, done: done}
	k.correlation = c.post(link, request, version)
	link.pending = append(link.pending, k)
	k.cancel = c.t.after(15*time.Second, func() {
		c.t.logf("%s: no answer to %s", c.name, kmsg.NameForKey(request.Key()))
		link.breakOff(false)
	})
}

// post sends a request on a connection that there is, and expects nothing.
func (c *client) post(link *link, request kmsg.Request, version int16) (correlation int32) {
	request.SetVersion(version)
	c.correlation++
	frame := c.formatter.AppendRequest(nil, request, c.correlation)
	if m := c.t.o.Mutant; m != nil && m.Frame != nil {
		frame = m.Frame(frame)
	}
	link.send(frame)
	return c.correlation
}

// received takes an answer, which must be to the request that was sent first of those that wait.
func (c *client) received(l *link, frame []byte) {
	c.t.expect(len(frame) >= 8 && int(binary.BigEndian.Uint32(frame)) == len(frame)-4, "%s: an answer of %d bytes says it has another size", c.name, len(frame))
	c.t.expect(len(l.pending) > 0, "%s: an answer to nothing", c.name)
	k := l.pending[0]
	l.pending = l.pending[1:]
	k.cancel()
	c.t.expect(int32(binary.BigEndian.Uint32(frame[4:])) == k.correlation, "%s: answers come out of order", c.name)
	body := frame[8:]
	response := k.request.ResponseKind()
	if response.IsFlexible() && response.Key() != wire.KeyAPIVersions {
		body = body[1:]
	}
	err := response.ReadFrom(body)
	c.t.expect(err == nil, "%s: an answer to %s version %d does not parse: %v", c.name, kmsg.NameForKey(k.request.Key()), k.request.GetVersion(), err)
	c.from = l
	k.done(response)
}

// lost is told that a connection broke. What was asked on it may or may not have happened.
func (c *client) lost(l *link) {
	pending := l.pending
	l.pending = nil
	for _, k := range pending {
		k.cancel()
		k.done(nil)
	}
}

// hangUp breaks the connections from the client's side.
func (c *client) hangUp() {
	for _, h := range c.t.hosts {
		if l := c.links[h]; l != nil {
			l.breakOff(false)
		}
	}
}

// again calls f in a moment.
func (c *client) again(f func()) {
	c.t.after(c.t.between(2*time.Millisecond, 100*time.Millisecond), f)
}

// passing reports whether an error says no more than that one should try again.
func passing(code kafka.ErrorCode) bool {
	switch code {
	case kafka.NotLeaderOrFollower, kafka.KafkaStorageError, kafka.LeaderNotAvailable, kafka.RequestTimedOut, kafka.CoordinatorLoadInProgress,
		kafka.CoordinatorNotAvailable, kafka.NotCoordinator, kafka.NotController, kafka.OffsetNotAvailable, kafka.NotEnoughReplicas,
		kafka.NetworkException, kafka.UnknownLeaderEpoch, kafka.FencedLeaderEpoch, kafka.UnknownTopicOrPartition, kafka.UnknownTopicID:
		return true
	}
	return false
}

// few reports whether an error says that too few nodes live, or are in sync, for what was asked.
func few(code kafka.ErrorCode) bool {
	return code == kafka.InvalidReplicationFactor || code == kafka.NotEnoughReplicasAfterAppend || code == kafka.InvalidReplicaAssignment
}

// soon complains unless a promise is kept. Where there are several nodes, another than the one that made it may not have heard of
// it yet: then it is looked at again, and reports false. A client that has to look for ever does not come to its end.
func (c *client) soon(kept bool, again func(), format string, args ...any) bool {
	if !kept && c.t.clustered() {
		c.t.done("looks at what was not there yet", 1)
		c.again(again)
		return false
	}
	c.t.expect(kept, format, args...)
	return true
}

// must complains about an error that no fault explains.
func (c *client) must(code int16, what string, args ...any) {
	c.t.expect(passing(kafka.ErrorCode(code)) || c.t.clustered() && few(kafka.ErrorCode(code)), "%s: %s is refused: %v", c.name, fmt.Sprintf(what, args...), kafka.ErrorCode(code))
}
