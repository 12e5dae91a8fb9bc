package main

import (
	"slices"
	"testing"
	"time"
)

// quiet is a history without an anomaly: two producers, two partitions, a consumer, and a group of two members that changes hands.
func quiet() *history {
	h := newHistory()
	reader, first, second := &consumer{Name: "consumer-0"}, &consumer{Name: "member-0", Group: groupName}, &consumer{Name: "member-1", Group: groupName}
	h.Consumers = []*consumer{reader, first, second}
	for partition := range int32(2) {
		for offset := range int64(10) {
			v := value{int32(offset % 2), partition, offset / 2}
			at := time.Duration(offset) * time.Second
			h.Sends = append(h.Sends, &send{Value: v, Outcome: acked, Offset: offset, Began: at, Ended: at})
			h.Log[partition] = append(h.Log[partition], entry{offset, v})
			one := read{Partition: partition, Offset: offset, Value: v, At: at}
			reader.Reads = append(reader.Reads, one)
			member := first
			if offset >= 6 {
				member = second
			}
			one.Fresh, one.Assigned = offset == 0 || offset == 6, at
			member.Reads = append(member.Reads, one)
			h.Commits = append(h.Commits, &commit{Group: groupName, Member: member.Name, Partition: partition, Offset: offset + 1, Acked: true, Began: at, Ended: at + 1})
		}
		h.Tenures = append(h.Tenures, &tenure{Group: groupName, Member: first.Name, Partition: partition, To: 6 * time.Second},
			&tenure{Group: groupName, Member: second.Name, Partition: partition, From: 6 * time.Second})
	}
	h.Committed[groupName] = map[int32]int64{0: 10, 1: 10}
	return h
}

func TestCheckFindsNothingInAQuietHistory(t *testing.T) {
	h := quiet()
	if found := check(h); len(found) != 0 {
		t.Fatal(found)
	}
	h.Sends[3].Outcome = unknown
	h.Sends = append(h.Sends, &send{Value: value{0, 0, 99}, Outcome: unknown, Offset: -1})
	if found := check(h); len(found) != 0 {
		t.Fatalf("a send with an unknown outcome may be in the log or not: %v", found)
	}
}

