package streams_test

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/streamstest"
)

// A recording is what Java Kafka Streams did with one topology and one random input: a line of a *.jsonl.gz file.
type recording struct {
	Name  string `json:"name"`
	Seed  int    `json:"seed"`
	Steps []step `json:"steps"`
}

// step is a record for an input topic, or a move of the wall clock, and everything that came of it.
type step struct {
	Topic    string     `json:"topic"`
	Key      *string    `json:"key"`
	Value    *string    `json:"value"`
	Time     int64      `json:"ts"`
	Advance  int64      `json:"advanceWallClock"`
	Out      []result   `json:"out"`
	Internal []internal `json:"internal"`
}

// result is a record of the output topic.
type result struct {
	Key   *string `json:"key"`
	Value *string `json:"value"`
	Time  int64   `json:"ts"`
}

func (r result) String() string {
	return fmt.Sprintf("%s=%s@%d", printed(r.Key), printed(r.Value), r.Time)
}

// internal is a record of a changelog or repartition topic, bytes in hex.
type internal struct {
	Topic   string            `json:"topic"`
	Key     *string           `json:"key"`
	Value   *string           `json:"value"`
	Time    *int64            `json:"ts"`
	Headers map[string]string `json:"headers"`
}

func (r internal) String() string {
	at := "-"
	if r.Time != nil {
		at = fmt.Sprint(*r.Time)
	}
	return fmt.Sprintf("%s %s=%s@%s%v", r.Topic, printed(r.Key), printed(r.Value), at, r.Headers)
}

func printed(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// folders are where recordings are: our own, and those that the environment names.
func folders() (all []string, named map[string]bool) {
	named = map[string]bool{}
	all = append(all, "testdata")
	for _, f := range filepath.SplitList(os.Getenv("GREGOR_STREAMS_RECORDINGS")) {
		if f != "" {
			all, named[f] = append(all, f), true
		}
	}
	return all, named
}

// Every recording of Java Kafka Streams, replayed record by record: the results, and the bytes of internal topics where
// the recording has them.
func TestRecordingsAreReplayedExactly(t *testing.T) {
	all, named := folders()
	for _, folder := range all {
		files, err := filepath.Glob(filepath.Join(folder, "*.jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 && named[folder] {
			t.Errorf("no recording in %s", folder)
		}
		closing := rocksResults(t, files)
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				replayFile(t, file, closing)
			})
		}
	}
}

func read(t *testing.T, file string, visit func(recording)) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		visit(r)
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

type scenario struct {
	name string
	seed int
}

func inMemory(file string) bool { return strings.Contains(filepath.Base(file), "inmemory") }

// Java disagrees with itself in five places; each is settled here, on the expected side, and nowhere else.

// closesInMemory: Java's in-memory stores let a window expire in the moment in which it closes, if its grace is shorter than
// the window, and so lose the final result of onWindowClose. Its RocksDB stores send it. RocksDB is right.
func closesInMemory(file, name string) bool {
	return inMemory(file) && strings.HasPrefix(name, "window-final/")
}

// oldForeignKeys: the results of foreign-key joins whose foreign key turns null, or back, changed between 4.0 and 4.5.
// 4.5 is right.
func oldForeignKeys(file, name string) bool {
	return strings.Contains(filepath.Base(file), "4.0") && strings.HasPrefix(name, "fk-")
}

// noMappedKey: where the mapper of a left join with a global table finds no key for a record that has one, 4.0 drops the
// record, and 4.4 joins it with null, as KIP-962 says. 4.4 is right. The mapper of sg-left finds none for values that end in 0.
func noMappedKey(file string, r recording) recording {
	if !strings.Contains(filepath.Base(file), "4.0") || r.Name != "sg-left" {
		return r
	}
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Topic == "L" && s.Key != nil && s.Value != nil && strings.HasSuffix(*s.Value, "0") {
			s.Out = []result{{s.Key, text([]byte(*s.Value + "+null")), s.Time}}
		}
	}
	return r
}

// byHash: Java writes the changes of a suppress buffer at a commit in the order of a hash table. The order between keys
// means nothing in a compacted topic.
func byHash(topic string) bool { return strings.Contains(topic, "KTABLE-SUPPRESS-STATE-STORE") }

