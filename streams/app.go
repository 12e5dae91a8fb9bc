package streams

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says how an [App] runs.
type Config struct {
	// AppID is the consumer group, and the prefix of all internal topics (application.id). It is needed.
	AppID string
	// Brokers are some brokers of the cluster (bootstrap.servers).
	Brokers []string
	// CommitInterval is how often offsets are committed (commit.interval.ms); 30 seconds if 0. After a crash what came since
	// the last commit is processed again.
	CommitInterval time.Duration
	// MaxTaskIdle is how long a task waits for records of an input that has none while another has some, so that records are
	// taken by time (max.task.idle.ms, KIP-695). At 0 it waits only for records that the broker has already; below 0 never.
	MaxTaskIdle time.Duration
	// Workers is how many tasks run at once; GOMAXPROCS if 0 (num.stream.threads).
	Workers int
	// EmitEvery limits how often results of closed windows and unmatched records of joins are looked for; a second if 0, at each
	// record if negative.
	EmitEvery time.Duration
	// SessionTimeout is how long an instance may be silent before its tasks go to others (session.timeout.ms); 8 seconds if 0,
	// where Java has 45: tasks that stand still cost more than tasks that move.
	SessionTimeout time.Duration
	// MetadataMaxAge is how often the app looks whether source topics came, went or grew (metadata.max.age.ms); 30 seconds if 0,
	// where Java has 5 minutes: a new topic of a pattern is not read before.
	MetadataMaxAge time.Duration
	// Errors says what happens to bad records.
	Errors ErrorPolicy
	// PurgeInterval is how often records that were read are deleted from repartition topics (repartition.purge.interval.ms); 30
	// seconds if 0, never if negative.
	PurgeInterval time.Duration
	// ReplicationFactor is that of internal topics; the broker's default if 0 (replication.factor).
	ReplicationFactor int16
	// OnRestoring is called while a task's state is read from its changelogs, with how many records were.
	OnRestoring func(task TaskID, records int)
	// OnRestored is called when a task has its state back from its changelogs.
	OnRestored func(task TaskID, records int, took time.Duration)
	// StateDir is the folder for stores on disk (state.dir): each task has one of its own in it, by application id. Instances do
	// not share it. It is needed where a store is [KVStore.OnDisk].
	StateDir string
	// StateCleanupDelay is how long the folder of a task that went elsewhere stays (state.cleanup.delay.ms); 10 minutes if 0, for
	// ever if negative. A task that comes back before reads only the rest of its changelogs.
	StateCleanupDelay time.Duration
	// CacheBytes is how many bytes of changes all cached stores together hold back (statestore.cache.max.bytes); 10 MiB if 0,
	// nothing if negative.
	CacheBytes int64
	// Client is added to the options of every client, for TLS, SASL and the like.
	Client []kgo.Opt
}

