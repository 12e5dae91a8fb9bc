package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

func dumpCommand() *cobra.Command {
	d := &dumper{}
	output := "text"
	c := &cobra.Command{
		Use:   "dump FILE…",
		Short: "Show what is in the files of a data folder",
		Long: `Show what is in the files of a data folder, one line for each thing in them. A folder stands for all files in it that
can be shown:

  *.log          the batches of a segment, and with --records their records; those of __consumer_offsets are decoded
  *.index        offsets, and where their batches are
  *.timeindex    timestamps, and the offsets they are reached at
  *.snapshot     the producers that a partition knows
  wal-*          the metadata log
  snapshot-*     a snapshot of the metadata

A file may be in use by a running node; a batch that is being written then looks torn. A checksum that is wrong makes the
command fail at the end.

With -o json, each line is an object with the fields file, type (batch, record, index, timeindex, producer, entry, members, state,
snapshot, replaced, or the kind of a metadata record) and those that the text names.`,
		Example: `  gregor dump data/logs/orders-0/00000000000000000000.log --records
  gregor dump data/logs/orders-0
  gregor dump data/metadata -o json | jq -c 'select(.type == "TopicRecord")'`,
		Args: atLeast(1, "a file or a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return wrongUsage("-o is text or json, and not %q", output)
			}
			d.json, d.fs = output == "json", vfs.OS(false)
			d.out = bufio.NewWriter(cmd.OutOrStdout())
			err := d.all(args)
			if flushed := d.out.Flush(); err == nil && flushed != nil {
				err = fmt.Errorf("write: %w", flushed)
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", output, "text or json")
	c.Flags().BoolVarP(&d.records, "records", "r", false, "also show the records of segments")
	return c
}

// dumper writes what is in files.
type dumper struct {
	out     *bufio.Writer
	fs      vfs.FS
	json    bool
	records bool
	file    string
	damaged int
}

// shower says how to show a file, by its name.
func (d *dumper) shower(name string) func(string) error {
	base := filepath.Base(name)
	switch {
	case strings.HasPrefix(base, "wal-"):
		return d.metadataLog
	case strings.HasPrefix(base, "snapshot-") && filepath.Ext(base) != ".tmp":
		return d.metadataSnapshot
	}
	switch filepath.Ext(base) {
	case ".log":
		return d.segment
	case ".index":
		return d.index
	case ".timeindex":
		return d.timeIndex
	case ".snapshot":
		return d.producers
	}
	return nil
}

func (d *dumper) all(args []string) error {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("there is no file %s", arg)
		case err != nil:
			return err
		case !info.IsDir() && d.shower(arg) == nil:
			return wrongUsage("%s is no file that can be shown: those are *.log, *.index, *.timeindex, *.snapshot, wal-* and snapshot-*", arg)
		case !info.IsDir():
			files = append(files, arg)
			continue
		}
		found, err := d.within(arg)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("there is no file in %s that can be shown", arg)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		if d.file = filepath.ToSlash(file); !d.json {
			fmt.Fprintf(d.out, "# %s\n", d.file)
		}
		if err := d.shower(file)(d.file); err != nil {
			if strings.Contains(err.Error(), d.file) {
				return err
			}
			return fmt.Errorf("%s: %w", d.file, err)
		}
	}
	if d.damaged > 0 {
		return fmt.Errorf("%s damaged", map[bool]string{true: "1 batch is", false: fmt.Sprint(d.damaged, " batches are")}[d.damaged == 1])
	}
	return nil
}

func (d *dumper) within(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && d.shower(name) != nil {
			files = append(files, name)
		}
		return err
	})
	return files, err
}

// line writes one thing: names and values, in turn. For people, what is nil is left out, but for keys and values.
func (d *dumper) line(indent, kind string, pairs ...any) error {
	var b strings.Builder
	if d.json {
		fmt.Fprintf(&b, `{"file":%s,"type":%s`, quoted(d.file), quoted(kind))
	} else {
		b.WriteString(indent + kind)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch name, value := pairs[i].(string), pairs[i+1]; {
		case d.json:
			fmt.Fprintf(&b, ",%s:%s", quoted(name), quoted(value))
		case value != nil:
			fmt.Fprintf(&b, " %s=%s", name, dumpText(value))
		case name == "key" || name == "value":
			fmt.Fprintf(&b, " %s=null", name)
		}
	}
	if d.json {
		b.WriteByte('}')
	}
	b.WriteByte('\n')
	_, err := d.out.WriteString(b.String())
	return err
}

// quoted is a value in JSON.
func quoted(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return `"` + strings.ReplaceAll(err.Error(), `"`, `'`) + `"`
	}
	return string(text)
}

func dumpText(v any) string {
	switch v := v.(type) {
	case string:
		if v != "" && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
			return v
		}
	case map[string]any, []any:
		return quoted(v)
	case int64, int32, int16, int8, int, uint64, uint16, bool:
		return fmt.Sprint(v)
	}
	return quoted(v)
}

// plain turns a value of any type into what JSON has: fields by their names, ids as their text.
func plain(v reflect.Value) any {
	if v.CanInterface() {
		if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer && v.Kind() != reflect.Struct {
			return s.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		fields := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" {
				fields[snake(f.Name)] = plain(v.Field(i))
			}
		}
		return fields
	case reflect.Slice, reflect.Array:
		switch {
		case v.Kind() == reflect.Slice && v.IsNil():
			return nil
		case v.Kind() == reflect.Array && v.Type().ConvertibleTo(reflect.TypeFor[kafka.TopicID]()):
			return v.Convert(reflect.TypeFor[kafka.TopicID]()).Interface().(kafka.TopicID).String()
		case v.Type().Elem().Kind() == reflect.Uint8:
			return fmt.Sprintf("%x", v.Interface())
		}
		list := []any{}
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}

// pairs are the fields of a struct as line takes them, in their order.
func pairs(v any) []any {
	s := reflect.Indirect(reflect.ValueOf(v))
	var all []any
	for i := range s.NumField() {
		if f := s.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" {
			all = append(all, snake(f.Name), plain(s.Field(i)))
		}
	}
	return all
}

// snake is a Go name as JSON has it: LeaderEpoch is leader_epoch, ISR is isr, ClusterID is cluster_id.
func snake(name string) string {
	var b strings.Builder
	upper := func(i int) bool { return i >= 0 && i < len(name) && name[i] >= 'A' && name[i] <= 'Z' }
	for i := range len(name) {
		if upper(i) && i > 0 && (!upper(i-1) || i+1 < len(name) && !upper(i+1)) {
			b.WriteByte('_')
		}
		b.WriteByte(name[i])
	}
	return strings.ToLower(b.String())
}

// isOffsetsTopic reports whether a segment is one of __consumer_offsets, by its folder.
func isOffsetsTopic(file string) bool {
	return strings.HasPrefix(path.Base(path.Dir(file)), "__consumer_offsets-")
}

// flagNames are the names of the flags that are set.
func flagNames(flags ...any) any {
	var names []string
	for i := 0; i+1 < len(flags); i += 2 {
		if flags[i+1].(bool) {
			names = append(names, flags[i].(string))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return strings.Join(slices.Compact(names), ",")
}
