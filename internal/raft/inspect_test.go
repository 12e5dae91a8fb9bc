package raft

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

func TestAnInspectedLogShowsWhatWasWrittenUpToATornFrame(t *testing.T) {
	fs := vfs.NewMemory()
	if err := fs.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	w, err := createWAL(fs, "d", 7, hardState{1, 7, 1}, snapshotID{1, 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.append([]entry{{0, 2, 1, []byte("batch")}, {1, 3, 1, []byte("member")}}, hardState{1, 7, 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.replaced(snapshotID{9, 2}); err != nil {
		t.Fatal(err)
	}
	inspect := func() (string, error) {
		var b strings.Builder
		err := InspectLog(fs, w.name(1), func(i Inspected) error {
			fmt.Fprintln(&b, i.Frame, i.Kind, i.Index, i.Term, i.Vote, i.Commit, string(i.Data))
			return nil
		})
		return b.String(), err
	}
	const want = `1 state 0 1 7 1 
1 snapshot 1 1 0 0 
2 entry 2 1 0 0 batch
2 members 3 1 0 0 member
2 state 0 1 7 3 
3 replaced 9 2 0 0 
3 state 0 1 7 3 
`
	if got, err := inspect(); got != want || err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if err := w.file.Truncate(w.size - 1); err != nil {
		t.Fatal(err)
	}
	got, err := inspect()
	if !errors.Is(err, errTorn) || !strings.HasPrefix(want, got) || !strings.Contains(got, "member") {
		t.Fatalf("%v\n%s", err, got)
	}
}
