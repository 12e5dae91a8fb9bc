package api_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
)

func (p *peer) metadata(version int16, auto bool, names ...string) *kmsg.MetadataResponse {
	p.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = version, auto
	req.Topics = []kmsg.MetadataRequestTopic{}
	for i := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &names[i]
		req.Topics = append(req.Topics, topic)
	}
	return p.call(req).(*kmsg.MetadataResponse)
}

func TestEveryVersionOfMetadata(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 2)
	for version := int16(0); version <= 13; version++ {
		all := kmsg.NewPtrMetadataRequest()
		all.Version = version
		got := p.call(all).(*kmsg.MetadataResponse)
		if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 2 || len(got.Brokers) != 1 || got.Brokers[0].Host != "127.0.0.1" || got.Brokers[0].Port == 0 {
			t.Fatalf("version %d: %+v", version, got)
		}
		if version >= 10 && got.Topics[0].TopicID != id {
			t.Fatalf("version %d: id %v", version, got.Topics[0].TopicID)
		}
		if version >= 8 && got.Topics[0].AuthorizedOperations != -2147483648 {
			t.Fatalf("version %d tells operations that nobody asked for", version)
		}
		none := p.metadata(version, false)
		if want := map[bool]int{true: 1, false: 0}[version == 0]; len(none.Topics) != want {
			t.Fatalf("version %d: an empty list gives %d topics", version, len(none.Topics))
		}
	}
	byID := kmsg.NewPtrMetadataRequest()
	byID.Version = 12
	topic := kmsg.NewMetadataRequestTopic()
	topic.TopicID = id
	byID.Topics = append(byID.Topics, topic)
	if got := p.call(byID).(*kmsg.MetadataResponse).Topics[0]; got.ErrorCode != 0 || got.Topic == nil || *got.Topic != "t" {
		t.Fatalf("%+v", got)
	}
	byID.Topics[0].TopicID[0] ^= 0xff
	want(t, "an unknown id", p.call(byID).(*kmsg.MetadataResponse).Topics[0].ErrorCode, kafka.UnknownTopicID)
	byID.Version = 11
	byID.Topics[0].Topic = kmsg.StringPtr("")
	want(t, "an id in version 11", p.call(byID).(*kmsg.MetadataResponse).Topics[0].ErrorCode, kafka.InvalidRequest)
}

func TestTopicsAreCreatedForWhoAsksAndMay(t *testing.T) {
	b := gregortest.Start(t, gregortest.With("num.partitions", "2"))
	p := connect(t, b)
	want(t, "not asked for", p.metadata(9, false, "a").Topics[0].ErrorCode, kafka.UnknownTopicOrPartition)
	for version, name := range map[int16]string{9: "a", 2: "b"} { // versions before 4 cannot say no
		for _, first := range p.metadata(version, version >= 4, name, name).Topics {
			want(t, "the first answer", first.ErrorCode, kafka.UnknownTopicOrPartition)
		}
		got := p.metadata(version, false, name).Topics[0]
		for got.ErrorCode == kafka.UnknownTopicOrPartition.Code() { // as clients do, who ask again; the connection has a deadline
			got = p.metadata(version, false, name).Topics[0]
		}
		if got.ErrorCode != 0 || len(got.Partitions) != 2 {
			t.Fatalf("%+v", got)
		}
	}
	want(t, "a bad name", p.metadata(9, true, "no/slash").Topics[0].ErrorCode, kafka.InvalidTopicException)
	off := connect(t, gregortest.Start(t, gregortest.With("auto.create.topics.enable", "false")))
	want(t, "switched off", off.metadata(9, true, "a").Topics[0].ErrorCode, kafka.UnknownTopicOrPartition)
}

