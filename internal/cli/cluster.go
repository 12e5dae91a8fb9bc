package cli

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func clusterCommand() *cobra.Command {
	r := &remote{}
	c := family(&cobra.Command{
		Use:   "cluster",
		Short: "Describe a cluster, change which nodes it has and what is on them",
		Example: `  gregor cluster describe
  gregor cluster spread
  gregor cluster drain 3
  gregor cluster remove 3`,
	}, clusterDescribe(r), clusterSpread(r), clusterDrain(r), clusterRemove(r), clusterAdd(r))
	r.flags(c.PersistentFlags())
	return c
}

type describedCluster struct {
	ID         string             `json:"id"`
	Controller int32              `json:"controller"`
	Brokers    []describedBroker  `json:"brokers"`
	Features   []describedFeature `json:"features"`
	Quorum     *describedQuorum   `json:"quorum"` // null where the cluster does not tell
}

type describedBroker struct {
	ID     int32   `json:"id"`
	Host   string  `json:"host"`
	Port   int32   `json:"port"`
	Rack   *string `json:"rack"`
	Fenced bool    `json:"fenced"`
}

type describedFeature struct {
	Feature   string `json:"feature"`
	Level     int16  `json:"level"` // 0: not in use
	Supported string `json:"supported"`
}

type describedQuorum struct {
	Leader        int32          `json:"leader"`
	Epoch         int32          `json:"epoch"`
	HighWatermark int64          `json:"high_watermark"`
	Members       []quorumMember `json:"members"`
}

type quorumMember struct {
	Node         int32  `json:"node"`
	Role         string `json:"role"`
	LogEndOffset int64  `json:"log_end_offset"`
	Lag          int64  `json:"lag"`
}

func clusterDescribe(r *remote) *cobra.Command {
	return r.admin(&cobra.Command{
		Use:   "describe",
		Short: "Show a cluster's id, controller, brokers, features and quorum",
		Long: `Show a cluster's id, controller, brokers, features and metadata quorum. Older clusters do not tell all of it.

Fields of -o json: id, controller, brokers (id, host, port, rack, fenced), features (feature, level, supported),
quorum (leader, epoch, high_watermark, members (node, role, log_end_offset, lag)).`,
		Example: `  gregor cluster describe
  gregor cluster describe -o json | jq -r .id`,
		Args: noArguments,
	}, func(q *call, _ []string) error {
		d, err := q.describeCluster()
		if err != nil {
			return err
		}
		d.Features = q.describeFeatures()
		if d.Quorum = q.describeQuorum(); d.Quorum != nil {
			d.Controller = d.Quorum.Leader // a broker may name any that takes admin requests
		}
		return q.print(d, d.write)
	})
}

// describeCluster asks with DescribeCluster (KIP-700), and with Metadata where that is not known.
func (q *call) describeCluster() (describedCluster, error) {
	d := describedCluster{Features: []describedFeature{}, Brokers: []describedBroker{}}
	request := kmsg.NewPtrDescribeClusterRequest()
	request.IncludeFencedBrokers = true
	response, err := request.RequestWith(q.ctx, q.client)
	if err == nil && response.ErrorCode == 0 {
		d.ID, d.Controller = response.ClusterID, response.ControllerID
		for _, b := range response.Brokers {
			d.Brokers = append(d.Brokers, describedBroker{b.NodeID, b.Host, b.Port, b.Rack, b.IsFenced})
		}
	} else {
		metadata, err := q.admin.BrokerMetadata(q.ctx)
		if err != nil {
			return d, err
		}
		d.ID, d.Controller = metadata.Cluster, metadata.Controller
		for _, b := range metadata.Brokers {
			d.Brokers = append(d.Brokers, describedBroker{b.NodeID, b.Host, b.Port, b.Rack, false})
		}
	}
	slices.SortFunc(d.Brokers, func(a, b describedBroker) int { return cmp.Compare(a.ID, b.ID) })
	return d, nil
}

func (q *call) describeFeatures() []describedFeature {
	features := []describedFeature{}
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "gregor", softwareVersion()
	response, err := request.RequestWith(q.ctx, q.client)
	if err != nil || response.ErrorCode != 0 {
		return features
	}
	for _, s := range response.SupportedFeatures {
		f := describedFeature{Feature: s.Name, Supported: fmt.Sprintf("%d-%d", s.MinVersion, s.MaxVersion)}
		for _, finalized := range response.FinalizedFeatures {
			if finalized.Name == s.Name {
				f.Level = finalized.MaxVersionLevel
			}
		}
		features = append(features, f)
	}
	slices.SortFunc(features, func(a, b describedFeature) int { return cmp.Compare(a.Feature, b.Feature) })
	return features
}

func (q *call) describeQuorum() *describedQuorum {
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic, partition := kmsg.NewDescribeQuorumRequestTopic(), kmsg.NewDescribeQuorumRequestTopicPartition()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(q.ctx, q.client)
	if err != nil || response.ErrorCode != 0 || len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil
	}
	p := response.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return nil
	}
	d := &describedQuorum{Leader: p.LeaderID, Epoch: p.LeaderEpoch, HighWatermark: p.HighWatermark, Members: []quorumMember{}}
	end := p.HighWatermark
	for _, m := range p.CurrentVoters {
		if m.ReplicaID == p.LeaderID {
			end = m.LogEndOffset
		}
	}
	for _, m := range p.CurrentVoters {
		role := "follower"
		if m.ReplicaID == p.LeaderID {
			role = "leader"
		}
		d.Members = append(d.Members, quorumMember{m.ReplicaID, role, m.LogEndOffset, max(end-m.LogEndOffset, 0)})
	}
	for _, m := range p.Observers {
		d.Members = append(d.Members, quorumMember{m.ReplicaID, "observer", m.LogEndOffset, max(end-m.LogEndOffset, 0)})
	}
	return d
}

// votes reports whether a node is a voter.
func (d *describedQuorum) votes(id int32) bool {
	return slices.ContainsFunc(d.Members, func(m quorumMember) bool { return m.Node == id && m.Role != "observer" })
}

func (d describedCluster) write(w *strings.Builder) error {
	fmt.Fprintf(w, "cluster     %s\ncontroller  %d\n\n", d.ID, d.Controller)
	t := newTable("BROKER", "ADDRESS", "RACK", "STATE")
	for _, b := range d.Brokers {
		state := "serving"
		if b.Fenced {
			state = "fenced"
		}
		t.add(strconv.Itoa(int(b.ID)), net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), b.Rack, state)
	}
	if err := t.write(w); err != nil {
		return err
	}
	if q := d.Quorum; q != nil {
		fmt.Fprintf(w, "\nquorum leader %d, epoch %d, high watermark %d\n", q.Leader, q.Epoch, q.HighWatermark)
		t = newTable("NODE", "ROLE", "LOG END", "LAG")
		for _, m := range q.Members {
			if m.LogEndOffset < 0 {
				t.add(m.Node, m.Role, "-", "-") // only a leader knows
				continue
			}
			t.add(m.Node, m.Role, m.LogEndOffset, m.Lag)
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	if len(d.Features) == 0 {
		return nil
	}
	w.WriteString("\n")
	t = newTable("FEATURE", "LEVEL", "SUPPORTED")
	for _, f := range d.Features {
		t.add(f.Feature, f.Level, f.Supported)
	}
	return t.write(w)
}
