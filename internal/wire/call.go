package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxResponse is the largest answer that is taken from another node: a snapshot of the metadata may be large.
const maxResponse = 1 << 30

// Waiting is a request of our own that may wait, where it is answered, before it is.
type Waiting interface{ Wait() time.Duration }

// AppendRequest appends a whole request frame, in the version that is set in the request.
func AppendRequest(buffer []byte, correlation int32, clientID string, request kmsg.Request) []byte {
	// The formatter takes an emptied buffer only: it is given the room behind what is there.
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(buffer[len(buffer):], request, correlation)
	return append(buffer, frame...)
}

// ReadResponse reads a response frame, without its size prefix, into a response of the kind that the request asks for. What
// it reads may alias the frame.
func ReadResponse(frame []byte, correlation int32, response kmsg.Response) error {
	r := reader{b: frame}
	if got := r.int32(); r.bad || got != correlation {
		return fmt.Errorf("%w: an answer numbered %d where %d was due", ErrMalformed, got, correlation)
	}
	if response.IsFlexible() && response.Key() != KeyAPIVersions {
		r.skipTags()
	}
	if r.bad {
		return fmt.Errorf("%w: the header of an answer to API key %d", ErrMalformed, response.Key())
	}
	if err := response.ReadFrom(r.b); err != nil {
		return fmt.Errorf("%w: an answer to API key %d: %v", ErrMalformed, response.Key(), err)
	}
	return nil
}

// FrameReader reads frames off a stream, each into memory of its own.
type FrameReader struct{ in *bufio.Reader }

// NewFrameReader makes a reader of frames.
func NewFrameReader(in io.Reader) *FrameReader { return &FrameReader{bufio.NewReaderSize(in, 16<<10)} }

// Next reads one frame, without its size prefix. Memory grows with what really arrives.
func (f *FrameReader) Next() ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(f.in, prefix[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(prefix[:])))
	if size < 4 || size > maxResponse {
		return nil, fmt.Errorf("%w: an answer of %d bytes", ErrMalformed, size)
	}
	frame := make([]byte, 0, min(size, 1<<20))
	for len(frame) < size {
		if len(frame) == cap(frame) {
			frame = append(make([]byte, 0, min(size, 4*cap(frame))), frame...)
		}
		n, err := io.ReadFull(f.in, frame[len(frame):min(size, cap(frame))])
		frame = frame[:len(frame)+n]
		if err != nil {
			return nil, err
		}
	}
	return frame, nil
}
