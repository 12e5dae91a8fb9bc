package cli

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestUsersAreToldWhatCannotBeReachedAndNotWhatWasGivenUp(t *testing.T) {
	var out strings.Builder
	w := newWatcher(&out, 30*time.Second)
	at := kgo.BrokerMetadata{Host: "127.0.0.1", Port: 9092}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, given := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:9092")
	w.OnBrokerConnect(at, 0, nil, given)
	if out.Len() > 0 {
		t.Errorf("of a connection that was given up the user is told %q", out.String())
	}
	w.OnBrokerConnect(at, 0, nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	w.OnBrokerConnect(at, 0, nil, given)
	w.OnBrokerConnect(at, 0, nil, nil)
	want := "gregor: cannot reach 127.0.0.1:9092 (connection refused); trying again for 30s\ngregor: connected to 127.0.0.1:9092 again\n"
	if out.String() != want {
		t.Errorf("the user is told %q", out.String())
	}
}
