package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

const (
	set      = kmsg.IncrementalAlterConfigOpSet
	remove   = kmsg.IncrementalAlterConfigOpDelete
	appendTo = kmsg.IncrementalAlterConfigOpAppend
	subtract = kmsg.IncrementalAlterConfigOpSubtract
)

func (c *cluster) alter(kind metadata.ResourceType, name string, validateOnly bool, edits ...any) (got string) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = validateOnly
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(kind), name
	for n := 0; n < len(edits); n += 3 {
		e := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		e.Name, e.Op = edits[n].(string), edits[n+1].(kmsg.IncrementalAlterConfigOp)
		if v, ok := edits[n+2].(string); ok {
			e.Value = &v
		}
		r.Configs = append(r.Configs, e)
	}
	req.Resources = append(req.Resources, r)
	got = "not answered"
	c.IncrementalAlterConfigs(req, func(r *kmsg.IncrementalAlterConfigsResponse) {
		got = kafka.ErrorCode(r.Resources[0].ErrorCode).Error()
		if m := r.Resources[0].ErrorMessage; (m == nil) != (got == "NONE") {
			c.t.Errorf("%s comes with the message %v", got, m)
		}
	})
	c.settle()
	return got
}

func (c *cluster) configs(kind metadata.ResourceType, name string) string {
	var found []string
	for key, value := range c.image().Configs(kind, name).All {
		found = append(found, fmt.Sprintf("%s=%s", key, value))
	}
	return strings.Join(found, " ")
}

func TestConfigsAreChangedKeyByKey(t *testing.T) {
	const topics, brokers, groups = metadata.TopicResource, metadata.BrokerResource, metadata.GroupResource
	c := newCluster(t, 1)
	c.created(topic("t", 1, 1))
	for _, x := range []struct {
		kind  metadata.ResourceType
		name  string
		edits []any
		want  string
		then  string
	}{
		{topics, "t", []any{"retention.ms", set, "5", "cleanup.policy", appendTo, "compact"}, "NONE", "cleanup.policy=delete,compact retention.ms=5"},
		{topics, "t", []any{"cleanup.policy", appendTo, "compact"}, "NONE", "cleanup.policy=delete,compact retention.ms=5"},
		{topics, "t", []any{"cleanup.policy", subtract, "delete,nothing"}, "NONE", "cleanup.policy=compact retention.ms=5"},
		{topics, "t", []any{"retention.ms", remove, nil, "min.insync.replicas", remove, nil}, "NONE", "cleanup.policy=compact"},
		{topics, "t", []any{"retention.ms", appendTo, "5"}, "INVALID_CONFIG", "cleanup.policy=compact"},
		{topics, "t", []any{"min.insync.replicas", set, "1", "retention.ms", set, "soon"}, "INVALID_CONFIG", "cleanup.policy=compact"},
		{topics, "t", []any{"no.such", set, "5"}, "INVALID_CONFIG", "cleanup.policy=compact"},
		{topics, "t", []any{"retention.ms", set, nil}, "INVALID_REQUEST", "cleanup.policy=compact"},
		{topics, "t", []any{"retention.ms", set, "5", "retention.ms", set, "6"}, "INVALID_REQUEST", "cleanup.policy=compact"},
		{topics, "t", []any{"retention.ms", kmsg.IncrementalAlterConfigOp(9), "5"}, "INVALID_REQUEST", "cleanup.policy=compact"},
		{topics, "x", []any{"retention.ms", set, "5"}, "UNKNOWN_TOPIC_OR_PARTITION", ""},
		{brokers, "", []any{"retention.ms", set, "5"}, "NONE", "retention.ms=5"},
		{brokers, "1", []any{"retention.ms", set, "6"}, "NONE", "retention.ms=6"},
		{brokers, "9", []any{"retention.ms", set, "6"}, "BROKER_ID_NOT_REGISTERED", ""},
		{brokers, "one", []any{"retention.ms", set, "6"}, "INVALID_REQUEST", ""},
		{groups, "g", []any{"retention.ms", set, "7"}, "NONE", "retention.ms=7"},
		{groups, "", []any{"retention.ms", set, "7"}, "INVALID_REQUEST", ""},
		{metadata.ResourceType(8), "1", []any{"kafka", set, "INFO"}, "INVALID_REQUEST", ""},
	} {
		before := c.configs(x.kind, x.name)
		if got := c.alter(x.kind, x.name, true, x.edits...); got != x.want || c.configs(x.kind, x.name) != before {
			t.Errorf("%v of %q, only to be checked, is answered %s, want %s", x.edits, x.name, got, x.want)
		}
		if got := c.alter(x.kind, x.name, false, x.edits...); got != x.want || c.configs(x.kind, x.name) != x.then {
			t.Errorf("%v of %q is answered %s, want %s; then %q, want %q", x.edits, x.name, got, x.want, c.configs(x.kind, x.name), x.then)
		}
	}
}