func TestWhatIsWrongWithANewTopicIsSaid(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("a.b", 1)
	create := func(change func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic)) kmsg.CreateTopicsResponseTopic {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis = 7, 5000
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "new", 1, 1
		change(req, &topic)
		req.Topics = append(req.Topics, topic)
		return p.call(req).(*kmsg.CreateTopicsResponse).Topics[0]
	}
	config := func(key, value string) func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic) {
		return func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = key, &value
			t.Configs = append(t.Configs, c)
		}
	}
	type change = func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic)
	for name, c := range map[string]struct {
		change change
		code   kafka.ErrorCode
	}{
		"exists":          {func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a.b" }, kafka.TopicAlreadyExists},
		"collides":        {func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a_b" }, kafka.InvalidTopicException},
		"bad name":        {func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a b" }, kafka.InvalidTopicException},
		"no partitions":   {func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 0 }, kafka.InvalidPartitions},
		"too many copies": {func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 3 }, kafka.InvalidReplicationFactor},
		"unknown config":  {config("retention.msss", "1"), kafka.InvalidConfig},
		"bad value":       {config("retention.ms", "soon"), kafka.InvalidConfig},
		"twice": {func(req *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
			req.Topics = append(req.Topics, *t)
		}, kafka.InvalidRequest},
		"only looked at": {func(req *kmsg.CreateTopicsRequest, _ *kmsg.CreateTopicsRequestTopic) { req.ValidateOnly = true }, kafka.None},
	} {
		t.Run(name, func(t *testing.T) {
			got := create(c.change)
			want(t, name, got.ErrorCode, c.code)
			if c.code != kafka.None && got.ErrorMessage == nil {
				t.Error("no words for the user")
			}
		})
	}
	if got := p.metadata(9, false, "new").Topics[0]; got.ErrorCode != kafka.UnknownTopicOrPartition.Code() {
		t.Fatalf("something was created: %+v", got)
	}
	got := create(config("retention.ms", "1234"))
	found := map[string]kmsg.CreateTopicsResponseTopicConfig{}
	for _, c := range got.Configs {
		found[c.Name] = c
	}
	if got.NumPartitions != 1 || got.ReplicationFactor != 1 || len(found) < 25 || *found["retention.ms"].Value != "1234" || found["retention.ms"].Source != 1 || found["segment.bytes"].Source != 5 {
		t.Fatalf("%+v", got)
	}
}

func (p *peer) describe(kind int8, name string, keys ...string) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	p.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms, req.IncludeDocumentation = 4, true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceType(kind), name, keys
	req.Resources = append(req.Resources, r)
	resp := p.call(req).(*kmsg.DescribeConfigsResponse).Resources[0]
	want(p.t, "DescribeConfigs", resp.ErrorCode, kafka.None)
	all := map[string]kmsg.DescribeConfigsResponseResourceConfig{}
	for _, c := range resp.Configs {
		all[c.Name] = c
	}
	return all
}

