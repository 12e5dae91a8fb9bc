package metadata

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata with what the code says now")

func topicID(n int) kafka.TopicID { return kafka.TopicID{byte(n >> 8), byte(n), 0xAA} }

func nodes(ids ...kafka.NodeID) []kafka.NodeID { return append([]kafka.NodeID{}, ids...) }

func text(s string) *string { return &s }

// everyRecord has one of each type with every field set.
func everyRecord() []Record {
	return []Record{
		&ClusterID{"MkU3OEVBNTcwNTJENDM2Qg"},
		&NoOp{},
		&RegisterBroker{Broker{
			ID: 1, Epoch: -1, BootSequence: 300, Incarnation: [16]byte{1, 2, 3},
			Endpoints:   []Endpoint{{"PLAIN", 0, "host", 9092}, {"TLS", 1, "host.example", 65535}},
			Rack:        "r1",
			Directories: []DirectoryID{{9}},
			Features:    []FeatureRange{{"metadata.version", 1, 2}},
			Fenced:      true, ShuttingDown: true,
		}},
		&RegisterBroker{Broker{ID: 1, Epoch: 7, RaftID: 1<<63 - 1, Barred: true}},
		&RegisterBroker{Broker{ID: 1, Epoch: 7, Newcomer: true}},
		&UnregisterBroker{1, 77},
		&BrokerChange{1, 77, Cleared, Set, []DirectoryID{}, Unchanged, Unchanged},
		&BrokerChange{1, 77, Unchanged, Unchanged, nil, Set, Unchanged},
		&BrokerChange{1, 77, Unchanged, Unchanged, nil, Unchanged, Cleared},
		&TopicRecord{"orders", topicID(1)},
		&RemoveTopic{topicID(1)},
		&PartitionRecord{topicID(1), Partition{
			Number: 3, Replicas: nodes(1, 2, 3), Directories: []DirectoryID{{1}, {2}, {3}}, ISR: nodes(2), ELR: nodes(3),
			LastKnownELR: nodes(1), Adding: nodes(3), Removing: nodes(1), Leader: 2, LeaderEpoch: 4, PartitionEpoch: 5,
			Recovery: Recovering,
		}},
		&PartitionChange{
			Topic: topicID(1), Partition: 3, Replicas: nodes(1), Directories: []DirectoryID{{1}}, ISR: nodes(1),
			ELR: nodes(), LastKnownELR: nil, Adding: nodes(), Removing: nodes(),
			Leader: LeaderIs(kafka.NoNode), Recovery: RecoveryIs(Recovered),
		},
		&ConfigRecord{Resource{TopicResource, "orders"}, "retention.ms", text("1000")},
		&ConfigRecord{Resource{BrokerResource, ""}, "log.retention.ms", nil},
		&ProducerIDs{1, 77, 2000},
		&FeatureLevel{"transaction.version", 2},
	}
}

func batchOf(base int64, records ...Record) []byte {
	batch, _ := Codec{Base: func() int64 { return base }}.Encode(records, 1234)
	return batch
}

// follow replays records as one batch on an image.
func follow(i *Image, offset int64, records ...Record) (*Image, *Delta) {
	d := i.Delta()
	for _, r := range records {
		d.Replay(offset, r)
	}
	return d.Image(), d
}

func TestEveryRecordIsReadAsItWasWritten(t *testing.T) {
	for _, r := range everyRecord() {
		b, err := parseBatch(batchOf(7, r))
		if err != nil || len(b.records) != 1 || !reflect.DeepEqual(b.records[0], r) || b.base != 7 {
			t.Errorf("%#v was read as %#v, %v", r, b, err)
		}
	}
}

