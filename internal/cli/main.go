// Package cli is the command line: one file per command.
//
// It promises that what is written for people goes where people look and what is written for scripts is JSON on
// standard output and nothing else; that a wrong flag, key or name is answered with what would be right; and that the
// exit status is 0 only if what was asked for was done (1: it failed, 2: it was asked for wrongly).
// Commands other than start are Kafka clients like any other: they work against any Kafka. Only cmd/gregor calls Main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Main runs a command line and returns the exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "gregor:", err)
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// usageError is a command line that asks for something that does not exist.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func wrongUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func newRoot() *cobra.Command {
	root := family(&cobra.Command{
		Use:   "gregor",
		Short: "Apache Kafka, transformed: the whole platform in one binary",
		Long: `Apache Kafka, transformed: the whole platform in one binary.

gregor start runs a node. All other commands are Kafka clients, and work against any Kafka. They find it at -b, else at
GREGOR_BOOTSTRAP, else at 127.0.0.1:9092.

The exit status is 0 if what was asked for was done, 1 if it failed, and 2 if it was asked for wrongly.`,
		Example: `  gregor start
  gregor topic create words
  gregor produce words < /usr/share/dict/words
  gregor consume words --exit-at-end | wc -l`,
		SilenceUsage:  true,
		SilenceErrors: true,
	},
		startCommand(), topicCommand(), produceCommand(), consumeCommand(), groupCommand(), configCommand(),
		clusterCommand(), benchCommand(), dumpCommand(), versionCommand())
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			family(c)
		}
	}
	adopt(root)
	return root
}

// family is a command that only has commands below it.
func family(c *cobra.Command, members ...*cobra.Command) *cobra.Command {
	c.AddCommand(members...)
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, m := range cmd.Commands() {
			if m.IsAvailableCommand() {
				names = append(names, m.Name())
			}
		}
		if near := nearest(args[0], names); near != "" {
			return wrongUsage("there is no command %q: did you mean \"%s %s\"?", cmd.CommandPath()+" "+args[0], cmd.CommandPath(), near)
		}
		return wrongUsage("there is no command %q; there are: %s", cmd.CommandPath()+" "+args[0], strings.Join(names, ", "))
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return c
}

// adopt makes wrong numbers of arguments a wrong usage, for all commands.
func adopt(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var usage usageError
			if err == nil || errors.As(err, &usage) {
				return err
			}
			return wrongUsage("%w; the usage is: %s", err, cmd.UseLine())
		}
	}
	for _, m := range c.Commands() {
		adopt(m)
	}
}

func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return wrongUsage("%w; gregor help%s tells the flags", err, strings.TrimPrefix(cmd.CommandPath(), "gregor"))
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
		return wrongUsage("%w: did you mean --%s?", err, near)
	}
	return wrongUsage("%w; gregor help%s tells the flags", err, strings.TrimPrefix(cmd.CommandPath(), "gregor"))
}

// hideDefaults keeps the help from naming defaults that only stand for "not given".
func hideDefaults(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.Lookup(name).DefValue = "0"
	}
}

// exactly, atLeast and noArguments say what a command's arguments are when they are wrong.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s is wanted, and %d arguments were given", what, len(args))
		}
		return nil
	}
}

func atLeast(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return fmt.Errorf("%s is wanted", what)
		}
		return nil
	}
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("no argument is wanted, and %q was given", args[0])
	}
	return nil
}
