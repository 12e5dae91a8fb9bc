package api_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

// Clients take the highest version that both know without a look at the lowest (kafkajs, kafka-go, sarama), so that each
// one in an advertised range has to be answered, in that version's own form.
func TestEveryAdvertisedVersionIsAnswered(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	for _, k := range p.call(apiVersions(4)).(*kmsg.ApiVersionsResponse).ApiKeys {
		for version := k.MinVersion; version <= k.MaxVersion; version++ {
			req := kmsg.RequestForKey(k.ApiKey)
			switch r := req.(type) {
			case *kmsg.ProduceRequest:
				if version < 3 {
					continue // advertised for librdkafka, as Kafka does, and not served
				}
				r.Acks = -1
			case *kmsg.ApiVersionsRequest:
				r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1.0"
			case *kmsg.UnregisterBrokerRequest:
				r.BrokerID = 77
			case *kmsg.AddRaftVoterRequest:
				r.VoterID = 77
			case *kmsg.RemoveRaftVoterRequest:
				r.VoterID = 77
			}
			req.SetVersion(version)
			p.call(req)
		}
	}
	if resp := p.metadata(12, false, "t"); resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("the broker has suffered: %+v", resp)
	}
}

// What a later client adds to a message, tagged, is nothing that the broker may stumble over (KIP-482).
func TestUnknownTagsAreSkipped(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	id := p.createTopic("t", 1)
	tag := func(tags *kmsg.Tags) { tags.Set(9, []byte{1, 2, 3}); tags.Set(1000, nil) }

	produce := produceTo(13, "t", id, 0, batchOf(record.Plain(), "a"))
	tag(&produce.UnknownTags)
	tag(&produce.Topics[0].UnknownTags)
	tag(&produce.Topics[0].Partitions[0].UnknownTags)
	if got := p.call(produce).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.BaseOffset != 0 {
		t.Fatalf("%+v", got)
	}
	fetch := fetchFrom(17, "t", id, 0, 0)
	tag(&fetch.UnknownTags)
	tag(&fetch.Topics[0].UnknownTags)
	tag(&fetch.Topics[0].Partitions[0].UnknownTags)
	if got := p.fetch(fetch); got.ErrorCode != 0 || len(got.RecordBatches) == 0 {
		t.Fatalf("%+v", got)
	}
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 12
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("t")
	tag(&metadata.UnknownTags)
	tag(&topic.UnknownTags)
	metadata.Topics = append(metadata.Topics, topic)
	want(t, "Metadata", p.call(metadata).(*kmsg.MetadataResponse).Topics[0].ErrorCode, kafka.None)
}

func TestOperationsAreToldToWhoAsksForThem(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	const topic, cluster, group = 3576, 8096, 3400 // bits by the operations' numbers, as Kafka tells them without an authorizer
	for version := int16(8); version <= 10; version++ {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = version, true, true
		got := p.call(req).(*kmsg.MetadataResponse)
		if got.AuthorizedOperations != cluster || got.Topics[0].AuthorizedOperations != topic {
			t.Fatalf("version %d: cluster %d, topic %d", version, got.AuthorizedOperations, got.Topics[0].AuthorizedOperations)
		}
	}
	describe := kmsg.NewPtrDescribeClusterRequest()
	if got := p.call(describe).(*kmsg.DescribeClusterResponse).ClusterAuthorizedOperations; got != -2147483648 {
		t.Fatalf("told without being asked: %d", got)
	}
	describe.IncludeClusterAuthorizedOperations = true
	if got := p.call(describe).(*kmsg.DescribeClusterResponse).ClusterAuthorizedOperations; got != cluster {
		t.Fatalf("DescribeCluster: %d", got)
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = "g"
	p.call(find)
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Version, groups.Groups, groups.IncludeAuthorizedOperations = 5, []string{"g"}, true
	if got := p.call(groups).(*kmsg.DescribeGroupsResponse).Groups[0].AuthorizedOperations; got != group {
		t.Fatalf("DescribeGroups: %d", got)
	}
}

// Only a request that names a topic can create it: not one for all topics, and not Produce.
func TestNothingElseCreatesTopics(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	all := kmsg.NewPtrMetadataRequest()
	all.Version, all.AllowAutoTopicCreation = 12, true
	for range 2 {
		want(t, "produce", p.produce("nowhere", 0, batchOf(record.Plain(), "a")).ErrorCode, kafka.UnknownTopicOrPartition)
		if got := p.call(all).(*kmsg.MetadataResponse); len(got.Topics) != 0 {
			t.Fatalf("%+v", got.Topics)
		}
	}
}

func TestWhatIsAskedOfAnotherBrokerIsRefused(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	for name, code := range map[string]kafka.ErrorCode{"0": kafka.None, "7": kafka.InvalidRequest, "x": kafka.InvalidRequest} {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = 4, name
		req.Resources = []kmsg.DescribeConfigsRequestResource{r}
		want(t, "broker "+name, p.call(req).(*kmsg.DescribeConfigsResponse).Resources[0].ErrorCode, code)
	}
}

func TestPagesOfPartitionsAreBounded(t *testing.T) {
	p := connect(t, gregortest.Start(t, gregortest.With("max.request.partition.size.limit", "2")))
	p.createTopic("t", 5)
	pages := kmsg.NewPtrDescribeTopicPartitionsRequest()
	pages.ResponsePartitionLimit = 1000
	got := p.call(pages).(*kmsg.DescribeTopicPartitionsResponse)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 2 || got.NextCursor == nil || got.NextCursor.Partition != 2 {
		t.Fatalf("%+v", got)
	}
}
