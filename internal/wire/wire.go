// Package wire is the protocol as bytes: frames, request and response headers, which versions of which API exist, and
// hand-written forms of Produce and Fetch that neither copy nor allocate.
//
// Everything else is encoded by kmsg, which is generated from Kafka's own schemas; its structs are the vocabulary of the
// rooms above. Whatever is answered is built with kmsg.NewX, because the zero value of a kmsg struct is not its default.
// The package promises never to panic on any bytes, to allocate no more than a fixed multiple of what came in, and that
// bytes it hands out alias the frame that they came in.
// The server, the API and replication rooms call it. It does not know connections, nor what any request means.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Keys of the APIs that need to be told apart below the table of them all.
const (
	KeyProduce          = 0
	KeyFetch            = 1
	KeySaslHandshake    = 17
	KeyAPIVersions      = 18
	KeySaslAuthenticate = 36
	maxKey              = 94
)

// ErrMalformed is wrapped by every error about bytes that are not what they should be. A connection that sent such
// bytes is closed.
var ErrMalformed = errors.New("malformed request")

// Header is a request's header (v1 and v2), decoded.
type Header struct {
	Key, Version int16
	Correlation  int32
	ClientID     []byte // aliases the frame; nil where it is null
	Body         []byte // what follows the header; aliases the frame
}

// flexibleFrom[key] is the first version of an API with compact encodings and tagged fields (KIP-482).
var flexibleFrom = func() (from [maxKey + 1]int16) {
	for key := range from {
		from[key] = 32767
		request := kmsg.RequestForKey(int16(key))
		if request == nil {
			continue
		}
		for version := int16(0); version <= request.MaxVersion(); version++ {
			if request.SetVersion(version); request.IsFlexible() {
				from[key] = version
				break
			}
		}
	}
	return from
}()

// Known reports whether the key names an API of the protocol at all, or one between nodes, whether or not it is served.
func Known(key int16) bool { return key >= 0 && key <= maxKey || ours(key) }

// ours reports whether the key names a request of our own.
func ours(key int16) bool { return key >= KeyProgress && key < peerKeys }

// Flexible reports whether a version of an API uses compact encodings and tagged fields.
func Flexible(key, version int16) bool {
	return ours(key) || Known(key) && version >= flexibleFrom[key]
}

// ParseHeader reads the header of a request frame (without its size prefix). The header of an unknown API or version is
// read as far as it can be, so that ApiVersions can be answered whatever version a client asks for.
func ParseHeader(frame []byte) (Header, error) {
	var h Header
	if len(frame) < 8 {
		return h, fmt.Errorf("%w: a frame of %d bytes is too short for a header", ErrMalformed, len(frame))
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.Correlation = int32(binary.BigEndian.Uint32(frame[4:]))
	if !Known(h.Key) {
		return h, fmt.Errorf("%w: unknown API key %d", ErrMalformed, h.Key)
	}
	r := reader{b: frame[8:]}
	h.ClientID = r.nullableString()
	if Flexible(h.Key, h.Version) {
		r.skipTags()
	}
	if r.bad {
		return h, fmt.Errorf("%w: header of API key %d version %d", ErrMalformed, h.Key, h.Version)
	}
	h.Body = r.b
	return h, nil
}

// Decode reads a request's body. What it returns may alias body.
func Decode(key, version int16, body []byte) (request kmsg.Request, err error) {
	if request = newPeerRequest(key); request == nil {
		request = kmsg.RequestForKey(key)
	}
	if request == nil {
		return nil, fmt.Errorf("%w: unknown API key %d", ErrMalformed, key)
	}
	request.SetVersion(version)
	if err := request.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%w: %s version %d: %v", ErrMalformed, kmsg.NameForKey(key), version, err)
	}
	return request, nil
}

// A response frame is built in one buffer: BeginFrame leaves room for the size prefix and writes the response header,
// the body is appended, and EndFrame fills in the size.

// BeginFrame starts a response frame in an emptied buffer.
func BeginFrame(buffer []byte, correlation int32, flexibleHeader bool) []byte {
	buffer = append(buffer, 0, 0, 0, 0)
	buffer = binary.BigEndian.AppendUint32(buffer, uint32(correlation))
	if flexibleHeader {
		buffer = append(buffer, 0) // no tagged fields
	}
	return buffer
}

// EndFrame writes the size prefix. extra is how many bytes will be sent that are not in the buffer: ranges of files.
func EndFrame(buffer []byte, extra int64) []byte {
	binary.BigEndian.PutUint32(buffer, uint32(int64(len(buffer))-4+extra))
	return buffer
}

// AppendResponse encodes a whole response frame into an emptied buffer. The response's version must be set.
func AppendResponse(buffer []byte, correlation int32, response kmsg.Response) []byte {
	// ApiVersions is answered before the client knows what we speak, so its header is always the oldest (KIP-511).
	flexible := response.IsFlexible() && response.Key() != KeyAPIVersions
	buffer = BeginFrame(buffer, correlation, flexible)
	return EndFrame(response.AppendTo(buffer), 0)
}

// reader reads primitive types off a slice. After the first that does not fit, bad is set and everything reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) bool() bool {
	b := r.take(1)
	return b != nil && b[0] != 0
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uvarint() uint32 {
	v, n := binary.Uvarint(r.b[:min(len(r.b), 5)])
	if n <= 0 || v > 1<<32-1 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

func (r *reader) nullableString() []byte {
	n := r.int16()
	if n < 0 || r.bad {
		return nil
	}
	return r.take(int(n))
}

// compactBytes reads a compact string or byte array: nil where it is null.
func (r *reader) compactBytes() []byte {
	n := r.uvarint()
	if n == 0 || r.bad {
		return nil
	}
	return r.take(int(n - 1))
}

func (r *reader) string() string { return string(r.compactBytes()) }

// arrayLength reads the length of an array whose elements take at least min bytes each; a null array has length 0.
func (r *reader) arrayLength(compact bool, min int) int {
	var n int64
	if compact {
		n = int64(r.uvarint()) - 1
	} else {
		n = int64(r.int32())
	}
	if n < 0 || r.bad {
		return 0
	}
	if n > int64(len(r.b)/min) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) skipTags() {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		r.uvarint()
		r.take(int(r.uvarint()))
	}
}
