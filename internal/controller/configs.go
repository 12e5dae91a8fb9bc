package controller

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// edit is one key of a request that changes configs.
type edit struct {
	key   string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// resourceEdit is what a request wants of one resource, and what becomes of it.
type resourceEdit struct {
	kind    kmsg.ConfigResourceType
	name    string
	edits   []edit
	replace bool // everything that is not named is removed
	refusal *refusal
}

// IncrementalAlterConfigs changes single keys (KIP-339).
func (c *Controller) IncrementalAlterConfigs(req *kmsg.IncrementalAlterConfigsRequest, reply func(*kmsg.IncrementalAlterConfigsResponse)) {
	resources := make([]resourceEdit, len(req.Resources))
	for n, r := range req.Resources {
		resources[n] = resourceEdit{kind: r.ResourceType, name: r.ResourceName}
		for _, k := range r.Configs {
			resources[n].edits = append(resources[n].edits, edit{k.Name, k.Op, k.Value})
		}
	}
	c.alterConfigs(resources, req.ValidateOnly, func() {
		resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
		resp.Version = req.Version
		for _, r := range resources {
			result := kmsg.NewIncrementalAlterConfigsResponseResource()
			result.ResourceType, result.ResourceName = r.kind, r.name
			r.refusal.on(&result.ErrorCode, &result.ErrorMessage)
			resp.Resources = append(resp.Resources, result)
		}
		reply(resp)
	})
}

// AlterConfigs makes a resource's configs what the request says: keys that it does not name are removed.
func (c *Controller) AlterConfigs(req *kmsg.AlterConfigsRequest, reply func(*kmsg.AlterConfigsResponse)) {
	resources := make([]resourceEdit, len(req.Resources))
	for n, r := range req.Resources {
		resources[n] = resourceEdit{kind: r.ResourceType, name: r.ResourceName, replace: true}
		for _, k := range r.Configs {
			resources[n].edits = append(resources[n].edits, edit{k.Name, kmsg.IncrementalAlterConfigOpSet, k.Value})
		}
	}
	c.alterConfigs(resources, req.ValidateOnly, func() {
		resp := kmsg.NewPtrAlterConfigsResponse()
		resp.Version = req.Version
		for _, r := range resources {
			result := kmsg.NewAlterConfigsResponseResource()
			result.ResourceType, result.ResourceName = r.kind, r.name
			r.refusal.on(&result.ErrorCode, &result.ErrorMessage)
			resp.Resources = append(resp.Resources, result)
		}
		reply(resp)
	})
}

func (c *Controller) alterConfigs(resources []resourceEdit, validateOnly bool, done func()) {
	c.decide(func(m *machine) (records []metadata.Record) {
		type key struct {
			kind kmsg.ConfigResourceType
			name string
		}
		times := map[key]int{}
		for _, r := range resources {
			times[key{r.kind, r.name}]++
		}
		for n := range resources {
			r := &resources[n]
			if times[key{r.kind, r.name}] > 1 {
				r.refusal = refuse(kafka.InvalidRequest, "resource %q is named more than once in the request", r.name)
				continue
			}
			changes, refusal := m.editConfigs(r)
			if refusal == nil && len(records)+len(changes) > maxRecords {
				refusal = refuse(kafka.PolicyViolation, "the request asks for more than %d changes: send it in parts", maxRecords)
			}
			if r.refusal = refusal; refusal == nil && !validateOnly {
				records = append(records, changes...)
			}
		}
		return records
	}, func(err error) {
		if err != nil {
			for n := range resources {
				resources[n].refusal = refusalOf(err)
			}
		}
		done()
	})
}

// editConfigs makes the records of one resource's changes: all of them, or none.
func (m *machine) editConfigs(r *resourceEdit) ([]metadata.Record, *refusal) {
	resource, refusal := m.checkResource(r.kind, r.name)
	if refusal != nil {
		return nil, refusal
	}
	set := m.image().Configs(resource.Type, resource.Name)
	named := map[string]bool{}
	var records []metadata.Record
	for _, e := range r.edits {
		if named[e.key] {
			return nil, refuse(kafka.InvalidRequest, "config %q is named more than once for one resource", e.key)
		}
		named[e.key] = true
		value, refusal := m.edited(resource, set, e)
		if refusal != nil {
			return nil, refusal
		}
		was, had := set.Get(e.key)
		if value == nil && !had || value != nil && had && *value == was {
			continue
		}
		records = append(records, &metadata.ConfigRecord{Resource: resource, Key: e.key, Value: value})
	}
	if r.replace {
		for key := range set.All {
			if !named[key] {
				records = append(records, &metadata.ConfigRecord{Resource: resource, Key: key})
			}
		}
	}
	return records, nil
}

// edited is the value that a key gets, nil for none.
func (m *machine) edited(r metadata.Resource, set *metadata.Configs, e edit) (*string, *refusal) {
	if e.op == kmsg.IncrementalAlterConfigOpDelete {
		return nil, nil
	}
	if e.value == nil {
		return nil, refuse(kafka.InvalidRequest, "config %q has no value", e.key)
	}
	value := *e.value
	switch e.op {
	case kmsg.IncrementalAlterConfigOpSet:
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
		if !m.options.Configs.IsList(r.Type, e.key) {
			return nil, refuse(kafka.InvalidConfig, "config %q is not a list, so nothing can be added to it or taken from it", e.key)
		}
		was, had := set.Get(e.key)
		if !had {
			was = m.options.Configs.Default(m.image(), r.Type, r.Name, e.key)
		}
		value = editList(was, value, e.op == kmsg.IncrementalAlterConfigOpAppend)
	default:
		return nil, refuse(kafka.InvalidRequest, "config %q is to be changed by an operation %d that does not exist", e.key, e.op)
	}
	if err := m.options.Configs.Check(r.Type, r.Name, e.key, value); err != nil {
		return nil, refuse(kafka.InvalidConfig, "%v", err)
	}
	return &value, nil
}

// editList adds elements that a list lacks, or takes away those that it has.
func editList(list, elements string, add bool) string {
	parts := splitList(list)
	for _, e := range splitList(elements) {
		switch at := slices.Index(parts, e); {
		case add && at < 0:
			parts = append(parts, e)
		case !add && at >= 0:
			parts = slices.Delete(parts, at, at+1)
		}
	}
	return strings.Join(parts, ",")
}

func splitList(list string) (parts []string) {
	for _, part := range strings.Split(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// checkResource says whether configs can be set for a resource.
func (m *machine) checkResource(kind kmsg.ConfigResourceType, name string) (metadata.Resource, *refusal) {
	r := metadata.Resource{Type: metadata.ResourceType(kind), Name: name}
	switch r.Type {
	case metadata.TopicResource:
		if refusal := checkName(name); refusal != nil {
			return r, refusal
		}
		if m.image().Topic(name) == nil {
			return r, refuse(kafka.UnknownTopicOrPartition, "there is no topic %q", name)
		}
	case metadata.BrokerResource:
		if name == "" { // all brokers
			return r, nil
		}
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil || id < 0 {
			return r, refuse(kafka.InvalidRequest, "%q is not a broker's id: that is a number, or nothing for all brokers", name)
		}
		if m.image().Broker(kafka.NodeID(id)) == nil {
			return r, refuse(kafka.BrokerIDNotRegistered, "there is no broker %d", id)
		}
		r.Name = strconv.FormatInt(id, 10)
	case metadata.GroupResource, metadata.ClientMetricsResource:
		if name == "" {
			return r, refuse(kafka.InvalidRequest, "configs of this type need the name of what they are for")
		}
	default:
		return r, refuse(kafka.InvalidRequest, "configs of resource type %d are not kept by the controller", kind)
	}
	return r, nil
}
