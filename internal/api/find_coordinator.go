package api

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

const (
	keyFindCoordinator = 10
	coordinatorOfGroup = 0
)

// FindCoordinator says which node coordinates a group (KIP-699). The topic that holds groups' state is created with the
// first who asks.
func handleFindCoordinator(a *API, r *request) {
	req := r.body.(*kmsg.FindCoordinatorRequest)
	if req.CoordinatorType != coordinatorOfGroup || a.Image().Topic(kafka.GroupMetadataTopic) != nil {
		r.reply(a.coordinators(r, req))
		return
	}
	a.ensureGroupTopic(r.session.peer, func() { r.reply(a.coordinators(r, req)) })
}

// ensureGroupTopic has the active controller create __consumer_offsets unless it exists, and waits until this node has it.
// Another node's does it when it is asked for a coordinator.
func (a *API) ensureGroupTopic(peer server.Peer, done func()) {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.Version = 3
	a.ask(peer, request, func() { a.createGroupTopic(done) }, done)
}

func (a *API) createGroupTopic(done func()) {
	l := a.Layers(a.Image(), "")
	a.Controller.EnsureTopic(controller.TopicSpec{
		Name:              kafka.GroupMetadataTopic,
		Partitions:        int32(l.Int("offsets.topic.num.partitions")),
		ReplicationFactor: int16(l.Int("offsets.topic.replication.factor")),
		Configs: []metadata.ConfigEntry{
			{Key: "cleanup.policy", Value: "compact"},
			{Key: "compression.type", Value: "producer"},
			{Key: "segment.bytes", Value: strconv.FormatInt(max(l.Int("offsets.topic.segment.bytes"), 1<<20), 10)},
		},
	}, func(error) { a.AfterApplied(done) })
}

func (a *API) coordinators(r *request, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if req.Version < 4 {
		c := a.coordinator(r, req, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, a.coordinator(r, req, key))
	}
	return resp
}

func (a *API) coordinator(r *request, req *kmsg.FindCoordinatorRequest, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	fail := func(code kafka.ErrorCode, why string) kmsg.FindCoordinatorResponseCoordinator {
		c.ErrorCode, c.ErrorMessage = code.Code(), message(why)
		return c
	}
	switch {
	case req.CoordinatorType == 1:
		return fail(kafka.TransactionalIDAuthorizationFailed, "transactions come with a later release")
	case req.CoordinatorType == 2:
		return fail(kafka.InvalidRequest, "share groups come with a later release")
	case req.CoordinatorType != coordinatorOfGroup:
		return fail(kafka.InvalidRequest, "there is no such coordinator type")
	}
	image := a.Image()
	topic := image.Topic(kafka.GroupMetadataTopic)
	if topic == nil {
		return fail(kafka.CoordinatorNotAvailable, "")
	}
	p := topic.Partition(a.Groups.PartitionFor(key))
	if p == nil || p.Leader == kafka.NoNode {
		return fail(kafka.CoordinatorNotAvailable, "")
	}
	e, ok := a.endpoint(image, r.session.peer, p.Leader)
	if !ok {
		return fail(kafka.CoordinatorNotAvailable, "")
	}
	c.NodeID, c.Host, c.Port = int32(e.Node), e.Host, e.Port
	return c
}
