package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/vfs"
)

// diary is a machine that remembers what it was given.
type diary struct {
	lines     []string
	published int
}

func (d *diary) Reset() { d.lines = nil }

func (d *diary) Apply(offset int64, batch []byte) error {
	if string(batch) == "poison" {
		return errors.New("cannot be applied")
	}
	d.lines = append(d.lines, string(batch))
	return nil
}

func (d *diary) Publish() { d.published = len(d.lines) }

func (d *diary) Snapshot(time.Time) func(func([]byte) error) error {
	lines := slices.Clone(d.lines[:d.published])
	return func(visit func([]byte) error) error {
		for _, line := range lines {
			if err := visit([]byte(line)); err != nil {
				return err
			}
		}
		return nil
	}
}

type member struct {
	*Node
	world     *sim.World
	machine   *diary
	epoch     int32 // leads in it, 0 if not
	committed int64
	failed    []error
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func options(m *member, fs vfs.FS) Options {
	return Options{
		Runtime: m.world, FS: fs, Dir: "metadata", Node: 1, Machine: m.machine, Log: quiet(),
		Bootstrap: func(cluster string) [][]byte { return [][]byte{[]byte("cluster")} },
		OnLeader: func(epoch int32, leads bool) {
			m.epoch = 0
			if leads {
				m.epoch = epoch
			}
		},
		Failed: func(err error) { m.failed = append(m.failed, err) },
	}
}

func tryOpen(world *sim.World, fs vfs.FS, change func(*Options)) (*member, error) {
	m := &member{world: world, machine: &diary{}}
	o := options(m, fs)
	if change != nil {
		change(&o)
	}
	n, err := Open(o)
	if err != nil {
		return nil, err
	}
	m.Node = n
	n.OnCommitted(func(end int64) { m.committed = max(m.committed, end) })
	n.Start()
	return m, nil
}

func open(t *testing.T, world *sim.World, fs vfs.FS, change func(*Options)) *member {
	t.Helper()
	m, err := tryOpen(world, fs, change)
	if err != nil {
		t.Fatal(err)
	}
	if !world.RunUntil(5*time.Second, func() bool { return m.epoch != 0 || len(m.failed) > 0 }) {
		t.Fatal("nobody leads")
	}
	return m
}

func (m *member) append(t *testing.T, batch string) (next int64) {
	t.Helper()
	next, err := m.Append(m.epoch, []byte(batch))
	if err != nil {
		t.Fatalf("append %q: %v", batch, err)
	}
	return next
}

func (m *member) commit(t *testing.T, batch string) {
	t.Helper()
	next := m.append(t, batch)
	if !m.world.RunUntil(5*time.Second, func() bool { return m.committed >= next }) {
		t.Fatalf("%q is not committed", batch)
	}
}

func (m *member) close(t *testing.T) {
	t.Helper()
	closed := false
	m.Close(func(err error) {
		closed = true
		if err != nil {
			t.Error(err)
		}
	})
	if !m.world.RunUntil(5*time.Second, func() bool { return closed }) {
		t.Fatal("does not close")
	}
}

func (m *member) text() string { return strings.Join(m.machine.lines, " ") }

func read(t *testing.T, m *member, from int64) string {
	t.Helper()
	var found []string
	err := m.Read(from, func(offset int64, batch []byte) error {
		found = append(found, fmt.Sprintf("%d:%s", offset, batch))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

func TestANewDirectoryLeadsAClusterOfItsOwnAtOnce(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, nil)
	if !world.Now().Equal(sim.Epoch) {
		t.Errorf("it took %v to lead", world.Now().Sub(sim.Epoch))
	}
	if len(m.ClusterID()) != 22 || m.ClusterID()[0] == '-' || m.ID() == 0 {
		t.Errorf("cluster id is %q, raft id %x", m.ClusterID(), m.ID())
	}
	m.commit(t, "a")
	if got := read(t, m, 0); got != "-1:cluster 3:a" || m.text() != "cluster a" {
		t.Errorf("the log reads %q, the machine has %q", got, m.text())
	}
	s := m.Status()
	if !s.Leads || s.Epoch != m.epoch || s.Committed != 4 || s.End != 4 || len(s.Members) != 1 || !s.Members[0].Voter || s.Members[0].End != 4 {
		t.Errorf("status is %+v", s)
	}
}

func TestWhatIsCommittedIsThereAfterARestart(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	var first *member
	for round := range 3 {
		m := open(t, world, fs, nil)
		if first == nil {
			first = m
		}
		if m.ID() != first.ID() || m.ClusterID() != first.ClusterID() || round > 0 && m.epoch <= first.epoch {
			t.Errorf("after a restart: member %x of %s in epoch %d", m.ID(), m.ClusterID(), m.epoch)
		}
		for i := range 3 {
			m.commit(t, fmt.Sprint(round, "-", i))
		}
		want := "cluster 0-0 0-1 0-2 1-0 1-1 1-2 2-0 2-1 2-2"[:7+12*(round+1)]
		if m.text() != want {
			t.Errorf("in round %d the machine has %q, want %q", round, m.text(), want)
		}
		m.close(t)
	}
}

func TestManyProposalsShareASync(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, nil)
	syncs := 0
	fs.BeforeChange(func(c vfs.Change) {
		if c.Op == "sync" {
			syncs++
		}
	})
	var last int64
	for i := range 500 {
		last = m.append(t, fmt.Sprint(i))
	}
	world.RunUntil(time.Second, func() bool { return m.committed >= last })
	if m.committed < last || syncs > 3 {
		t.Errorf("%d of %d committed with %d syncs", m.committed, last, syncs)
	}
}

func TestOnlyTheLeaderOfAnEpochAppendsInIt(t *testing.T) {
	m := open(t, sim.New(1), vfs.NewMemory(), nil)
	for _, epoch := range []int32{m.epoch - 1, m.epoch + 1, 0, -1} {
		if _, err := m.Append(epoch, []byte("x")); !errors.Is(err, kafka.NotLeaderOrFollower) {
			t.Errorf("append in epoch %d of %d: %v", epoch, m.epoch, err)
		}
	}
	if _, err := m.Append(m.epoch, make([]byte, maxBatch+1)); !errors.Is(err, kafka.RecordListTooLarge) {
		t.Errorf("append of too much: %v", err)
	}
}

func TestADirectoryBelongsToOneNodeAndOneCluster(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, func(o *Options) { o.ClusterID = "mine" })
	if _, err := tryOpen(world, fs, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	m.close(t)
	if _, err := tryOpen(world, fs, func(o *Options) { o.Node = 2 }); err == nil || !strings.Contains(err.Error(), "node.id=1") {
		t.Errorf("opened by another node: %v", err)
	}
	if _, err := tryOpen(world, fs, func(o *Options) { o.ClusterID = "yours" }); err == nil || !strings.Contains(err.Error(), "cluster mine") {
		t.Errorf("opened for another cluster: %v", err)
	}
	open(t, world, fs, nil)
}

func TestADiskErrorIsFinal(t *testing.T) {
	world, faulty := sim.New(1), vfs.NewFaulty(vfs.NewMemory())
	m := open(t, world, faulty, nil)
	m.commit(t, "safe")
	before := m.committed
	faulty.Add(vfs.Rule{Op: "sync", Times: 1, Err: errors.New("EIO")})
	epoch := m.epoch
	m.append(t, "lost")
	world.Run(time.Second)
	if len(m.failed) != 1 || !strings.Contains(m.failed[0].Error(), "EIO") || m.epoch != 0 {
		t.Errorf("failed with %v, leads in %d", m.failed, m.epoch)
	}
	if _, err := m.Append(epoch, []byte("x")); !errors.Is(err, kafka.NotLeaderOrFollower) {
		t.Errorf("append after the failure: %v", err)
	}
	world.Run(5 * time.Second)
	if m.committed != before || len(m.failed) != 1 {
		t.Errorf("committed moved from %d to %d; failed %d times", before, m.committed, len(m.failed))
	}
}

func TestABatchThatCannotBeAppliedStopsTheNode(t *testing.T) {
	world := sim.New(1)
	m := open(t, world, vfs.NewMemory(), nil)
	m.append(t, "poison")
	world.Run(time.Second)
	if len(m.failed) != 1 || !strings.Contains(m.failed[0].Error(), "cannot be applied") {
		t.Errorf("failed with %v", m.failed)
	}
}

func small(o *Options) { o.SnapshotBytes = 2000 }

func TestASnapshotStandsForTheLogBeforeIt(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, small)
	for i := range 300 {
		m.commit(t, fmt.Sprintf("entry-%d", i))
	}
	world.Run(time.Second)
	snapshots, _ := listSnapshots(fs, "metadata")
	logs, _ := walSequences(fs, "metadata")
	if len(snapshots) != 2 || len(logs) > 4 || logs[0] == 1 {
		t.Errorf("there are snapshots %v and log files %v", snapshots, logs)
	}
	want := m.text()
	m.close(t)
	m = open(t, world, fs, small)
	if m.text() != want {
		t.Errorf("after a restart the machine has %d entries", len(m.machine.lines))
	}
	// Read in two steps is read at once.
	all := strings.Fields(read(t, m, 0))
	if len(all) != 301 {
		t.Fatalf("read %d batches, want 301", len(all))
	}
	for _, at := range []int{1, 100, 299, 300} {
		var offset int64
		fmt.Sscanf(all[at], "%d:", &offset)
		if got := strings.Fields(read(t, m, offset)); !slices.Equal(got, all[at:]) {
			t.Errorf("read from %d gives %d batches, want %d", offset, len(got), len(all)-at)
		}
	}
}

func TestADamagedSnapshotGivesWayToTheOneBefore(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, small)
	for i := range 200 {
		m.commit(t, fmt.Sprintf("entry-%d", i))
	}
	want := m.text()
	m.close(t)
	snapshots, _ := listSnapshots(fs, "metadata")
	flip(t, fs, snapshotName("metadata", snapshots[0]), 60)
	m = open(t, world, fs, small)
	if m.text() != want {
		t.Errorf("the machine has %q, want %q", m.text(), want)
	}
	m.close(t)
	snapshots, _ = listSnapshots(fs, "metadata")
	for _, index := range snapshots {
		flip(t, fs, snapshotName("metadata", index), 60)
	}
	if _, err := tryOpen(world, fs, small); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("opened with two damaged snapshots: %v", err)
	}
}

