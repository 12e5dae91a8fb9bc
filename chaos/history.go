package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// value is what a record says: who wrote it, where, and as which of its records there. No two records are written with the same.
type value struct {
	Producer  int32 `json:"producer"`
	Partition int32 `json:"partition"`
	N         int64 `json:"n"`
}

func (v value) String() string { return fmt.Sprintf("%d|%d|%d", v.Producer, v.Partition, v.N) }

// padding makes records as long as records are.
var padding = strings.Repeat("x", 120)

func (v value) bytes() []byte { return []byte(v.String() + "|" + padding) }

func parseValue(b []byte) (v value, err error) {
	text := strings.TrimSuffix(string(b), "|"+padding)
	if _, err = fmt.Sscanf(text, "%d|%d|%d", &v.Producer, &v.Partition, &v.N); err == nil && v.String() != text {
		err = fmt.Errorf("a record says %q, which no producer wrote", text)
	}
	return v, err
}

// A send that did not succeed may have: the answer can be what was lost.
type outcome string

const (
	pending outcome = "pending"
	acked   outcome = "acknowledged"
	unknown outcome = "unknown"
)

// times are since the run began.
type send struct {
	Value   value         `json:"value"`
	Outcome outcome       `json:"outcome"`
	Offset  int64         `json:"offset"`
	Began   time.Duration `json:"began"`
	Ended   time.Duration `json:"ended"`
	Error   string        `json:"error,omitempty"`
}

type read struct {
	Partition int32         `json:"partition"`
	Offset    int64         `json:"offset"`
	Value     value         `json:"value"`
	At        time.Duration `json:"at"`
	// Fresh is the first read of a partition since it was assigned to a member of the group, at Assigned.
	Fresh    bool          `json:"fresh,omitempty"`
	Assigned time.Duration `json:"assigned,omitempty"`
}

type commit struct {
	Group     string        `json:"group"`
	Member    string        `json:"member"`
	Partition int32         `json:"partition"`
	Offset    int64         `json:"offset"`
	Acked     bool          `json:"acked"`
	Began     time.Duration `json:"began"`
	Ended     time.Duration `json:"ended"`
}

// tenure is the time in which a member had a partition, as far as it knew: from when it was told so until it gave the partition back, or
// was told that it had lost it. To is 0 as long as it has it.
type tenure struct {
	Group     string        `json:"group"`
	Member    string        `json:"member"`
	Partition int32         `json:"partition"`
	From      time.Duration `json:"from"`
	To        time.Duration `json:"to,omitempty"`
	Lost      bool          `json:"lost,omitempty"`
}

type entry struct {
	Offset int64
	Value  value
}

// consumer is one that reads, in the order in which it did.
type consumer struct {
	Name  string
	Group string // "" for one that reads all partitions by itself
	Reads []read
}

// history is what clients saw. While they run, it is only to be touched under its lock.
type history struct {
	mu        sync.Mutex
	began     time.Time
	clock     int64 // what the monotonic clock said then, in nanoseconds
	Sends     []*send
	Consumers []*consumer
	Commits   []*commit
	Tenures   []*tenure
	Strange   []string // what a client met that no client should, in words

	// Once everything is healed:
	Log       map[int32][]entry          // of every partition, from its start
	Committed map[string]map[int32]int64 // by every group
}

func newHistory() *history {
	return &history{began: time.Now(), clock: monotonic(), Log: map[int32][]entry{}, Committed: map[string]map[int32]int64{}}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

// do runs f under the lock.
func (h *history) do(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// The methods that follow are to be called under the lock.

// assigned notes that a member has a partition now.
func (h *history) assigned(group, member string, partition int32, at time.Duration) {
	h.Tenures = append(h.Tenures, &tenure{Group: group, Member: member, Partition: partition, From: at})
}

// gone notes that a member has a partition no longer.
func (h *history) gone(member string, partition int32, at time.Duration, lost bool) {
	for _, t := range slices.Backward(h.Tenures) {
		if t.Member == member && t.Partition == partition && t.To == 0 {
			t.To, t.Lost = at, lost
			return
		}
	}
}

// readBy notes a read of a consumer. The first of a partition since that was assigned is fresh.
func (h *history) readBy(c *consumer, r read, fresh map[int32]time.Duration) {
	r.Assigned, r.Fresh = fresh[r.Partition]
	delete(fresh, r.Partition)
	c.Reads = append(c.Reads, r)
}

// write keeps the history as lines of JSON, for whoever looks for the cause of a violation.
func (h *history) write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(f)
	encoder := json.NewEncoder(buffered)
	line := func(kind, who string, what any) {
		if err == nil {
			err = encoder.Encode(map[string]any{"kind": kind, "who": who, "what": what})
		}
	}
	for _, s := range h.Sends {
		line("send", fmt.Sprint("producer-", s.Value.Producer), s)
	}
	for _, c := range h.Consumers {
		for _, r := range c.Reads {
			line("read", c.Name, r)
		}
	}
	for _, c := range h.Commits {
		line("commit", c.Member, c)
	}
	for _, t := range h.Tenures {
		line("tenure", t.Member, t)
	}
	for partition, entries := range h.Log {
		for _, e := range entries {
			line("log", fmt.Sprint("partition-", partition), e)
		}
	}
	if flushed := buffered.Flush(); err == nil {
		err = flushed
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
