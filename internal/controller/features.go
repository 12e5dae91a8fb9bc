package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// Kinds of change of a feature's level (KIP-778).
const (
	upgrade         int8 = 1
	safeDowngrade   int8 = 2
	unsafeDowngrade int8 = 3
)

// UpdateFeatures finalizes levels of features: all that the request names, or none. Why not is told for the request as a whole, in
// old versions too, as Kafka 4 does.
func (c *Controller) UpdateFeatures(req *kmsg.UpdateFeaturesRequest, reply func(*kmsg.UpdateFeaturesResponse)) {
	var first *refusal
	c.decide(func(m *machine) (records []metadata.Record) {
		seen := map[string]bool{}
		for _, u := range req.FeatureUpdates {
			kind := u.UpgradeType
			if req.Version == 0 {
				kind = upgrade
				if u.AllowDowngrade {
					kind = safeDowngrade
				}
			}
			refused := m.checkLevel(u.Feature, u.MaxVersionLevel, kind)
			if seen[u.Feature] {
				refused = refuse(kafka.InvalidRequest, "feature %q is named more than once in the request", u.Feature)
			}
			seen[u.Feature] = true
			if first == nil {
				first = refused
			}
			records = append(records, &metadata.FeatureLevel{Name: u.Feature, Level: u.MaxVersionLevel})
		}
		if first != nil || req.ValidateOnly {
			return nil
		}
		return records
	}, func(err error) {
		resp := kmsg.NewPtrUpdateFeaturesResponse()
		resp.Version = req.Version
		if err != nil {
			refusalOf(err).on(&resp.ErrorCode, &resp.ErrorMessage)
			reply(resp)
			return
		}
		if first != nil || req.Version >= 2 {
			first.on(&resp.ErrorCode, &resp.ErrorMessage)
			reply(resp)
			return
		}
		for _, u := range req.FeatureUpdates {
			r := kmsg.NewUpdateFeaturesResponseResult()
			r.Feature = u.Feature
			resp.Results = append(resp.Results, r)
		}
		reply(resp)
	})
}

func (m *machine) checkLevel(name string, level int16, kind int8) *refusal {
	bad := func(text string, args ...any) *refusal { return refuse(kafka.InvalidUpdateVersion, text, args...) }
	now := m.image().Feature(name)
	switch {
	case kind != upgrade && kind != safeDowngrade && kind != unsafeDowngrade:
		return bad("there is no upgrade of type %d", kind)
	case level < 0:
		return bad("level %d of feature %q is below 0", level, name)
	case level < now && kind == upgrade:
		return bad("feature %q is at level %d, and the request does not allow to lower it to %d", name, now, level)
	case level > now && kind != upgrade:
		return bad("feature %q is at level %d, and the request asks to lower it to %d", name, now, level)
	}
	if !supports(m.options.Features, name, level) {
		return bad("the controller does not support level %d of feature %q", level, name)
	}
	var refused *refusal
	m.image().Brokers(func(b *metadata.Broker) bool {
		if !supports(b.Features, name, level) {
			refused = bad("broker %d does not support level %d of feature %q", b.ID, level, name)
		}
		return refused == nil
	})
	return refused
}

// supports reports whether software that knows these features can run at a level. At level 0 a feature is not used, which
// needs only that it is known.
func supports(features []metadata.FeatureRange, name string, level int16) bool {
	for _, f := range features {
		if f.Name == name {
			return level == 0 || f.Min <= level && level <= f.Max
		}
	}
	return false
}
