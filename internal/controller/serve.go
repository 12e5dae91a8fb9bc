package controller

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/wire"
)

// Tagged fields of our own, in Kafka's requests between brokers and the controller.
const (
	tagBootSequence = 10_000 // of a registration: uint64
	tagRaftID       = 10_001 // of a registration: uint64
	tagMessage      = 10_000 // of the answer to a registration: why it was refused, in words
)

// Serve answers what nodes ask the active controller, in Kafka's own requests where it has them, and reports false for a request that is none
// of those.
func (c *Controller) Serve(request kmsg.Request, reply func(kmsg.Response)) bool {
	switch r := request.(type) {
	case *kmsg.BrokerRegistrationRequest:
		c.serveRegistration(r, reply)
	case *kmsg.BrokerHeartbeatRequest:
		c.serveHeartbeat(r, reply)
	case *kmsg.AllocateProducerIDsRequest:
		c.serveProducerIDs(r, reply)
	case *kmsg.AlterPartitionRequest:
		c.AlterPartition(r, func(resp *kmsg.AlterPartitionResponse) { reply(resp) })
	case *kmsg.AssignReplicasToDirsRequest:
		c.AssignReplicasToDirs(r, func(resp *kmsg.AssignReplicasToDirsResponse) { reply(resp) })
	case *wire.JoinClusterRequest:
		c.serveJoin(r, reply)
	default:
		return false
	}
	return true
}

// RegistrationRequest is a registration as it is sent. Of the epoch and the flags of the broker it says nothing.
func RegistrationRequest(r Registration) *kmsg.BrokerRegistrationRequest {
	b, req := &r.Broker, kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 3
	req.BrokerID, req.ClusterID, req.IncarnationID, req.PreviousBrokerEpoch = int32(b.ID), r.Cluster, b.Incarnation, -1
	for _, e := range b.Endpoints {
		l := kmsg.NewBrokerRegistrationRequestListener()
		l.Name, l.Host, l.Port, l.SecurityProtocol = e.Listener, e.Host, e.Port, e.Protocol
		req.Listeners = append(req.Listeners, l)
	}
	for _, f := range b.Features {
		feature := kmsg.NewBrokerRegistrationRequestFeature()
		feature.Name, feature.MinSupportedVersion, feature.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, feature)
	}
	if b.Rack != "" {
		req.Rack = kmsg.StringPtr(b.Rack)
	}
	for _, d := range b.Directories {
		req.LogDirs = append(req.LogDirs, d)
	}
	req.UnknownTags.Set(tagBootSequence, binary.BigEndian.AppendUint64(nil, b.BootSequence))
	req.UnknownTags.Set(tagRaftID, binary.BigEndian.AppendUint64(nil, b.RaftID))
	return req
}

func registrationOf(req *kmsg.BrokerRegistrationRequest) Registration {
	b := metadata.Broker{ID: kafka.NodeID(req.BrokerID), Incarnation: req.IncarnationID}
	for _, l := range req.Listeners {
		b.Endpoints = append(b.Endpoints, metadata.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port, Protocol: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		b.Features = append(b.Features, metadata.FeatureRange{Name: f.Name, Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion})
	}
	if req.Rack != nil {
		b.Rack = *req.Rack
	}
	for _, d := range req.LogDirs {
		b.Directories = append(b.Directories, d)
	}
	req.UnknownTags.Each(func(tag uint32, value []byte) {
		if len(value) != 8 {
			return
		}
		switch number := binary.BigEndian.Uint64(value); tag {
		case tagBootSequence:
			b.BootSequence = number
		case tagRaftID:
			b.RaftID = number
		}
	})
	return Registration{Broker: b, Cluster: req.ClusterID}
}

func (c *Controller) serveRegistration(req *kmsg.BrokerRegistrationRequest, reply func(kmsg.Response)) {
	resp := kmsg.NewPtrBrokerRegistrationResponse()
	resp.Version = req.Version
	c.RegisterBroker(registrationOf(req), func(epoch int64, err error) {
		if resp.BrokerEpoch = epoch; err != nil {
			resp.ErrorCode = kafka.AsErrorCode(err).Code()
			var r *refusal
			if errors.As(err, &r) {
				resp.UnknownTags.Set(tagMessage, []byte(r.text))
			}
		}
		reply(resp)
	})
}

// RegistrationReply is the answer to a registration: the broker's epoch, or why it was refused.
func RegistrationReply(resp *kmsg.BrokerRegistrationResponse) (epoch int64, err error) {
	if resp.ErrorCode == 0 {
		return resp.BrokerEpoch, nil
	}
	code, text := kafka.ErrorCode(resp.ErrorCode), ""
	resp.UnknownTags.Each(func(tag uint32, value []byte) {
		if tag == tagMessage {
			text = string(value)
		}
	})
	if text == "" {
		return -1, code
	}
	return -1, refuse(code, "%s", text)
}

func (c *Controller) serveHeartbeat(req *kmsg.BrokerHeartbeatRequest, reply func(kmsg.Response)) {
	resp := kmsg.NewPtrBrokerHeartbeatResponse()
	resp.Version = req.Version
	h := Heartbeat{Broker: kafka.NodeID(req.BrokerID), Epoch: req.BrokerEpoch, Applied: req.CurrentMetadataOffset,
		WantFence: req.WantFence, WantShutdown: req.WantShutdown, Full: len(req.OfflineLogDirs) > 0}
	c.Heartbeat(h, func(r HeartbeatReply, err error) {
		if err != nil {
			resp.ErrorCode = kafka.AsErrorCode(err).Code()
		}
		resp.IsCaughtUp, resp.IsFenced, resp.ShouldShutdown = r.CaughtUp, r.Fenced, r.ShouldShutDown
		reply(resp)
	})
}

func (c *Controller) serveProducerIDs(req *kmsg.AllocateProducerIDsRequest, reply func(kmsg.Response)) {
	resp := kmsg.NewPtrAllocateProducerIDsResponse()
	resp.Version = req.Version
	c.AllocateProducerIDs(kafka.NodeID(req.BrokerID), req.BrokerEpoch, func(first int64, count int32, err error) {
		if err != nil {
			resp.ErrorCode = kafka.AsErrorCode(err).Code()
		}
		resp.ProducerIDStart, resp.ProducerIDLen = first, count
		reply(resp)
	})
}

func (c *Controller) serveJoin(req *wire.JoinClusterRequest, reply func(kmsg.Response)) {
	c.Admit(Applicant{req.Cluster, kafka.NodeID(req.Node), req.RaftID, req.Directory}, func(node kafka.NodeID, err error) {
		resp := &wire.JoinClusterResponse{Node: int32(node)}
		if err != nil {
			r := refusalOf(err)
			resp.ErrorCode, resp.Message = r.code.Code(), r.text
		}
		reply(resp)
	})
}
