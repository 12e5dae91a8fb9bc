package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
)

// A batch of the metadata log, all fixed integers big-endian (docs/format/metadata.md):
//
//	 0  format   uint8   1
//	 1  flags    uint8   1: part of a snapshot
//	 2  base     int64   the offset of the batch that this one was decided on; in a snapshot, that of the image
//	10  time     int64   ms since 1970, for people
//	18  records  …       to the end, each
//	             type     uvarint
//	             version  uint8    bits 0-6; bit 7: software that does not know type or version may skip or cut it
//	             length   uvarint  of the fields
//	             fields   …        in the order of the type's fields; a later version only adds at the end
const (
	batchFormat     = 1
	batchHeaderSize = 18
	flagSnapshot    = 1
	skippable       = 0x80
)

// ErrNewer is in the chain of the error for a batch that only newer software can read.
var ErrNewer = errors.New("written by a newer version of Gregor: start that version again, or a newer one")

// ErrCorrupt is in the chain of the error for bytes that are no batch.
var ErrCorrupt = errors.New("not a batch of metadata records")

// Codec makes batches of records for a log that numbers batches. Base says on which batch a decision is based: the last
// one that the machine has replayed. A batch whose base is another is skipped when it is read, by everybody alike, so a
// decision that was made on a state that turned out not to be is as if it had never been.
type Codec struct{ Base func() int64 }

// BatchNumbered says that a batch takes one offset, however many records it has.
func (Codec) BatchNumbered() {}

// Encode makes a batch.
func (c Codec) Encode(records []Record, now int64) ([]byte, error) {
	return appendRecords(appendHeader(nil, 0, c.Base(), now), records), nil
}

// Decode visits the records of a batch, all of them or, on an error or another base, none.
func (c Codec) Decode(offset int64, batch []byte, visit func(offset int64, record Record)) error {
	b, err := parseBatch(batch)
	if err != nil {
		return err
	}
	if b.snapshot {
		offset = b.base
	} else if b.base != c.Base() {
		return nil
	}
	for _, r := range b.records {
		visit(offset, r)
	}
	return nil
}

type parsedBatch struct {
	snapshot bool
	base     int64
	time     int64
	records  []Record
}

func appendHeader(to []byte, flags byte, base, now int64) []byte {
	to = append(to, batchFormat, flags)
	to = binary.BigEndian.AppendUint64(to, uint64(base))
	return binary.BigEndian.AppendUint64(to, uint64(now))
}

func appendRecords(to []byte, records []Record) []byte {
	var fields encoder
	for _, r := range records {
		fields.bytes = fields.bytes[:0]
		r.encode(&fields)
		to = binary.AppendUvarint(to, uint64(r.recordType()))
		to = append(to, versionOf(r))
		to = binary.AppendUvarint(to, uint64(len(fields.bytes)))
		to = append(to, fields.bytes...)
	}
	return to
}

func parseBatch(batch []byte) (parsedBatch, error) {
	var b parsedBatch
	if len(batch) < batchHeaderSize {
		return b, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(batch))
	}
	if batch[0] != batchFormat || batch[1]&^flagSnapshot != 0 {
		return b, fmt.Errorf("batch format %d with flags %#x: %w", batch[0], batch[1], ErrNewer)
	}
	b.snapshot = batch[1]&flagSnapshot != 0
	b.base = int64(binary.BigEndian.Uint64(batch[2:]))
	b.time = int64(binary.BigEndian.Uint64(batch[10:]))
	d := decoder{bytes: batch[batchHeaderSize:]}
	for len(d.bytes) > 0 && d.err == nil {
		kind, version := recordType(d.uvarint()), d.byte()
		fields := decoder{bytes: d.take(d.uvarint())}
		if d.err != nil {
			break
		}
		record, err := parseRecord(kind, version, &fields)
		if err != nil {
			return b, err
		}
		if record != nil {
			b.records = append(b.records, record)
		}
	}
	return b, d.err
}

// versionOf is the version that a record is written in: the lowest that can say it, so that older software can read it too.
func versionOf(r Record) byte {
	if v, ok := r.(interface{ version() byte }); ok {
		return v.version()
	}
	return 0
}

// newestVersion is the newest version of a type that this software knows.
func newestVersion(kind recordType) byte {
	switch kind {
	case typeRegisterBroker, typeBrokerChange:
		return 2
	}
	return 0
}

