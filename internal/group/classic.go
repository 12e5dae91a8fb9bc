package group

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// The classic protocol's files: this one is the group and what it answers to the rest of the machine; classic_member.go
// its members and their sessions; classic_join.go, classic_static.go, classic_rebalance.go and classic_sync.go the life
// of a generation in that order; classic_leave.go how it loses members; classic_record.go what of it survives.

// phase is where a classic group is between two generations.
type phase int

const (
	// empty: no members. There may be offsets, and members that were told an id and have not joined with it.
	empty phase = iota
	// preparing: members are called back to JoinGroup; a generation begins when all have come, or time is up.
	preparing
	// completing: everybody knows the generation and waits in SyncGroup for the leader's assignment.
	completing
	// stable: everybody has, or can get, an assignment.
	stable
)

func (p phase) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[p]
}

// consumerProtocol is the protocol type of consumers, whose metadata names topics.
const consumerProtocol = "consumer"

// classicGroup is a group of the classic protocol, or a simple group, which has no protocol type and never members.
type classicGroup struct {
	machine *Machine
	id      string

	phase        phase
	since        int64 // when the phase began, ms since 1970; -1 if an old Kafka did not say
	generation   int32
	protocolType string // "" until the first member, and in a simple group
	protocol     string // chosen by the members' vote; "" while there is none
	leader       string // a member's id, "" without members
	// topics are what consumers subscribe to; nil if they are not consumers, or it cannot be read.
	topics map[string]bool

	members []*member          // in the order in which they came
	byID    map[string]*member // the same members
	static  map[string]string  // instance id to member id (KIP-345)
	pending map[string]func()  // ids given out (KIP-394) whose holders have not joined yet, with what stops their timers

	// initial is set while preparing the first generation after empty: then a delay gathers members, and nothing shortens it.
	initial bool
	// newcomers is set when somebody joined during that delay, which prolongs it.
	newcomers bool
	stopJoin  func() // the timer that ends preparing, if one runs
	stopSync  func() // the timer that ends completing
	unsynced  map[string]bool
}

func newClassicGroup(m *Machine, id string) *classicGroup {
	return &classicGroup{
		machine: m, id: strings.Clone(id), since: -1,
		byID: map[string]*member{}, static: map[string]string{}, pending: map[string]func(){}, unsynced: map[string]bool{},
	}
}

func (g *classicGroup) enter(p phase) {
	g.phase, g.since = p, g.machine.nowMs()
}

func (g *classicGroup) listing() listing {
	return listing{protocolType: g.protocolType, state: g.phase.String(), kind: "classic"}
}

func (g *classicGroup) checkCommit(c committer) kafka.ErrorCode {
	// An admin client, or a consumer that assigns itself, commits without a generation: only where it disturbs nobody.
	if c.generation < 0 && g.phase == empty {
		return kafka.None
	}
	if c.generation < 0 && c.memberID == "" {
		c.instanceID = nil // some clients send it without being a member (KAFKA-14201)
	}
	m, code := g.validate(c.memberID, c.instanceID)
	switch {
	case code != kafka.None:
		return code
	case c.generation != g.generation:
		return kafka.IllegalGeneration
	}
	g.touch(m, m.sessionTimeout)
	if g.phase == completing {
		return kafka.RebalanceInProgress
	}
	return kafka.None
}

func (g *classicGroup) checkDelete() kafka.ErrorCode {
	if g.phase != empty {
		return kafka.NonEmptyGroup
	}
	return kafka.None
}

func (g *classicGroup) checkOffsetDelete() kafka.ErrorCode {
	if g.phase != empty && g.protocolType != consumerProtocol {
		return kafka.NonEmptyGroup
	}
	return kafka.None
}

func (g *classicGroup) subscribes(topic string) bool {
	if g.phase == empty || g.protocolType != consumerProtocol {
		return false
	}
	return g.topics == nil || g.topics[topic]
}

func (g *classicGroup) expiresFrom(topic string, o *offset) (int64, bool) {
	switch {
	case g.protocolType == "":
		return o.committed, true
	case g.phase == empty && g.since >= 0:
		return g.since, true
	case g.phase == empty:
		return o.committed, true
	case g.phase == stable && g.topics != nil && !g.topics[topic]:
		return o.committed, true
	}
	return 0, false
}

func (g *classicGroup) idle() bool { return g.phase == empty && len(g.pending) == 0 }

func (g *classicGroup) tombstone() Record { return Record{Key: groupKey(g.id)} }

func (g *classicGroup) close(code kafka.ErrorCode) {
	g.stopTimers()
	for _, m := range g.members {
		m.stopSession()
		m.answerNow(code)
	}
	for _, stop := range g.pending { // any order
		stop()
	}
	clear(g.pending)
}

func (g *classicGroup) stopTimers() {
	for _, stop := range []*func(){&g.stopJoin, &g.stopSync} {
		if *stop != nil {
			(*stop)()
			*stop = nil
		}
	}
}

// validate finds the member that a request speaks for. Where it names an instance, the instance decides: a member id
// that has been replaced is fenced (KIP-345).
func (g *classicGroup) validate(memberID string, instanceID *string) (*member, kafka.ErrorCode) {
	if instanceID != nil {
		current, ok := g.static[*instanceID]
		switch {
		case !ok:
			return nil, kafka.UnknownMemberID
		case current != memberID:
			return nil, kafka.FencedInstanceID
		}
	}
	m := g.byID[memberID]
	if m == nil {
		return nil, kafka.UnknownMemberID
	}
	return m, kafka.None
}

// supports reports whether somebody with these protocols can join: one of them is supported by all members.
func (g *classicGroup) supports(protocolType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if g.phase == empty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		return g.supportedByAll(p.Name)
	})
}

func (g *classicGroup) supportedByAll(protocol string) bool {
	for _, m := range g.members {
		if m.metadata(protocol) == nil {
			return false
		}
	}
	return true
}

// vote chooses the protocol: each member votes for the first of its own that all support. On equal votes the earliest
// member's choice wins.
func (g *classicGroup) vote() string {
	votes, best := map[string]int{}, ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.supportedByAll(p.name) {
				votes[p.name]++
				break
			}
		}
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if votes[p.name] > votes[best] {
				best = p.name
			}
		}
	}
	return best
}

// readTopics reads from consumers' metadata what they subscribe to. It is the only place that looks into metadata.
func (g *classicGroup) readTopics() {
	g.topics = nil
	if g.protocolType != consumerProtocol || g.protocol == "" {
		return
	}
	topics := map[string]bool{}
	for _, m := range g.members {
		var subscription kmsg.ConsumerMemberMetadata
		if subscription.ReadFrom(m.metadata(g.protocol)) != nil {
			return
		}
		for _, topic := range subscription.Topics {
			topics[topic] = true
		}
	}
	g.topics = topics
}

// rebalanceTimeout is how long the slowest member may take to rejoin.
func (g *classicGroup) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}
