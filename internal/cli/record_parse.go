package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordSource reads one record after the other into an empty one, up to io.EOF. Partition is -1 where the input does
// not say one.
type recordSource interface {
	next(r *kgo.Record) error
}

// lineSource reads a record from each line: a value, or a key and a value.
type lineSource struct {
	*scanner
	keyDelimiter []byte
}

var newline = []byte{'\n'}

func (s *lineSource) next(r *kgo.Record) error {
	line, found, err := s.until(newline)
	if err != nil {
		return err
	}
	if !found && len(line) == 0 {
		return io.EOF
	}
	r.Partition = -1
	if len(s.keyDelimiter) > 0 {
		if key, value, ok := bytes.Cut(line, s.keyDelimiter); ok {
			r.Key, r.Value = key[:len(key):len(key)], value
			return nil
		}
	}
	r.Value = line
	return nil
}

// formatSource reads records by a format.
type formatSource struct {
	*scanner
	steps []step
}

// step reads one verb of a record, and the text behind it.
type step struct {
	verb   byte   // 0 for the text that a record begins with
	sized  bool   // as many bytes as %K or %V has said
	behind []byte // the text behind; what has no length ends there
	last   bool
}

// newFormatSource compiles a format for reading. A verb's end must be known: by text behind it, or by a length before it.
func newFormatSource(s *scanner, format string) (*formatSource, error) {
	pieces, err := parseFormat(format)
	if err != nil {
		return nil, err
	}
	if len(pieces) == 0 || len(pieces) == 1 && pieces[0].verb == 0 {
		return nil, errors.New("the format has no verb: %v is the value")
	}
	f := &formatSource{scanner: s}
	sized := map[byte]bool{}
	for i := 0; i < len(pieces); i++ {
		one := step{verb: pieces[i].verb}
		if one.verb == 0 {
			one.behind = pieces[i].literal
			f.steps = append(f.steps, one)
			continue
		}
		one.sized = sized[one.verb]
		if i+1 < len(pieces) && pieces[i+1].verb == 0 {
			i++
			one.behind = pieces[i].literal
		} else if i+1 == len(pieces) && !one.sized {
			one.behind = newline
		}
		if len(one.behind) == 0 && !one.sized {
			return nil, fmt.Errorf("where %%%c ends in the input is not known: put text behind it, or its length (%%K, %%V) before it", one.verb)
		}
		switch one.verb {
		case 'K':
			sized['k'] = true
		case 'V':
			sized['v'] = true
		}
		f.steps = append(f.steps, one)
	}
	f.steps[len(f.steps)-1].last = true
	return f, nil
}

func (f *formatSource) next(r *kgo.Record) error {
	r.Partition = -1
	if f.finished() {
		if err := f.failure(); err != nil {
			return err
		}
		return io.EOF
	}
	lengths := map[byte]int{}
	for _, s := range f.steps {
		field, err := f.field(s, lengths)
		if err != nil {
			return err
		}
		if s.verb != 0 {
			if err := assign(r, s.verb, field, lengths); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *formatSource) field(s step, lengths map[byte]int) ([]byte, error) {
	if s.verb != 0 && !s.sized {
		field, found, err := f.until(s.behind)
		if err == nil && !found && !s.last {
			err = fmt.Errorf("the input ends in the middle of a record: %q was to come behind %%%c", s.behind, s.verb)
		}
		return field, err
	}
	var field []byte
	var err error
	if s.sized {
		if field, err = f.take(lengths[s.verb]); err != nil {
			return nil, fmt.Errorf("%%%c of %d bytes: %w", s.verb, lengths[s.verb], err)
		}
	}
	if s.last && f.finished() {
		return field, nil
	}
	text, err := f.take(len(s.behind))
	if err == nil && !bytes.Equal(text, s.behind) {
		err = fmt.Errorf("the input is not as the format says: %q stands where %q belongs", text, s.behind)
	}
	return field, err
}

// assign puts a field into a record. What a topic decides by itself (%t, %o) is read over, so that what consume has
// printed can be produced again.
func assign(r *kgo.Record, verb byte, field []byte, lengths map[byte]int) error {
	switch verb {
	case 'k':
		r.Key = field
	case 'v':
		r.Value = field
	case 'h':
		return parseHeaders(r, string(field))
	case 'd':
		t, err := time.Parse(time.RFC3339Nano, string(field))
		r.Timestamp = t
		return err
	case 'p', 'T', 'K', 'V':
		n, err := strconv.ParseInt(string(field), 10, 63)
		if err != nil || verb != 'T' && (n < 0 || n > 1<<31-1) {
			return fmt.Errorf("%%%c is a number, and not %q", verb, field)
		}
		switch verb {
		case 'p':
			r.Partition = int32(n)
		case 'T':
			r.Timestamp = time.UnixMilli(n)
		default:
			lengths[verb|0x20] = int(n)
		}
	}
	return nil
}

func parseHeaders(r *kgo.Record, text string) error {
	if text == "" {
		return nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%%h is a=b,c=d, and not %q", text)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	return nil
}

// jsonSource reads records as consume -o json writes them. All fields may be missing; a key or value that is no string
// stands for its own JSON text.
type jsonSource struct{ decoder *json.Decoder }

type jsonInput struct {
	Topic       string          `json:"topic"`
	Partition   *int32          `json:"partition"`
	Offset      int64           `json:"offset"`
	Timestamp   *int64          `json:"timestamp"`
	Key         json.RawMessage `json:"key"`
	KeyBase64   string          `json:"key_base64"`
	Value       json.RawMessage `json:"value"`
	ValueBase64 string          `json:"value_base64"`
	Headers     []struct {
		Key         string          `json:"key"`
		Value       json.RawMessage `json:"value"`
		ValueBase64 string          `json:"value_base64"`
	} `json:"headers"`
}

func newJSONSource(in io.Reader) *jsonSource {
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	return &jsonSource{d}
}

func (s *jsonSource) next(r *kgo.Record) error {
	var in jsonInput
	if err := s.decoder.Decode(&in); err != nil {
		if err == io.EOF {
			return err
		}
		return fmt.Errorf("%w; a record is {\"key\": …, \"value\": …, \"headers\": [{\"key\": …, \"value\": …}], \"partition\": …, \"timestamp\": …}", err)
	}
	var err error
	if r.Key, err = fromJSON(in.Key, in.KeyBase64); err != nil {
		return err
	}
	if r.Value, err = fromJSON(in.Value, in.ValueBase64); err != nil {
		return err
	}
	for _, h := range in.Headers {
		value, err := fromJSON(h.Value, h.ValueBase64)
		if err != nil {
			return err
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: value})
	}
	r.Partition = -1
	if in.Partition != nil {
		r.Partition = *in.Partition
	}
	if in.Timestamp != nil {
		r.Timestamp = time.UnixMilli(*in.Timestamp)
	}
	return nil
}

func fromJSON(text json.RawMessage, base string) ([]byte, error) {
	switch {
	case base != "":
		b, err := base64.StdEncoding.DecodeString(base)
		if err != nil {
			return nil, fmt.Errorf("%q is not base64: %w", base, err)
		}
		return b, nil
	case len(text) == 0 || string(text) == "null":
		return nil, nil
	case text[0] != '"':
		return text, nil
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	return []byte(s), nil
}
