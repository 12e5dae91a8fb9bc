package raft

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/must"
	"github.com/gregorhq/gregor/internal/vfs"
)

// The file identity says who this member is. It is text, and its existence means that the directory is formatted:
//
//	gregor metadata 1
//	cluster <cluster id>
//	node <node id>
//	raft <raft id, 16 hexadecimal digits>
//	crc <CRC-32C of the lines before, 8 hexadecimal digits>
type identity struct {
	cluster string
	node    kafka.NodeID
	raft    uint64
}

func (i identity) String() string {
	text := fmt.Sprintf("gregor metadata 1\ncluster %s\nnode %d\nraft %016x\n", i.cluster, i.node, i.raft)
	return fmt.Sprintf("%scrc %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func parseIdentity(text string) (identity, error) {
	var i identity
	_, err := fmt.Sscanf(text, "gregor metadata 1\ncluster %s\nnode %d\nraft %x\n", &i.cluster, &i.node, &i.raft)
	if err != nil || i.String() != text {
		return i, fmt.Errorf("%w: its file identity is not as it was written", ErrDamaged)
	}
	return i, nil
}

func identityName(dir string) string { return path.Join(dir, "identity") }

// readIdentity returns vfs.ErrNotExist for a directory that is not formatted.
func readIdentity(fs vfs.FS, dir string) (identity, error) {
	file, err := fs.Open(identityName(dir))
	if err != nil {
		return identity{}, err
	}
	data, err := readAll(file)
	if err := errors.Join(err, file.Release()); err != nil {
		return identity{}, fmt.Errorf("read %s: %w", identityName(dir), err)
	}
	return parseIdentity(string(data))
}

func writeIdentity(fs vfs.FS, dir string, i identity) error {
	name := identityName(dir)
	temporary := name + ".tmp"
	if err := fs.Remove(temporary); err != nil && !errors.Is(err, vfs.ErrNotExist) {
		return err
	}
	file, err := fs.Create(temporary)
	if err != nil {
		return fmt.Errorf("create %s: %w", temporary, err)
	}
	_, err = file.WriteAt([]byte(i.String()), 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Release()); err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err := fs.Rename(temporary, name); err != nil {
		return fmt.Errorf("rename %s: %w", temporary, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// format makes a new member of a directory that holds nothing: a cluster of its own, with one voter. A crash at any point
// leaves a directory that is formatted, or one that is formatted anew.
func (o *Options) format() (identity, error) {
	if err := o.clearUnfinished(); err != nil {
		return identity{}, err
	}
	if o.Joining != 0 {
		return o.formatJoiner()
	}
	chance := o.Runtime.Rand()
	i := identity{cluster: o.ClusterID, node: o.Node, raft: NewID(chance)}
	if i.cluster == "" {
		i.cluster = newClusterID(chance)
	}
	first := func(visit func(batch []byte) error) error {
		for _, batch := range o.Bootstrap(i.cluster) {
			if err := visit(batch); err != nil {
				return err
			}
		}
		return nil
	}
	return i, o.lay(i, snapshotID{index: 1, term: 1}, members{voters: []uint64{i.raft}}, first)
}

// formatJoiner makes an observer of a directory that holds nothing. Its snapshot is of nothing, before the first entry, and has
// no members: whoever is no voter never begins an election, and so never founds a cluster.
func (o *Options) formatJoiner() (identity, error) {
	i := identity{cluster: o.ClusterID, node: o.Node, raft: o.Joining}
	must.Be(i.cluster != "", "a node joins a cluster without a name")
	nothing := func(func(batch []byte) error) error { return nil }
	return i, o.lay(i, snapshotID{}, members{}, nothing)
}

// lay writes the first snapshot, the empty log behind it, and the identity last.
func (o *Options) lay(i identity, id snapshotID, m members, first func(visit func(batch []byte) error) error) error {
	if err := writeSnapshot(o.FS, o.Dir, id, m, first); err != nil {
		return err
	}
	log, err := createWAL(o.FS, o.Dir, i.raft, hardState{term: id.term, commit: id.index}, id)
	if err != nil {
		return err
	}
	if err := log.close(); err != nil {
		return err
	}
	return writeIdentity(o.FS, o.Dir, i)
}

// Identity is whose a metadata directory is.
type Identity struct {
	Cluster string
	Node    kafka.NodeID
}

// Identify says whose a metadata directory is; ok is false where it belongs to nobody yet.
func Identify(fs vfs.FS, dir string) (id Identity, ok bool, err error) {
	i, err := readIdentity(fs, dir)
	if errors.Is(err, vfs.ErrNotExist) {
		return Identity{}, false, nil
	}
	return Identity{i.cluster, i.node}, err == nil, err
}

// clearUnfinished removes the log of a formatting that did not come to its end. A log in which anything happened is not
// touched: its identity has been lost.
func (o *Options) clearUnfinished() error {
	sequences, err := walSequences(o.FS, o.Dir)
	if err != nil {
		return err
	}
	for _, sequence := range sequences {
		name := (&wal{dir: o.Dir}).name(sequence)
		size, err := o.FS.Size(name)
		if err != nil {
			return fmt.Errorf("size of %s: %w", name, err)
		}
		if sequence != 1 || size > emptyWALSize {
			return fmt.Errorf("%w: %s has a log but no file identity; put the file back from a backup, or remove the directory to begin with nothing", ErrDamaged, o.Dir)
		}
		if err := o.FS.Remove(name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// NewID draws a raft id that no other metadata directory has: a member whose disk was wiped is another member, and can
// never vote a second time in a term.
func NewID(chance *rand.Rand) uint64 {
	for {
		// The largest numbers name raft's local threads, and zero names nobody.
		if id := chance.Uint64(); id != 0 && id < 1<<63 {
			return id
		}
	}
}

// newClusterID draws a cluster id as Kafka's tools print it. It never begins with a dash, which would look like a flag.
func newClusterID(chance *rand.Rand) string {
	for {
		var id [16]byte
		for n := range id {
			id[n] = byte(chance.Uint32())
		}
		if text := base64.RawURLEncoding.EncodeToString(id[:]); !strings.HasPrefix(text, "-") {
			return text
		}
	}
}
