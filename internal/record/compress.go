package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrTooLarge says that a batch decompresses to more than the caller allowed.
var ErrTooLarge = errors.New("record: decompresses to more than is allowed")

// DecompressLimit is how much one batch may decompress to where batches of maxBytes are allowed: enough for any real
// batch, and a bound on what a decompression bomb costs.
func DecompressLimit(maxBytes int) int { return max(maxBytes*16, 64<<20) }

// largestPooled is the capacity above which a buffer is left to the collector.
const largestPooled = 8 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

func giveBuffer(b *[]byte) {
	if cap(*b) <= largestPooled {
		buffers.Put(b)
	}
}

// decompress appends to dst what src decompresses to. On an error it returns what it has of the buffer.
func decompress(codec Codec, dst, src []byte, limit int) ([]byte, error) {
	switch codec {
	case Gzip:
		return gunzip(dst, src, limit)
	case Snappy:
		return unsnappy(dst, src, limit)
	case LZ4:
		reader := lz4Readers.Get().(*lz4.Reader)
		defer lz4Readers.Put(reader)
		reader.Reset(bytes.NewReader(src))
		return readBounded(dst, reader, limit)
	case Zstd:
		return unzstd(dst, src, limit)
	}
	return dst, ErrCorrupt
}

var (
	gzipReaders sync.Pool // *gzip.Reader
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
)

func gunzip(dst, src []byte, limit int) ([]byte, error) {
	reader, ok := gzipReaders.Get().(*gzip.Reader)
	if !ok {
		reader = new(gzip.Reader)
	}
	defer gzipReaders.Put(reader)
	if err := reader.Reset(bytes.NewReader(src)); err != nil {
		return dst, ErrCorrupt
	}
	return readBounded(dst, reader, limit)
}

// readBounded appends all that r has, up to limit bytes.
func readBounded(dst []byte, r io.Reader, limit int) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		room := min(cap(dst)-len(dst), limit+1-len(dst))
		n, err := r.Read(dst[len(dst) : len(dst)+room])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > limit:
			return dst, ErrTooLarge
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, ErrCorrupt
		}
	}
}

// The framing of snappy-java ("xerial"), which Java, franz-go and sarama write:
//
//	magic          82 53 4e 41 50 50 59 00
//	version        int32, 1
//	compatible     int32, 1: the least version that can read it
//	blocks         int32 length and a snappy block, repeated
//
// librdkafka writes one plain block instead, so whoever reads accepts both.
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

const (
	xerialMagicSize = 8
	xerialBlockSize = 32 << 10 // uncompressed, what snappy-java writes by default
)

func unsnappy(dst, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialHeader[:xerialMagicSize]) {
		return unsnappyBlock(dst, src, limit)
	}
	if len(src) < len(xerialHeader) {
		return dst, ErrCorrupt
	}
	for src = src[len(xerialHeader):]; len(src) > 0; {
		if len(src) < 4 {
			return dst, ErrCorrupt
		}
		size := int64(binary.BigEndian.Uint32(src))
		if size > int64(len(src)-4) {
			return dst, ErrCorrupt
		}
		var err error
		if dst, err = unsnappyBlock(dst, src[4:4+size], limit); err != nil {
			return dst, err
		}
		src = src[4+size:]
	}
	return dst, nil
}

func unsnappyBlock(dst, block []byte, limit int) ([]byte, error) {
	size, err := s2.DecodedLen(block)
	switch {
	case err != nil:
		return dst, ErrCorrupt
	case size > limit-len(dst):
		return dst, ErrTooLarge
	// A snappy copy makes at most 64 bytes, and takes two or more; a block that claims more is lying about its size, and
	// is refused before memory is taken for it.
	case size > 64*len(block):
		return dst, ErrCorrupt
	}
	start := len(dst)
	dst = grow(dst, size)
	if _, err := s2.Decode(dst[start:start+size], block); err != nil {
		return dst, ErrCorrupt
	}
	return dst[:start+size], nil
}

// grow makes room for n more bytes behind dst.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	grown := make([]byte, len(dst), max(len(dst)+n, 2*cap(dst)))
	copy(grown, dst)
	return grown
}