func (c Config) withDefaults() Config {
	if c.CommitInterval == 0 {
		c.CommitInterval = 30 * time.Second
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	switch {
	case c.EmitEvery == 0:
		c.EmitEvery = time.Second
	case c.EmitEvery < 0:
		c.EmitEvery = 0
	}
	if c.PurgeInterval == 0 {
		c.PurgeInterval = 30 * time.Second
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 10 << 20
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 8 * time.Second
	}
	if c.MetadataMaxAge <= 0 {
		c.MetadataMaxAge = 30 * time.Second
	}
	if c.StateCleanupDelay == 0 {
		c.StateCleanupDelay = 10 * time.Minute
	}
	if c.ReplicationFactor == 0 {
		c.ReplicationFactor = -1
	}
	return c
}

// metadataMinAge is how old clients let their metadata be at least: less than a look at the topics.
func (c Config) metadataMinAge() time.Duration {
	return min(max(c.MetadataMaxAge/2, 10*time.Millisecond), 5*time.Second)
}

// An App is a topology at work on a cluster, at least once: every record is reflected in the results, after a crash some
// more than once. Start more of them, in other processes or on other machines, with the same application id, and they share
// the work: partitions make tasks, and tasks move to who is there. It corresponds to Java's KafkaStreams.
//
// State comes back from its changelog topics when a task starts: all of it, or of stores on disk what their folder lacks.
type App struct {
	topology *Topology
	config   Config
	layout   atomic.Pointer[deployment]
	admin    *kadm.Client
	client   *kgo.Client
	globals  *globals

	mu       sync.Mutex
	tasks    map[TaskID]*liveTask
	starting map[TaskID]context.CancelFunc
	early    map[partition]*early // records of tasks that are being started
	unknown  map[partition]bool   // given to us by the group before we knew of them
	failure  error
	paused   bool
	counts   appCounts
	// uncommitted is since when commits fail for reasons that pass; zero where they do not.
	uncommitted time.Time
	restored    map[TaskID]*RestoreMetrics // of tasks that are being started
	folders     map[TaskID]chan struct{}   // who opens a task's state folder waits until it was closed
	cache       *cacheBudget
	purged      time.Time
	refused     time.Time // since when the group has not let us in, as its members are of another kind

	ready chan *liveTask
	look  chan struct{} // asks for a look at the topics
}

// New prepares a topology to run; [App.Run] runs it.
func New(t *Topology, c Config) (*App, error) {
	if c.AppID == "" || len(c.Brokers) == 0 {
		return nil, errors.New("streams: an app needs an AppID and Brokers")
	}
	if t.hasDisk() && c.StateDir == "" {
		return nil, errors.New("streams: stores on disk need a StateDir")
	}
	c = c.withDefaults()
	return &App{topology: t, config: c, folders: map[TaskID]chan struct{}{}, cache: &cacheBudget{max: c.CacheBytes}, tasks: map[TaskID]*liveTask{}, starting: map[TaskID]context.CancelFunc{},
		early: map[partition]*early{}, unknown: map[partition]bool{}, look: make(chan struct{}, 1), restored: map[TaskID]*RestoreMetrics{}, ready: make(chan *liveTask)}, nil
}

// use keeps the client of the group. The group may have assigned partitions before the function that makes the client has returned it.
func (a *App) use(client *kgo.Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client == nil {
		a.client = client
	}
}

// Run creates the internal topics that are missing, joins the group and processes records until ctx ends or something
// fails. Before it returns it commits what it has done and leaves the group.
func (a *App) Run(ctx context.Context) (err error) {
	setup, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(a.config.Brokers...), kgo.MetadataMaxAge(a.config.MetadataMaxAge), kgo.MetadataMinAge(a.config.metadataMinAge())}, a.config.Client...)...)
	if err != nil {
		return err
	}
	defer setup.Close()
	a.admin = kadm.NewClient(setup)
	if err := a.deployAll(ctx); err != nil {
		return err
	}
	if a.globals, err = a.startGlobals(ctx); err != nil {
		return err
	}
	defer a.globals.close()
	a.mu.Lock()
	a.client = nil // of an earlier run
	a.mu.Unlock()
	client, err := kgo.NewClient(a.options()...)
	if err != nil {
		return err
	}
	a.use(client)
	defer a.client.CloseAllowingRebalance()
	running, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	watching.Go(func() { a.watchTopics(running) })
	watching.Go(func() { a.cleanFolders(running) })
	err = a.loop(running)
	stop()
	watching.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, cancel := range a.starting {
		cancel()
	}
	if err == nil {
		last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = a.commit(last, a.all())
	}
	for _, t := range a.tasks {
		if e := t.close(); err == nil {
			err = e
		}
	}
	clear(a.tasks)
	return err
}

func (a *App) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(a.config.Brokers...),
		kgo.ConsumerGroup(a.config.AppID),
		kgo.ConsumeTopics(a.layout.Load().sources...),
		kgo.Balancers(&taskBalancer{a.layout.Load}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.MetadataMaxAge(a.config.MetadataMaxAge),
		kgo.MetadataMinAge(a.config.metadataMinAge()),
		kgo.KeepControlRecords(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(a.config.SessionTimeout),
		kgo.HeartbeatInterval(a.config.SessionTimeout / 4),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(a.assigned),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { a.revoked(ctx, lost, true) }),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { a.revoked(ctx, lost, false) }),
		kgo.AdjustFetchOffsetsFn(a.startOffsets),
		kgo.RecordPartitioner(placing{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.MaxBufferedRecords(100_000),
	}
	return append(opts, a.config.Client...)
}

// startOffsets lets sources that want to start at the end do so where nothing is committed.
func (a *App) startOffsets(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for topic, partitions := range offsets {
		if !a.layout.Load().fromEnd[topic] {
			continue
		}
		for p, o := range partitions {
			if o.EpochOffset().Offset < 0 {
				partitions[p] = kgo.NewOffset().AtEnd()
			}
		}
	}
	return offsets, nil
}

// placing sends a record to the partition that it names, and otherwise where its key belongs, as Java does.
type placing struct{ byKey kgo.Partitioner }

func (p placing) ForTopic(topic string) kgo.TopicPartitioner {
	return placedTopic{p.byKey.ForTopic(topic)}
}

type placedTopic struct{ kgo.TopicPartitioner }

func (p placedTopic) RequiresConsistency(*kgo.Record) bool { return true }
func (p placedTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}

// pollAtMost is how many records a round takes; it bounds how long a rebalance has to wait.
const pollAtMost = 2000

