package api_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/api"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/sim"
	"github.com/gregorhq/gregor/internal/wire"
)

// heard keeps an answer.
type heard struct{ frame []byte }

func (*heard) Buffer() []byte                       { return nil }
func (*heard) Silence()                             {}
func (*heard) Abort()                               {}
func (h *heard) Send(frame []byte, _ []wire.Splice) { h.frame = frame }

// A client that comes while a node starts is told which APIs there are, and is let go when it asks for more: a connection that ends
// before its first answer is taken for a listener of another kind.
func TestANodeThatStartsAnswersApiVersionsAndNothingElse(t *testing.T) {
	world, serving := sim.New(1), false
	a := api.New(api.Options{Runtime: world, Node: 1, Image: metadata.Empty, Replicas: replica.New(replica.Options{Runtime: world, Node: 1}),
		Serving: func() bool { return serving }})
	s := a.Open(server.Peer{Listener: "PLAINTEXT"})
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 3, "test", "1"
	answer := &heard{}
	if err := s.Request(kmsg.NewRequestFormatter().AppendRequest(nil, versions, 7)[4:], answer); err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = 3
	if err := resp.ReadFrom(answer.frame[8:]); err != nil || resp.ErrorCode != kafka.None.Code() || len(resp.ApiKeys) < 30 {
		t.Fatalf("%v, %+v", err, resp)
	}
	for _, r := range []kmsg.Request{kmsg.NewPtrMetadataRequest(), kmsg.NewPtrFindCoordinatorRequest()} {
		r.SetVersion(3)
		if err := s.Request(kmsg.NewRequestFormatter().AppendRequest(nil, r, 8)[4:], &heard{}); !errors.Is(err, server.ErrTooEarly) {
			t.Errorf("%T: %v", r, err)
		}
	}
}