// parseRecord reads one record; nil for one that may be skipped.
func parseRecord(kind recordType, version byte, fields *decoder) (Record, error) {
	maySkip := version&skippable != 0
	version &^= skippable
	r := newRecord(kind)
	if r == nil {
		if maySkip {
			return nil, nil
		}
		return nil, fmt.Errorf("metadata record of type %d: %w", kind, ErrNewer)
	}
	newest := newestVersion(kind)
	if version > newest && !maySkip {
		return nil, fmt.Errorf("metadata record of type %d, version %d: %w", kind, version, ErrNewer)
	}
	fields.version = min(version, newest)
	r.decode(fields)
	if fields.err != nil {
		return nil, fmt.Errorf("metadata record of type %d: %w", kind, fields.err)
	}
	if len(fields.bytes) > 0 && version <= newest {
		return nil, fmt.Errorf("metadata record of type %d: %w: %d bytes too many", kind, ErrCorrupt, len(fields.bytes))
	}
	return r, nil
}

func newRecord(kind recordType) Record {
	switch kind {
	case typeClusterID:
		return &ClusterID{}
	case typeNoOp:
		return &NoOp{}
	case typeRegisterBroker:
		return &RegisterBroker{}
	case typeUnregisterBroker:
		return &UnregisterBroker{}
	case typeBrokerChange:
		return &BrokerChange{}
	case typeTopic:
		return &TopicRecord{}
	case typeRemoveTopic:
		return &RemoveTopic{}
	case typePartition:
		return &PartitionRecord{}
	case typePartitionChange:
		return &PartitionChange{}
	case typeConfig:
		return &ConfigRecord{}
	case typeProducerIDs:
		return &ProducerIDs{}
	case typeFeatureLevel:
		return &FeatureLevel{}
	}
	return nil
}

// encoder appends fields.
type encoder struct{ bytes []byte }

func (e *encoder) int(v int64)     { e.bytes = binary.AppendVarint(e.bytes, v) }
func (e *encoder) count(n int)     { e.bytes = binary.AppendUvarint(e.bytes, uint64(n)) }
func (e *encoder) id(id [16]byte)  { e.bytes = append(e.bytes, id[:]...) }
func (e *encoder) uint(v uint64)   { e.bytes = binary.AppendUvarint(e.bytes, v) }
func (e *encoder) string(s string) { e.count(len(s)); e.bytes = append(e.bytes, s...) }

func (e *encoder) bool(b bool) {
	if b {
		e.bytes = append(e.bytes, 1)
	} else {
		e.bytes = append(e.bytes, 0)
	}
}

// nodes writes a list's length plus one, and 0 for no list at all.
func (e *encoder) nodes(list []kafka.NodeID) {
	if list == nil {
		e.count(0)
		return
	}
	e.count(len(list) + 1)
	for _, n := range list {
		e.int(int64(n))
	}
}

func (e *encoder) directories(list []DirectoryID) {
	if list == nil {
		e.count(0)
		return
	}
	e.count(len(list) + 1)
	for _, d := range list {
		e.id(d)
	}
}

// decoder takes fields off the front. After an error it yields zeros.
type decoder struct {
	bytes   []byte
	err     error
	version byte // of the record
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.bytes = nil
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.bytes)) {
		d.fail("cut short")
		return nil
	}
	taken := d.bytes[:n:n]
	d.bytes = d.bytes[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.bytes)
	if n <= 0 {
		d.fail("a number without an end")
		return 0
	}
	d.bytes = d.bytes[n:]
	return v
}

// int reads a number that has to fit into a type of so many bits.
func (d *decoder) int(bits int) int64 {
	v, n := binary.Varint(d.bytes)
	if n <= 0 || v>>(bits-1) != v>>63 {
		d.fail("a number without an end or too large")
		return 0
	}
	d.bytes = d.bytes[n:]
	return v
}

// count reads the length of a list whose elements take at least one byte each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.bytes)) {
		d.fail("a list longer than its record")
		return 0
	}
	return int(n)
}

func (d *decoder) id() (id [16]byte) {
	copy(id[:], d.take(16))
	return id
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) bool() bool {
	switch d.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	d.fail("a boolean that is neither 0 nor 1")
	return false
}

func (d *decoder) node() kafka.NodeID { return kafka.NodeID(d.int(32)) }

func (d *decoder) nodes() []kafka.NodeID {
	n := d.listLength(1)
	if n < 0 {
		return nil
	}
	list := make([]kafka.NodeID, n)
	for i := range list {
		list[i] = d.node()
	}
	return list
}

func (d *decoder) directories() []DirectoryID {
	n := d.listLength(16)
	if n < 0 {
		return nil
	}
	list := make([]DirectoryID, n)
	for i := range list {
		list[i] = d.id()
	}
	return list
}

// listLength reads a length that encoder.nodes and directories wrote; -1 for no list.
func (d *decoder) listLength(elementSize uint64) int {
	n := d.uvarint()
	if n == 0 {
		return -1
	}
	if n-1 > uint64(len(d.bytes))/elementSize {
		d.fail("a list longer than its record")
		return -1
	}
	return int(n - 1)
}
