package group

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
	"github.com/gregorhq/gregor/internal/sim"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories in testdata lead to into them")

// TestStories tells the coordinator the stories in testdata: lines are commands, and lines that begin with two spaces
// are what has been answered since the line before. Words are explained at the methods of story.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := tell(t, string(data))
			if got == string(data) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s leads to\n%s", file, got)
		})
	}
}

func tell(t *testing.T, script string) string {
	s := newStory(t)
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line)
		if command := strings.TrimSpace(line); command != "" && command[0] != '#' {
			s.do(command)
			for _, said := range s.said {
				out.WriteString("  " + s.named(said) + "\n")
			}
			s.said = nil
		}
	}
	return out.String()
}

// story is a coordinator of one partition with its log, topics and clients.
type story struct {
	t       *testing.T
	world   *sim.World
	service *Service
	log     *memoryLog
	printed int // batches of the log that have been shown
	topics  map[string]int32
	lives   map[string]byte   // how often a topic has been made
	ids     map[string]string // the current member id of each client
	gens    map[string]int32
	names   []string // pairs of a member id and the name that it is shown by
	taken   map[string]int
	said    []string
}

func newStory(t *testing.T) *story {
	s := &story{
		t: t, world: sim.New(1), topics: map[string]int32{"t": 3, "u": 1, kafka.GroupMetadataTopic: 1},
		lives: map[string]byte{}, ids: map[string]string{}, gens: map[string]int32{}, taken: map[string]int{},
	}
	s.log = &memoryLog{epoch: 1, later: func(f func()) { s.world.Schedule(time.Millisecond, f) }}
	s.service = NewService(s.world, DefaultConfig(), s)
	s.service.Elect(0, 1, s.log)
	s.world.Run(10 * time.Millisecond)
	return s
}

func (s *story) PartitionCount(topic string) int32 { return s.topics[topic] }

// IDOf is the topic's name and how often it has been made.
func (s *story) IDOf(name string) (id kafka.TopicID) {
	if s.topics[name] > 0 {
		copy(id[:], name)
		id[15] = s.lives[name]
	}
	return id
}

func (s *story) NameOf(id kafka.TopicID) (string, bool) {
	name := nameIn(id)
	return name, s.IDOf(name) == id && s.topics[name] > 0
}

func nameIn(id kafka.TopicID) string { return strings.TrimRight(string(id[:15]), "\x00") }

func (s *story) say(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

// named replaces member ids by their clients' names, with a number for each id that a client has had.
func (s *story) named(text string) string {
	for i := 0; i < len(s.names); i += 2 {
		text = strings.ReplaceAll(text, s.names[i], s.names[i+1])
	}
	return text
}

// learn takes what a JoinGroup has told a client, and name gives a member id a name to be shown by.
func (s *story) learn(client, id string, generation int32) {
	s.ids[client] = id
	if generation >= 0 {
		s.gens[client] = generation
	}
}

func (s *story) name(client, id string) {
	if id != "" && !slices.Contains(s.names, id) {
		s.taken[client]++
		s.names = append(s.names, id, client+strconv.Itoa(s.taken[client]))
	}
}

// idOf finds a member id by a name that it is shown by, or a client's current one.
func (s *story) idOf(name string) string {
	for i := 0; i < len(s.names); i += 2 {
		if s.names[i+1] == name {
			return s.names[i]
		}
	}
	if id, ok := s.ids[name]; ok {
		return id
	}
	return ""
}

// command is a verb, words, and options as key=value.
type command struct {
	words   []string
	options map[string]string
}

func (c command) text(key, otherwise string) string {
	if v, ok := c.options[key]; ok {
		return v
	}
	return otherwise
}

func (c command) number(key string, otherwise int) int {
	if v, ok := c.options[key]; ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			panic(err)
		}
		return n
	}
	return otherwise
}

