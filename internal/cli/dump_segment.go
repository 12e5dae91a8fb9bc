package cli

import (
	"encoding/binary"
	"errors"
	"reflect"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/storage"
)

// dumpLimit is how much one batch may be when it is decompressed.
const dumpLimit = 1 << 30

var codecOf = map[record.Codec]string{record.Uncompressed: "none", record.Gzip: "gzip", record.Snappy: "snappy", record.LZ4: "lz4", record.Zstd: "zstd"}

func (d *dumper) segment(name string) error {
	return storage.InspectLog(d.fs, name, func(position int64, b record.Batch) error {
		crc := "ok"
		if b.ComputeCRC() != b.CRC() {
			crc = "wrong"
			d.damaged++
		}
		_, horizon := b.DeleteHorizon()
		producer := b.Producer()
		fields := []any{"position", position, "bytes", b.Size(), "first", b.BaseOffset(), "last", b.LastOffset(), "records", b.Count(),
			"codec", codecOf[b.Codec()], "time", orNil(timeText(b.MaxTimestamp())), "leader_epoch", b.LeaderEpoch()}
		if producer.ID >= 0 {
			fields = append(fields, "producer", producer.ID, "producer_epoch", int32(producer.Epoch), "first_sequence", b.BaseSequence(), "last_sequence", b.LastSequence())
		}
		fields = append(fields, "flags", flagNames("transactional", b.Transactional(), "control", b.Control(), "log-append-time", b.LogAppendTime(), "delete-horizon", horizon), "crc", crc)
		if err := d.line("", "batch", fields...); err != nil || !d.records {
			return err
		}
		if crc == "wrong" {
			return nil // its records are whatever
		}
		return b.Records(dumpLimit, func(r record.Record) error { return d.record(b, r) })
	})
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (d *dumper) record(b record.Batch, r record.Record) error {
	fields := []any{"offset", r.Offset, "time", orNil(timeText(r.Timestamp))}
	switch {
	case b.Control() && len(r.Key) >= 4:
		kind := map[uint16]string{0: "abort", 1: "commit"}[binary.BigEndian.Uint16(r.Key[2:])]
		return d.line("  ", "control", append(fields, "marker", orNil(kind))...)
	case isOffsetsTopic(d.file):
		if kind, decoded, err := offsetsRecord(r); err == nil {
			return d.line("  ", kind, append(fields, decoded...)...)
		}
	}
	fields = append(fields, "key", bytesValue(r.Key), "value", bytesValue(r.Value))
	if r.HeaderCount() > 0 {
		headers := []any{}
		for _, h := range r.Headers() {
			headers = append(headers, map[string]any{"key": h.Key, "value": bytesValue(h.Value)})
		}
		fields = append(fields, "headers", headers)
	}
	return d.line("  ", "record", fields...)
}

// bytesValue is text where it is text, and hexadecimal where it is not.
func bytesValue(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return string(b)
	}
	return map[string]any{"hex": plain(reflect.ValueOf(b))}
}

// offsetsRecord decodes a record of __consumer_offsets.
func offsetsRecord(r record.Record) (kind string, fields []any, err error) {
	if len(r.Key) < 2 {
		return "", nil, errors.New("no version")
	}
	var key, value interface{ ReadFrom([]byte) error }
	switch binary.BigEndian.Uint16(r.Key) {
	case 0, 1:
		k, v := kmsg.NewOffsetCommitKey(), kmsg.NewOffsetCommitValue()
		kind, key, value = "offset", &k, &v
	case 2:
		k, v := kmsg.NewGroupMetadataKey(), kmsg.NewGroupMetadataValue()
		kind, key, value = "group", &k, &v
	default:
		return "", nil, errors.New("not known")
	}
	if err := key.ReadFrom(r.Key); err != nil {
		return "", nil, err
	}
	fields = append(fields, "key", plain(reflect.ValueOf(key)))
	if r.Value == nil {
		return kind, append(fields, "value", nil), nil
	}
	err = value.ReadFrom(r.Value)
	return kind, append(fields, "value", plain(reflect.ValueOf(value))), err
}

func (d *dumper) index(name string) error {
	return storage.InspectIndex(d.fs, name, func(offset, position int64) error {
		return d.line("", "index", "offset", offset, "position", position)
	})
}

func (d *dumper) timeIndex(name string) error {
	return storage.InspectTimeIndex(d.fs, name, func(ms, offset int64) error {
		return d.line("", "timeindex", "timestamp", ms, "time", orNil(timeText(ms)), "offset", offset)
	})
}

func (d *dumper) producers(name string) error {
	list, err := storage.InspectSnapshot(d.fs, name)
	if err != nil {
		return err
	}
	for _, p := range list {
		err := d.line("", "producer", "producer", p.Producer.ID, "producer_epoch", int32(p.Producer.Epoch), "first_sequence", p.FirstSequence, "last_sequence", p.LastSequence,
			"last_offset", p.LastOffset, "offset_delta", p.OffsetDelta, "time", orNil(timeText(p.LastTimestamp)), "coordinator_epoch", p.CoordinatorEpoch, "transaction_start", p.TxnStartOffset)
		if err != nil {
			return err
		}
	}
	return nil
}
