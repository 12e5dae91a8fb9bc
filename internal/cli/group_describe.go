package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

type describedGroup struct {
	Group       string            `json:"group"`
	State       string            `json:"state"`
	Type        string            `json:"type"`
	Assignor    string            `json:"assignor"`
	Coordinator int32             `json:"coordinator"`
	Lag         int64             `json:"lag"`
	Members     []describedMember `json:"members"`
	Offsets     []describedOffset `json:"offsets"`
}

type describedMember struct {
	Member     string  `json:"member"`
	Instance   *string `json:"instance"`
	Client     string  `json:"client"`
	Host       string  `json:"host"`
	Partitions int     `json:"partitions"`
}

type describedOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null where the group has committed nothing
	End       *int64 `json:"end"`
	Lag       *int64 `json:"lag"`
	Metadata  string `json:"metadata,omitempty"`
	Member    string `json:"member"`
	Client    string `json:"client"`
	Host      string `json:"host"`
	Error     string `json:"error,omitempty"`
}

func groupDescribe(r *remote) *cobra.Command {
	showMembers := false
	c := r.admin(&cobra.Command{
		Use:   "describe GROUP…",
		Short: "Show the offsets, lags and members of consumer groups",
		Long: `Show the offsets, lags and members of consumer groups. COMMITTED is the offset that the group reads next, END the one
after the last record, LAG what lies between.

Fields of -o json, a list: group, state, type, assignor, coordinator, lag, members (member, instance, client, host, partitions),
offsets (topic, partition, committed, end, lag, metadata, member, client, host, error).`,
		Example: `  gregor group describe billing
  gregor group describe billing --members
  gregor group describe billing -o json | jq '.[0].lag'`,
		Args:              atLeast(1, "the name of a group"),
		ValidArgsFunction: r.completeGroups,
	}, func(q *call, args []string) error {
		list := []describedGroup{}
		for _, name := range args {
			g, err := q.group(name)
			if err != nil {
				return err
			}
			list = append(list, describeGroup(g))
		}
		return q.print(list, func(w *strings.Builder) error {
			for i, g := range list {
				if i > 0 {
					w.WriteString("\n")
				}
				if err := g.write(w, showMembers); err != nil {
					return err
				}
			}
			return nil
		})
	})
	c.Flags().BoolVar(&showMembers, "members", false, "show members instead of offsets")
	return c
}

func describeGroup(g kadm.DescribedGroupLag) describedGroup {
	d := describedGroup{Group: g.Group, State: g.State, Type: g.ProtocolType, Assignor: g.Protocol, Coordinator: g.Coordinator.NodeID,
		Members: []describedMember{}, Offsets: []describedOffset{}}
	for _, m := range g.Members {
		one := describedMember{Member: m.MemberID, Instance: m.InstanceID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				one.Partitions += len(t.Partitions)
			}
		}
		d.Members = append(d.Members, one)
	}
	for _, l := range g.Lag.Sorted() {
		d.Offsets = append(d.Offsets, describeOffset(l))
		d.Lag += max(l.Lag, 0)
	}
	slices.SortFunc(d.Members, func(a, b describedMember) int { return cmp.Compare(a.Member, b.Member) })
	return d
}

func describeOffset(l kadm.GroupMemberLag) describedOffset {
	o := describedOffset{Topic: l.Topic, Partition: l.Partition, Metadata: l.Commit.Metadata}
	if l.Commit.At >= 0 {
		o.Committed = &l.Commit.At
	}
	if l.Err != nil {
		o.Error = because(l.Err, "").Error()
	} else {
		o.End, o.Lag = &l.End.Offset, &l.Lag
	}
	if l.Member != nil {
		o.Member, o.Client, o.Host = l.Member.MemberID, l.Member.ClientID, strings.TrimPrefix(l.Member.ClientHost, "/")
	}
	return o
}

func (d describedGroup) write(w *strings.Builder, showMembers bool) error {
	fmt.Fprintf(w, "group        %s\nstate        %s\ncoordinator  %d\n", d.Group, d.State, d.Coordinator)
	if d.Assignor != "" {
		fmt.Fprintf(w, "assignor     %s\n", d.Assignor)
	}
	fmt.Fprintf(w, "members      %d\nlag          %d\n", len(d.Members), d.Lag)
	t := newTable("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "CLIENT", "HOST")
	if showMembers {
		t = newTable("MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS")
		for _, m := range d.Members {
			t.add(m.Member, m.Instance, m.Client, m.Host, m.Partitions)
		}
	} else {
		for _, o := range d.Offsets {
			t.add(o.Topic, o.Partition, o.Committed, o.End, o.Lag, o.Member, o.Client, o.Host)
		}
	}
	if len(t.rows) == 0 {
		return nil
	}
	w.WriteString("\n")
	return t.write(w)
}