// oldInstruction: where a row changes and its foreign key stays, 4.0's inner join subscribes with instruction 2, "answer in any
// case", and 4.4 with 3, "answer if you have a row". 4.4 is right: nothing has to be answered otherwise. The second byte of
// a subscription is not compared there.
func oldInstruction(name, topic, value string) string {
	if name == "fk-inner" && strings.Contains(topic, "KTABLE-FK-JOIN-SUBSCRIPTION-") && (strings.HasPrefix(value, "0102") || strings.HasPrefix(value, "0103")) {
		return value[:2] + "**" + value[4:]
	}
	return value
}

// better holds results that are right for scenarios in other files.
type better struct{ closes, foreign map[scenario]recording }

func rocksResults(t *testing.T, files []string) better {
	b := better{map[scenario]recording{}, map[scenario]recording{}}
	for _, file := range files {
		base := filepath.Base(file)
		rocks, newer := strings.Contains(base, "rocksdb"), strings.Contains(base, "4.5")
		if !rocks && !newer {
			continue
		}
		read(t, file, func(r recording) {
			if rocks && strings.HasPrefix(r.Name, "window-final/") {
				b.closes[scenario{r.Name, r.Seed}] = r
			}
			if newer && strings.HasPrefix(r.Name, "fk-") {
				b.foreign[scenario{r.Name, r.Seed}] = r
			}
		})
	}
	return b
}

func replayFile(t *testing.T, file string, b better) {
	equal, exceptions, internals := map[string]int{}, 0, 0
	total, good := 0, 0
	read(t, file, func(r recording) {
		total++
		expected := r
		if closesInMemory(file, r.Name) {
			expected = b.closes[scenario{r.Name, r.Seed}]
		}
		if oldForeignKeys(file, r.Name) {
			expected = foreignKeysOf45(b, r)
		}
		expected = noMappedKey(file, expected)
		if !slices.EqualFunc(r.Steps, expected.Steps, func(x, y step) bool { return slices.EqualFunc(x.Out, y.Out, sameResult) }) {
			exceptions++
		}
		n, err := replay(t, expected, options(file, r.Name), func(*streamstest.Driver, int) error { return nil })
		internals += n
		if err != nil {
			t.Errorf("%s seed %d: %v", r.Name, r.Seed, err)
			return
		}
		good++
		equal[r.Name]++
	})
	t.Logf("%d of %d scenarios equal (%d topologies, %d internal records byte for byte, %d scenarios by a named exception)",
		good, total, len(equal), internals, exceptions)
	if total == 0 {
		t.Error("the recording is empty")
	}
}

func sameResult(a, b result) bool { return a.String() == b.String() }

// foreignKeysOf45 is a recording of 4.0 with the results of 4.5 for the same input. Where they differ, so do the messages
// between the two sides, and 4.0's are not compared.
func foreignKeysOf45(b better, r recording) recording {
	newer, ok := b.foreign[scenario{r.Name, r.Seed}]
	if !ok {
		return r
	}
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		if s := &r.Steps[i]; !slices.EqualFunc(s.Out, newer.Steps[i].Out, sameResult) {
			s.Out, s.Internal = newer.Steps[i].Out, nil
		}
	}
	return r
}

// options are those with which a topology expires rows where the recorded one did.
func options(file, name string) []streams.BuilderOption {
	if inMemory(file) && !closesInMemory(file, name) {
		return nil
	}
	return []streams.BuilderOption{streams.RocksDBExpiry()}
}

// With all stores on disk everything is the same, whenever they are saved. One input of each topology is replayed.
func TestRecordingsAreReplayedOnDisk(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	closing := rocksResults(t, files)
	for _, file := range files {
		read(t, file, func(r recording) {
			if r.Seed != 0 {
				return
			}
			if closesInMemory(file, r.Name) {
				r = closing.closes[scenario{r.Name, r.Seed}]
			}
			save := func(d *streamstest.Driver, step int) error {
				if step%4 != 3 {
					return nil
				}
				return d.Save(nil)
			}
			if _, err := replay(t, r, append(options(file, r.Name), streams.KeepOnDisk()), save); err != nil {
				t.Errorf("%s: %v", r.Name, err)
			}
		})
	}
}

