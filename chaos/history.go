package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
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
	Partition int32         `json:"partition"`
	Offset    int64         `json:"offset"`
	Acked     bool          `json:"acked"`
	Began     time.Duration `json:"began"`
	Ended     time.Duration `json:"ended"`
}

type entry struct {
	Offset int64
	Value  value
}

// consumer is one that reads, in the order in which it did.
type consumer struct {
	Name  string
	Group bool
	Reads []read
}

// history is what clients saw. While they run, it is only to be touched under its lock.
type history struct {
	mu        sync.Mutex
	began     time.Time
	Sends     []*send
	Consumers []*consumer
	Commits   []commit
	Strange   []string // what a client met that no client should, in words

	// Once everything is healed:
	Log       map[int32][]entry // of every partition, from its start
	Committed map[int32]int64   // by the group
}

func newHistory() *history {
	return &history{began: time.Now(), Log: map[int32][]entry{}, Committed: map[int32]int64{}}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

// do runs f under the lock.
func (h *history) do(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
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
		line("commit", "group", c)
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
