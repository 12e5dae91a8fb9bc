package replica

import (
	"errors"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// stage is a manager on a disk in memory, with one topic, whose time goes on only when the test says so.
type stage struct {
	t         *testing.T
	world     *sim.World
	disk      *vfs.Faulty
	manager   *Manager
	directory *storage.Directory
	image     *metadata.Image
	settings  Settings
}

var topicT = kafka.TopicID{1}

func (s *stage) TopicSettings(string) Settings { return s.settings }

func newStage(t *testing.T, partitions int32, replicas []kafka.NodeID, adjust func(*Settings)) *stage {
	t.Helper()
	s := &stage{t: t, world: sim.New(1), disk: vfs.NewFaulty(vfs.NewMemory()), image: metadata.Empty()}
	s.settings = Settings{Storage: storage.DefaultOptions(), Limits: limitsOf(storage.DefaultOptions()), MinInsync: 1}
	if adjust != nil {
		adjust(&s.settings)
	}
	var err error
	s.directory, err = storage.OpenDirectory(s.world, s.disk, "/logs", storage.DirectoryConfig{ClusterID: "c", NodeID: 1,
		OnFailed: func(error) { s.manager.DirectoryFailed() }})
	if err != nil {
		t.Fatal(err)
	}
	s.manager = New(Options{Runtime: s.world, Node: 1, Directory: s.directory})
	records := []metadata.Record{
		&metadata.RegisterBroker{Broker: metadata.Broker{ID: 1, Epoch: -1, BootSequence: uint64(s.directory.Meta().BootSeq)}},
		&metadata.TopicRecord{Name: "t", ID: topicT},
	}
	for n := range partitions {
		records = append(records, &metadata.PartitionRecord{Topic: topicT, Partition: metadata.Partition{
			Number: n, Replicas: replicas, Directories: make([]metadata.DirectoryID, len(replicas)), ISR: []kafka.NodeID{1}, Leader: 1}})
	}
	s.apply(records...)
	return s
}

// apply replays metadata and lets it come into effect.
func (s *stage) apply(records ...metadata.Record) {
	s.t.Helper()
	delta := s.image.Delta()
	for _, r := range records {
		delta.Replay(s.image.Offset()+1, r)
	}
	s.image = delta.Image()
	applied := false
	s.manager.Apply(delta, s, func() { applied = true })
	s.world.Run(time.Second)
	if !applied {
		s.t.Fatal("the metadata did not come into effect")
	}
}

func (s *stage) partition(number int32) *Partition {
	return s.manager.TopicByID(topicT).Partition(number)
}

// replicate lets a follower fetch to the log's end, and say that it has everything on stable storage.
func (s *stage) replicate(number int32, id kafka.NodeID) {
	s.t.Helper()
	s.world.Run(100 * time.Millisecond)
	p := s.partition(number)
	end := p.Log().End()
	for from := int64(0); ; from = end {
		f := &Fetch{Follower: &Follower{ID: id, Epoch: 7}, MaxBytes: 1 << 20, Done: func(*Fetch) {}}
		f.Partitions = []FetchPartition{{ID: topicT, Number: number, Epoch: -1, Offset: from, LastEpoch: -1, MaxBytes: 1 << 20, Durable: from}}
		s.manager.Resolve(&f.Partitions[0], true)
		s.manager.Fetch(f)
		if code := f.Results[0].Error; code != kafka.None {
			s.t.Fatalf("follower %d is answered %v", id, code)
		}
		f.drop()
		if from == end {
			return
		}
	}
}

// request is a produce request that counts its answers.
type request struct {
	Produce
	answers int
}

// produce makes a request with one batch, which has as many records as said, for each partition named.
func (s *stage) produce(acks int16, timeoutMs int32, records int, partitions ...int32) *request {
	r := &request{}
	r.Done = func() { r.answers++ }
	r.Begin(acks, timeoutMs, len(partitions))
	for _, number := range partitions {
		b := record.NewBuilder(record.Plain())
		for range records {
			b.Add(s.world.Now().UnixMilli(), nil, []byte("value"))
		}
		r.Stage(0, s.partition(number), b.Build(), s.world.Now().UnixMilli())
	}
	return r
}

func (s *stage) send(requests ...*request) {
	d := s.manager.NewDrain()
	for _, r := range requests {
		d.Add(&r.Produce)
	}
	d.Flush()
}

func (s *stage) expect(r *request, answers int, codes ...kafka.ErrorCode) {
	s.t.Helper()
	if r.answers != answers {
		s.t.Fatalf("%d answers, not %d", r.answers, answers)
	}
	for i, code := range codes {
		if r.Batches[i].Err != code {
			s.t.Errorf("part %d is answered %v, not %v", i, r.Batches[i].Err, code)
		}
	}
}

// fetch asks for what partition 0 has from an offset on.
func (s *stage) fetch(offset int64, wait time.Duration) (f *Fetch, answers *int) {
	answers = new(int)
	want := FetchPartition{ID: topicT, Number: 0, Epoch: -1, LastEpoch: -1, Offset: offset, MaxBytes: 1 << 20}
	s.manager.Resolve(&want, true)
	f = &Fetch{MaxWait: wait, MinBytes: 1, MaxBytes: 1 << 20, Partitions: []FetchPartition{want}, Done: func(f *Fetch) { *answers++ }}
	s.manager.Fetch(f)
	return f, answers
}

func TestAcksAllWaitForTheDiskAndAcksOneDoNot(t *testing.T) {
	s := newStage(t, 2, []kafka.NodeID{1}, nil)
	all, one, none := s.produce(-1, 30_000, 3, 0, 1), s.produce(1, 30_000, 2, 0), s.produce(0, 0, 1, 0)
	s.send(all, one, none)
	s.expect(all, 0)
	s.expect(one, 1, kafka.None)
	s.expect(none, 1, kafka.None)
	if hw := s.partition(0).HighWatermark(); hw != 0 {
		t.Fatalf("consumers see up to %d before anything is on disk", hw)
	}
	s.world.Run(time.Second)
	s.expect(all, 1, kafka.None, kafka.None)
	if hw := s.partition(0).HighWatermark(); hw != 6 {
		t.Errorf("consumers see up to %d", hw)
	}
}

func TestBatchesOfADrainKeepTheirOrder(t *testing.T) {
	s := newStage(t, 3, []kafka.NodeID{1}, nil)
	requests := []*request{s.produce(-1, 1000, 1, 2, 0), s.produce(-1, 1000, 2, 0, 2), s.produce(-1, 1000, 3, 2, 2, 1), s.produce(-1, 1000, 4, 0)}
	s.send(requests...)
	s.world.Run(time.Second)
	for i, want := range [][]int64{{0, 0}, {1, 1}, {3, 6, 0}, {3}} {
		s.expect(requests[i], 1)
		for j, base := range want {
			if b := &requests[i].Batches[j]; b.Err != kafka.None || b.BaseOffset != base {
				t.Errorf("part %d of request %d is at %d (%v), not %d", j, i, b.BaseOffset, b.Err, base)
			}
		}
	}
}

func TestMinInsyncReplicasAsksForNoMoreThanThereAre(t *testing.T) {
	two := func(s *Settings) { s.MinInsync = 2 }
	s := newStage(t, 1, []kafka.NodeID{1}, two)
	r := s.produce(-1, 1000, 1, 0)
	s.send(r)
	s.world.Run(time.Second)
	s.expect(r, 1, kafka.None)

	s = newStage(t, 1, []kafka.NodeID{1, 2}, two)
	all, one := s.produce(-1, 1000, 1, 0), s.produce(1, 1000, 1, 0)
	s.send(all, one)
	s.expect(all, 1, kafka.NotEnoughReplicas)
	s.expect(one, 1, kafka.None)
	s.world.Run(time.Second)
	if hw := s.partition(0).HighWatermark(); hw != 0 {
		t.Errorf("consumers see up to %d of what too few replicas have", hw)
	}
	s.apply(&metadata.PartitionChange{Topic: topicT, Partition: 0, ISR: []kafka.NodeID{1, 2}})
	all = s.produce(-1, 1000, 1, 0)
	s.send(all)
	s.world.Run(100 * time.Millisecond)
	s.expect(all, 0)
	s.replicate(0, 2)
	s.expect(all, 1, kafka.None)
}

func TestAnAcknowledgementThatDoesNotComeInTimeIsAnError(t *testing.T) {
	s := newStage(t, 1, []kafka.NodeID{1, 2}, nil)
	s.settings.MinInsync = 2
	early := s.produce(-1, 1000, 1, 0)
	s.send(early) // two are not asked for yet
	s.partition(0).configure(s)
	s.world.Run(900 * time.Millisecond)
	s.expect(early, 0)
	s.world.Run(300 * time.Millisecond)
	s.expect(early, 1, kafka.RequestTimedOut)
	s.apply(&metadata.PartitionChange{Topic: topicT, Partition: 0, ISR: []kafka.NodeID{1, 2}})
	late := s.produce(-1, 1000, 1, 0)
	s.send(late)
	s.replicate(0, 2)
	s.expect(late, 1, kafka.None)
	s.expect(early, 1)
}

func TestAFailedSyncIsAnErrorForAllWhoWaitAndNeverAnAcknowledgement(t *testing.T) {
	s := newStage(t, 1, []kafka.NodeID{1}, nil)
	_, fetched := s.fetch(0, time.Hour)
	s.disk.Add(vfs.Rule{Op: "sync", Err: errors.New("the disk is gone")})
	r := s.produce(-1, 60_000, 1, 0)
	s.send(r)
	s.world.Run(time.Second)
	s.expect(r, 1, kafka.KafkaStorageError)
	if *fetched != 1 {
		t.Errorf("the fetch that waited has %d answers", *fetched)
	}
	s.disk.Clear()
	r = s.produce(1, 60_000, 1, 0)
	s.send(r)
	s.expect(r, 1, kafka.KafkaStorageError)
}

func TestAParkedFetchWakesWhenThereIsSomethingToRead(t *testing.T) {
	s := newStage(t, 1, []kafka.NodeID{1}, nil)
	f, answers := s.fetch(0, time.Hour)
	s.world.Run(time.Second)
	if *answers != 0 {
		t.Fatal("there was nothing to read")
	}
	s.send(s.produce(1, 1000, 1, 0))
	if *answers != 0 {
		t.Fatal("answered with what is not on disk yet")
	}
	s.world.Run(time.Second)
	if *answers != 1 || len(f.Results) != 1 || f.Results[0].Records.Size == 0 {
		t.Fatalf("%d answers: %+v", *answers, f.Results)
	}
	f.Results[0].Records.Release()
	if n := len(s.partition(0).parked); n != 0 {
		t.Errorf("%d fetches are still parked", n)
	}
}

func TestAFetchThatNobodyWaitsForIsAnsweredOnce(t *testing.T) {
	s := newStage(t, 1, []kafka.NodeID{1}, nil)
	f, answers := s.fetch(0, time.Minute)
	f.Cancel()
	f.Cancel()
	s.send(s.produce(1, 1000, 1, 0))
	s.world.Run(2 * time.Minute)
	if *answers != 1 || len(s.partition(0).parked) != 0 {
		t.Errorf("%d answers, %d fetches parked", *answers, len(s.partition(0).parked))
	}
	_, answers = s.fetch(1, time.Minute)
	s.world.Run(2 * time.Minute)
	if *answers != 1 {
		t.Errorf("%d answers at the end of the wait", *answers)
	}
}

func TestADeletedTopicLeavesNobodyWaiting(t *testing.T) {
	s := newStage(t, 1, []kafka.NodeID{1}, nil)
	p := s.partition(0)
	f, answers := s.fetch(0, time.Hour)
	r := s.produce(-1, 60_000, 1, 0)
	late := s.produce(-1, 60_000, 1, 0)
	s.send(r)
	s.apply(&metadata.RemoveTopic{ID: topicT})
	s.expect(r, 1)
	if *answers != 1 || f.Results[0].Error != kafka.None && f.Results[0].Error != kafka.UnknownTopicOrPartition {
		t.Errorf("%d answers: %+v", *answers, f.Results)
	}
	s.send(late) // it was staged before
	s.expect(late, 1, kafka.UnknownTopicOrPartition)
	var result wire.FetchResult
	if p.read(&Fetch{}, &FetchPartition{Epoch: -1, LastEpoch: -1}, &result, 1, true); result.Error != kafka.UnknownTopicOrPartition {
		t.Errorf("reading what is gone: %v", result.Error)
	}
}

func TestEveryMachineOfADrainHearsHowFarItsLogIsCommitted(t *testing.T) {
	s := newStage(t, 3, []kafka.NodeID{1}, func(s *Settings) { s.Memory = true })
	heard := map[int32]int64{}
	for _, number := range []int32{0, 1} {
		s.partition(number).MachineLog().OnCommitted(func(offset int64) { heard[number] = offset })
	}
	r := s.produce(-1, 1000, 5, 0, 1, 2)
	s.send(r)
	s.expect(r, 1, kafka.None, kafka.None, kafka.None)
	if heard[0] != 5 || heard[1] != 5 {
		t.Errorf("heard %v", heard)
	}
}
