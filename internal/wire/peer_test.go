package wire

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// between are the requests of our own, with their answers.
var between = []struct {
	request  kmsg.Request
	response kmsg.Response
}{
	{&ProgressRequest{Broker: 3, BrokerEpoch: 70, Partitions: []Progress{{Topic: [16]byte{1, 2}, Partition: 4, LeaderEpoch: 5, Durable: 1 << 40}}}, &ProgressResponse{}},
	{&RaftRequest{Cluster: "c", From: 1 << 62, To: 7, Host: "::1", Port: 65535, Messages: [][]byte{[]byte("one"), []byte("two")}}, &RaftResponse{ErrorCode: 104}},
	{&FetchMetadataRequest{Cluster: "c", Node: 2, RaftID: 9, Offset: 1 << 33, MaxBytes: 1 << 20, MaxWaitMillis: 500},
		&FetchMetadataResponse{ErrorCode: 1, Leader: 3, Host: "h", Port: 9092, Epoch: 4, Committed: 99, Snapshot: true, Batches: []MetadataBatch{{98, []byte("batch")}}}},
	{&JoinClusterRequest{Cluster: "c", Node: -1, RaftID: 5, Relayed: true, Directory: [16]byte{7}},
		&JoinClusterResponse{ErrorCode: 42, Message: "no", Cluster: "c", Node: 8, Nodes: []KnownNode{{1, "a", 1}, {2, "b", 2}}}},
	{&ForwardRequest{Listener: "PLAINTEXT", RemoteHost: "10.0.0.1", TimeoutMillis: 30_000, Frame: []byte("frame"), Token: [16]byte{3, 4}},
		&ForwardResponse{ErrorCode: 41, Offset: 12, Frame: []byte("answer")}},
}

func TestRequestsBetweenNodesComeBackAsTheyWere(t *testing.T) {
	if len(between) != peerKeys-KeyProgress {
		t.Fatalf("%d pairs of messages are tried, and there are %d", len(between), peerKeys-KeyProgress)
	}
	for _, pair := range between {
		frame := AppendRequest([]byte("before"), 77, "gregor", pair.request)[len("before"):]
		h, err := ParseHeader(frame[4:])
		if err != nil || h.Key != pair.request.Key() || h.Correlation != 77 || string(h.ClientID) != "gregor" {
			t.Fatalf("%T has the header %+v: %v", pair.request, h, err)
		}
		got, err := Decode(h.Key, h.Version, h.Body)
		if err != nil || !reflect.DeepEqual(got, pair.request) {
			t.Errorf("%T comes back as %+v: %v", pair.request, got, err)
		}
		// An answer of a later version, with more at its end, arrives in small pieces.
		answer := append(AppendResponse(nil, 77, pair.response), "more"...)
		answer = EndFrame(answer, 0)
		read, err := NewFrameReader(iotest.OneByteReader(bytes.NewReader(answer))).Next()
		if err != nil {
			t.Fatal(err)
		}
		response := pair.request.ResponseKind()
		if err := ReadResponse(read, 77, response); err != nil || !reflect.DeepEqual(response, pair.response) {
			t.Errorf("%T comes back as %+v: %v", pair.response, response, err)
		}
		if err := ReadResponse(read, 78, pair.request.ResponseKind()); err == nil {
			t.Errorf("%T is taken for the answer to another request", pair.response)
		}
	}
}

func TestAMessageThatIsCutShortIsRefused(t *testing.T) {
	for _, pair := range between {
		whole := pair.request.AppendTo(nil)
		for n := range whole {
			if _, err := Decode(pair.request.Key(), 0, whole[:n]); err == nil {
				t.Errorf("%T of %d of %d bytes is taken", pair.request, n, len(whole))
			}
		}
	}
}

func TestAFrameThatPromisesMuchCostsLittle(t *testing.T) {
	in := NewFrameReader(io.MultiReader(strings.NewReader("\x3f\xff\xff\xff"), strings.NewReader("short")))
	if allocated := testing.AllocsPerRun(1, func() {
		if frame, err := in.Next(); err == nil {
			t.Errorf("a frame of %d bytes", len(frame))
		}
	}); allocated > 20 {
		t.Errorf("%v allocations", allocated)
	}
}

func FuzzBetweenNodes(f *testing.F) {
	for _, pair := range between {
		f.Add(pair.request.Key(), pair.request.AppendTo(nil), pair.response.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key int16, request, response []byte) {
		if !ours(key) {
			return
		}
		r, err := Decode(key, 0, request)
		if err == nil {
			again, err := Decode(key, 0, r.AppendTo(nil))
			if err != nil || !bytes.Equal(r.AppendTo(nil), again.AppendTo(nil)) {
				t.Errorf("%+v becomes %+v: %v", r, again, err)
			}
		}
		_ = newPeerRequest(key).ResponseKind().ReadFrom(response) // must not panic
	})
}
