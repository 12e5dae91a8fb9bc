package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/loop"
	"github.com/gregorhq/gregor/internal/statemachine"
)

// world is a runtime whose loops run when a test says so, all in the test's goroutine.
type world struct {
	queue  []func()
	timers []func()
}

func (w *world) Now() time.Time             { return time.UnixMilli(1000) }
func (w *world) Rand() *rand.Rand           { return rand.New(rand.NewPCG(1, 2)) }
func (w *world) Loop(name string) loop.Loop { return w }
func (w *world) Do(f func())                { w.queue = append(w.queue, f) }
func (w *world) After(_ time.Duration, f func()) func() {
	i := len(w.timers)
	w.timers = append(w.timers, f)
	return func() { w.timers[i] = func() {} }
}

// run drains the loops; turn runs one function of them.
func (w *world) run() {
	for len(w.queue) > 0 {
		w.turn()
	}
}

func (w *world) turn() {
	f := w.queue[0]
	w.queue = w.queue[1:]
	f()
}

// memoryLog is a log in memory that commits when a test says so. It numbers records, of which a batch has as many as it
// has lines.
type memoryLog struct {
	mu        sync.Mutex
	batches   []string
	epoch     int32
	refuse    error
	listener  func(int64)
	committed int64
}

func lines(batch string) int64 { return int64(strings.Count(batch, "\n")) }

func (l *memoryLog) end() (end int64) {
	for _, b := range l.batches {
		end += lines(b)
	}
	return end
}

func (l *memoryLog) Append(epoch int32, batch []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return 0, l.refuse
	}
	if epoch != l.epoch {
		return 0, kafka.NotLeaderOrFollower
	}
	l.batches = append(l.batches, string(batch))
	return l.end(), nil
}

func (l *memoryLog) Read(from int64, visit func(int64, []byte) error) error {
	l.mu.Lock()
	batches := slices.Clone(l.batches)
	l.mu.Unlock()
	offset := int64(0)
	for _, b := range batches {
		if offset >= from {
			if err := visit(offset, []byte(b)); err != nil {
				return fmt.Errorf("read: %w", err)
			}
		}
		offset += lines(b)
	}
	return nil
}

func (l *memoryLog) OnCommitted(f func(int64)) {
	l.mu.Lock()
	l.listener = f
	committed := l.committed
	l.mu.Unlock()
	if f != nil {
		f(committed)
	}
}

func (l *memoryLog) commit(end int64) {
	l.mu.Lock()
	l.committed = end
	f := l.listener
	l.mu.Unlock()
	if f != nil {
		f(end)
	}
}

// diary is a machine that remembers what it was told, and when.
type diary struct{ entries []string }

func (d *diary) Replay(offset int64, record string) {
	d.entries = append(d.entries, fmt.Sprintf("%d:%s", offset, record))
}

func (d *diary) String() string { return strings.Join(d.entries, " ") }

type lineCodec struct{}

var errBadBatch = errors.New("not made of lines")

func (lineCodec) Encode(records []string, _ int64) ([]byte, error) {
	if slices.Contains(records, "unencodable") {
		return nil, kafka.InvalidRecord
	}
	return []byte(strings.Join(records, "\n") + "\n"), nil
}

func (lineCodec) Decode(offset int64, batch []byte, visit func(int64, string)) error {
	text := string(batch)
	if !strings.HasSuffix(text, "\n") {
		return errBadBatch
	}
	for i, record := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		visit(offset+int64(i), record)
	}
	return nil
}

type shard = statemachine.Shard[string, *diary]

type fixture struct {
	*world
	log     *memoryLog
	machine *diary
	shard   *shard
	answers []string
	ended   []error
}

func lead(t *testing.T, batches ...string) *fixture {
	t.Helper()
	f := &fixture{world: &world{}, log: &memoryLog{epoch: 1, batches: batches}, machine: &diary{}}
	f.shard = statemachine.Lead(f.world, "test", 1, f.log, statemachine.Codec[string](lineCodec{}), f.machine,
		func(err error) { f.ended = append(f.ended, err) })
	return f
}

func (f *fixture) decide(name string, records ...string) {
	f.shard.Decide(func(*diary) []string { return records }, func(err error) {
		f.answers = append(f.answers, fmt.Sprintf("%s=%v", name, err))
	})
}

func (f *fixture) expect(t *testing.T, answers string) {
	t.Helper()
	f.run()
	if got := strings.Join(f.answers, " "); got != answers {
		t.Errorf("answers are %q, want %q", got, answers)
	}
	f.answers = nil
}