func TestCheckFindsWhatIsPlanted(t *testing.T) {
	drop := func(c *consumer, i int) { c.Reads = slices.Delete(c.Reads, i, i+1) }
	for _, test := range []struct {
		name, kind string
		plant      func(*history)
	}{
		{"an acknowledged record is gone", "lost-write", func(h *history) { h.Log[0] = h.Log[0][:9] }},
		{"a record that was read is gone", "lost-write", func(h *history) {
			h.Log[0] = h.Log[0][:9]
			h.Sends[9].Outcome = unknown
		}},
		{"a record is there twice", "duplicate", func(h *history) { h.Log[0] = append(h.Log[0], entry{10, h.Log[0][3].Value}) }},
		{"a record nobody sent", "phantom", func(h *history) { h.Log[0] = append(h.Log[0], entry{10, value{7, 0, 7}}) }},
		{"a record in another partition", "phantom", func(h *history) { h.Log[0] = append(h.Log[0], entry{10, value{0, 1, 0}}) }},
		{"two records of a producer swapped", "nonmonotonic-send", func(h *history) {
			log := h.Log[0]
			log[2].Value, log[4].Value = log[4].Value, log[2].Value
		}},
		{"a producer was told another offset", "inconsistent-offsets", func(h *history) { h.Sends[3].Offset = 4 }},
		{"a consumer read another record", "inconsistent-offsets", func(h *history) { h.Consumers[0].Reads[5].Value = value{1, 0, 4} }},
		{"a consumer reads backwards", "nonmonotonic-poll", func(h *history) {
			reads := h.Consumers[0].Reads
			reads[4], reads[5] = reads[5], reads[4]
		}},
		{"a consumer reads twice", "nonmonotonic-poll", func(h *history) {
			h.Consumers[0].Reads = slices.Insert(h.Consumers[0].Reads, 4, h.Consumers[0].Reads[3])
		}},
		{"a consumer passes over a record", "poll-skip", func(h *history) { drop(h.Consumers[0], 4) }},
		{"a consumer begins too late", "poll-skip", func(h *history) { drop(h.Consumers[0], 0) }},
		{"a member begins beyond what was committed", "poll-skip", func(h *history) {
			h.Commits = slices.DeleteFunc(h.Commits, func(c *commit) bool { return c.Offset == 6 })
		}},
		{"a consumer stops before the end", "unseen", func(h *history) { drop(h.Consumers[0], 19) }},
		{"no member reads the end", "unseen", func(h *history) { drop(h.Consumers[2], len(h.Consumers[2].Reads)-1) }},
		{"a member begins before what was committed", "lost-commit", func(h *history) {
			reads := h.Consumers[2].Reads
			again := h.Consumers[1].Reads[5]
			again.Fresh, again.Assigned, reads[0].Fresh = true, reads[0].Assigned, false
			h.Consumers[2].Reads = slices.Insert(reads, 0, again)
		}},
		{"a commit is gone at the end", "lost-commit", func(h *history) { h.Committed[groupName][1] = 8 }},
		{"two producers were told the same offset", "inconsistent-offsets", func(h *history) {
			h.Log[0] = h.Log[0][:9]
			h.Sends[9].Offset = 8
		}},
		{"a member commits what is another's already", "two-owners", func(h *history) {
			h.Tenures[0].To = 9 * time.Second
			h.Commits = append(h.Commits, &commit{Group: groupName, Member: "member-0", Partition: 0, Offset: 7, Acked: true, Began: 8 * time.Second, Ended: 8*time.Second + 1})
		}},
		{"a member commits backwards", "commit-backwards", func(h *history) {
			h.Commits = append(h.Commits, &commit{Group: groupName, Member: "member-1", Partition: 0, Offset: 7, Acked: true, Began: 10 * time.Second, Ended: 10*time.Second + 1})
		}},
		{"a group never began", "unseen", func(h *history) {
			h.Consumers = append(h.Consumers, &consumer{Name: "other-0", Group: "other"})
		}},
		{"a client met what it should not", "strange", func(h *history) { h.Strange = append(h.Strange, "a record without a value") }},
	} {
		h := quiet()
		test.plant(h)
		if found := check(h); !slices.ContainsFunc(found, func(v violation) bool { return v.Kind == test.kind }) {
			t.Errorf("%s: want %s, found %v", test.name, test.kind, found)
		}
	}
}

func TestCheckAllowsACommitThatWasOvertaken(t *testing.T) {
	h := quiet()
	h.Committed[groupName][1] = 8
	h.Commits = append(h.Commits, &commit{Group: groupName, Partition: 1, Offset: 8, Began: time.Second, Ended: 5 * time.Second})
	if found := check(h); len(found) != 0 {
		t.Fatal(found)
	}
}

func TestCheckAllowsAMemberThatBeganAnew(t *testing.T) {
	h := quiet()
	// The commit of 10 was not answered for, and the member that took over begins at 8, where an older one that took long put it back.
	h.Commits = append(h.Commits, &commit{Group: groupName, Member: "member-1", Partition: 1, Offset: 8, Began: time.Second, Ended: 11 * time.Second},
		&commit{Group: groupName, Member: "member-2", Partition: 1, Offset: 9, Acked: true, Began: 13 * time.Second, Ended: 13*time.Second + 1})
	h.Tenures = append(h.Tenures, &tenure{Group: groupName, Member: "member-2", Partition: 1, From: 12 * time.Second})
	h.Committed[groupName][1] = 10
	if found := check(h); len(found) != 0 {
		t.Fatal(found)
	}
}

func TestAMemberThatStillReadsIsNoSecondOwner(t *testing.T) {
	h := quiet()
	h.Tenures[0].To, h.Tenures[0].Lost = 9*time.Second, true
	h.Commits = append(h.Commits, &commit{Group: groupName, Member: "member-0", Partition: 0, Offset: 7, Began: 8 * time.Second, Ended: 8*time.Second + 1})
	if found := check(h); len(found) != 0 {
		t.Fatalf("its commit was refused: %v", found)
	}
}

func TestValuesAreReadAsTheyWereWritten(t *testing.T) {
	want := value{3, 5, 1234567}
	if got, err := parseValue(want.bytes()); err != nil || got != want {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "1|2", "1|2|3|4", "1|2|3 ", "01|2|3"} {
		if got, err := parseValue([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
