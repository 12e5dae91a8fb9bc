// Package statemachine is the one driver of every replicated state machine in the house: the controller on the metadata
// log, the group coordinator on partitions of __consumer_offsets, and those to come.
//
// A machine decides by returning records and an answer, and changes only by replaying records. The driver appends what
// was decided to the machine's log, replays it, and gives the answer only once the log has committed it, so that an
// answer never rests on something that could still be lost. Append comes before replay: there is nothing to undo.
// A decision that returns no records still waits for everything that was appended before it, so answers are linearizable.
// After a change of leader the loaded but uncommitted tail is not committed: answers wait for it too.
//
// It promises that Replay sees every record of the log once, in order; that decisions, replays and timers of one shard
// never run concurrently; that each decision is answered exactly once; and that after the shard has ended every
// decision is answered with an error.
// It does not know what a machine decides, nor what its log is.
package statemachine

// Machine is a state that records change. Replay is total: it cannot refuse a record, whatever it is.
// offset is that of the record (or, in a log that numbers only batches, of its batch).
type Machine[R any] interface {
	Replay(offset int64, record R)
}

// Log is what a shard stands on: a partition (replica) or the quorum's log (raft).
type Log interface {
	// Append writes a batch in a leader epoch, and returns the offset after it. It is atomic. It fails with
	// kafka.NotLeaderOrFollower where the epoch is over.
	Append(epoch int32, batch []byte) (next int64, err error)
	// Read visits the batches from an offset to the end of the log as it is now. The bytes are valid during the call only.
	Read(from int64, visit func(offset int64, batch []byte) error) error
	// OnCommitted calls f with the end of what is committed (exclusive), now and whenever it moves, from anywhere and
	// never while holding a lock that Append takes. Calling it with nil ends that.
	OnCommitted(f func(offset int64))
}

// Codec is how a machine's records become a batch of its log, and back.
type Codec[R any] interface {
	// Encode makes one batch of records. now is in ms since 1970.
	Encode(records []R, now int64) ([]byte, error)
	// Decode visits the records of a batch that starts at an offset. Records that it does not know it skips or visits as
	// the machine wants them; an error means that the log cannot be read and ends the shard.
	Decode(offset int64, batch []byte, visit func(offset int64, record R)) error
}

// BatchNumbered is implemented by the codec of a log that numbers batches and not records, as the quorum's does: a batch
// then takes one offset. Otherwise each of its records takes one.
type BatchNumbered interface{ BatchNumbered() }
