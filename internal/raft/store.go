package raft

import (
	"fmt"
	"log/slog"
	"slices"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/gregorhq/gregor/internal/must"
	"github.com/gregorhq/gregor/internal/vfs"
)

type progress = tracker.Progress

// store is raft's view of the log: entries since about the newest snapshot in memory, the snapshot itself on disk.
type store struct {
	*etcd.MemoryStorage
	fs  vfs.FS
	dir string
	now snapshotID // the newest snapshot that is durable
	// members are those of the quorum now. A snapshot that has others is not sent: who is not in it would not take it.
	members members
}

func newStore(fs vfs.FS, dir string, id snapshotID, m members, hard hardState, entries []entry) *store {
	s := &store{MemoryStorage: etcd.NewMemoryStorage(), fs: fs, dir: dir, now: id, members: m}
	if id.index > 0 {
		must.NoError(s.ApplySnapshot(protoSnapshot(id, m)), "load a snapshot into an empty store")
	}
	list := make([]*raftpb.Entry, len(entries))
	for i, e := range entries {
		kind := raftpb.EntryType(e.kind)
		// A copy of its own, so that the whole file it was read from can go.
		list[i] = &raftpb.Entry{Type: &kind, Index: new(e.index), Term: new(e.term), Data: append([]byte(nil), e.data...)}
	}
	must.NoError(s.Append(list), "load entries into an empty store")
	must.NoError(s.SetHardState(&raftpb.HardState{Term: &hard.term, Vote: &hard.vote, Commit: &hard.commit}), "load a hard state")
	return s
}

// Snapshot is for a follower that is too far behind: the whole file.
func (s *store) Snapshot() (*raftpb.Snapshot, error) {
	data, err := readSnapshotFile(s.fs, s.dir, s.now.index)
	if err != nil {
		return nil, etcd.ErrSnapshotTemporarilyUnavailable
	}
	parsed, err := parseSnapshot(data)
	if err != nil || !parsed.members.equal(s.members) {
		return nil, etcd.ErrSnapshotTemporarilyUnavailable
	}
	snapshot := protoSnapshot(parsed.id, parsed.members)
	snapshot.Data = data
	return snapshot, nil
}

// install puts a snapshot from the leader in place of everything.
func (s *store) install(snapshot *raftpb.Snapshot) error {
	bare := &raftpb.Snapshot{Metadata: snapshot.GetMetadata()}
	return s.ApplySnapshot(bare)
}

func (s *store) snapshotID() snapshotID { return s.now }

// end is the index after the last entry.
func (s *store) end() int64 {
	last, err := s.LastIndex()
	must.NoError(err, "last index in memory")
	return int64(last) + 1
}

func (s *store) entriesBehind(index uint64) []*raftpb.Entry {
	last := uint64(s.end() - 1)
	if last <= index {
		return nil
	}
	entries, err := s.Entries(index+1, last+1, 1<<62)
	must.NoError(err, "entries behind the snapshot")
	return entries
}

// advance notes a newer durable snapshot, and forgets entries that are further behind it than a follower may be.
func (s *store) advance(id snapshotID, tail uint64) {
	s.now = id
	first, err := s.FirstIndex()
	must.NoError(err, "first index in memory")
	if id.index > tail && id.index-tail >= first {
		must.NoError(s.Compact(id.index-tail), "forget entries")
	}
}

func protoSnapshot(id snapshotID, m members) *raftpb.Snapshot {
	conf := &raftpb.ConfState{
		Voters: m.voters, Learners: m.learners, VotersOutgoing: m.outgoing, LearnersNext: m.learnersNext, AutoLeave: &m.autoLeave,
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &id.index, Term: &id.term}}
}

func membersOf(c *raftpb.ConfState) members {
	return members{c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext(), c.GetAutoLeave()}
}

func (m members) equal(other members) bool {
	return m.autoLeave == other.autoLeave && slices.Equal(m.voters, other.voters) && slices.Equal(m.learners, other.learners) &&
		slices.Equal(m.outgoing, other.outgoing) && slices.Equal(m.learnersNext, other.learnersNext)
}

// logger puts what raft says into our log. What it calls fatal is an invariant of ours that is broken.
type logger struct{ log *slog.Logger }

func (l logger) Debug(v ...any)                   { l.log.Debug(fmt.Sprint(v...)) }
func (l logger) Debugf(format string, v ...any)   { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l logger) Info(v ...any)                    { l.log.Debug(fmt.Sprint(v...)) }
func (l logger) Infof(format string, v ...any)    { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l logger) Warning(v ...any)                 { l.log.Warn(fmt.Sprint(v...)) }
func (l logger) Warningf(format string, v ...any) { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l logger) Error(v ...any)                   { l.log.Error(fmt.Sprint(v...)) }
func (l logger) Errorf(format string, v ...any)   { l.log.Error(fmt.Sprintf(format, v...)) }
func (l logger) Fatal(v ...any)                   { must.Be(false, "raft: %s", fmt.Sprint(v...)) }
func (l logger) Fatalf(format string, v ...any)   { must.Be(false, "raft: "+format, v...) }
func (l logger) Panic(v ...any)                   { must.Be(false, "raft: %s", fmt.Sprint(v...)) }
func (l logger) Panicf(format string, v ...any)   { must.Be(false, "raft: "+format, v...) }
