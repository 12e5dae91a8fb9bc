package main

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// violation is a promise that was broken. Kinds have the names that Jepsen's Kafka workload gives them, where it knows them.
type violation struct{ Kind, Text string }

type checker struct {
	*history
	found  []violation
	sent   map[value]*send
	places map[value][]place // in the final log
}

type place struct {
	partition int32
	offset    int64
}

// check looks for every anomaly in a history that has ended. It only looks at the history.
func check(h *history) []violation {
	c := &checker{history: h, sent: map[value]*send{}, places: map[value][]place{}}
	for _, text := range h.Strange {
		c.report("strange", "%s", text)
	}
	for _, s := range h.Sends {
		c.sent[s.Value] = s
	}
	for _, partition := range c.partitions() {
		for _, e := range h.Log[partition] {
			c.places[e.Value] = append(c.places[e.Value], place{partition, e.Offset})
		}
	}
	c.checkWrites()
	c.checkOrder()
	c.checkOffsets()
	c.checkPolls()
	c.checkUnseen()
	c.checkGroups()
	return c.found
}

func (c *checker) report(kind, format string, args ...any) {
	c.found = append(c.found, violation{kind, fmt.Sprintf(format, args...)})
}

func (c *checker) partitions() []int32 {
	var all []int32
	for partition := range c.Log {
		all = append(all, partition)
	}
	slices.Sort(all)
	return all
}

// checkWrites: what was acknowledged, or read by a consumer, is in the log; nothing is there twice; all of it was sent.
func (c *checker) checkWrites() {
	for _, s := range c.Sends {
		places := c.places[s.Value]
		if s.Outcome == acked && len(places) == 0 {
			c.report("lost-write", "%v was acknowledged at offset %d after %v and is not in the log", s.Value, s.Offset, s.Ended)
		}
		if len(places) > 1 {
			c.report("duplicate", "%v is in the log at %v", s.Value, places)
		}
	}
	lost := map[value]bool{}
	for _, reader := range c.Consumers {
		for _, r := range reader.Reads {
			if len(c.places[r.Value]) == 0 && !lost[r.Value] && (c.sent[r.Value] == nil || c.sent[r.Value].Outcome != acked) {
				lost[r.Value] = true
				c.report("lost-write", "%v was read by %s at offset %d after %v and is not in the log", r.Value, reader.Name, r.Offset, r.At)
			}
		}
	}
	for _, partition := range c.partitions() {
		for _, e := range c.Log[partition] {
			if c.sent[e.Value] == nil || e.Value.Partition != partition {
				c.report("phantom", "%v is at offset %d of partition %d and was not sent there", e.Value, e.Offset, partition)
			}
		}
	}
}

// checkOrder: a producer's records are in a partition in the order in which it sent them.
func (c *checker) checkOrder() {
	for _, partition := range c.partitions() {
		last := map[int32]entry{}
		for _, e := range c.Log[partition] {
			before, seen := last[e.Value.Producer]
			if seen && e.Value.N < before.Value.N {
				c.report("nonmonotonic-send", "%v at offset %d of partition %d follows %v at offset %d", e.Value, e.Offset, partition, before.Value, before.Offset)
			}
			last[e.Value.Producer] = e
		}
	}
}

// checkOffsets: whoever speaks of an offset speaks of the same record.
func (c *checker) checkOffsets() {
	type teller struct {
		value value
		name  string
	}
	told := map[place]teller{}
	tell := func(at place, v value, name string) {
		before, seen := told[at]
		if !seen {
			told[at] = teller{v, name}
		} else if before.value != v {
			c.report("inconsistent-offsets", "offset %d of partition %d is %v to %s and %v to %s", at.offset, at.partition, before.value, before.name, v, name)
		}
	}
	for _, partition := range c.partitions() {
		for _, e := range c.Log[partition] {
			tell(place{partition, e.Offset}, e.Value, "the log")
		}
	}
	for _, s := range c.Sends {
		if s.Outcome == acked && s.Offset >= 0 {
			tell(place{s.Value.Partition, s.Offset}, s.Value, "its producer")
		}
	}
	for _, reader := range c.Consumers {
		for _, r := range reader.Reads {
			tell(place{r.Partition, r.Offset}, r.Value, reader.Name)
		}
	}
}

// between says whether the final log has a record after one offset and before another.
func (c *checker) between(partition int32, after, before int64) bool {
	entries := c.Log[partition]
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Offset > after })
	return i < len(entries) && entries[i].Offset < before
}

// checkPolls: while a partition is a consumer's, its offsets only go forward, and pass over no record.
func (c *checker) checkPolls() {
	for _, reader := range c.Consumers {
		last := map[int32]int64{}
		for _, partition := range c.partitions() {
			last[partition] = -1
		}
		for _, r := range reader.Reads {
			before := last[r.Partition]
			last[r.Partition] = r.Offset
			if r.Fresh {
				continue // checkGroups looks at where it starts
			}
			if r.Offset <= before {
				c.report("nonmonotonic-poll", "%s read offset %d of partition %d after offset %d, after %v", reader.Name, r.Offset, r.Partition, before, r.At)
			} else if c.between(r.Partition, before, r.Offset) {
				c.report("poll-skip", "%s read offset %d of partition %d right after offset %d, after %v", reader.Name, r.Offset, r.Partition, before, r.At)
			}
		}
	}
}

// checkUnseen: at the end every consumer has read all, and the members of the group together have.
func (c *checker) checkUnseen() {
	readers := map[string]map[place]bool{}
	for _, reader := range c.Consumers {
		name := cmp.Or(reader.Group, reader.Name)
		if readers[name] == nil {
			readers[name] = map[place]bool{}
		}
		for _, r := range reader.Reads {
			readers[name][place{r.Partition, r.Offset}] = true
		}
	}
	for _, partition := range c.partitions() {
		for _, e := range c.Log[partition] {
			for _, name := range sortedKeys(readers) {
				if !readers[name][place{partition, e.Offset}] {
					c.report("unseen", "%v at offset %d of partition %d was never read by %s", e.Value, e.Offset, partition, name)
				}
			}
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	var all []K
	for key := range m {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}
