package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Disk keeps the stores of one task in a folder, in one Pebble database: a [Disk.Commit] writes the rows of all stores and
// how far their changelogs have them in one batch, so what a crash leaves is what some commit left, and only the rest has to
// be read from the changelogs. There is no write-ahead log and no sync: the changelogs are the truth.
//
// Rows that were not committed yet are in memory, beside the database; so are those of the last commit, for reads. When they
// are too many they are written before their commit. A crash then leaves some rows newer than the offset that is there with
// them, which at least once allows: the changelog is read again from that offset, and its rows are whole.
type Disk struct {
	db      *pebble.DB
	shelves map[string]*shelf
	numbers map[string]*number
	offsets map[string]int64
	names   map[string]uint16 // of the stores, to the prefixes of their rows
	dirty   int               // bytes that are not in the database
	empty   bool              // the database has no rows

	restoring *pebble.Batch // takes rows directly while changelogs are read
}

// number is a number that a store keeps with its rows.
type number struct{ value, saved int64 }

const (
	mostDirty   = 16 << 20 // bytes of uncommitted rows in memory
	restoreStep = 1 << 20  // bytes of a batch while restoring
	memTable    = 16 << 20
	blockCache  = 64 << 20 // bytes, for all tasks of the process together
	blockSize   = 16 << 10
	bloomBits   = 10
)

// Keys in the database begin with two bytes: 0 for what follows, and else the number of a store.
const (
	metaName   = "\x00\x00s" // + a store's name: its number
	metaNumber = "\x00\x00n" // + a name: a number
	metaOffset = "\x00\x00o" // + a changelog: the offset of its first record that is not in the rows
	metaFormat = "\x00\x00f" // the version of this layout
)

const diskFormat = 1

// ErrOtherFormat is a folder that another version of this library wrote, or whose rows have another form.
var ErrOtherFormat = errors.New("store: the folder has another format")

var sharedCache = sync.OnceValue(func() *pebble.Cache { return pebble.NewCache(blockCache) })

