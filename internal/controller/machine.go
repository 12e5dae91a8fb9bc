package controller

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// machine is the controller's state. What is replicated is the image, and what is made of it; the rest is known only to the
// active controller, and begins anew with the next.
type machine struct {
	options *Options
	current *metadata.Image
	delta   *metadata.Delta // what was replayed since current; nil if nothing

	// plain finds the topic whose name is the same as another's if "." and "_" are: they would share metrics names.
	plain map[string]string

	brokers map[kafka.NodeID]*session
	// reserved are the ids of nodes that were let in and have not registered yet.
	reserved  map[kafka.NodeID]reserved
	newcomers newcomers
}

// session is what the active controller knows of a broker that it has heard of.
type session struct {
	epoch    int64
	began    time.Time // zero if that was before this controller was active
	heard    time.Time
	between  time.Duration // heartbeats, on average
	applied  int64         // the metadata offset that the broker has applied
	shutdown int64         // the offset from which on everybody knows that it leads nothing; -1 if it does not shut down
	lost     bool          // its connection has ended, and it has a moment to be heard of again
	full     bool          // its disk was, when it was heard last
}

func newMachine(options *Options) *machine {
	return &machine{options: options, current: metadata.Empty(), plain: map[string]string{}, brokers: map[kafka.NodeID]*session{}, reserved: map[kafka.NodeID]reserved{}}
}

func (m *machine) codec() metadata.Codec {
	return metadata.Codec{Base: func() int64 { return m.image().Offset() }}
}

// Replay changes the image.
func (m *machine) Replay(offset int64, record metadata.Record) {
	switch r := record.(type) {
	case *metadata.TopicRecord:
		if strings.ContainsAny(r.Name, "._") {
			m.plain[plainName(r.Name)] = r.Name
		}
	case *metadata.RemoveTopic:
		if t := m.image().TopicByID(r.ID); t != nil {
			delete(m.plain, plainName(t.Name))
		}
	}
	if m.delta == nil {
		m.delta = m.current.Delta()
	}
	m.delta.Replay(offset, record)
}

// image is the state with everything that was replayed.
func (m *machine) image() *metadata.Image {
	if m.delta != nil {
		m.current, m.delta = m.delta.Image(), nil
	}
	return m.current
}

// plainName is a topic's name as in metrics.
func plainName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// active reports whether a broker may lead and be in an ISR.
func (m *machine) active(id kafka.NodeID) bool { return m.image().Broker(id).Active() }

// newTopicID draws an id that no topic has, and that is none of those with a meaning of their own.
func (m *machine) newTopicID() kafka.TopicID {
	for {
		var id kafka.TopicID
		for n := range id {
			id[n] = byte(m.options.Runtime.Rand().Uint32())
		}
		if id = presentable(id); m.image().TopicByID(id) == nil {
			return id
		}
	}
}

// topicIDOf is the id of a topic that a request with a token creates; zero without a token.
func topicIDOf(token [16]byte, name string) (id kafka.TopicID) {
	if token == ([16]byte{}) {
		return id
	}
	sum := sha256.Sum256(append(token[:], name...))
	copy(id[:], sum[:])
	return presentable(id)
}

// presentable makes random bytes a random UUID (RFC 9562), as other software makes them, that does not look like a flag when it is
// given to a tool.
func presentable(id kafka.TopicID) kafka.TopicID {
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	if id.String()[0] == '-' {
		id[0] &= 0x7f
	}
	return id
}

// newDirectories are the directories of new replicas, where there is no choice: a broker with one has it there.
func (m *machine) newDirectories(replicas []kafka.NodeID) []metadata.DirectoryID {
	directories := make([]metadata.DirectoryID, len(replicas))
	for n, id := range replicas {
		if b := m.image().Broker(id); b != nil && len(b.Directories) == 1 {
			directories[n] = b.Directories[0]
		}
	}
	return directories
}
