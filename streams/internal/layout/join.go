package layout

import "fmt"

// SideKey is the key of a record without a partner in the store that the two sides of an outer stream-stream join share.
//
//	time, 8 | 1 left, 0 right | key ...
func SideKey(time int64, left bool, key []byte) []byte {
	b := be.AppendUint64(make([]byte, 0, len(key)+9), uint64(time))
	if left {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return append(b, key...)
}

// ParseSideKey takes a [SideKey] apart.
func ParseSideKey(b []byte) (time int64, left bool, key []byte, err error) {
	if len(b) < 9 {
		return 0, false, nil, errShort
	}
	return int64(be.Uint64(b)), b[8] == 1, b[9:], nil
}

// AppendListed adds a value to a row of that store, which holds the values of one key, side and time:
//
//	1 the form, 1 | count, 4 | (length, 4 | 1 left, 0 right | value ...) each
//
// row is the row so far, or nil.
func AppendListed(row []byte, left bool, value []byte) []byte {
	if row == nil {
		row = []byte{1, 0, 0, 0, 0}
	} else {
		row = append([]byte{}, row...)
	}
	be.PutUint32(row[1:], be.Uint32(row[1:])+1)
	row = be.AppendUint32(row, uint32(len(value)+1))
	if left {
		row = append(row, 1)
	} else {
		row = append(row, 0)
	}
	return append(row, value...)
}

// ParseListed takes such a row apart.
func ParseListed(row []byte) (values [][]byte, err error) {
	r := reader{b: row}
	r.take(1)
	for n := r.int32(); n > 0 && r.err == nil; n-- {
		v := r.sized(nil)
		if r.err == nil && len(v) == 0 {
			return nil, errShort
		}
		if r.err == nil {
			values = append(values, v[1:])
		}
	}
	return values, r.err
}

// Instruction says what a foreign-key subscription asks of the other side.
type Instruction byte

// The instructions of Java's SubscriptionWrapper.
const (
	DeleteNoPropagate  Instruction = 0 // forget me
	DeleteAndPropagate Instruction = 1 // forget me, and answer with null
	PropagateAlways    Instruction = 2 // answer, with null where you have no row
	PropagateIfPresent Instruction = 3 // answer if you have a row
)

// Hash is a Murmur3 hash of the left row that asked, or nothing where the row was deleted.
type Hash struct {
	Sum   [2]uint64
	Valid bool
}

// Subscription is what the left side of a foreign-key join sends to the right (SubscriptionWrapper, version 1).
type Subscription struct {
	Instruction Instruction
	Hash        Hash
	Primary     []byte // key of the left row
	Partition   int32  // of the left row
}

// Append writes a subscription:
//
//	bit 7: no hash, bits 0-6: version 1 | instruction, 1 | hash, 16, if there is one | primary key ... | partition, 4
func (s *Subscription) Append(b []byte) []byte {
	b = appendHash(b, 1, s.Hash, byte(s.Instruction), true)
	b = append(b, s.Primary...)
	return be.AppendUint32(b, uint32(s.Partition))
}

// ParseSubscription takes a subscription apart; version 0 has no partition.
func ParseSubscription(b []byte) (s Subscription, err error) {
	if len(b) < 2 {
		return s, errShort
	}
	version := b[0] & 0x7F
	if version > 1 {
		return s, fmt.Errorf("layout: foreign-key subscription of version %d", version)
	}
	s.Instruction = Instruction(b[1])
	rest, hash, err := parseHash(b[0], b[2:])
	if err != nil {
		return s, err
	}
	s.Hash = hash
	if version == 1 {
		n := len(rest) - 4
		if n < 0 {
			return s, errShort
		}
		s.Partition = int32(be.Uint32(rest[n:]))
		rest = rest[:n]
	}
	s.Primary = rest
	return s, nil
}

// Response is the right side's answer (SubscriptionResponseWrapper, version 0).
type Response struct {
	Hash  Hash
	Value []byte // the right row, nil where there is none
}

// Append writes an answer:
//
//	bit 7: no hash, bits 0-6: version 0 | hash, 16, if there is one | value ..., if there is one
func (r *Response) Append(b []byte) []byte {
	b = appendHash(b, 0, r.Hash, 0, false)
	return append(b, r.Value...)
}

// ParseResponse takes an answer apart. An empty value cannot be told from none; Java cannot tell either.
func ParseResponse(b []byte) (r Response, err error) {
	if len(b) < 1 {
		return r, errShort
	}
	if v := b[0] & 0x7F; v != 0 {
		return r, fmt.Errorf("layout: foreign-key response of version %d", v)
	}
	rest, hash, err := parseHash(b[0], b[1:])
	if err != nil {
		return r, err
	}
	r.Hash = hash
	if len(rest) > 0 {
		r.Value = rest
	}
	return r, nil
}

func appendHash(b []byte, version byte, h Hash, instruction byte, hasInstruction bool) []byte {
	if !h.Valid {
		version |= 0x80
	}
	b = append(b, version)
	if hasInstruction {
		b = append(b, instruction)
	}
	if h.Valid {
		b = be.AppendUint64(b, h.Sum[0])
		b = be.AppendUint64(b, h.Sum[1])
	}
	return b
}

func parseHash(first byte, b []byte) (rest []byte, h Hash, err error) {
	if first&0x80 != 0 {
		return b, h, nil
	}
	if len(b) < 16 {
		return nil, h, errShort
	}
	return b[16:], Hash{Sum: [2]uint64{be.Uint64(b), be.Uint64(b[8:])}, Valid: true}, nil
}

// CombinedKey is the key of a subscription in its store: all subscriptions of one foreign key have a common prefix.
//
//	length of foreign key, 4 | foreign key ... | primary key ...
func CombinedKey(foreign, primary []byte) []byte {
	return append(CombinedPrefix(foreign), primary...)
}

// CombinedPrefix is what all subscriptions of a foreign key begin with.
func CombinedPrefix(foreign []byte) []byte {
	b := be.AppendUint32(make([]byte, 0, len(foreign)+16), uint32(len(foreign)))
	return append(b, foreign...)
}
