package api_test

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/gregortest"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/record"
)

func apiVersions(version int16) *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, "test", "1.0"
	return req
}

func TestAnUnknownVersionOfApiVersionsIsAnsweredInTheOldestForm(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	for _, version := range []int16{5, 99} {
		p.next++
		p.write(unknownVersion(18, version, p.next))
		b := p.frame()
		if got := int32(binary.BigEndian.Uint32(b)); got != p.next {
			t.Fatalf("correlation %d", got)
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		if err := resp.ReadFrom(b[4:]); err != nil {
			t.Fatal(err)
		}
		want(t, "ApiVersions", resp.ErrorCode, kafka.UnsupportedVersion)
		if len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MinVersion != 0 || resp.ApiKeys[0].MaxVersion != 4 {
			t.Fatalf("%+v", resp.ApiKeys)
		}
	}
	if resp := p.call(apiVersions(4)).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 || len(resp.ApiKeys) < 30 {
		t.Fatalf("the connection does not go on: %+v", resp)
	}
}

func unknownVersion(key, version int16, correlation int32) []byte {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = append(b, 0, 1, 'x', 0)
	b = append(b, 5, 't', 'e', 's', 't', 2, '1', 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func TestAdvertisedRangesAreThoseThatClientsLookFor(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	for version := int16(0); version <= 4; version++ {
		resp := p.call(apiVersions(version)).(*kmsg.ApiVersionsResponse)
		ranges := map[int16][2]int16{}
		for _, k := range resp.ApiKeys {
			ranges[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
		}
		for key, r := range map[int16][2]int16{0: {0, 13}, 1: {4, 18}, 3: {0, 13}, 10: {0, 6}, 11: {0, 9}, 17: {0, 1}, 42: {0, 2}} {
			if ranges[key] != r {
				t.Errorf("version %d advertises %v of %s, want %v", version, ranges[key], kmsg.NameForKey(key), r)
			}
		}
		for _, absent := range []int16{4, 24, 28, 68, 71, 76, 88} {
			if _, ok := ranges[absent]; ok {
				t.Errorf("%s is advertised and does not work", kmsg.NameForKey(absent))
			}
		}
		if version >= 3 && resp.FinalizedFeaturesEpoch < 0 {
			t.Errorf("features of epoch %d are ignored by clients", resp.FinalizedFeaturesEpoch)
		}
		for _, f := range resp.SupportedFeatures {
			if version <= 3 && f.MinVersion == 0 {
				t.Errorf("version %d tells of %s from 0 on", version, f.Name)
			}
		}
	}
}

func TestClientSoftwareNamesAreChecked(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	req := apiVersions(3)
	req.ClientSoftwareName = "no spaces"
	want(t, "ApiVersions", p.call(req).(*kmsg.ApiVersionsResponse).ErrorCode, kafka.InvalidRequest)
}

func TestWhatCannotBeAnsweredClosesTheConnection(t *testing.T) {
	b := gregortest.Start(t)
	old := kmsg.NewPtrFetchRequest()
	old.Version = 3
	produce := kmsg.NewPtrProduceRequest()
	produce.Version = 2
	for name, frame := range map[string][]byte{
		"unknown key":            unknownVersion(500, 0, 1),
		"API not served":         kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrAddPartitionsToTxnRequest(), 1),
		"version too old":        kmsg.NewRequestFormatter().AppendRequest(nil, old, 1),
		"advertised, not served": kmsg.NewRequestFormatter().AppendRequest(nil, produce, 1),
		"version too new":        unknownVersion(3, 50, 1),
		"body cut short":         {0, 0, 0, 12, 0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 200},
		"HTTP":                   []byte("GET / HTTP/1.0\r\n\r\n"),
		"TLS":                    {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3},
		"negative size":          {0xff, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, b)
			p.write(frame)
			p.closed()
		})
	}
	if resp := connect(t, b).call(apiVersions(4)).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
		t.Fatal("the broker has suffered")
	}
}

func TestSaslHasNoPlaceOnAPlaintextListener(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Version, handshake.Mechanism = 1, "PLAIN"
	want(t, "SaslHandshake", p.call(handshake).(*kmsg.SASLHandshakeResponse).ErrorCode, kafka.IllegalSaslState)
	want(t, "SaslAuthenticate", p.call(kmsg.NewPtrSASLAuthenticateRequest()).(*kmsg.SASLAuthenticateResponse).ErrorCode, kafka.IllegalSaslState)
	if p.call(apiVersions(0)).(*kmsg.ApiVersionsResponse).ErrorCode != 0 {
		t.Fatal("the connection does not go on")
	}
}

func TestRequestsInOneSegmentAreAnsweredInOrder(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	p.createTopic("t", 1)
	format := kmsg.NewRequestFormatter()
	waiting := fetchFrom(11, "t", kafka.TopicID{}, 0, 0)
	waiting.MaxWaitMillis = 150
	metadata := kmsg.NewPtrMetadataRequest()
	quiet := produceTo(7, "t", kafka.TopicID{}, 0, nil)
	quiet.Acks, quiet.Topics[0].Partitions[0].Records = 0, batchOf(record.Plain(), "a")
	var all []byte
	requests := []kmsg.Request{apiVersions(0), metadata, waiting, quiet, apiVersions(3)}
	for i, req := range requests {
		all = append(all, format.AppendRequest(nil, req, int32(100+i))...)
	}
	p.write(all)
	for i, req := range requests {
		if req != kmsg.Request(quiet) { // acks=0 takes no place
			p.receive(req, int32(100+i))
		}
	}
}

func TestAFailedProduceWithoutAcksClosesTheConnection(t *testing.T) {
	p := connect(t, gregortest.Start(t))
	req := produceTo(7, "nowhere", kafka.TopicID{}, 0, batchOf(record.Plain(), "a"))
	req.Acks = 0
	p.send(req)
	p.closed()
}