func flip(t *testing.T, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatalf("read %s at %d: %v", name, at, err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	_ = f.Sync()
	_ = f.Release()
}

// Every byte of the log is damaged in turn. Only an unfinished last frame may be taken for one.
func TestDamageIsRefusedAndOnlyAnUnfinishedEndIsCut(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, nil)
	for _, batch := range []string{"one", "two", "three"} {
		m.commit(t, batch)
	}
	m.close(t)
	const name = "metadata/wal-00000000000000000001"
	size, _ := fs.Size(name)
	lastFrame := size - int64(frameHeader+entryHeader+len("three")+25)
	for at := range size {
		broken := fs.Clone()
		flip(t, broken, name, at)
		m, err := tryOpen(world, broken, nil)
		switch {
		case at >= lastFrame && (err != nil || m.text() == "cluster one two three"):
			t.Errorf("damage at byte %d, in the last frame: %v", at, err)
		case at < lastFrame && !errors.Is(err, ErrDamaged):
			t.Errorf("damage at byte %d, before the last frame: %v", at, err)
		}
	}
	for cut := range size {
		torn := fs.Clone()
		f, _ := torn.Open(name)
		_ = f.Truncate(cut)
		_ = f.Release()
		if m, err := tryOpen(world, torn, nil); cut > emptyWALSize && err != nil {
			t.Errorf("cut at byte %d: %v", cut, err)
		} else if err == nil && !strings.HasPrefix("cluster one two three", m.text()) {
			t.Errorf("cut at byte %d: the machine has %q", cut, m.text())
		}
	}
}