func TestAlterConfigsReplacesEverythingThatItDoesNotName(t *testing.T) {
	c := newCluster(t, 1)
	c.created(topic("t", 1, 1, "retention.ms", "5", "min.insync.replicas", "1"))
	alter := func(names ...string) (got []string) {
		req := kmsg.NewPtrAlterConfigsRequest()
		for _, name := range names {
			r := kmsg.NewAlterConfigsRequestResource()
			r.ResourceType, r.ResourceName = 2, name
			e := kmsg.NewAlterConfigsRequestResourceConfig()
			e.Name, e.Value = "cleanup.policy", kmsg.StringPtr("compact")
			r.Configs = append(r.Configs, e)
			req.Resources = append(req.Resources, r)
		}
		c.AlterConfigs(req, func(r *kmsg.AlterConfigsResponse) {
			for _, r := range r.Resources {
				got = append(got, kafka.ErrorCode(r.ErrorCode).Error())
			}
		})
		c.settle()
		return got
	}
	c.expect(t, alter("t", "t"), "INVALID_REQUEST", "INVALID_REQUEST")
	c.expect(t, alter("t", "x"), "NONE", "UNKNOWN_TOPIC_OR_PARTITION")
	if got := c.configs(metadata.TopicResource, "t"); got != "cleanup.policy=compact" {
		t.Errorf("configs are %q", got)
	}
}

func TestAControllerDecidesOnWhatTheOneBeforeDecided(t *testing.T) {
	c := newCluster(t, 2)
	c.created(topic("a.b", 3, 2), topic("t", 1, 1, "retention.ms", "5"))
	c.Resign()
	c.Lead(2, c.log)
	c.settle()
	if r := c.create(topic("a_b", 1, 1), topic("t", 1, 1)).Topics; kafka.ErrorCode(r[0].ErrorCode) != kafka.InvalidTopicException || kafka.ErrorCode(r[1].ErrorCode) != kafka.TopicAlreadyExists {
		t.Errorf("answered %+v", r)
	}
	c.created(topic("new", 1, 1))
	if c.image().TopicCount() != 3 {
		t.Errorf("there are %d topics, want 3: the batch of a later controller does not count", c.image().TopicCount())
	}
}

func TestAControllerWhoseLogIsTakenAwayStopsToDecide(t *testing.T) {
	c := newCluster(t, 1)
	c.log.over = true
	if r := c.create(topic("t", 1, 1)); kafka.ErrorCode(r.Topics[0].ErrorCode) != kafka.NotController || c.Active() {
		t.Errorf("answered %+v, active %v", r, c.Active())
	}
}

func TestALogThatCouldNotBeReadIsReadAgain(t *testing.T) {
	c := newCluster(t, 1)
	c.Resign()
	good := c.log.batches
	c.log.batches = append(good[:len(good):len(good)], []byte("rot"))
	c.Lead(2, c.log)
	c.settle()
	if c.Active() {
		t.Error("active on a log that cannot be read")
	}
	c.log.batches = good
	c.world.Run(2e9)
	if !c.Active() {
		t.Error("not active although the log can be read again")
	}
}
