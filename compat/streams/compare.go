package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// comparison is what came of comparing what two applications left.
type comparison struct {
	records     int // that are the same, byte for byte and in order
	last        int // that were compared by the last value of their keys only, as their order is left to chance
	differences []string
}

func (c *comparison) differ(format string, args ...any) {
	c.differences = append(c.differences, fmt.Sprintf(format, args...))
}

// compare compares what is left of one application with what is left of another, whose names have the same length. Names of
// topics are in some of the bytes, so theirs are read as if the applications had the same name.
func compare(spec Spec, gotApp, wantApp string, got, want *contents) *comparison {
	c := &comparison{}
	rename := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(gotApp), []byte(wantApp)) }
	name := func(s string) string { return string(rename([]byte(s))) }
	records := map[string][][]*kgo.Record{}
	for topic, partitions := range got.records {
		records[name(topic)] = partitions
	}
	for _, topic := range slices.Sorted(maps.Keys(want.records)) {
		if _, ok := records[topic]; !ok {
			c.differ("there is no topic %s", topic)
			continue
		}
		c.topic(spec, topic, records[topic], want.records[topic], rename)
	}
	for _, topic := range slices.Sorted(maps.Keys(records)) {
		if want.records[topic] == nil {
			c.differ("there is a topic %s", topic)
		}
	}
	c.strings("configuration of", got.configs, want.configs, name)
	if !spec.Loose {
		c.strings("committed offset of", got.offsets, want.offsets, name)
	}
	return c
}

func (c *comparison) strings(what string, got, want map[string]string, name func(string) string) {
	mine := map[string]string{}
	for k, v := range got {
		mine[name(k)] = v
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if mine[k] != want[k] {
			c.differ("%s %s\n  is      %s\n  and not %s", what, k, mine[k], want[k])
		}
	}
}

// byCommit reports whether what is in a topic depends on when was committed: the changelog of a suppress buffer hears of what
// changed since, in no order.
func byCommit(topic string) bool { return strings.Contains(topic, "KTABLE-SUPPRESS-STATE-STORE") }

// byChance reports whether not even the last values of a topic are certain: how often a foreign key's row answers depends on
// who was first.
func byChance(topic string) bool { return strings.Contains(topic, "SUBSCRIPTION-RESPONSE") }

// numbered reports whether the keys of a topic end in the number of a record of a join, 4 bytes. Java begins to count anew when it
// starts, and may so overwrite a record of the same key and time; Go goes on counting. The numbers are not compared.
func numbered(topic string) bool {
	for _, store := range []string{"-JOINTHIS-", "-JOINOTHER-", "-OUTERTHIS-", "-OUTEROTHER-"} {
		if strings.Contains(topic, "-KSTREAM"+store) {
			return true
		}
	}
	return false
}

func (c *comparison) topic(spec Spec, topic string, got, want [][]*kgo.Record, rename func([]byte) []byte) {
	if byChance(topic) {
		return
	}
	if len(got) != len(want) {
		c.differ("%s has %d partitions and not %d", topic, len(got), len(want))
		return
	}
	if spec.Loose && keyless(want) {
		got, want = [][]*kgo.Record{slices.Concat(got...)}, [][]*kgo.Record{slices.Concat(want...)}
	}
	for p := range want {
		g, w := printed(topic, got[p], rename), printed(topic, want[p], func(b []byte) []byte { return b })
		if slices.Equal(g, w) {
			c.records += len(w)
			continue
		}
		if spec.Loose || byCommit(topic) {
			c.loosely(spec, fmt.Sprintf("%s-%d", topic, p), got[p], want[p], g, w, rename)
			continue
		}
		c.differ("%s-%d: %s", topic, p, difference(g, w))
	}
}

// keyless reports whether there are records without a key, which may be in any partition.
func keyless(partitions [][]*kgo.Record) bool {
	return slices.ContainsFunc(slices.Concat(partitions...), func(r *kgo.Record) bool { return r.Key == nil })
}

// loosely compares partitions whose order is left to chance: as sets, and if they are none, by what each key had last.
func (c *comparison) loosely(spec Spec, where string, got, want []*kgo.Record, g, w []string, rename func([]byte) []byte) {
	sorted := func(all []string) []string { return slices.Sorted(slices.Values(all)) }
	if spec.Loose && slices.Equal(sorted(g), sorted(w)) {
		c.records += len(w)
		return
	}
	mine, theirs := last(got, rename), last(want, func(b []byte) []byte { return b })
	if maps.Equal(mine, theirs) {
		c.last += len(theirs)
		return
	}
	keys := map[string]bool{}
	for k := range mine {
		keys[k] = true
	}
	for k := range theirs {
		keys[k] = true
	}
	var lines strings.Builder
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if mine[k] != theirs[k] {
			fmt.Fprintf(&lines, "\n  %s is last %s and not %s", k, or(mine[k], "gone"), or(theirs[k], "gone"))
		}
	}
	c.differ("%s%s", where, lines.String())
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// last is the value that each key had last, without those that were deleted.
func last(records []*kgo.Record, rename func([]byte) []byte) map[string]string {
	values := map[string]string{}
	for _, r := range records {
		if r.Value == nil {
			delete(values, fmt.Sprintf("%q", r.Key))
		} else {
			values[fmt.Sprintf("%q", r.Key)] = fmt.Sprintf("%q", rename(r.Value))
		}
	}
	return values
}

// printed is records with all that there is to them, for people and comparisons.
func printed(topic string, records []*kgo.Record, rename func([]byte) []byte) []string {
	var all []string
	for _, r := range records {
		key := r.Key
		if numbered(topic) {
			key = key[:len(key)-4]
		}
		line := fmt.Sprintf("%s = %s", shown(key, rename), shown(r.Value, rename))
		if !strings.HasSuffix(topic, "-Buffer-changelog") { // those get the wall clock's time
			line += fmt.Sprintf(" @ %d", r.Timestamp.UnixMilli())
		}
		for _, h := range r.Headers {
			line += fmt.Sprintf(" %s: %s", h.Key, shown(h.Value, rename))
		}
		all = append(all, line)
	}
	return all
}

func shown(b []byte, rename func([]byte) []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", rename(b))
}

// difference shows where two partitions part, with a few records before and after.
func difference(got, want []string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	after := func(all []string) string {
		if at >= len(all) {
			return "\n          (no more)"
		}
		return "\n          " + strings.Join(all[at:min(at+3, len(all))], "\n          ")
	}
	var before strings.Builder
	for i := max(0, at-2); i < at; i++ {
		fmt.Fprintf(&before, "\n          %s", got[i])
	}
	return fmt.Sprintf("record %d of %d%s\n  is%s\n  and not%s", at, len(want), before.String(), after(got), after(want))
}
