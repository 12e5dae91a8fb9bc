package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// unreachable says what to do where no broker answers.
func (r *remote) unreachable(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s (connection refused): is a broker running there? Start one with: gregor start; another is named with -b HOST:PORT", r.bootstrap)
	case errors.As(err, &dns):
		return fmt.Errorf("there is no host %q: -b is HOST:PORT of a broker", dns.Name)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return fmt.Errorf("no answer from %s within %v: is it the address of a Kafka broker, and can it be reached from here?", r.bootstrap, r.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%s closed the connection: it is no Kafka listener, or one that wants TLS or SASL (%w)", r.bootstrap, err)
	}
	return fmt.Errorf("%s does not answer as a Kafka broker does: %w", r.bootstrap, err)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// explain puts what a client library reports into words for whoever typed the command.
func (r *remote) explain(err error) error {
	var dial *net.OpError
	var shards *kadm.ShardErrors
	switch {
	case err == nil:
		return nil
	case errors.As(err, &dial) && dial.Op == "dial":
		return r.unreachable(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s within %v", r.bootstrap, r.timeout)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &shards) && len(shards.Errs) > 0 && shards.Errs[0].Err != nil:
		return r.explain(shards.Errs[0].Err)
	}
	return err
}

// because is a broker's reason: its own words if it has any, else what the error code means.
func because(err error, message string) error {
	if err == nil {
		return nil
	}
	var code *kerr.Error
	if !errors.As(err, &code) {
		return err
	}
	if message == "" || message == code.Message {
		message = strings.TrimSuffix(code.Description, ".")
	}
	return &brokerError{strings.TrimSuffix(message, ".") + " (" + code.Message + ")", err}
}

// brokerError is a broker's error code with its words; errors.Is finds the code.
type brokerError struct {
	text string
	code error
}

func (e *brokerError) Error() string { return e.text }
func (e *brokerError) Unwrap() error { return e.code }

// noTopic is the error for a topic that is not there, naming the one that was probably meant.
func (q *call) noTopic(topic string) error {
	return q.noTopicBut(topic, "create it with: gregor topic create "+topic)
}

// noTopicBut is noTopic with other advice for whoever meant no other topic.
func (q *call) noTopicBut(topic, advice string) error {
	topics, err := q.admin.ListTopicsWithInternal(q.ctx)
	if err == nil {
		if near := nearest(topic, topics.Names()); near != "" {
			return fmt.Errorf("there is no topic %q: did you mean %q?", topic, near)
		}
	}
	return fmt.Errorf("there is no topic %q; %s", topic, advice)
}

// topics finds topics by name, all of them if none is named, and fails if one is not there.
func (q *call) topics(names ...string) (kadm.TopicDetails, error) {
	topics, err := q.admin.ListTopicsWithInternal(q.ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		t, ok := topics[name]
		if !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			return nil, q.noTopic(name)
		}
		if t.Err != nil {
			return nil, fmt.Errorf("topic %q: %w", name, because(t.Err, ""))
		}
	}
	return topics, nil
}