// zstdReaders holds a decoder for each power of two that bounds its output, because the bound is fixed when one is made.
// A decoder may be used concurrently.
var zstdReaders [40]struct {
	once    sync.Once
	decoder *zstd.Decoder
}

func unzstd(dst, src []byte, limit int) ([]byte, error) {
	class := bits.Len(uint(limit))
	if class >= len(zstdReaders) {
		return dst, ErrTooLarge
	}
	slot := &zstdReaders[class]
	slot.once.Do(func() {
		slot.decoder, _ = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<class), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(zstd.MaxWindowSize))
	})
	out, err := slot.decoder.DecodeAll(src, dst)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), err == nil && len(out) > limit:
		return out, ErrTooLarge
	case err != nil:
		return out, ErrCorrupt
	}
	return out, nil
}

// compress appends src compressed to dst. A level of 0 is the codec's default.
func compress(codec Codec, level int, dst, src []byte) []byte {
	switch codec {
	case Gzip:
		return compressGzip(level, dst, src)
	case Snappy:
		return compressSnappy(dst, src)
	case LZ4:
		return compressLZ4(level, dst, src)
	case Zstd:
		return zstdWriter(level).EncodeAll(src, dst)
	}
	return append(dst, src...)
}

var gzipWriters [gzip.BestCompression + 1]sync.Pool // by level; 0 is the default

func compressGzip(level int, dst, src []byte) []byte {
	if level < gzip.BestSpeed || level > gzip.BestCompression {
		level = 0
	}
	out := bytes.NewBuffer(dst)
	writer, ok := gzipWriters[level].Get().(*gzip.Writer)
	if ok {
		writer.Reset(out)
	} else if level == 0 {
		writer = gzip.NewWriter(out)
	} else {
		writer, _ = gzip.NewWriterLevel(out, level)
	}
	defer gzipWriters[level].Put(writer)
	_, _ = writer.Write(src) // a bytes.Buffer takes everything
	_ = writer.Close()
	return out.Bytes()
}

func compressSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		n := min(len(src), xerialBlockSize)
		dst = grow(dst, 4+s2.MaxEncodedLen(n))
		start := len(dst)
		block := s2.EncodeSnappy(dst[start+4:cap(dst)], src[:n])
		dst = dst[:start+4+len(block)]
		binary.BigEndian.PutUint32(dst[start:], uint32(len(block)))
		copy(dst[start+4:], block) // already there, unless the encoder made its own buffer
		src = src[n:]
	}
	return dst
}

var lz4Writers = sync.Pool{New: func() any { return lz4.NewWriter(nil) }}

func compressLZ4(level int, dst, src []byte) []byte {
	out := bytes.NewBuffer(dst)
	writer := lz4Writers.Get().(*lz4.Writer)
	defer lz4Writers.Put(writer)
	writer.Reset(out)
	_ = writer.Apply(lz4.CompressionLevelOption(lz4Level(level)), lz4.BlockSizeOption(lz4.Block64Kb),
		lz4.ChecksumOption(false), lz4.ConcurrencyOption(1))
	_, _ = writer.Write(src)
	_ = writer.Close()
	return out.Bytes()
}

// lz4Level translates a level of compression.lz4.level (KIP-390), where 9 is the default and means the fast compressor,
// and every other level the high compressor.
func lz4Level(level int) lz4.CompressionLevel {
	switch {
	case level <= 0 || level == 9:
		return lz4.Fast
	case level > 9:
		return lz4.Level9
	}
	return 1 << (8 + level) // lz4.Level1 is 1<<9
}

// zstdWriters holds an encoder for each of the library's four speeds. An encoder may be used concurrently.
var zstdWriters [zstd.SpeedBestCompression + 1]struct {
	once    sync.Once
	encoder *zstd.Encoder
}

func zstdWriter(level int) *zstd.Encoder {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	slot := &zstdWriters[speed]
	slot.once.Do(func() {
		slot.encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithLowerEncoderMem(true))
	})
	return slot.encoder
}
