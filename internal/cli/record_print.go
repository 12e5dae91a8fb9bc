package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPrinter appends a record to what is going to be written.
type recordPrinter func(to []byte, r *kgo.Record) []byte

// newFormatPrinter prints records by a format. null stands for a key or value that there is none of.
func newFormatPrinter(format, null string) (recordPrinter, error) {
	pieces, err := parseFormat(format)
	if err != nil {
		return nil, err
	}
	return func(to []byte, r *kgo.Record) []byte {
		for i := range pieces {
			if p := &pieces[i]; p.verb == 0 {
				to = append(to, p.literal...)
			} else {
				to = appendVerb(to, p.verb, r, null)
			}
		}
		return to
	}, nil
}

func appendVerb(to []byte, verb byte, r *kgo.Record, null string) []byte {
	switch verb {
	case 'v':
		return appendOrNull(to, r.Value, null)
	case 'k':
		return appendOrNull(to, r.Key, null)
	case 't':
		return append(to, r.Topic...)
	case 'p':
		return strconv.AppendInt(to, int64(r.Partition), 10)
	case 'o':
		return strconv.AppendInt(to, r.Offset, 10)
	case 'T':
		return strconv.AppendInt(to, r.Timestamp.UnixMilli(), 10)
	case 'd':
		return append(to, timeText(r.Timestamp.UnixMilli())...)
	case 'K':
		return strconv.AppendInt(to, printedLength(r.Key, null), 10)
	case 'V':
		return strconv.AppendInt(to, printedLength(r.Value, null), 10)
	case 'h':
		for i, h := range r.Headers {
			if i > 0 {
				to = append(to, ',')
			}
			to = append(append(to, h.Key...), '=')
			to = appendOrNull(to, h.Value, null)
		}
	}
	return to
}

func appendOrNull(to, value []byte, null string) []byte {
	if value == nil {
		return append(to, null...)
	}
	return append(to, value...)
}

// printedLength is how many bytes are printed, so that what has lengths can be read again.
func printedLength(value []byte, null string) int64 {
	if value == nil {
		return int64(len(null))
	}
	return int64(len(value))
}

// jsonRecord is a record for scripts. Bytes that are no UTF-8 go into the fields in base64.
type jsonRecord struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

func toJSON(b []byte) (text *string, base string) {
	switch {
	case b == nil:
		return nil, ""
	case !utf8.Valid(b):
		return nil, base64.StdEncoding.EncodeToString(b)
	}
	s := string(b)
	return &s, ""
}

// newJSONPrinter prints a record as one line of JSON.
func newJSONPrinter() recordPrinter {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	return func(to []byte, r *kgo.Record) []byte {
		j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Headers: []jsonHeader{}}
		j.Key, j.KeyBase64 = toJSON(r.Key)
		j.Value, j.ValueBase64 = toJSON(r.Value)
		for _, h := range r.Headers {
			one := jsonHeader{Key: h.Key}
			one.Value, one.ValueBase64 = toJSON(h.Value)
			j.Headers = append(j.Headers, one)
		}
		line.Reset()
		_ = encoder.Encode(j) // to a buffer, of text and numbers
		return append(to, line.Bytes()...)
	}
}
