package layout

import "math/bits"

// HashOf is the 128-bit x64 Murmur3 hash of a row with Java's seed, 104729. A foreign-key join compares it to find out
// whether an answer still belongs to the row that asked.
func HashOf(data []byte) Hash {
	const seed = 104729
	h1, h2 := uint64(seed), uint64(seed)
	rest := data
	for len(rest) >= 16 {
		h1 ^= mixLow(le64(rest))
		h1 = bits.RotateLeft64(h1, 27) + h2
		h1 = h1*5 + 0x52dce729
		h2 ^= mixHigh(le64(rest[8:]))
		h2 = bits.RotateLeft64(h2, 31) + h1
		h2 = h2*5 + 0x38495ab5
		rest = rest[16:]
	}
	if len(rest) > 8 {
		h2 ^= mixHigh(le64(rest[8:]))
	}
	if len(rest) > 0 {
		h1 ^= mixLow(le64(rest))
	}
	h1 ^= uint64(len(data))
	h2 ^= uint64(len(data))
	h1 += h2
	h2 += h1
	h1, h2 = avalanche(h1), avalanche(h2)
	h1 += h2
	h2 += h1
	return Hash{Sum: [2]uint64{h1, h2}, Valid: true}
}

const (
	murmurC1 = 0x87c37b91114253d5
	murmurC2 = 0x4cf5ad432745937f
)

func mixLow(k uint64) uint64  { return bits.RotateLeft64(k*murmurC1, 31) * murmurC2 }
func mixHigh(k uint64) uint64 { return bits.RotateLeft64(k*murmurC2, 33) * murmurC1 }

func avalanche(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// le64 reads up to eight bytes; missing ones are zero.
func le64(b []byte) (v uint64) {
	for i := range min(8, len(b)) {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