func (c command) list(key, otherwise string) []string {
	text := c.text(key, otherwise)
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (c command) optional(key string) *string {
	if v, ok := c.options[key]; ok {
		return &v
	}
	return nil
}

func (c command) word(i int) string {
	if i < len(c.words) {
		return c.words[i]
	}
	return ""
}

func (s *story) do(line string) {
	fields := strings.Fields(line)
	c := command{options: map[string]string{}}
	for _, f := range fields[1:] {
		if key, value, ok := strings.Cut(f, "="); ok {
			c.options[key] = value
		} else {
			c.words = append(c.words, f)
		}
	}
	verbs := map[string]func(command){
		"join": s.join, "sync": s.sync, "heartbeat": s.heartbeat, "leave": s.leave, "commit": s.commit, "fetch": s.fetch,
		"offset-delete": s.offsetDelete, "delete": s.delete, "describe": s.describe, "list": s.list, "run": s.run,
		"elect": s.elect, "resign": s.resign, "hold": s.hold, "release": s.release, "refuse": s.refuse, "log": s.showLog,
		"topic": s.topic, "config": s.config, "stay": s.stay,
	}
	verb := verbs[fields[0]]
	if verb == nil {
		s.t.Fatalf("no such command: %s", line)
	}
	verb(c)
	if fields[0] != "run" {
		s.world.Run(10 * time.Millisecond)
	}
}

// run 3s: time passes.
func (s *story) run(c command) {
	d, err := time.ParseDuration(c.word(0))
	if err != nil {
		s.t.Fatal(err)
	}
	start := s.world.Now()
	for s.world.Now().Sub(start) < d { // in steps, to say when something happened
		before := len(s.said)
		s.world.Run(min(100*time.Millisecond, d-s.world.Now().Sub(start)))
		for i := before; i < len(s.said); i++ {
			s.said[i] = fmt.Sprintf("after %v: %s", s.world.Now().Sub(start).Round(100*time.Millisecond), s.said[i])
		}
	}
}

// elect: the partition is led anew, by a coordinator that knows only the log; t=0: the topic t is deleted meanwhile.
// resign: it is led by nobody here.
func (s *story) elect(c command) {
	s.log.epoch++ // nobody else looks at it: the world is in this goroutine
	s.service.Elect(0, s.log.epoch, s.log)
	if c.text("t", "") == "0" {
		s.topic(command{words: []string{"t", "0"}})
	}
}

func (s *story) resign(command) { s.service.Resign(0) }

// hold: what is appended is not committed. release: all of it is.
func (s *story) hold(command) { s.log.held = true }

func (s *story) release(command) {
	s.log.held = false
	s.log.commit()
}

// refuse MESSAGE_TOO_LARGE|KAFKA_STORAGE_ERROR: so ends the next append.
func (s *story) refuse(c command) {
	s.log.refuse = map[string]error{
		"MESSAGE_TOO_LARGE": kafka.MessageTooLarge, "KAFKA_STORAGE_ERROR": kafka.KafkaStorageError,
	}[c.word(0)]
}

// topic t 3: the topic is made with three partitions. topic t 0: it is deleted; quiet=1: the coordinator does not hear.
func (s *story) topic(c command) {
	count, _ := strconv.Atoi(c.word(1))
	s.topics[c.word(0)] = int32(count)
	s.lives[c.word(0)]++
	if count == 0 && c.text("quiet", "") == "" {
		s.service.TopicsDeleted(c.word(0))
	}
}

// config size=2 delay=0ms: a coordinator with other limits, before anything else.
func (s *story) config(c command) {
	config := DefaultConfig()
	config.MaxSize = c.number("size", config.MaxSize)
	if delay, err := time.ParseDuration(c.text("delay", "3s")); err == nil {
		config.InitialRebalanceDelay = delay
	}
	s.service.Resign(0)
	s.service = NewService(s.world, config, s)
	s.elect(c)
}

// log: what the log holds that has not been shown, read with kmsg and nothing of ours.
func (s *story) showLog(command) {
	for ; s.printed < len(s.log.batches); s.printed++ {
		var records []string
		_ = s.log.batches[s.printed].Records(1<<20, func(r record.Record) error {
			records = append(records, showRecord(r.Key, r.Value))
			return nil
		})
		s.say("%s", strings.Join(records, " + "))
	}
}

func showRecord(key, value []byte) string {
	if key[1] == 1 {
		var k kmsg.OffsetCommitKey
		if err := k.ReadFrom(key); err != nil {
			return err.Error()
		}
		name := fmt.Sprintf("offset %s %s/%d", k.Group, k.Topic, k.Partition)
		if value == nil {
			return name + " deleted"
		}
		var v kmsg.OffsetCommitValue
		if err := v.ReadFrom(value); err != nil {
			return err.Error()
		}
		text := fmt.Sprintf("%s = v%d %d", name, v.Version, v.Offset)
		if v.Version >= 3 {
			text += fmt.Sprintf(" epoch %d", v.LeaderEpoch)
		}
		if v.Version == 1 {
			text += fmt.Sprintf(" expires +%d", v.ExpireTimestamp-v.CommitTimestamp)
		}
		return text + fmt.Sprintf(" %q", v.Metadata)
	}
	var k kmsg.GroupMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return err.Error()
	}
	if value == nil {
		return "group " + k.Group + " deleted"
	}
	var v kmsg.GroupMetadataValue
	if err := v.ReadFrom(value); err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("group %s = v%d generation %d type %s protocol %s leader %s", k.Group, v.Version, v.Generation,
		v.ProtocolType, show(v.Protocol), show(v.Leader))
	for _, m := range v.Members {
		text += fmt.Sprintf(" [%s instance %s client %s%s session %d rebalance %d metadata %q assignment %q]", m.MemberID,
			show(m.InstanceID), m.ClientID, m.ClientHost, m.SessionTimeoutMillis, m.RebalanceTimeoutMillis, m.Subscription,
			m.Assignment)
	}
	return text
}

func show(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func code(n int16) string { return kafka.ErrorCode(n).Error() }
