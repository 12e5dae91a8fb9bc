package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func configGet(r *remote) *cobra.Command {
	var of resourceFlags
	changed := false
	c := r.admin(&cobra.Command{
		Use:   "get [KEY…]",
		Short: "Show settings, where they come from, and their defaults",
		Long: `Show settings, where they come from, and their defaults: all of them, those named, or with --changed those that are
not as they are by default.

The source is topic, broker, broker-defaults or group for what was set there while the cluster ran, start for what a broker was
started with, and default.

Fields of -o json, a list: key, value (null if it is not set or secret), source, default, type, read_only, sensitive, doc.`,
		Example: `  gregor config get --topic orders
  gregor config get --topic orders retention.ms cleanup.policy
  gregor config get --broker 0 --changed
  gregor config get --broker-defaults -o json`,
		Args: cobra.ArbitraryArgs,
	}, func(q *call, args []string) error {
		resource, err := of.resource(q.cmd.Flags())
		if err != nil {
			return err
		}
		entries, err := q.describeConfigs(resource)
		if err != nil {
			return err
		}
		if entries, err = chosenEntries(resource, entries, args, changed); err != nil {
			return err
		}
		return q.print(entries, func(w *strings.Builder) error {
			if len(entries) == 0 {
				return nil
			}
			t := newTable("KEY", "VALUE", "SOURCE", "DEFAULT")
			for _, e := range entries {
				t.add(e.Key, e.text(), e.Source, e.Default)
			}
			return t.write(w)
		})
	})
	of.flags(c, r)
	c.Flags().BoolVar(&changed, "changed", false, "only what is not as it is by default")
	return c
}

func chosenEntries(of resource, entries []configEntry, keys []string, changed bool) ([]configEntry, error) {
	var names []string
	for _, e := range entries {
		names = append(names, e.Key)
	}
	for _, key := range keys {
		if slices.Contains(names, key) || of == (resource{kindBroker, ""}) {
			continue // of all brokers, only what is set is told
		}
		if near := nearest(key, names); near != "" {
			return nil, fmt.Errorf("%s has no key %q: did you mean %q?", of, key, near)
		}
		return nil, fmt.Errorf("%s has no key %q", of, key)
	}
	return slices.DeleteFunc(entries, func(e configEntry) bool {
		return len(keys) > 0 && !slices.Contains(keys, e.Key) || changed && e.Source == "default"
	}), nil
}
