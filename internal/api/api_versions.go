package api

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// clientSoftware is what a client may call itself and its version (KIP-511).
var clientSoftware = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// ApiVersions says what this broker speaks (KIP-35, KIP-511, KIP-584).
func handleAPIVersions(a *API, r *request) {
	req := r.body.(*kmsg.ApiVersionsRequest)
	resp := kmsg.NewPtrApiVersionsResponse()
	if req.Version >= 3 && (!clientSoftware.MatchString(req.ClientSoftwareName) || !clientSoftware.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kafka.InvalidRequest.Code()
		r.reply(resp)
		return
	}
	for _, row := range a.advertised {
		resp.ApiKeys = append(resp.ApiKeys, apiKey(row))
	}
	a.features(resp, req.Version)
	r.reply(resp)
}

func apiKey(row *row) kmsg.ApiVersionsResponseApiKey {
	key := kmsg.NewApiVersionsResponseApiKey()
	key.ApiKey, key.MinVersion, key.MaxVersion = row.key, row.min, row.max
	return key
}

func (a *API) features(resp *kmsg.ApiVersionsResponse, version int16) {
	for _, f := range a.Features {
		if f.Min == 0 && version < 4 {
			continue // older clients take a minimum of 0 for an error (KAFKA-17011)
		}
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = f.Name, f.Min, f.Max
		resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
	}
	image := a.Image()
	resp.FinalizedFeaturesEpoch = image.Offset()
	image.Features(func(name string, level int16) bool {
		finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
		finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = name, level, level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
		return true
	})
}

// unsupportedAPIVersions answers a version of ApiVersions that we do not know in the oldest form, which every client
// does, with the versions to try instead.
func unsupportedAPIVersions(a *API, h wire.Header, slot server.Slot) {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kafka.UnsupportedVersion.Code()
	resp.ApiKeys = append(resp.ApiKeys, apiKey(a.rows[wire.KeyAPIVersions]))
	slot.Send(wire.AppendResponse(slot.Buffer(), h.Correlation, resp), nil)
}

// SupportedFeatures are the levels of features that this software has.
func SupportedFeatures() []metadata.FeatureRange {
	return []metadata.FeatureRange{{Name: "metadata.version", Min: 7, Max: 30}}
}