func TestAMissingPieceIsRefused(t *testing.T) {
	world, fs := sim.New(1), vfs.NewMemory()
	m := open(t, world, fs, small)
	for i := range 200 {
		m.commit(t, fmt.Sprintf("entry-%d", i))
	}
	want := m.text()
	m.close(t)
	names, _ := fs.List("metadata")
	for _, name := range names {
		if name == "lock" || strings.HasPrefix(name, "snapshot") {
			continue
		}
		without := fs.Clone()
		_ = without.Remove("metadata/" + name)
		logs, _ := walSequences(fs, "metadata")
		if name == fmt.Sprintf("wal-%020d", logs[len(logs)-1]) {
			continue // nobody can tell that there was one more file
		}
		again, err := tryOpen(world, without, small)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("opened without %s: %v", name, err)
		}
		if err == nil && (!world.RunUntil(time.Second, func() bool { return again.epoch != 0 }) || again.text() != want) {
			t.Errorf("opened without %s, and something is missing", name)
		}
	}
}

// The power goes at every change of the disk, in several ways each. What was acknowledged must be there, in order, and what
// else is there must have been appended.
func TestNothingAcknowledgedIsLostWhereverThePowerGoes(t *testing.T) {
	type cut struct {
		fs    *vfs.Memory
		acked int
		when  vfs.Change
	}
	for seed := range uint64(3) {
		world, fs := sim.New(seed), vfs.NewMemory()
		chance := rand.New(rand.NewPCG(seed, 9))
		var cuts []cut
		var m *member
		acked := 0
		fs.BeforeChange(func(c vfs.Change) {
			if m != nil {
				acked = len(m.machine.lines)
			}
			for range 2 {
				cuts = append(cuts, cut{fs.Crash(chance), acked, c})
			}
		})
		m = open(t, world, fs, func(o *Options) { o.SnapshotBytes = 700 })
		var all []string
		for i := range 60 {
			batch := fmt.Sprintf("entry-%d-%s", i, strings.Repeat("x", chance.IntN(40)))
			all = append(all, batch)
			if chance.IntN(3) == 0 {
				m.append(t, batch)
			} else {
				m.commit(t, batch)
			}
		}
		world.Run(time.Second)
		for n, c := range cuts {
			again := sim.New(seed)
			r, err := tryOpen(again, c.fs, nil)
			if err != nil {
				t.Fatalf("seed %d, cut %d before %v: %v", seed, n, c.when, err)
			}
			if !again.RunUntil(time.Second, func() bool { return r.epoch != 0 }) {
				t.Fatalf("seed %d, cut %d before %v: nobody leads", seed, n, c.when)
			}
			lines := r.machine.lines
			if len(lines) < c.acked || len(lines)-1 > len(all) || !slices.Equal(lines[1:], all[:len(lines)-1]) {
				t.Fatalf("seed %d, cut %d before %v: %d batches, %d were acknowledged", seed, n, c.when, len(lines), c.acked)
			}
		}
	}
}

