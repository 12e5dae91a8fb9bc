package metadata

// Inspected is a batch of the metadata log as it stands, for people. Whether it counts depends on those before it: one
// that was decided on another batch than the last that counts is skipped (see Codec).
type Inspected struct {
	Snapshot bool
	Base     int64
	Time     int64 // ms since 1970
	Records  []Record
}

// Inspect reads a batch.
func Inspect(batch []byte) (Inspected, error) {
	b, err := parseBatch(batch)
	if err != nil {
		return Inspected{}, err
	}
	return Inspected{Snapshot: b.snapshot, Base: b.base, Time: b.time, Records: b.records}, nil
}
