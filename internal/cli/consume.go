package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumeOptions is what a consume command line says.
type consumeOptions struct {
	remote
	format, null, offset, group, isolation string
	json, exitAtEnd, follow                bool
	count                                  int64
	partitions                             string

	print  recordPrinter
	where  position
	chosen []int32 // nil for all partitions
}

func consumeCommand() *cobra.Command {
	o := &consumeOptions{}
	c := &cobra.Command{
		Use:   "consume TOPIC…",
		Short: "Read records of topics, to a terminal, a pipe or a file",
		Long: `Read records of topics and write them to standard output: each value and a newline, unless -f or -o json says
otherwise. It goes on with what comes until Ctrl-C, unless -e or -n says when to end.

In a format,
` + formatHelp + `
A format writes nothing of its own: it usually ends in \n.

Where to begin (--offset) is one of
  beginning, end   the first record there is, or only what comes from now on
  N                the record with offset N, in every partition
  -N               the last N records of every partition
  @TIME            the first record that is not older: @1700000000000 (ms), @2024-01-31, @2024-01-31T12:00:00Z, or @-1h (an hour ago)

With -g, records are read as a member of a consumer group: from where the group left off (--offset says where it begins if it
has never been anywhere), and what was written is committed.

Fields of -o json, one object a line: topic, partition, offset, timestamp (ms since 1970), key, value (strings, or null;
key_base64 and value_base64 stand in for bytes that are no UTF-8), headers (a list of key, value).`,
		Example: `  gregor consume words
  gregor consume words -e > words.txt
  gregor consume orders --offset -10 -e -f '%p/%o %d %k=%v\n'
  gregor consume orders --offset @-1h -o json | jq .value
  gregor consume orders -g billing -n 100`,
		Args:              atLeast(1, "the name of a topic"),
		RunE:              o.run,
		ValidArgsFunction: o.completeTopics,
	}
	o.flags(c.Flags())
	f := c.Flags()
	f.StringVarP(&o.format, "format", "f", `%v\n`, "`FORMAT` of the output")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	f.BoolVar(&o.json, "json", false, "the same as -o json")
	f.StringVar(&o.null, "null-value", "", "`text` that stands for a key or value that is null")
	f.StringVar(&o.offset, "offset", "beginning", "`WHERE` to begin: beginning, end, N, -N or @TIME")
	f.Int64VarP(&o.count, "count", "n", 0, "end after so many `records`")
	f.BoolVarP(&o.exitAtEnd, "exit-at-end", "e", false, "end after the last record that was there at the start")
	f.BoolVar(&o.follow, "follow", true, "go on with records that come (the default)")
	f.StringVarP(&o.group, "group", "g", "", "read as a member of this consumer `group`")
	f.StringVarP(&o.partitions, "partitions", "p", "", "only these `partitions`, such as 0,2")
	f.StringVar(&o.isolation, "isolation", "uncommitted", "of transactions: uncommitted, or committed to leave out what is open or was aborted")
	_ = c.RegisterFlagCompletionFunc("group", o.completeGroups)
	return c
}

func (o *consumeOptions) run(cmd *cobra.Command, topics []string) error {
	if err := o.check(cmd); err != nil {
		return usageError{err}
	}
	ctx, stop := signalled(cmd.Context())
	defer stop()
	c := &consumption{o: o, out: bufio.NewWriterSize(cmd.OutOrStdout(), 1<<18), topics: slices.Compact(slices.Sorted(slices.Values(topics))),
		progress: newProgress(cmd.ErrOrStderr()), ends: map[topicPartition]end{}, pending: map[topicPartition]*kgo.Record{}}
	if isTerminal(cmd.OutOrStdout()) {
		c.progress.shown = false // the records show how it goes
	}
	err := c.run(ctx, cmd)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil // Ctrl-C is how following ends
	}
	return o.explain(err)
}

func (o *consumeOptions) check(cmd *cobra.Command) (err error) {
	flags := cmd.Flags()
	if o.json {
		o.output = "json"
	}
	switch {
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("-o is text or json, and not %q", o.output)
	case o.output == "json" && flags.Changed("format"):
		return errors.New("-f and -o json exclude each other")
	case flags.Changed("count") && o.count <= 0:
		return fmt.Errorf("-n is a number of records, and not %d", o.count)
	case o.exitAtEnd && flags.Changed("follow") && o.follow:
		return errors.New("--follow and --exit-at-end exclude each other")
	case o.group != "" && o.partitions != "":
		return errors.New("-g and -p exclude each other: a group shares partitions out by itself")
	case o.isolation != "uncommitted" && o.isolation != "committed":
		return fmt.Errorf("--isolation is uncommitted or committed, and not %q", o.isolation)
	}
	o.exitAtEnd = o.exitAtEnd || !o.follow
	if o.partitions != "" {
		if o.chosen, err = parsePartitions(o.partitions); err != nil {
			return fmt.Errorf("-p is partitions, such as 0,2: %w", err)
		}
	}
	if o.where, err = parsePosition(o.offset, time.Now()); err != nil {
		return err
	}
	if o.group != "" && o.where.kind != "beginning" && o.where.kind != "end" {
		return errors.New("with -g, --offset is beginning or end; gregor group reset moves a group's offsets")
	}
	o.print = newJSONPrinter()
	if o.output == "text" {
		o.print, err = newFormatPrinter(o.format, o.null)
	}
	return err
}
