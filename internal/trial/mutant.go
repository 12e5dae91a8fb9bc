package trial

import (
	"encoding/binary"
	"errors"
	"maps"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// Mutant is a bug that is planted to see that it is found. It is planted from outside, in the disk, in what is configured
// or in what the node is told, so that no production code knows of it.
type Mutant struct {
	Name string
	Doc  string
	// Seeds is within how many seeds it must be found.
	Seeds int
	// Disk changes what the node's disk does.
	Disk *Lies
	// Frame changes a request of a client, with its size prefix, on its way to the node.
	Frame func(frame []byte) []byte
	// Between changes a request between nodes.
	Between func(request kmsg.Request)
	// Nodes is how many nodes there are.
	Nodes int
	// Config is set over what the seed says.
	Config config.Static
}

// Mutants are all there are.
var Mutants = []Mutant{
	{Name: "ack-before-sync", Doc: "log files are said to be synced, and are not", Seeds: 20, Nodes: 1,
		Disk: &Lies{Sync: func(name string) bool { return strings.HasSuffix(name, ".log") }}},
	{Name: "ack-before-commit", Doc: "acks=all is answered as acks=1 is", Seeds: 100, Nodes: 1, Frame: acksOne},
	{Name: "metadata-before-sync", Doc: "the metadata log is said to be synced, and is not", Seeds: 20, Nodes: 1,
		Disk: &Lies{Sync: func(name string) bool { return strings.Contains(name, "/metadata/wal") }}},
	{Name: "no-folder-sync", Doc: "names of files are said to be durable, and are not", Seeds: 20, Nodes: 1,
		Disk: &Lies{SyncDir: func(string) bool { return true }}},
	{Name: "sync-errors-ignored", Doc: "a sync that fails counts as one that did not", Seeds: 200, Nodes: 1, Disk: &Lies{IgnoreErrors: true}},
	{Name: "no-idempotence", Doc: "producers have no sequence numbers", Seeds: 50, Nodes: 1, Frame: forgetProducer},
	{Name: "read-uncommitted", Doc: "what is not on disk counts as committed", Seeds: 20, Nodes: 1, Config: config.Static{"log.ack.durability": "memory"}},
	{Name: "followers-lie", Doc: "followers say that everything they have is on stable storage", Seeds: 300, Nodes: 3, Between: followersLie},
	{Name: "no-divergence", Doc: "followers do not say what the last record they have is", Seeds: 50, Nodes: 3, Between: noDivergence},
	{Name: "unclean-elections", Doc: "replicas that lack records may lead", Seeds: 50, Nodes: 3, Config: config.Static{"unclean.leader.election.enable": "true"}},
	{Name: "no-truncation", Doc: "torn ends of files are not cut off", Seeds: 200, Nodes: 1, Disk: &Lies{Truncate: true}},
}

// Lies are what a planted disk says without doing it.
type Lies struct {
	Sync         func(name string) bool
	SyncDir      func(name string) bool
	IgnoreErrors bool // of syncs
	Truncate     bool
}

// plant puts a mutant's configuration over a seed's.
func (m *Mutant) plant(c config.Static) config.Static {
	if m != nil {
		maps.Copy(c, m.Config)
	}
	return c
}

type liar struct {
	vfs.FS
	lies *Lies
}

func (l *liar) Create(name string) (vfs.File, error) { return l.wrap(l.FS.Create(name)) }
func (l *liar) Open(name string) (vfs.File, error)   { return l.wrap(l.FS.Open(name)) }

func (l *liar) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &lyingFile{f, l.lies}, nil
}

func (l *liar) SyncDir(name string) error {
	if l.lies.SyncDir != nil && l.lies.SyncDir(name) {
		return nil
	}
	return l.lies.pass(l.FS.SyncDir(name))
}

func (l *liar) SyncDirs(names []string) error {
	var honest []string
	for _, name := range names {
		if l.lies.SyncDir == nil || !l.lies.SyncDir(name) {
			honest = append(honest, name)
		}
	}
	return l.lies.pass(l.FS.SyncDirs(honest))
}

func (l *liar) SyncFiles(files []vfs.File) error {
	var honest []vfs.File
	for _, f := range files {
		if l.lies.Sync == nil || !l.lies.Sync(f.Name()) {
			honest = append(honest, f.(*lyingFile).File)
		}
	}
	return l.lies.pass(l.FS.SyncFiles(honest))
}

// pass hides an error of the disk, though not the end of the process.
func (l *Lies) pass(err error) error {
	if l.IgnoreErrors && errors.Is(err, errIO) {
		return nil
	}
	return err
}

type lyingFile struct {
	vfs.File
	lies *Lies
}

func (f *lyingFile) Sync() error {
	if f.lies.Sync != nil && f.lies.Sync(f.Name()) {
		return nil
	}
	return f.lies.pass(f.File.Sync())
}

func (f *lyingFile) Truncate(size int64) error {
	if f.lies.Truncate {
		return nil
	}
	return f.File.Truncate(size)
}

// produceBody is where the body of a produce request begins in a frame, 0 where it is another request.
func produceBody(frame []byte) (h wire.Header, body int) {
	h, err := wire.ParseHeader(frame[4:])
	if err != nil || h.Key != wire.KeyProduce {
		return h, 0
	}
	return h, len(frame) - len(h.Body)
}

// acksOne makes acks=all acks=1. No transactional id is ever set here.
func acksOne(frame []byte) []byte {
	h, body := produceBody(frame)
	if body == 0 {
		return frame
	}
	at := body + 2
	if h.Version >= 9 {
		at = body + 1
	}
	if int16(binary.BigEndian.Uint16(frame[at:])) == -1 {
		binary.BigEndian.PutUint16(frame[at:], 1)
	}
	return frame
}

// followersLie has followers claim that the disk has whatever they have.
func followersLie(request kmsg.Request) {
	switch r := request.(type) {
	case *wire.ProgressRequest:
		for i := range r.Partitions {
			r.Partitions[i].Durable = 1 << 40
		}
	case *kmsg.FetchRequest:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].UnknownTags.Set(wire.DurableTag, binary.BigEndian.AppendUint64(nil, 1<<40))
			}
		}
	}
}

// noDivergence keeps leaders from finding out that a follower's log is not a beginning of theirs.
func noDivergence(request kmsg.Request) {
	if r, ok := request.(*kmsg.FetchRequest); ok {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].LastFetchedEpoch = -1
			}
		}
	}
}

// forgetProducer makes every batch one that no idempotent producer wrote.
func forgetProducer(frame []byte) []byte {
	h, body := produceBody(frame)
	if body == 0 {
		return frame
	}
	produce, err := wire.ParseProduce(h.Version, frame[body:])
	if err != nil {
		return frame
	}
	for {
		if _, ok := produce.NextTopic(); !ok {
			return frame
		}
		for {
			_, records, ok := produce.NextPartition()
			if !ok {
				break
			}
			const producerID, sequenceEnd = 43, 57 // of a batch of format v2
			for i := producerID; i < sequenceEnd; i++ {
				records[i] = 0xff
			}
			record.Batch(records).Seal()
		}
	}
}