func (p *peer) alter(kind int8, name, key string, op kmsg.IncrementalAlterConfigOp, value string) int16 {
	p.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(kind), name
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Op, c.Value = key, op, &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	return p.call(req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
}

func TestConfigsSayWhereTheyComeFrom(t *testing.T) {
	p := connect(t, gregortest.Start(t, gregortest.With("log.retention.hours", "2")))
	p.createTopic("t", 1, "cleanup.policy", "compact")
	all := p.describe(2, "t")
	for key, c := range map[string]struct {
		value  string
		source kmsg.ConfigSource
	}{
		"cleanup.policy": {"compact", 1}, "retention.ms": {"7200000", 4}, "segment.bytes": {"1073741824", 5}, "ack.durability": {"disk", 5},
	} {
		got := all[key]
		if got.Value == nil || *got.Value != c.value || got.Source != c.source || got.Documentation == nil || got.ConfigType == 0 {
			t.Errorf("%s: %+v", key, got)
		}
	}
	if s := all["retention.ms"].ConfigSynonyms; len(s) != 2 || s[0].Name != "log.retention.hours" || s[1].Source != 5 {
		t.Errorf("synonyms of retention.ms: %+v", s)
	}
	want(t, "set", p.alter(2, "t", "retention.ms", 0, "5000"), kafka.None)
	want(t, "append", p.alter(2, "t", "cleanup.policy", 2, "delete"), kafka.None)
	all = p.describe(2, "t", "retention.ms", "cleanup.policy")
	if len(all) != 2 || *all["retention.ms"].Value != "5000" || *all["cleanup.policy"].Value != "compact,delete" {
		t.Errorf("%+v", all)
	}
	want(t, "subtract", p.alter(2, "t", "cleanup.policy", 3, "compact"), kafka.None)
	want(t, "delete", p.alter(2, "t", "retention.ms", 1, ""), kafka.None)
	want(t, "delete what is not set", p.alter(2, "t", "retention.bytes", 1, ""), kafka.None)
	want(t, "append to what is no list", p.alter(2, "t", "retention.ms", 2, "1"), kafka.InvalidConfig)
	want(t, "an unknown key", p.alter(2, "t", "colour", 0, "red"), kafka.InvalidConfig)
	want(t, "a bad value", p.alter(2, "t", "retention.ms", 0, "red"), kafka.InvalidConfig)
	want(t, "an unknown topic", p.alter(2, "nowhere", "retention.ms", 0, "1"), kafka.UnknownTopicOrPartition)
	all = p.describe(2, "t", "retention.ms", "cleanup.policy")
	if *all["retention.ms"].Value != "7200000" || *all["cleanup.policy"].Value != "delete" {
		t.Errorf("%+v", all)
	}
	want(t, "a broker's key", p.alter(4, "", "log.retention.ms", 0, "60000"), kafka.None)
	want(t, "a key that is read at start", p.alter(4, "", "node.id", 0, "7"), kafka.InvalidConfig)
	if got := p.describe(2, "t", "retention.ms")["retention.ms"]; *got.Value != "60000" || got.Source != 3 {
		t.Errorf("%+v", got)
	}
	if got := p.describe(4, "0", "node.id", "log.retention.ms"); !got["node.id"].ReadOnly || got["log.retention.ms"].ReadOnly || got["log.retention.ms"].Source != 3 {
		t.Errorf("%+v", got)
	}
}

func TestAlterConfigsReplacesWhatIsNotNamed(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1, "retention.ms", "5000", "segment.bytes", "2000000")
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 2
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = 2, "t"
	c := kmsg.NewAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "retention.ms", kmsg.StringPtr("6000")
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	want(t, "AlterConfigs", p.call(req).(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode, kafka.None)
	all := p.describe(2, "t", "retention.ms", "segment.bytes")
	if *all["retention.ms"].Value != "6000" || all["segment.bytes"].Source != 5 {
		t.Fatalf("%+v", all)
	}
}

func TestAdminRequestsOnPartitionsAndRecords(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 2)
	grow := func(count int32) int16 {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis = 3, 5000
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = "t", count
		req.Topics = append(req.Topics, topic)
		return p.call(req).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode
	}
	want(t, "fewer", grow(1), kafka.InvalidPartitions)
	want(t, "as many", grow(2), kafka.InvalidPartitions)
	want(t, "more", grow(4), kafka.None)
	if got := p.metadata(9, false, "t").Topics[0].Partitions; len(got) != 4 || got[3].Leader != 0 {
		t.Fatalf("%+v", got)
	}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Version, elect.TimeoutMillis = 2, 5000
	topic := kmsg.NewElectLeadersRequestTopic()
	topic.Topic, topic.Partitions = "t", []int32{0}
	elect.Topics = append(elect.Topics, topic)
	want(t, "no election needed", p.call(elect).(*kmsg.ElectLeadersResponse).Topics[0].Partitions[0].ErrorCode, kafka.ElectionNotNeeded)
	want(t, "delete by id", p.deleteByID([16]byte{1, 2, 3}), kafka.UnknownTopicID)
	want(t, "delete by id", p.deleteByID(p.topicID("t")), kafka.None)
	want(t, "it is gone", p.metadata(9, false, "t").Topics[0].ErrorCode, kafka.UnknownTopicOrPartition)
}