func TestAnAnswerWaitsUntilItsRecordsAreCommitted(t *testing.T) {
	f := lead(t)
	f.run()
	f.decide("a", "one", "two")
	f.decide("b", "three")
	f.expect(t, "")
	if got := f.machine.String(); got != "0:one 1:two 2:three" {
		t.Errorf("replayed %q before it was committed", got)
	}
	f.log.commit(2)
	f.expect(t, "a=<nil>")
	f.log.commit(3)
	f.expect(t, "b=<nil>")
}

func TestAReadWaitsForWhatItSaw(t *testing.T) {
	f := lead(t)
	f.run()
	f.decide("read nothing")
	f.expect(t, "read nothing=<nil>")
	f.decide("write", "one")
	f.decide("read one")
	f.expect(t, "")
	f.log.commit(1)
	f.expect(t, "write=<nil> read one=<nil>")
}

func TestAnswersWaitForTheLoadedButUncommittedTail(t *testing.T) {
	f := lead(t, "one\n", "two\nthree\n")
	f.log.commit(1)
	f.run()
	f.decide("read")
	f.expect(t, "")
	f.log.commit(3)
	f.expect(t, "read=<nil>")
	if got := f.machine.String(); got != "0:one 1:two 2:three" {
		t.Errorf("loaded %q", got)
	}
}

func TestDecisionsAreRefusedWhileTheLogIsLoaded(t *testing.T) {
	line := strings.Repeat("x", 700_000) + "\n"
	f := lead(t, line, line, line, line, "last\n")
	f.decide("too early", "one")
	loaded := 0
	f.shard.OnLoaded(func(m *diary) { loaded = len(m.entries) })
	f.turn() // the first step of loading
	f.turn()
	if got := strings.Join(f.answers, " "); got != "too early=COORDINATOR_LOAD_IN_PROGRESS" || !f.shard.Loading() {
		t.Errorf("answered %q while loading (%v)", got, f.shard.Loading())
	}
	f.answers = nil
	f.run()
	if loaded != 5 || f.shard.Loading() {
		t.Errorf("%d records were loaded when loading was over, want 5", loaded)
	}
	f.log.commit(5)
	f.decide("now")
	f.expect(t, "now=<nil>")
}

func TestAnOldCommitDoesNotHideANewOne(t *testing.T) {
	f := lead(t)
	f.run()
	f.decide("a", "one")
	f.decide("b", "two")
	f.run()
	f.log.commit(2)
	f.log.commit(1)
	f.expect(t, "a=<nil> b=<nil>")
}

func TestAFailedAppendEndsTheShard(t *testing.T) {
	f := lead(t)
	f.run()
	f.decide("a", "one")
	f.run()
	f.log.epoch = 2
	f.decide("b", "two")
	f.decide("c", "three")
	f.expect(t, "a=NOT_COORDINATOR b=NOT_COORDINATOR c=NOT_COORDINATOR")
	if len(f.ended) != 1 || !errors.Is(f.ended[0], kafka.NotLeaderOrFollower) || !f.shard.Ended() {
		t.Errorf("ended with %v", f.ended)
	}
	if got := f.machine.String(); got != "0:one" {
		t.Errorf("what could not be appended was replayed: %q", got)
	}
	f.log.commit(1)
	f.expect(t, "")
}

func TestABatchThatIsTooLargeIsOnlyItsOwnFailure(t *testing.T) {
	f := lead(t)
	f.run()
	f.decide("a", "one")
	f.run()
	f.log.refuse = kafka.RecordListTooLarge
	f.decide("b", "too much")
	f.run()
	f.log.refuse = nil
	f.decide("c", "unencodable")
	f.decide("d", "two")
	f.expect(t, "")
	f.log.commit(2)
	f.expect(t, "a=<nil> b=RECORD_LIST_TOO_LARGE c=INVALID_RECORD d=<nil>")
	if len(f.ended) > 0 {
		t.Errorf("the shard ended: %v", f.ended)
	}
}

func TestResigningAnswersEverybodyOnce(t *testing.T) {
	f := lead(t)
	f.run()
	f.decide("a", "one")
	f.run()
	f.decide("b", "two")
	f.shard.Resign()
	f.decide("c")
	f.log.commit(9)
	f.expect(t, "a=NOT_COORDINATOR b=NOT_COORDINATOR c=NOT_COORDINATOR")
	f.shard.Resign()
	f.run()
	if !slices.Equal(f.ended, []error{nil}) {
		t.Errorf("ended with %v, want one nil", f.ended)
	}
}

func TestAResignedShardDoesNotDeafenItsSuccessor(t *testing.T) {
	f := lead(t)
	f.run()
	old := f.shard
	old.Resign()
	f.log.epoch = 2
	f.shard = statemachine.Lead(f.world, "test", 2, f.log, statemachine.Codec[string](lineCodec{}), &diary{}, nil)
	f.run()
	f.decide("a", "one")
	f.run()
	f.log.commit(1)
	f.expect(t, "a=<nil>")
}

