package layout

import (
	"encoding/base64"
	"maps"
	"slices"
)

// Progress is what is committed with an offset, so that time goes on in the task that takes over: the highest time seen in
// the partition, and by store up to when the results of closed windows were sent.
type Progress struct {
	Time    int64
	Emitted map[string]int64
}

// Encode writes the metadata of a committed offset as Java does (TopicPartitionMetadata), in base64:
//
//	2 the version, 1 | partition time, 8 | count, 4 | (length, 4 | store ... | time, 8) each
//
// The count is left out where there are none.
func (p Progress) Encode() string {
	b := be.AppendUint64([]byte{2}, uint64(p.Time))
	if len(p.Emitted) > 0 {
		b = be.AppendUint32(b, uint32(len(p.Emitted)))
		for _, store := range slices.Sorted(maps.Keys(p.Emitted)) {
			b = appendSized(b, []byte(store))
			b = be.AppendUint64(b, uint64(p.Emitted[store]))
		}
	}
	return base64.StdEncoding.EncodeToString(b)
}

// ParseProgress reads such metadata; ok is false where it is somebody else's.
func ParseProgress(metadata string) (p Progress, ok bool) {
	b, err := base64.StdEncoding.DecodeString(metadata)
	if err != nil || len(b) < 9 || b[0] != 1 && b[0] != 2 {
		return p, false
	}
	r := reader{b: b[1:]}
	p.Time = r.int64()
	if b[0] == 1 || len(r.b) == 0 {
		return p, true
	}
	p.Emitted = map[string]int64{}
	for n := r.int32(); n > 0 && r.err == nil; n-- {
		store := string(r.sized(nil))
		p.Emitted[store] = r.int64()
	}
	return p, r.err == nil
}