func (p *peer) deleteByID(id [16]byte) int16 {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis = 6, 5000
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.TopicID = id
	req.Topics = append(req.Topics, topic)
	return p.call(req).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode
}

func TestTheClusterIsDescribed(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 3)
	req := kmsg.NewPtrDescribeClusterRequest()
	req.Version, req.EndpointType = 2, 1
	got := p.call(req).(*kmsg.DescribeClusterResponse)
	if got.ErrorCode != 0 || len(got.ClusterID) != 22 || len(got.Brokers) != 1 || got.ControllerID != 0 {
		t.Fatalf("%+v", got)
	}
	req.EndpointType = 2
	want(t, "controllers", p.call(req).(*kmsg.DescribeClusterResponse).ErrorCode, kafka.MismatchedEndpointType)
	req.EndpointType = 9
	want(t, "nothing", p.call(req).(*kmsg.DescribeClusterResponse).ErrorCode, kafka.UnsupportedEndpointType)

	pages := kmsg.NewPtrDescribeTopicPartitionsRequest()
	pages.ResponsePartitionLimit = 2
	first := p.call(pages).(*kmsg.DescribeTopicPartitionsResponse)
	if len(first.Topics) != 1 || len(first.Topics[0].Partitions) != 2 || first.NextCursor == nil || first.NextCursor.Partition != 2 {
		t.Fatalf("%+v", first)
	}
	cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
	cursor.Topic, cursor.Partition = first.NextCursor.Topic, first.NextCursor.Partition
	pages.Cursor = &cursor
	if rest := p.call(pages).(*kmsg.DescribeTopicPartitionsResponse); len(rest.Topics[0].Partitions) != 1 || rest.NextCursor != nil {
		t.Fatalf("%+v", rest)
	}

	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	dirs.Version = 5
	d := p.call(dirs).(*kmsg.DescribeLogDirsResponse)
	if len(d.Dirs) != 1 || len(d.Dirs[0].Topics) != 1 || len(d.Dirs[0].Topics[0].Partitions) != 3 {
		t.Fatalf("%+v", d)
	}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Version = 2
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	quorum.Topics = append(quorum.Topics, topic)
	q := p.call(quorum).(*kmsg.DescribeQuorumResponse)
	if part := q.Topics[0].Partitions[0]; part.LeaderID != 0 || len(part.CurrentVoters) != 1 || part.HighWatermark <= 0 {
		t.Fatalf("%+v", q)
	}
	list := kmsg.NewPtrListConfigResourcesRequest()
	list.Version = 1
	var names []string
	for _, r := range p.call(list).(*kmsg.ListConfigResourcesResponse).ConfigResources {
		names = append(names, r.Name)
	}
	if strings.Join(names, ",") != "t,0,0" {
		t.Fatalf("%v", names)
	}
}

func TestTransactionsAreRefusedInAWayThatClientsUnderstand(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	init := kmsg.NewPtrInitProducerIDRequest()
	init.Version, init.TransactionalID = 4, kmsg.StringPtr("tx")
	want(t, "InitProducerId", p.call(init).(*kmsg.InitProducerIDResponse).ErrorCode, kafka.TransactionalIDAuthorizationFailed)
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorType, find.CoordinatorKeys = 4, 1, []string{"tx"}
	got := p.call(find).(*kmsg.FindCoordinatorResponse).Coordinators[0]
	want(t, "FindCoordinator", got.ErrorCode, kafka.TransactionalIDAuthorizationFailed)
	if got.ErrorMessage == nil {
		t.Fatal("no words")
	}
	for version := int16(0); version <= 6; version++ {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.Version, find.CoordinatorKey, find.CoordinatorKeys = version, "g", []string{"g", "h"}
		got := p.call(find).(*kmsg.FindCoordinatorResponse)
		if version < 4 && (got.ErrorCode != 0 || got.Port <= 0) || version >= 4 && (len(got.Coordinators) != 2 || got.Coordinators[1].Key != "h" || got.Coordinators[1].ErrorCode != 0) {
			t.Fatalf("version %d: %+v", version, got)
		}
	}
}