// OpenDisk opens a folder, or makes it. An empty name keeps everything in memory, for tests. A folder of another format is
// an error; delete it, and its changelogs bring the rows back.
func OpenDisk(folder string) (*Disk, error) {
	options := &pebble.Options{
		Cache: sharedCache(), DisableWAL: true, MemTableSize: memTable, MemTableStopWritesThreshold: 3,
		Logger: quiet{}, L0CompactionThreshold: 8, L0StopWritesThreshold: 64, LBaseMaxBytes: 256 << 20,
	}
	for i := range options.Levels {
		options.Levels[i].BlockSize = blockSize
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	if folder == "" {
		options.FS, options.MemTableSize = vfs.NewMem(), 1<<20
	}
	db, err := pebble.Open(folder, options)
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", folder, err)
	}
	d := &Disk{db: db, shelves: map[string]*shelf{}, numbers: map[string]*number{}, offsets: map[string]int64{}, names: map[string]uint16{}}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// quiet keeps Pebble from writing to the program's log. What it calls fatal is.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf("store: "+format, args...)) }

// load reads what the folder says about itself.
func (d *Disk) load() (err error) {
	it, err := d.db.NewIter(&pebble.IterOptions{UpperBound: []byte{0, 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	d.empty = !it.First()
	if !d.empty {
		format, closer, err := d.db.Get([]byte(metaFormat))
		if err != nil || parseNumber(format) != diskFormat {
			return errors.Join(ErrOtherFormat, err)
		}
		if err := closer.Close(); err != nil {
			return err
		}
	}
	for ; it.Valid(); it.Next() {
		key, value := string(it.Key()), parseNumber(it.Value())
		switch name := key[len(metaName):]; key[:len(metaName)] {
		case metaName:
			d.names[name] = uint16(value)
		case metaNumber:
			d.numbers[name] = &number{value, value}
		case metaOffset:
			d.offsets[name] = value
		}
	}
	return nil
}

func parseNumber(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

func numberBytes(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// Offset is how far the rows have a changelog: the offset of its first record that they do not have.
func (d *Disk) Offset(changelog string) (offset int64, ok bool) {
	offset, ok = d.offsets[changelog]
	return offset, ok
}

// number returns a number that is kept with the rows, and is initial in a new folder.
func (d *Disk) number(name string, initial int64) *int64 {
	n, ok := d.numbers[name]
	if !ok {
		n = &number{value: initial, saved: initial}
		d.numbers[name] = n
	}
	return &n.value
}

// Number is a number that is kept with the rows of a store, and is initial in a new folder.
func (d *Disk) Number(store, what string, initial int64) *int64 {
	return d.number(store+"/"+what, initial)
}

// Form says in which of several forms the rows of a store are. Rows that are there and in another are [ErrOtherFormat].
func (d *Disk) Form(store string, form int64) error {
	n := d.number(store+"/form", 0)
	if d.empty {
		*n = form
	}
	if *n != form {
		return fmt.Errorf("%w: the rows of %s", ErrOtherFormat, store)
	}
	return nil
}

// shelf returns the rows of a store.
func (d *Disk) shelf(name string) *shelf {
	s, ok := d.shelves[name]
	if !ok {
		id, known := d.names[name]
		if !known {
			id = uint16(len(d.names) + 1)
			d.names[name] = id
		}
		s = &shelf{disk: d, prefix: binary.BigEndian.AppendUint16(nil, id)}
		d.shelves[name] = s
	}
	return s
}

// KeyValue returns a key-value store.
func (d *Disk) KeyValue(name string) KeyValue { return d.shelf(name) }

// Restoring says that rows come from changelogs until Commit: they are written in batches, and not kept in memory.
func (d *Disk) Restoring() error {
	if err := d.write(false); err != nil { // rows are of no use without the numbers of their stores
		return err
	}
	d.restoring = d.db.NewBatch(pebble.WithInitialSizeBytes(2*restoreStep), pebble.WithMaxRetainedSizeBytes(2*restoreStep))
	return nil
}

// Commit writes all rows, and the offsets of the changelogs that they are up to.
func (d *Disk) Commit(offsets map[string]int64) error {
	for changelog, offset := range offsets {
		d.offsets[changelog] = offset
	}
	if d.restoring != nil {
		if err := d.step(0); err != nil {
			return err
		}
		if err := d.restoring.Close(); err != nil {
			return err
		}
		d.restoring = nil
	}
	return d.write(true)
}

// write brings uncommitted rows into the database. They stay in memory for reads until the next time.
func (d *Disk) write(commit bool) error {
	b := d.db.NewBatch()
	for _, s := range d.shelves {
		if err := s.writeTo(b); err != nil {
			return err
		}
	}
	if err := d.writeMeta(b, commit); err != nil {
		return err
	}
	d.empty = d.empty && b.Empty()
	d.dirty = 0
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("store: writing: %w", err)
	}
	return b.Close()
}

// writeMeta writes what the folder says about itself; offsets only with all rows before them.
func (d *Disk) writeMeta(b *pebble.Batch, offsets bool) (err error) {
	set := func(prefix, name string, value int64) {
		err = errors.Join(err, b.Set([]byte(prefix+name), numberBytes(value), nil))
	}
	set(metaFormat, "", diskFormat)
	for name, id := range d.names {
		set(metaName, name, int64(id))
	}
	for name, n := range d.numbers {
		if n.value != n.saved || d.empty {
			set(metaNumber, name, n.value)
			n.saved = n.value
		}
	}
	for changelog, offset := range d.offsets {
		if offsets {
			set(metaOffset, changelog, offset)
		}
	}
	return err
}

// Bytes is what the folder takes on disk.
func (d *Disk) Bytes() int64 { return int64(d.db.Metrics().DiskSpaceUsage()) }

// step writes what was restored, if that is more than so many bytes.
func (d *Disk) step(more int) error {
	if d.restoring.Len() <= more {
		return nil
	}
	d.empty = false
	if err := d.restoring.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("store: writing: %w", err)
	}
	d.restoring.Reset() // and fill the same memory again
	return nil
}

// grown counts bytes that are not in the database, and writes when they are too many.
func (d *Disk) grown(bytes int) {
	if d.dirty += bytes; d.dirty > mostDirty {
		check(d.write(false))
	}
}

// Close closes the folder. Rows that were not committed are lost.
func (d *Disk) Close() error {
	if d.restoring != nil {
		if err := d.restoring.Close(); err != nil {
			return err
		}
	}
	// Without a write-ahead log what was committed is in the tables of the database only once they are flushed.
	return errors.Join(d.db.Flush(), d.db.Close())
}

// check stops the work of the node that reads or writes: its caller turns panics into errors.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
