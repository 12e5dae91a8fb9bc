package streams

import "github.com/gregorhq/gregor/streams/internal/layout"

// rowForm is how a store keeps its rows: with the time of their last change, and headers where it keeps those (KIP-1271).
type rowForm struct{ headed bool }

func (f rowForm) row(time int64, value []byte, headers []Header) []byte {
	return f.timeless(layout.Stamped(time, value), headers)
}

// timeless is the form of rows that need no time beside their key.
func (f rowForm) timeless(row []byte, headers []Header) []byte {
	if !f.headed || row == nil {
		return row
	}
	return layout.Headed(headers, row)
}

func (f rowForm) parse(b []byte) (time int64, value []byte, headers []Header) {
	headers, b = f.parseTimeless(b)
	time, value = layout.ParseStamped(b)
	return time, value, headers
}

func (f rowForm) parseTimeless(b []byte) (headers []Header, row []byte) {
	if !f.headed || b == nil {
		return nil, b
	}
	headers, row, err := layout.ParseHeaded(b)
	must(err)
	return headers, row
}

// headers are those of a row, which may be none.
func (f rowForm) headers(b []byte) []Header {
	headers, _ := f.parseTimeless(b)
	return headers
}

// mustKeep stops the node where a store is given headers that it does not keep.
func (f rowForm) mustKeep(store string) {
	if !f.headed {
		must(errNoHeaders(store))
	}
}

type errNoHeaders string

func (e errNoHeaders) Error() string {
	return "streams: the store " + string(e) + " does not keep headers: its handle needs WithHeaders"
}
