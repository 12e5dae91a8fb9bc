package raft

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/vfs"
)

// quorum is three members in one world, whose messages are late, lost and repeated, and whose power goes.
type quorum struct {
	t       *testing.T
	world   *sim.World
	chance  *rand.Rand
	disks   map[uint64]*vfs.Memory
	members map[uint64]*member // those that run
	ids     []uint64
	loss    int // of 100 messages

	installed int // snapshots that reached somebody
}

func newQuorum(t *testing.T, seed uint64) *quorum {
	q := &quorum{
		t: t, world: sim.New(seed), chance: rand.New(rand.NewPCG(seed, 4)),
		disks: map[uint64]*vfs.Memory{}, members: map[uint64]*member{}, ids: []uint64{11, 12, 13},
	}
	for n, id := range q.ids {
		fs := vfs.NewMemory()
		_ = fs.MkdirAll("metadata")
		_ = fs.SyncDir("")
		first := func(visit func([]byte) error) error { return visit([]byte("cluster")) }
		if err := writeSnapshot(fs, "metadata", snapshotID{1, 1}, members{voters: q.ids}, first); err != nil {
			t.Fatal(err)
		}
		w, err := createWAL(fs, "metadata", id, hardState{term: 1, commit: 1}, snapshotID{1, 1})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.close()
		if err := writeIdentity(fs, "metadata", identity{"c", kafka.NodeID(n), id}); err != nil {
			t.Fatal(err)
		}
		q.disks[id] = fs.Clone()
		q.start(id)
	}
	return q
}

// pipe is the transport of one life of a member.
type pipe struct {
	q    *quorum
	from uint64
	life *member
}

func (p *pipe) Send(to uint64, message []byte, _ bool) {
	for copies := 1 + p.q.chance.IntN(20)/19; copies > 0; copies-- {
		lost := p.q.chance.IntN(100) < p.q.loss
		p.q.world.Schedule(time.Duration(1+p.q.chance.IntN(8))*time.Millisecond, func() {
			target := p.q.members[to]
			if lost || target == nil || p.q.members[p.from] != p.life {
				if p.q.members[p.from] == p.life && p.life != nil && p.life.Node != nil {
					p.life.ReportSnapshot(to, false)
				}
				return
			}
			if bytes.Contains(message, []byte(snapshotMagic)) {
				p.q.installed++
			}
			if err := target.Step(message); err != nil {
				p.q.t.Error(err)
			}
			p.life.ReportSnapshot(to, true)
		})
	}
}

func (q *quorum) start(id uint64) {
	wire := &pipe{q: q, from: id}
	m, err := tryOpen(q.world, q.disks[id], func(o *Options) {
		o.Node, o.Transport, o.SnapshotBytes = kafka.NodeID(slices.Index(q.ids, id)), wire, 1500
		o.tail = 5
	})
	if err != nil {
		q.t.Fatal(err)
	}
	wire.life = m
	q.members[id] = m
}

// cut takes a member's power away; start brings it back with what its disk has kept.
func (q *quorum) cut(id uint64) {
	q.disks[id] = q.disks[id].Crash(q.chance)
	delete(q.members, id)
}

func (q *quorum) leader() *member {
	for _, id := range q.ids {
		if m := q.members[id]; m != nil && m.epoch != 0 {
			return m
		}
	}
	return nil
}

func TestAQuorumAgreesWhateverHappensToIt(t *testing.T) {
	agreedOn, installed := 0, 0
	for seed := range uint64(8) {
		// Raft draws how long it waits for an election from the process's chance: seeded too, a seed is one story.
		cryptotest.SetGlobalRandom(t, seed)
		q := newQuorum(t, seed)
		acked, tried := map[string]bool{}, 0
		for range 120 {
			switch id := q.ids[q.chance.IntN(3)]; q.chance.IntN(12) {
			case 0:
				if q.members[id] != nil {
					q.cut(id)
				}
			case 1, 2:
				if q.members[id] == nil {
					q.start(id)
				}
			case 3:
				q.loss = q.chance.IntN(3) * 15
			default:
				for range q.chance.IntN(20) {
					if m := q.leader(); m != nil {
						batch := fmt.Sprintf("batch-%d", tried)
						tried++
						if next, err := m.Append(m.epoch, []byte(batch)); err == nil {
							q.world.RunUntil(20*time.Millisecond, func() bool { return m.committed >= next })
							if m.committed >= next && slices.Contains(m.machine.lines, batch) {
								acked[batch] = true
							}
						}
					}
				}
			}
			q.world.Run(time.Duration(q.chance.IntN(400)) * time.Millisecond)
		}
		q.loss = 0
		for _, id := range q.ids {
			if q.members[id] == nil {
				q.start(id)
			}
		}
		agreed := func() bool {
			m := q.leader()
			if m == nil {
				return false
			}
			for _, id := range q.ids {
				if !slices.Equal(q.members[id].machine.lines, m.machine.lines) {
					return false
				}
			}
			return true
		}
		if !q.world.RunUntil(time.Minute, agreed) {
			t.Fatalf("seed %d: the members do not come to agree", seed)
		}
		lines := q.leader().machine.lines
		has := map[string]int{}
		for _, line := range lines {
			has[line]++
			if has[line] > 1 {
				t.Errorf("seed %d: %s was applied twice", seed, line)
			}
		}
		for batch := range acked { // any order
			if has[batch] == 0 {
				t.Errorf("seed %d: %s was acknowledged and is gone", seed, batch)
			}
		}
		if len(acked) < 50 {
			t.Errorf("seed %d: only %d batches were acknowledged", seed, len(acked))
		}
		for _, id := range q.ids {
			if len(q.members[id].failed) > 0 {
				t.Errorf("seed %d: member %d failed: %v", seed, id, q.members[id].failed)
			}
		}
		agreedOn += len(lines)
		installed += q.installed
	}
	if installed == 0 {
		t.Error("no member ever needed a snapshot from another")
	}
	t.Logf("%d batches agreed on, %d snapshots sent", agreedOn, installed)
}
