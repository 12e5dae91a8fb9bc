package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// watcher says on standard error that a broker went away and that it came back, once each, so that nobody has to
// wonder why nothing happens.
type watcher struct {
	out     io.Writer
	timeout time.Duration // how long it is tried again; 0 for ever
	mu      sync.Mutex
	down    map[string]bool
}

func newWatcher(out io.Writer, timeout time.Duration) *watcher {
	return &watcher{out: out, timeout: timeout, down: map[string]bool{}}
}

// OnBrokerConnect is called by the client for every connection that it has tried.
func (w *watcher) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	address := net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port)))
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled): // it was us: what was asked for is done, or somebody else has answered
	case err == nil && w.down[address]:
		delete(w.down, address)
		fmt.Fprintf(w.out, "gregor: connected to %s again\n", address)
	case err != nil && !w.down[address]:
		w.down[address] = true
		reason := err.Error()
		if errors.Is(err, syscall.ECONNREFUSED) {
			reason = "connection refused"
		}
		long := ""
		if w.timeout > 0 {
			long = fmt.Sprintf(" for %v", w.timeout)
		}
		fmt.Fprintf(w.out, "gregor: cannot reach %s (%s); trying again%s\n", address, reason, long)
	}
}
