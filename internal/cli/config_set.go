package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func configSet(r *remote) *cobra.Command {
	var of resourceFlags
	dryRun := false
	c := r.admin(&cobra.Command{
		Use:   "set KEY=VALUE…",
		Short: "Change settings of a topic, a broker, all brokers or a group",
		Long: `Change settings of a topic, a broker, all brokers or a group, all or none of them. Nothing has to be started again.

Fields of -o json, a list: key, value (null: unset).`,
		Example: `  gregor config set --topic orders retention.ms=3600000 cleanup.policy=compact
  gregor config set --broker-defaults log.retention.ms=86400000
  gregor config set --topic orders segment.bytes=1000000 --dry-run`,
		Args: atLeast(1, "key=value"),
	}, func(q *call, args []string) error {
		changes, err := readChanges(args, nil, "an argument of config set")
		if err != nil {
			return err
		}
		return q.change(&of, changes, dryRun)
	})
	of.flags(c, r)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only ask whether it could be done")
	return c
}

func configUnset(r *remote) *cobra.Command {
	var of resourceFlags
	dryRun := false
	c := r.admin(&cobra.Command{
		Use:     "unset KEY…",
		Aliases: []string{"delete"},
		Short:   "Give settings back their defaults",
		Long: `Give settings back the values that they have where nobody sets them.

Fields of -o json, a list: key, value (null).`,
		Example: `  gregor config unset --topic orders retention.ms`,
		Args:    atLeast(1, "a key"),
	}, func(q *call, args []string) error {
		changes, err := readChanges(nil, args, "")
		if err != nil {
			return err
		}
		return q.change(&of, changes, dryRun)
	})
	of.flags(c, r)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only ask whether it could be done")
	return c
}

func (q *call) change(of *resourceFlags, changes []configChange, dryRun bool) error {
	resource, err := of.resource(q.cmd.Flags())
	if err != nil {
		return err
	}
	if err := q.alterConfigs(resource, changes, dryRun); err != nil {
		return err
	}
	type changed struct {
		Key   string  `json:"key"`
		Value *string `json:"value"`
	}
	list := []changed{}
	for _, c := range changes {
		list = append(list, changed{c.key, c.value})
	}
	return q.print(list, func(w *strings.Builder) error {
		writeChanges(w, resource, changes)
		if dryRun {
			w.WriteString("nothing was changed (--dry-run)\n")
		}
		return nil
	})
}
