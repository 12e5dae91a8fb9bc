package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func groupCommand() *cobra.Command {
	r := &remote{}
	c := family(&cobra.Command{
		Use:   "group",
		Short: "List, describe, reset and delete consumer groups",
		Example: `  gregor group list
  gregor group describe billing
  gregor group reset billing --topic orders --to earliest --dry-run`,
	}, groupList(r), groupDescribe(r), groupReset(r), groupDelete(r))
	r.flags(c.PersistentFlags())
	return c
}

func groupList(r *remote) *cobra.Command {
	return r.admin(&cobra.Command{
		Use:     "list [NAME_PART]",
		Aliases: []string{"ls"},
		Short:   "List consumer groups",
		Long: `List consumer groups, or those whose names contain NAME_PART.

Fields of -o json, a list: group, state, type (what its members are: consumer, connect, …), coordinator.`,
		Example: `  gregor group list
  gregor group list bill -o json`,
		Args: cobra.MaximumNArgs(1),
	}, func(q *call, args []string) error {
		groups, err := q.admin.ListGroups(q.ctx)
		if err != nil {
			return err
		}
		type listed struct {
			Group       string `json:"group"`
			State       string `json:"state"`
			Type        string `json:"type"`
			Coordinator int32  `json:"coordinator"`
		}
		list := []listed{}
		for _, g := range groups.Sorted() {
			if len(args) == 0 || strings.Contains(g.Group, args[0]) {
				list = append(list, listed{g.Group, g.State, g.ProtocolType, g.Coordinator})
			}
		}
		return q.print(list, func(w *strings.Builder) error {
			if len(list) == 0 {
				return nil
			}
			t := newTable("GROUP", "STATE", "TYPE", "COORDINATOR")
			for _, g := range list {
				t.add(g.Group, g.State, g.Type, g.Coordinator)
			}
			return t.write(w)
		})
	})
}

// noGroup is the error for a group that is not there, naming the one that was probably meant.
func (q *call) noGroup(group string) error {
	groups, err := q.admin.ListGroups(q.ctx)
	if err == nil {
		if near := nearest(group, groups.Groups()); near != "" {
			return fmt.Errorf("there is no group %q: did you mean %q?", group, near)
		}
	}
	return fmt.Errorf("there is no group %q; gregor group list tells the groups", group)
}

// group finds a group with its offsets and lags.
func (q *call) group(name string) (kadm.DescribedGroupLag, error) {
	lags, err := q.admin.Lag(q.ctx, name)
	if err != nil {
		return kadm.DescribedGroupLag{}, err
	}
	g := lags[name]
	switch {
	case errors.Is(g.Error(), kerr.GroupIDNotFound):
		return g, q.noGroup(name)
	case g.Error() != nil:
		return g, fmt.Errorf("group %q: %w", name, because(g.Error(), ""))
	case g.State == "Dead" && len(g.Lag) == 0:
		return g, q.noGroup(name)
	}
	return g, nil
}

func groupDelete(r *remote) *cobra.Command {
	var topics []string
	c := r.admin(&cobra.Command{
		Use:     "delete GROUP…",
		Aliases: []string{"rm"},
		Short:   "Delete consumer groups, or their offsets in some topics",
		Long: `Delete consumer groups, with all offsets that they have committed; or, with --topic, only their offsets in those
topics. A group that has members is not deleted.

Fields of -o json, a list: group, topic (empty for all), deleted.`,
		Example: `  gregor group delete billing
  gregor group delete billing --topic orders`,
		Args:              atLeast(1, "the name of a group"),
		ValidArgsFunction: r.completeGroups,
	}, func(q *call, args []string) error {
		type outcome struct {
			Group   string `json:"group"`
			Topic   string `json:"topic"`
			Deleted bool   `json:"deleted"`
		}
		outcomes := []outcome{}
		for _, name := range args {
			if err := q.deleteGroup(name, topics); err != nil {
				return err
			}
			if len(topics) == 0 {
				outcomes = append(outcomes, outcome{name, "", true})
			}
			for _, topic := range topics {
				outcomes = append(outcomes, outcome{name, topic, true})
			}
		}
		return q.print(outcomes, func(w *strings.Builder) error {
			for _, o := range outcomes {
				if o.Topic == "" {
					fmt.Fprintf(w, "deleted group %s\n", o.Group)
				} else {
					fmt.Fprintf(w, "deleted the offsets of group %s in topic %s\n", o.Group, o.Topic)
				}
			}
			return nil
		})
	})
	c.Flags().StringSliceVar(&topics, "topic", nil, "delete only the offsets in this `topic`; may be given more than once")
	_ = c.RegisterFlagCompletionFunc("topic", r.completeTopics)
	return c
}

func (q *call) deleteGroup(name string, topics []string) error {
	g, err := q.group(name)
	if err != nil {
		return err
	}
	if len(topics) == 0 {
		_, err = q.admin.DeleteGroup(q.ctx, name)
	} else {
		set := kadm.TopicsSet{}
		for _, topic := range topics {
			if len(g.Lag[topic]) == 0 {
				return fmt.Errorf("group %q has no offsets in topic %q", name, topic)
			}
			for p := range g.Lag[topic] { // any order
				set.Add(topic, p)
			}
		}
		var answers kadm.DeleteOffsetsResponses
		if answers, err = q.admin.DeleteOffsets(q.ctx, name, set); err == nil {
			err = answers.Error()
		}
	}
	switch {
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.GroupSubscribedToTopic):
		return fmt.Errorf("group %q is in use: %s; stop them first", name, members(g))
	case err != nil:
		return fmt.Errorf("delete group %q: %w", name, because(err, ""))
	}
	return nil
}

// members says who is in a group.
func members(g kadm.DescribedGroupLag) string {
	var who []string
	for _, m := range g.Members {
		who = append(who, m.ClientID+" at "+strings.TrimPrefix(m.ClientHost, "/"))
	}
	slices.Sort(who)
	who = slices.Compact(who)
	if len(who) > 3 {
		who = append(who[:3], "…")
	}
	if len(who) == 0 {
		return "it is " + g.State
	}
	return plural(len(g.Members), "member") + " (" + strings.Join(who, ", ") + ")"
}