func TestATimerDecidesLikeARequestButNotAfterTheEnd(t *testing.T) {
	f := lead(t)
	f.run()
	f.shard.After(time.Second, func(*diary) []string { return []string{"timeout"} })
	stop := f.shard.After(time.Second, func(*diary) []string { return []string{"stopped"} })
	stop()
	late := 0
	f.shard.After(time.Second, func(*diary) []string { late++; return nil })
	f.timers[0]()
	f.timers[1]()
	f.run()
	if got := f.machine.String(); got != "0:timeout" {
		t.Errorf("replayed %q", got)
	}
	f.shard.Resign()
	f.run()
	f.timers[2]()
	if late != 0 {
		t.Error("a timer decided after the shard was over")
	}
}

func TestAnUnreadableLogEndsTheShard(t *testing.T) {
	f := lead(t, "one\n", "rot")
	f.decide("a")
	f.run()
	f.decide("b")
	f.run()
	if len(f.ended) != 1 || !errors.Is(f.ended[0], errBadBatch) || !strings.Contains(f.ended[0].Error(), "offset 1") {
		t.Errorf("ended with %v", f.ended)
	}
	if got := strings.Join(f.answers, " "); !strings.HasSuffix(got, "b=NOT_COORDINATOR") {
		t.Errorf("answered %q", got)
	}
}

func TestALogThatDoesNotCommitHoldsDecisionsBack(t *testing.T) {
	f := lead(t)
	f.run()
	big := strings.Repeat("x", 5<<20)
	for i := range 4 {
		f.decide(string(rune('a'+i)), big)
	}
	f.expect(t, "")
	if len(f.log.batches) != 2 {
		t.Errorf("%d batches of 5 MiB were appended without a commit, want 2", len(f.log.batches))
	}
	f.log.commit(1)
	f.expect(t, "a=<nil>")
	if len(f.log.batches) != 3 {
		t.Errorf("%d batches were appended after a commit, want 3", len(f.log.batches))
	}
	f.log.commit(3)
	f.expect(t, "b=<nil> c=<nil>")
	f.log.commit(4)
	f.expect(t, "d=<nil>")
}

// numberedCodec is for a log that numbers batches.
type numberedCodec struct{ lineCodec }

func (numberedCodec) BatchNumbered() {}

func (numberedCodec) Decode(offset int64, batch []byte, visit func(int64, string)) error {
	return lineCodec{}.Decode(offset, batch, func(_ int64, r string) { visit(offset, r) })
}

func TestALogMayNumberBatchesInsteadOfRecords(t *testing.T) {
	w, m, log := &world{}, &diary{}, &batchLog{}
	s := statemachine.Lead(w, "test", 1, log, statemachine.Codec[string](numberedCodec{}), m, nil)
	s.Decide(func(*diary) []string { return nil }, func(error) {})
	w.run()
	s.Decide(func(*diary) []string { return []string{"one", "two"} }, func(error) {})
	s.Decide(func(*diary) []string { return []string{"three"} }, func(error) {})
	w.run()
	if got := m.String(); got != "7:one 7:two 8:three" {
		t.Errorf("replayed %q", got)
	}
}

type batchLog struct{ next int64 }

func (l *batchLog) Append(int32, []byte) (int64, error) {
	l.next = max(l.next, 7) + 1
	return l.next, nil
}
func (l *batchLog) Read(int64, func(int64, []byte) error) error { return nil }
func (l *batchLog) OnCommitted(f func(int64))                   {}

// A shard on the runtime of the world, fed from many goroutines, answers every decision once and in order.
func TestManyCallersAtOnce(t *testing.T) {
	log := &memoryLog{epoch: 1}
	s := statemachine.Lead(loop.Real(), "test", 1, log, statemachine.Codec[string](lineCodec{}), &diary{}, nil)
	var loaded sync.WaitGroup
	loaded.Add(1)
	s.OnLoaded(func(*diary) { loaded.Done() })
	loaded.Wait()
	var callers, answered sync.WaitGroup
	var mu sync.Mutex
	seen := map[int]int{}
	for caller := range 8 {
		callers.Go(func() {
			for i := range 50 {
				id := int(caller*1000 + i)
				answered.Add(1)
				s.Decide(func(*diary) []string {
					return []string{fmt.Sprint(id)}
				}, func(err error) {
					defer answered.Done()
					mu.Lock()
					defer mu.Unlock()
					seen[id]++
					if err != nil {
						t.Error(err)
					}
				})
				log.commit(1 << 40)
			}
		})
	}
	callers.Wait()
	answered.Wait()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("decision %d was answered %d times", id, times)
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d decisions were answered, want 400", len(seen))
	}
}