func (a *App) loop(ctx context.Context) error {
	lastCommit := time.Now()
	for ctx.Err() == nil {
		wait, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		fetches := a.client.PollRecords(wait, pollAtMost)
		cancel()
		if err := a.fatal(fetches); err != nil && ctx.Err() == nil {
			return err
		}
		err := a.round(ctx, fetches, &lastCommit)
		a.client.AllowRebalance()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// longestHandOver is how long an app waits for members of another kind to go. Java's instances stay in their group when they stop,
// for as long as their session lasts: 45 seconds by default, and a broker lets it last for some minutes.
const longestHandOver = 5 * time.Minute

// fatal is [fatal], with patience for the members of a group that this app takes over from.
func (a *App) fatal(fetches kgo.Fetches) error {
	err := fatal(fetches)
	if !errors.Is(err, kerr.InconsistentGroupProtocol) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused.IsZero() {
		a.refused = time.Now()
	}
	if time.Since(a.refused) < longestHandOver {
		return nil
	}
	return fmt.Errorf("%w: the group %s has members that are no instances of this app", err, a.config.AppID)
}

// fatal finds an error that polling again does not mend. Brokers that cannot be reached and a place in the group that was lost
// are not: the client tries again.
func fatal(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if lasting(e.Err) {
			return fmt.Errorf("streams: fetching %s-%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	return nil
}

func lasting(err error) bool {
	var said *kerr.Error
	if !errors.As(err, &said) || said.Retriable {
		return false
	}
	switch said {
	case kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.FencedLeaderEpoch:
		return false
	}
	return true
}

// round takes what was polled through the tasks, and commits when it is time.
func (a *App) round(ctx context.Context, fetches kgo.Fetches, lastCommit *time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.welcome()
	fetches.EachPartition(a.takeAll)
	if !a.paused {
		begun := time.Now()
		err := a.runTasks(ctx)
		a.counts.busy += time.Since(begun)
		if err != nil {
			return err
		}
	}
	if a.failure != nil {
		return a.failure
	}
	wanted := time.Since(*lastCommit) >= a.config.CommitInterval
	for _, t := range a.tasks {
		wanted = t.CommitWanted() || wanted
	}
	if !wanted {
		return nil
	}
	*lastCommit = time.Now()
	return a.commit(ctx, a.all())
}

// welcome puts tasks to work that have their state.
func (a *App) welcome() {
	for {
		select {
		case t := <-a.ready:
			if t.wanted.Err() != nil { // it was taken away meanwhile, and may be starting anew
				a.failed(t.close())
				continue
			}
			delete(a.starting, t.id)
			delete(a.restored, t.id)
			a.tasks[t.id] = t
			a.hand(t)
		default:
			return
		}
	}
}

// takeAll gives the records of a partition to its task.
func (a *App) takeAll(f kgo.FetchTopicPartition) {
	a.counts.polled += int64(len(f.Records))
	f.EachRecord(a.take)
	p := partition{f.Topic, f.FetchPartition.Partition}
	id, _ := a.layout.Load().taskOf(p)
	if t := a.tasks[id]; t != nil && t.queues[p] != nil {
		t.queues[p].end = f.HighWatermark
	} else if e := a.early[p]; e != nil {
		e.end = f.HighWatermark
	}
}

// take gives a record to its task.
func (a *App) take(r *kgo.Record) {
	p := partition{r.Topic, r.Partition}
	id, ok := a.layout.Load().taskOf(p)
	if t := a.tasks[id]; ok && t != nil && t.queues[p] != nil {
		t.take(p, r)
		t.pauseOrResume(a, p)
		return
	}
	a.keepEarly(p, r)
}

// runTasks runs all tasks that have something to do, on the workers.
func (a *App) runTasks(ctx context.Context) error {
	var group sync.WaitGroup
	slots := make(chan struct{}, a.config.Workers)
	errs := make([]error, len(a.tasks))
	for i, t := range a.all() {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = t.run(ctx, a)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (a *App) all() []*liveTask {
	var all []*liveTask
	for _, t := range a.tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y *liveTask) int { return x.id.compare(y.id) })
	return all
}

// Pause stops processing, punctuations included; the app stays in its group and keeps its tasks (KIP-834).
func (a *App) Pause() { a.setPaused(true) }

// Resume goes on after [App.Pause].
func (a *App) Resume() { a.setPaused(false) }

func (a *App) setPaused(paused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused = paused
	switch {
	case a.client == nil:
	case paused:
		a.client.PauseFetchTopics(a.layout.Load().sources...)
	default:
		a.client.ResumeFetchTopics(a.layout.Load().sources...)
	}
}

// Tasks lists the tasks that this instance runs at the moment.
func (a *App) Tasks() (ids []TaskID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.all() {
		ids = append(ids, t.id)
	}
	return ids
}