// The bytes on disk are pinned: a change here is a change of the format, and needs a new record version.
func TestTheFormatStaysAsItIs(t *testing.T) {
	var out strings.Builder
	for _, r := range everyRecord() {
		fmt.Fprintf(&out, "%T\n\t%x\n", r, batchOf(7, r))
	}
	if *rewrite {
		if err := os.WriteFile("testdata/format.txt", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/format.txt")
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("records are written as\n%s\nwant\n%s", out.String(), want)
	}
}

func TestRecordsOfNewerSoftwareAreSkippedOnlyWhereTheySaySo(t *testing.T) {
	header := appendHeader(nil, 0, 0, 0)
	record := func(kind byte, version byte, fields ...byte) []byte {
		return append(slices.Concat(header, []byte{kind, version, byte(len(fields))}), fields...)
	}
	for _, c := range []struct {
		name  string
		batch []byte
		want  error
		count int
	}{
		{"unknown type", record(99, 0, 1), ErrNewer, 0},
		{"unknown type that may be skipped", record(99, skippable, 1), nil, 0},
		{"newer version", record(byte(typeFeatureLevel), 1, 1, 'f', 2, 9), ErrNewer, 0},
		{"newer version whose additions may be cut", record(byte(typeFeatureLevel), 1|skippable, 1, 'f', 2, 9), nil, 1},
		{"known version with more fields", record(byte(typeFeatureLevel), 0, 1, 'f', 2, 9), ErrCorrupt, 0},
		{"fields cut short", record(byte(typeFeatureLevel), 0, 1, 'f'), ErrCorrupt, 0},
		{"newer format", append([]byte{2}, header[1:]...), ErrNewer, 0},
		{"newer flags", append([]byte{1, 2}, header[2:]...), ErrNewer, 0},
		{"too short", header[:10], ErrCorrupt, 0},
		{"a port above 65535", batchOf(0, &RegisterBroker{Broker{ID: 1}})[:18], nil, 0},
	} {
		b, err := parseBatch(c.batch)
		if !errors.Is(err, c.want) || err == nil && len(b.records) != c.count {
			t.Errorf("%s: read as %d records, %v; want %d, %v", c.name, len(b.records), err, c.count, c.want)
		}
	}
}

func TestABatchDecidedOnAnotherStateIsSkipped(t *testing.T) {
	f := NewFollower()
	apply := func(offset, base int64, r Record) {
		t.Helper()
		if err := f.Apply(offset, batchOf(base, r)); err != nil {
			t.Fatal(err)
		}
		f.Publish()
	}
	apply(3, -1, &ClusterID{"c"})
	apply(5, 3, &FeatureLevel{"f", 1})
	apply(6, 3, &FeatureLevel{"f", 2})
	if got := f.Image(); got.Feature("f") != 1 || got.Offset() != 5 {
		t.Errorf("feature is %d at offset %d, want 1 at 5", got.Feature("f"), got.Offset())
	}
	apply(7, 5, &FeatureLevel{"f", 3})
	if got := f.Image(); got.Feature("f") != 3 || got.Offset() != 7 {
		t.Errorf("feature is %d at offset %d, want 3 at 7", got.Feature("f"), got.Offset())
	}
}

func TestAChangedPartitionRaisesItsEpochs(t *testing.T) {
	i, _ := follow(Empty(), 0, &TopicRecord{"t", topicID(1)}, &PartitionRecord{topicID(1),
		Partition{Replicas: nodes(1, 2), ISR: nodes(1, 2), Leader: 1}})
	i, _ = follow(i, 1, &PartitionChange{Topic: topicID(1), ISR: nodes(1)})
	if p := i.Partition("t", 0); p.LeaderEpoch != 0 || p.PartitionEpoch != 1 || len(p.ISR) != 1 {
		t.Errorf("after a shrink: %+v", p)
	}
	i, _ = follow(i, 2, &PartitionChange{Topic: topicID(1), Leader: LeaderIs(kafka.NoNode), ISR: nodes()})
	if p := i.Partition("t", 0); p.LeaderEpoch != 1 || p.PartitionEpoch != 2 || p.Leader != kafka.NoNode || p.ISR != nil {
		t.Errorf("after the leader has gone: %+v", p)
	}
}

func TestABrokersEpochIsTheOffsetOfItsRegistration(t *testing.T) {
	i, _ := follow(Empty(), 9, &RegisterBroker{Broker{ID: 4, Epoch: -1, Fenced: true}})
	i, d := follow(i, 10, &BrokerChange{ID: 4, Epoch: 9, Fenced: Cleared}, &BrokerChange{ID: 4, Epoch: 8, ShuttingDown: Set})
	if b := i.Broker(4); b.Epoch != 9 || !b.Active() {
		t.Errorf("broker is %+v", b)
	}
	if got := d.BrokersChanged(); !slices.Equal(got, nodes(4)) {
		t.Errorf("brokers changed: %v", got)
	}
	i, _ = follow(i, 11, &UnregisterBroker{4, 8})
	if i.Broker(4) == nil {
		t.Error("a late removal removed a newer registration")
	}
}

func TestADeltaSaysWhatChanged(t *testing.T) {
	partition := func(topic, number int) *PartitionRecord {
		return &PartitionRecord{topicID(topic), Partition{Number: int32(number), Replicas: nodes(1), ISR: nodes(1), Leader: 1}}
	}
	base, _ := follow(Empty(), 0,
		&TopicRecord{"gone", topicID(1)}, partition(1, 0), &ConfigRecord{Resource{TopicResource, "gone"}, "k", text("v")},
		&TopicRecord{"stays", topicID(2)}, partition(2, 0), partition(2, 1),
		&TopicRecord{"again", topicID(3)}, partition(3, 0))
	next, d := follow(base, 1,
		&RemoveTopic{topicID(1)}, &RemoveTopic{topicID(3)}, &TopicRecord{"again", topicID(4)}, partition(4, 0),
		&PartitionChange{Topic: topicID(2), Partition: 1, ISR: nodes(1)}, partition(2, 2),
		&TopicRecord{"passing", topicID(5)}, partition(5, 0), &RemoveTopic{topicID(5)},
		&ConfigRecord{Resource{GroupResource, "g"}, "k", text("v")},
		&PartitionChange{Topic: topicID(2), Partition: 9, ISR: nodes(1)}, &RemoveTopic{topicID(99)}, partition(2, 7))
	var got []string
	for _, t := range d.TopicsDeleted() {
		got = append(got, "-"+t.Name)
	}
	for _, t := range d.TopicsCreated() {
		got = append(got, "+"+t.Name)
	}
	for _, u := range d.PartitionsChanged() {
		got = append(got, fmt.Sprintf("%s-%d:%v", u.Topic.Name, u.New.Number, u.Old != nil))
	}
	for _, r := range d.ConfigsChanged() {
		got = append(got, fmt.Sprintf("%d/%s", r.Type, r.Name))
	}
	want := "-again -gone +again again-0:false stays-1:true stays-2:false 2/gone 32/g"
	if strings.Join(got, " ") != want {
		t.Errorf("changed: %s\nwant:    %s", strings.Join(got, " "), want)
	}
	if next.TopicCount() != 2 || next.PartitionCount() != 4 || base.TopicCount() != 3 || base.PartitionCount() != 4 {
		t.Errorf("%d topics with %d partitions, before %d with %d", next.TopicCount(), next.PartitionCount(), base.TopicCount(), base.PartitionCount())
	}
	if base.Partition("stays", 1).PartitionEpoch != 0 || len(base.Topic("stays").Partitions) != 2 {
		t.Error("the image before was changed")
	}
}

func TestConfigsAreListedByKeyAndGoneWhenRemoved(t *testing.T) {
	r := Resource{TopicResource, "t"}
	i, _ := follow(Empty(), 0, &ConfigRecord{r, "b", text("2")}, &ConfigRecord{r, "a", text("1")}, &ConfigRecord{r, "b", text("3")},
		&ConfigRecord{Resource{TopicResource, "s"}, "x", text("")}, &ConfigRecord{Resource{BrokerResource, ""}, "y", text("z")})
	var got []string
	for k, v := range i.Configs(TopicResource, "t").All {
		got = append(got, k+"="+v)
	}
	i.ConfiguredResources(TopicResource, func(name string, c *Configs) bool { got = append(got, name); return true })
	if strings.Join(got, " ") != "a=1 b=3 s t" {
		t.Errorf("configs are %v", got)
	}
	i, _ = follow(i, 1, &ConfigRecord{r, "a", nil}, &ConfigRecord{r, "b", nil}, &ConfigRecord{r, "c", nil})
	if _, ok := i.Config(TopicResource, "t", "a"); ok || i.Configs(TopicResource, "t").Len() != 0 {
		t.Error("removed keys are still there")
	}
}

// history makes random records that mostly make sense.
func history(chance *rand.Rand) []Record {
	topic := func() kafka.TopicID { return topicID(chance.IntN(6) + 1) }
	node := func() kafka.NodeID { return kafka.NodeID(chance.IntN(4)) }
	var records []Record
	for range chance.IntN(8) + 1 {
		switch chance.IntN(9) {
		case 0:
			id := topic()
			records = append(records, &TopicRecord{fmt.Sprintf("topic-%d", id[1]%4), id})
		case 1:
			records = append(records, &RemoveTopic{topic()})
		case 2, 3:
			records = append(records, &PartitionRecord{topic(), Partition{Number: int32(chance.IntN(4)), Replicas: nodes(node()), Leader: node()}})
		case 4, 5:
			records = append(records, &PartitionChange{Topic: topic(), Partition: int32(chance.IntN(4)), ISR: nodes(node()), ELR: nodes()})
		case 6:
			r := &ConfigRecord{Resource{TopicResource, fmt.Sprintf("topic-%d", chance.IntN(4))}, string(rune('a' + chance.IntN(3))), nil}
			if chance.IntN(3) > 0 {
				r.Value = text(fmt.Sprint(chance.IntN(9)))
			}
			records = append(records, r)
		case 7:
			records = append(records, &RegisterBroker{Broker{ID: node(), Epoch: -1, Fenced: true}})
		case 8:
			records = append(records, &FeatureLevel{"f", int16(chance.IntN(3))}, &ProducerIDs{Next: int64(chance.IntN(9))})
		}
	}
	return records
}

func dump(t *testing.T, i *Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := i.Snapshot(0, func(batch []byte) error { out.Write(batch); return nil }); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestASnapshotReloadsToTheSameImageAndOldImagesStay(t *testing.T) {
	for seed := range uint64(60) {
		chance := rand.New(rand.NewPCG(seed, 1))
		f, other := NewFollower(), NewFollower()
		var images []*Image
		var dumps [][]byte
		for offset := range int64(40) {
			if err := f.Apply(offset, batchOf(offset-1, history(chance)...)); err != nil {
				t.Fatal(err)
			}
			if chance.IntN(3) > 0 {
				f.Publish()
				images, dumps = append(images, f.Image()), append(dumps, dump(t, f.Image()))
			}
		}
		for n, i := range images {
			if !bytes.Equal(dump(t, i), dumps[n]) {
				t.Fatalf("seed %d: the image at offset %d changed after it was published", seed, i.Offset())
			}
			other.Reset()
			apply := func(batch []byte) error { return other.Apply(1000, batch) }
			if err := f.Snapshot(time.UnixMilli(0)); err == nil {
				t.Fatal("no snapshot")
			}
			if err := i.Snapshot(0, apply); err != nil {
				t.Fatal(err)
			}
			other.Publish()
			if got := dump(t, other.Image()); !bytes.Equal(got, dumps[n]) {
				t.Fatalf("seed %d: the image at offset %d reloads differently", seed, i.Offset())
			}
			if a, b := i, other.Image(); a.Offset() != b.Offset() || a.PartitionCount() != b.PartitionCount() {
				t.Fatalf("seed %d: %d partitions at %d reload as %d at %d", seed, a.PartitionCount(), a.Offset(), b.PartitionCount(), b.Offset())
			}
		}
	}
}

func TestAnImageIsCountedAsItIs(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 3))
	i := Empty()
	for offset := range int64(300) {
		i, _ = follow(i, offset, history(chance)...)
		topics, partitions := 0, 0
		i.Topics(func(topic *Topic) bool {
			topics++
			partitions += len(topic.Partitions)
			if i.TopicByID(topic.ID) != topic || i.Topic(topic.Name) != topic {
				t.Fatalf("%s is found differently by name and by id", topic.Name)
			}
			return true
		})
		if topics != i.TopicCount() || partitions != i.PartitionCount() {
			t.Fatalf("%d topics and %d partitions, counted as %d and %d", topics, partitions, i.TopicCount(), i.PartitionCount())
		}
	}
}