// replay gives a topology the input of a recording and compares what comes out, step by step.
func replay(t *testing.T, r recording, opts []streams.BuilderOption, after func(d *streamstest.Driver, step int) error) (internals int, err error) {
	build, ok := recorded[family(r.Name)]
	if !ok {
		return 0, fmt.Errorf("no topology for this recording")
	}
	b := streams.NewBuilder(opts...)
	build(b, r.Name)
	topology, err := b.Build()
	if err != nil {
		return 0, err
	}
	d := streamstest.New(t, topology, streams.TaskConfig{AppID: "g", Errors: skipping(r.Name)})
	for i, s := range r.Steps {
		if err := feed(d, s); err != nil {
			return internals, fmt.Errorf("step %d: %w", i, err)
		}
		if err := after(d, i); err != nil {
			return internals, fmt.Errorf("step %d: %w", i, err)
		}
		if got := results(d); !slices.EqualFunc(got, s.Out, sameResult) {
			return internals, fmt.Errorf("step %d %s %s=%s@%d\n got %v\nwant %v\n%s", i, s.Topic, printed(s.Key), printed(s.Value), s.Time, got, s.Out, topology.Describe())
		}
		got, want := sentInternally(d), s.Internal
		if want == nil {
			continue
		}
		if err := compareInternal(r.Name, got, want); err != nil {
			return internals, fmt.Errorf("step %d %s %s=%s@%d: %w", i, s.Topic, printed(s.Key), printed(s.Value), s.Time, err)
		}
		internals += len(s.Internal)
	}
	return internals, nil
}

func family(name string) string {
	head, _, _ := strings.Cut(name, "/")
	if f, _, ok := strings.Cut(name, "-"); ok && (f == "tt" || f == "st" || f == "sg" || f == "fk" || f == "ss") {
		return f
	}
	return head
}

func feed(d *streamstest.Driver, s step) error {
	if s.Topic == "" {
		return d.TryAdvance(time.Duration(s.Advance) * time.Millisecond)
	}
	m := streams.Message{Topic: s.Topic, Timestamp: s.Time}
	if s.Key != nil {
		m.Key = []byte(*s.Key)
	}
	if s.Value != nil {
		m.Value = []byte(*s.Value)
	}
	return d.Feed(m)
}

func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func results(d *streamstest.Driver) (all []result) {
	for _, m := range d.Sent("out") {
		all = append(all, result{text(m.Key), text(m.Value), m.Timestamp})
	}
	return all
}

func hexed(b []byte) *string {
	if b == nil {
		return nil
	}
	s := hex.EncodeToString(b)
	return &s
}

// sentInternally is what went to changelogs and repartition topics since the last call.
func sentInternally(d *streamstest.Driver) []streams.Message {
	all := d.Logged()
	for _, topic := range d.Task.Sources() {
		if strings.HasPrefix(topic, "g-") {
			all = append(all, d.Sent(topic)...)
		}
	}
	return all
}

// compareInternal compares topic by topic: the recording does not say how records of different topics interleave.
func compareInternal(name string, got []streams.Message, want []internal) error {
	expected, have := map[string][]string{}, map[string][]string{}
	for _, w := range want {
		if w.Value != nil {
			w.Value = text([]byte(oldInstruction(name, w.Topic, *w.Value)))
		}
		expected[w.Topic] = append(expected[w.Topic], w.String())
	}
	for _, m := range got {
		r := internal{Topic: m.Topic, Key: hexed(m.Key), Value: hexed(m.Value)}
		if r.Value != nil {
			r.Value = text([]byte(oldInstruction(name, m.Topic, *r.Value)))
		}
		if m.Timestamp != streams.NoTime {
			r.Time = &m.Timestamp
		}
		for _, h := range m.Headers {
			if r.Headers == nil {
				r.Headers = map[string]string{}
			}
			r.Headers[h.Key] = hex.EncodeToString(h.Value)
		}
		have[m.Topic] = append(have[m.Topic], r.String())
		if expected[m.Topic] == nil {
			expected[m.Topic] = []string{}
		}
	}
	for topic, w := range expected {
		g := have[topic]
		if byHash(topic) {
			slices.Sort(g)
			slices.Sort(w)
		}
		if !slices.Equal(g, w) {
			return fmt.Errorf("topic %s\n got %s\nwant %s", topic, strings.Join(g, "\n     "), strings.Join(w, "\n     "))
		}
	}
	return nil
}
