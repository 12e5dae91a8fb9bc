package streams

import (
	"fmt"
	"runtime/debug"
	"strconv"
)

// A Reaction says what happens to a bad record.
type Reaction int

// The reactions to a bad record (Java's FAIL and CONTINUE, with and without a dead letter).
const (
	Fail       Reaction = iota // stop the task
	Skip                       // leave the record out
	DeadLetter                 // leave it out, and send it to the topic of dead letters
)

// ErrorPolicy says what happens to bad records. A nil function fails.
type ErrorPolicy struct {
	// OnDecode is asked about records whose key or value cannot be decoded (Java's DeserializationExceptionHandler).
	OnDecode func(*Failure) Reaction
	// OnProcess is asked when an operator fails: a function of yours returned an error or panicked (KIP-1033's
	// ProcessingExceptionHandler). Skip leaves out what would have come out of that node, other branches go on.
	OnProcess func(*Failure) Reaction
	// OnProduce is asked about results that cannot be encoded (Java's ProductionExceptionHandler).
	OnProduce func(*Failure) Reaction
	// DeadLetters is the topic for dead letters (KIP-1034's errors.dead.letter.queue.topic.name).
	DeadLetters string
}

// SkipAlways answers any of the three questions with [Skip] (Java's LogAndContinue handlers).
func SkipAlways(*Failure) Reaction { return Skip }

// DeadLetterAlways answers any of the three questions with [DeadLetter].
func DeadLetterAlways(*Failure) Reaction { return DeadLetter }

// A Failure is a record that could not be processed: where, and why. Key and Value are the bytes of the record that the
// task had taken from its input; they are nil while punctuating.
type Failure struct {
	Node      string
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte
	Timestamp int64
	Err       error
	Stack     string // where Err was a panic

	kind failureKind
}

type failureKind int

const (
	processing failureKind = iota
	decoding
	producing
)

// Error says where in the topology and at which record it happened.
func (f *Failure) Error() string {
	return fmt.Sprintf("streams: node %s failed at %s-%d offset %d: %v", f.Node, f.Topic, f.Partition, f.Offset, f.Err)
}

// Unwrap returns the error of the function or serde that failed.
func (f *Failure) Unwrap() error { return f.Err }

// thrown is an error on its way up to the node that it happened in; final is a failure on its way out of the task.
type (
	thrown struct {
		err  error
		kind failureKind
	}
	final struct{ failure *Failure }
)

// must stops the work of the node that we are in.
func must(err error) {
	if err != nil {
		panic(thrown{err, processing})
	}
}

// rescue is deferred around each node. A panic of the node's becomes a failure, and the policy decides about it.
func (p *place) rescue() {
	switch cause := recover().(type) {
	case nil:
	case final:
		panic(cause)
	case thrown:
		p.failed(cause.err, cause.kind, "")
	case error:
		p.failed(cause, processing, string(debug.Stack()))
	default:
		p.failed(fmt.Errorf("panic: %v", cause), processing, string(debug.Stack()))
	}
}

func (p *place) failed(err error, kind failureKind, stack string) {
	t := p.task
	f := &Failure{Node: p.node.name, Topic: t.input.Topic, Partition: t.input.Partition, Offset: t.input.Offset,
		Timestamp: t.input.Timestamp, Err: err, Stack: stack, kind: kind}
	if t.hasInput {
		f.Key, f.Value = t.input.Key, t.input.Value
	}
	ask := [...]func(*Failure) Reaction{t.config.Errors.OnProcess, t.config.Errors.OnDecode, t.config.Errors.OnProduce}[kind]
	if ask == nil {
		panic(final{f})
	}
	switch ask(f) {
	case Skip:
	case DeadLetter:
		if t.config.Errors.DeadLetters == "" {
			f.Err = fmt.Errorf("%w (and there is no topic for dead letters)", err)
			panic(final{f})
		}
		t.out.Send(f.letter(t.config.Errors.DeadLetters))
	default:
		panic(final{f})
	}
	t.drop()
}

// letter is the dead letter: the bytes of the input with the headers of KIP-1034.
func (f *Failure) letter(topic string) Message {
	header := func(name, value string) Header { return Header{Key: "__streams.errors." + name, Value: []byte(value)} }
	return Message{Topic: topic, Partition: -1, Key: f.Key, Value: f.Value, Timestamp: f.Timestamp, Headers: []Header{
		header("exception", fmt.Sprintf("%T", f.Err)),
		header("stacktrace", f.Stack),
		header("message", f.Err.Error()),
		header("topic", f.Topic),
		header("partition", strconv.Itoa(int(f.Partition))),
		header("offset", strconv.FormatInt(f.Offset, 10)),
	}}
}

// caught is deferred in the methods of a task: a failure that nobody wanted to skip becomes their error.
func (t *Task) caught(err *error) {
	switch cause := recover().(type) {
	case nil:
	case final:
		*err = cause.failure
	case thrown:
		*err = cause.err
	default:
		panic(cause)
	}
}