func TestALateSubscriberSeesEverything(t *testing.T) {
	f := NewFollower()
	var deltas []*Delta
	subscribe := func() { f.Subscribe(func(d *Delta) { deltas = append(deltas, d) }) }
	subscribe()
	if len(deltas) != 0 {
		t.Error("told of an empty image")
	}
	for offset, r := range []Record{&TopicRecord{"t", topicID(1)}, &PartitionRecord{topicID(1), Partition{}}} {
		if err := f.Apply(int64(offset), batchOf(int64(offset)-1, r)); err != nil {
			t.Fatal(err)
		}
	}
	f.Publish()
	f.Publish()
	subscribe()
	if len(deltas) != 2 {
		t.Fatalf("%d deltas, want one for each subscriber", len(deltas))
	}
	for n, d := range deltas {
		if len(d.TopicsCreated()) != 1 || len(d.PartitionsChanged()) != 1 {
			t.Errorf("subscriber %d was not told everything", n)
		}
	}
	// A snapshot in place of what was: the difference is told.
	i, _ := follow(Empty(), 8, &TopicRecord{"u", topicID(2)})
	f.Reset()
	if err := i.Snapshot(0, func(batch []byte) error { return f.Apply(8, batch) }); err != nil {
		t.Fatal(err)
	}
	f.Publish()
	d := deltas[len(deltas)-1]
	if len(d.TopicsDeleted()) != 1 || len(d.TopicsCreated()) != 1 || d.Base().Offset() != 1 {
		t.Errorf("a snapshot deleted %d topics and created %d", len(d.TopicsDeleted()), len(d.TopicsCreated()))
	}
}

