package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// remote is where a client command finds its Kafka, and how long it waits for it.
type remote struct {
	bootstrap string
	timeout   time.Duration
	output    string
}

func (r *remote) flags(f *pflag.FlagSet) {
	f.StringVarP(&r.bootstrap, "bootstrap", "b", bootstrapDefault(), "`HOST:PORT` of a broker of the cluster, or of several, with commas; also GREGOR_BOOTSTRAP")
	f.DurationVar(&r.timeout, "timeout", 30*time.Second, "give up when brokers do not answer for so long")
}

// bootstrapDefault is where client commands connect without -b.
func bootstrapDefault() string {
	if b := os.Getenv("GREGOR_BOOTSTRAP"); b != "" {
		return b
	}
	return "127.0.0.1:9092"
}

func (r *remote) seeds() []string {
	var seeds []string
	for seed := range strings.SplitSeq(r.bootstrap, ",") {
		if seed = strings.TrimSpace(seed); seed != "" {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// connect makes a client of a Kafka that answers.
func (r *remote) connect(ctx context.Context, options ...kgo.Opt) (*kgo.Client, error) {
	if len(r.seeds()) == 0 {
		return nil, wrongUsage("-b is HOST:PORT of a broker, and not %q", r.bootstrap)
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(r.seeds()...), kgo.ClientID("gregor"), kgo.SoftwareNameAndVersion("gregor", softwareVersion()),
		kgo.DialTimeout(min(r.timeout, 10*time.Second)), kgo.RetryTimeout(r.timeout),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.bootstrap, err)
	}
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	if err := client.Ping(bounded); err != nil {
		client.Close()
		return nil, r.unreachable(err)
	}
	return client, nil
}

// call is one run of a client command.
type call struct {
	ctx    context.Context // ends on Ctrl-C
	cmd    *cobra.Command
	remote *remote
	client *kgo.Client
	admin  *kadm.Client
}

// signalled is a context that ends when somebody wants the command to end. Who wants it twice does not wait for that.
func signalled(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// admin gives a command that asks and answers its flags, its connection and its deadline.
func (r *remote) admin(c *cobra.Command, run func(q *call, args []string) error) *cobra.Command {
	c.Flags().StringVarP(&r.output, "output", "o", "table", "table or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if r.output != "table" && r.output != "json" {
			return wrongUsage("-o is table or json, and not %q", r.output)
		}
		ctx, stop := signalled(cmd.Context())
		defer stop()
		client, err := r.connect(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		q := &call{ctx: ctx, cmd: cmd, remote: r, client: client, admin: kadm.NewClient(client)}
		q.admin.SetTimeoutMillis(int32(r.timeout.Milliseconds()))
		return r.explain(run(q, args))
	}
	return c
}

// print writes what a command found: v for scripts, what text writes for people.
func (q *call) print(v any, text func(w *strings.Builder) error) error {
	if q.remote.output == "json" {
		return writeJSON(q.cmd.OutOrStdout(), v)
	}
	var b strings.Builder
	if err := text(&b); err != nil {
		return err
	}
	_, err := fmt.Fprint(q.cmd.OutOrStdout(), b.String())
	return err
}

// notice says something that a script does not want to read.
func (q *call) notice(format string, args ...any) {
	fmt.Fprintf(q.cmd.ErrOrStderr(), "gregor: "+format+"\n", args...)
}

// completeTopics and completeGroups complete names that the cluster knows.
func (r *remote) completeTopics(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(cmd, func(ctx context.Context, admin *kadm.Client) ([]string, error) {
		topics, err := admin.ListTopics(ctx)
		return topics.Names(), err
	})
}

func (r *remote) completeGroups(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(cmd, func(ctx context.Context, admin *kadm.Client) ([]string, error) {
		groups, err := admin.ListGroups(ctx)
		return groups.Groups(), err
	})
}

func (r *remote) complete(cmd *cobra.Command, list func(context.Context, *kadm.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	quick := remote{bootstrap: r.bootstrap, timeout: 2 * time.Second}
	ctx, cancel := context.WithTimeout(cmd.Context(), quick.timeout)
	defer cancel()
	client, err := quick.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	names, err := list(ctx, kadm.NewClient(client))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
