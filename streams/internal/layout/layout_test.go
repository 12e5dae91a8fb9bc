package layout

import (
	"bytes"
	"reflect"
	"testing"
)

// Whatever a reader accepts, it writes back as it was; and no bytes make a reader panic.
func FuzzFormats(f *testing.F) {
	change, err := Change([]byte("new"), []byte("old"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(change)
	f.Add(TimeFirstKey(7, []byte("key"), 3))
	f.Add(SideKey(9, true, []byte("key")))
	f.Add(AppendListed(AppendListed(nil, true, []byte("one")), true, []byte("two")))
	s := Subscription{PropagateAlways, HashOf([]byte("row")), []byte("key"), 4}
	f.Add(s.Append(nil))
	r := Response{HashOf([]byte("row")), []byte("value")}
	f.Add(r.Append(nil))
	v := Buffered{1, 2, 3, "topic", []Header{{"h", []byte("v")}, {"n", nil}}, []byte("prior"), []byte("prior"), nil}
	f.Add(v.Append(nil, 9))
	f.Add(Headed([]Header{{"h", []byte("v")}, {"n", nil}}, []byte("row")))
	f.Add(Headed(nil, []byte("row")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, again []byte) {
			t.Helper()
			if !bytes.Equal(b, again) {
				t.Errorf("%s: %x became %x", what, b, again)
			}
		}
		if key, start, seq, err := ParseWindowKey(b); err == nil {
			same("window key", WindowKey(key, start, seq))
		}
		if key, start, err := ParseTimeWindowed(b); err == nil {
			same("windowed key", TimeWindowed(key, start))
		}
		if key, start, end, err := ParseSessionKey(b); err == nil {
			same("session key", SessionKey(key, start, end))
		}
		if time, key, seq, err := ParseTimeFirstKey(b); err == nil && b[0] == 0 {
			same("time first key", TimeFirstKey(time, key, seq))
		}
		if time, left, key, err := ParseSideKey(b); err == nil && b[8] < 2 {
			same("side key", SideKey(time, left, key))
		}
		if new, old, err := ParseChange(b); err == nil && b[len(b)-1] != both {
			again, err := Change(new, old)
			if err != nil {
				t.Fatal(err)
			}
			same("change", again)
		}
		if headers, row, err := ParseHeaded(b); err == nil {
			if again, rest, err := ParseHeaded(Headed(headers, row)); err != nil || !bytes.Equal(row, rest) || !reflect.DeepEqual(headers, again) {
				t.Errorf("headed row: %x became %v %x", b, again, rest)
			}
		}
		if s, err := ParseSubscription(b); err == nil && b[0]&0x7F == 1 {
			same("subscription", s.Append(nil))
		}
		if r, err := ParseResponse(b); err == nil {
			same("response", r.Append(nil))
		}
		if _, err := ParseListed(b); err == nil && len(b) == 0 {
			t.Error("a list of nothing at all was accepted")
		}
		if v, time, err := ParseBuffered(b); err == nil {
			if w, again, err := ParseBuffered(v.Append(nil, time)); err != nil || again != time || w.Time != v.Time || !bytes.Equal(w.New, v.New) || !bytes.Equal(w.Old, v.Old) {
				t.Errorf("buffered record: %x became %+v (%v)", b, w, err)
			}
		}
	})
}

func TestProgressComesBack(t *testing.T) {
	// Made by Java's TopicPartitionMetadata: version 2, time 5, {"st": 3}; and version 1, time 7.
	p, ok := ParseProgress("AgAAAAAAAAAFAAAAAQAAAAJzdAAAAAAAAAAD")
	if !ok || p.Time != 5 || len(p.Emitted) != 1 || p.Emitted["st"] != 3 {
		t.Fatalf("%+v %v", p, ok)
	}
	if again := p.Encode(); again != "AgAAAAAAAAAFAAAAAQAAAAJzdAAAAAAAAAAD" {
		t.Errorf("became %s", again)
	}
	if p, ok := ParseProgress("AQAAAAAAAAAH"); !ok || p.Time != 7 || p.Emitted != nil {
		t.Errorf("%+v %v", p, ok)
	}
	for _, other := range []string{"", "hello", "Aw==", "AgAAAAAAAAAFAAAAAg=="} {
		if _, ok := ParseProgress(other); ok {
			t.Errorf("%q was accepted", other)
		}
	}
}