func TestAChangeCostsWhatChangesAndNotWhatThereIs(t *testing.T) {
	large := manyTopics(10_000)
	small := manyTopics(100)
	cost := func(i *Image) float64 {
		return testing.AllocsPerRun(20, func() { follow(i, 2, &PartitionChange{Topic: topicID(50), ISR: nodes(1)}) })
	}
	if small, large := cost(small), cost(large); large > 2*small {
		t.Errorf("one change costs %v allocations with 10000 topics and %v with 100", large, small)
	}
}

func manyTopics(n int) *Image {
	d := Empty().Delta()
	for k := range n {
		d.Replay(1, &TopicRecord{fmt.Sprintf("topic-%05d", k), topicID(k + 1)})
		d.Replay(1, &PartitionRecord{topicID(k + 1), Partition{Replicas: nodes(1), ISR: nodes(1), Leader: 1}})
	}
	return d.Image()
}

func BenchmarkOneChangeAmongTenThousandTopics(b *testing.B) {
	i := manyTopics(10_000)
	for b.Loop() {
		follow(i, 2, &PartitionChange{Topic: topicID(50), ISR: nodes(1)})
	}
}

func FuzzABatchIsReadOrRefused(f *testing.F) {
	f.Add(batchOf(1, everyRecord()...))
	for _, r := range everyRecord() {
		f.Add(batchOf(7, r))
	}
	f.Fuzz(func(t *testing.T, batch []byte) {
		b, err := parseBatch(batch)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		d := Empty().Delta()
		for _, r := range b.records {
			d.Replay(1, r)
		}
		again := appendRecords(appendHeader(nil, 0, b.base, 0), b.records)
		c, err := parseBatch(again)
		if err != nil || !reflect.DeepEqual(b.records, c.records) {
			t.Errorf("read again: %v", err)
		}
		dump(t, d.Image())
	})
}