func FuzzSnapshotsAreReadOrRefused(f *testing.F) {
	fs := vfs.NewMemory()
	_ = fs.MkdirAll("d")
	dump := func(visit func([]byte) error) error { return errors.Join(visit([]byte("one")), visit(nil)) }
	if err := writeSnapshot(fs, "d", snapshotID{7, 2}, members{voters: []uint64{1, 2}, learners: []uint64{3}, autoLeave: true}, dump); err != nil {
		f.Fatal(err)
	}
	data, _ := readSnapshotFile(fs, "d", 7)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4 { // let most inputs past the checksum
			binary.BigEndian.PutUint32(data[len(data)-4:], crc32.Checksum(data[:len(data)-4], castagnoli))
		}
		if s, err := parseSnapshot(data); err == nil && len(s.batches) > len(data) {
			t.Errorf("%d batches in %d bytes", len(s.batches), len(data))
		}
	})
}

func FuzzLogFilesAreReadOrRefused(f *testing.F) {
	fs := vfs.NewMemory()
	_ = fs.MkdirAll("d")
	w, err := createWAL(fs, "d", 5, hardState{1, 0, 1}, snapshotID{1, 1})
	if err != nil {
		f.Fatal(err)
	}
	_ = w.append([]entry{{0, 2, 1, []byte("x")}, {0, 3, 1, nil}}, hardState{2, 5, 3})
	file, _ := fs.Open(w.name(1))
	data, _ := readAll(file)
	f.Add(data[walHeaderSize:])
	f.Fuzz(func(t *testing.T, frames []byte) {
		for at := 0; at+frameHeader <= len(frames); { // let most inputs past the checksums
			length := int(binary.BigEndian.Uint32(frames[at+4:]))
			if length < 0 || length > len(frames)-at-frameHeader {
				break
			}
			frame := frames[at : at+frameHeader+length]
			binary.BigEndian.PutUint32(frame[16:], frameCRC(frame))
			at += len(frame)
		}
		log := &wal{fs: fs, dir: "d", id: 5, files: []walFile{{}}}
		good, err := log.readFrames(append(data[:walHeaderSize:walHeaderSize], frames...), 1, &recovered{})
		if err == nil && good != int64(walHeaderSize+len(frames)) {
			t.Errorf("read %d of %d bytes without an error", good, walHeaderSize+len(frames))
		}
	})
}
