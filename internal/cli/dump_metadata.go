package cli

import (
	"fmt"
	"reflect"

	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/raft"
)

func (d *dumper) metadataLog(name string) error {
	return raft.InspectLog(d.fs, name, func(i raft.Inspected) error {
		fields := []any{"position", i.Position, "frame", i.Frame}
		if i.Kind == "state" {
			return d.line("", i.Kind, append(fields, "term", i.Term, "vote", fmt.Sprintf("%016x", i.Vote), "commit", i.Commit)...)
		}
		fields = append(fields, "index", i.Index, "term", i.Term)
		if i.Kind != "entry" || len(i.Data) == 0 {
			return d.line("", i.Kind, fields...)
		}
		return d.metadataBatch(i.Kind, fields, i.Data)
	})
}

func (d *dumper) metadataSnapshot(name string) error {
	index, term, batches, err := raft.InspectSnapshot(d.fs, name)
	if err != nil {
		return err
	}
	if err := d.line("", "snapshot", "index", index, "term", term, "batches", len(batches)); err != nil {
		return err
	}
	for _, batch := range batches {
		if err := d.metadataBatch("batch", nil, batch); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) metadataBatch(kind string, fields []any, batch []byte) error {
	b, err := metadata.Inspect(batch)
	if err != nil {
		return err
	}
	if err := d.line("", kind, append(fields, "base", b.Base, "time", orNil(timeText(b.Time)), "records", len(b.Records))...); err != nil {
		return err
	}
	for _, r := range b.Records {
		if err := d.line("  ", reflect.TypeOf(r).Elem().Name(), pairs(r)...); err != nil {
			return err
		}
	}
	return nil
}
