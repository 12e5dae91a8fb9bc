package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"syscall"
	"testing"
)

// everywhere runs a test on each implementation.
func everywhere(t *testing.T, test func(t *testing.T, fs FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS(false), t.TempDir()) })
	t.Run("memory", func(t *testing.T) { test(t, NewMemory(), "/") })
	t.Run("faulty", func(t *testing.T) { test(t, NewFaulty(NewMemory()), "/") })
}

func content(t *testing.T, fs FS, name string) string {
	t.Helper()
	data, err := ReadFile(fs, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFilesAreWhatWasWritten(t *testing.T) {
	everywhere(t, func(t *testing.T, fs FS, dir string) {
		name := path.Join(dir, "f")
		f, err := fs.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.Create(name); !errors.Is(err, ErrExist) {
			t.Fatalf("created twice: %v", err)
		}
		var want []byte
		var buffers [][]byte
		for i := range 3000 { // more than one system call takes
			b := bytes.Repeat([]byte{byte(i)}, i%5)
			buffers = append(buffers, b)
			want = append(want, b...)
		}
		if n, err := f.WritevAt(buffers, 0); err != nil || n != int64(len(want)) {
			t.Fatal(n, err)
		}
		if err := f.Preallocate(int64(len(want)), 1<<20); err != nil {
			t.Log("preallocate:", err)
		}
		f.StartWriteback(0, int64(len(want)))
		if err := fs.SyncFiles([]File{f, f, f, f}); err != nil {
			t.Fatal(err)
		}
		if got := content(t, fs, name); got != string(want) {
			t.Fatalf("%d bytes, want %d", len(got), len(want))
		}
		if err := f.Truncate(3); err != nil || content(t, fs, name) != string(want[:3]) {
			t.Fatal(err)
		}
		if n, err := f.WriteAt([]byte("x"), 5); err != nil || n != 1 || content(t, fs, name) != string(want[:3])+"\x00\x00x" {
			t.Fatal(err)
		}
		if !f.Retain() || f.Release() != nil || f.Release() != nil || f.Retain() {
			t.Fatal("references are not counted")
		}
	})
}

func TestNamesAreWhatWasMade(t *testing.T) {
	everywhere(t, func(t *testing.T, fs FS, dir string) {
		in := func(name string) string { return path.Join(dir, name) }
		if err := fs.MkdirAll(in("a/b")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a/2", "a/1", "a/b/3"} {
			if err := WriteFile(fs, in(name), []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := fs.Rename(in("a/1"), in("a/2")); err != nil || content(t, fs, in("a/2")) != "a/1" {
			t.Fatal(err)
		}
		if names, err := fs.List(in("a")); err != nil || fmt.Sprint(names) != "[2 b/]" {
			t.Fatal(names, err)
		}
		if err := fs.Remove(in("a/b")); err == nil {
			t.Fatal("removed a folder with a file in it")
		}
		if err := fs.RemoveAll(in("a")); err != nil || fs.RemoveAll(in("a")) != nil {
			t.Fatal(err)
		}
		for _, err := range []error{fs.Remove(in("a")), fs.Rename(in("a"), in("b")), second(fs.Open(in("a"))), second(fs.Size(in("a"))), second(fs.List(in("a")))} {
			if !errors.Is(err, ErrNotExist) {
				t.Fatalf("of a name that is not there: %v", err)
			}
		}
		lock, err := fs.Lock(in("lock"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.Lock(in("lock")); !errors.Is(err, ErrLocked) {
			t.Fatalf("locked twice: %v", err)
		}
		lock.Close()
		if lock, err = fs.Lock(in("lock")); err != nil {
			t.Fatal(err)
		}
		lock.Close()
		if total, free, err := fs.Usage(dir); err != nil || free > total || total == 0 {
			t.Fatal(total, free, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestPowerCutKeepsWhatWasSyncedAndNoMoreThanWasWritten(t *testing.T) {
	lost, kept, torn := 0, 0, 0
	for seed := range uint64(200) {
		m := NewMemory()
		f, _ := m.Create("/f")
		f.WriteAt([]byte("durable"), 0)
		f.Sync()
		m.SyncDir("/")
		f.WriteAt([]byte("123456"), 7)
		g, _ := m.Create("/g")
		g.Sync()
		crash := m.Crash(rand.New(rand.NewPCG(seed, 0)))
		got := content(t, crash, "/f")
		switch {
		case got == "durable":
			lost++
		case got == "durable123456":
			kept++
		case len(got) < 13 && got == "durable123456"[:len(got)]:
			torn++
		default:
			t.Fatalf("%q", got)
		}
		if content(t, m, "/f") != "durable123456" {
			t.Fatal("the crash touched the original")
		}
	}
	if lost == 0 || kept == 0 || torn == 0 {
		t.Fatalf("lost %d kept %d torn %d", lost, kept, torn)
	}
}

func TestNameIsLostUntilItsFolderIsSynced(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		m := NewMemory()
		m.MkdirAll("/d")
		m.SyncDir("/")
		if err := WriteFileLazily(m, "/d/f", []byte("x"), true); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Crash(rand.New(rand.NewPCG(seed, 0))).Size("/d/f"); err != nil {
			lost++
		}
		m.SyncDir("/d")
		if content(t, m.Crash(rand.New(rand.NewPCG(seed, 0))), "/d/f") != "x" {
			t.Fatal("lost after a sync")
		}
	}
	if lost == 0 {
		t.Fatal("never lost")
	}
}

func TestFaultsStrikeWhatTheyAreFor(t *testing.T) {
	fs := NewFaulty(NewMemory())
	f, err := fs.Create("/a.log")
	if err != nil {
		t.Fatal(err)
	}
	fs.Add(Rule{Op: "write", Name: "*.log", Skip: 1, Times: 1, Err: ErrNoSpace, Partial: true})
	fs.Add(Rule{Op: "sync", Name: "/b*", Err: syscall.EIO})
	for i, want := range []struct {
		n   int
		err error
	}{{4, nil}, {2, ErrNoSpace}, {4, nil}} {
		if n, err := f.WriteAt([]byte("1234"), 0); n != want.n || !errors.Is(err, want.err) {
			t.Errorf("write %d: %d %v", i, n, err)
		}
	}
	if err := fs.SyncFiles([]File{f}); err != nil {
		t.Error(err)
	}
	g, _ := fs.Create("/b")
	if err := fs.SyncFiles([]File{f, g}); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	fs.Clear()
	if err := fs.SyncFiles([]File{f, g}); err != nil {
		t.Error(err)
	}
}

func TestSyncingACrowdOnOurOwnFileSystem(t *testing.T) {
	fs, dir := OS(true), t.TempDir()
	var files []File
	for i := range 40 {
		f, err := fs.Create(path.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Release()
		files = append(files, f)
	}
	if err := fs.SyncFiles(files); err != nil {
		t.Fatal(err)
	}
}

func TestAFolderThatWasMadeSurvivesAPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		m := NewMemory()
		if err := MakeFolder(m, "/a/b/c"); err != nil {
			t.Fatal(err)
		}
		left := m.Crash(rand.New(rand.NewPCG(seed, 1)))
		if _, err := left.List("/a/b/c"); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if err := MakeFolder(NewMemory(), "relative"); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreWrittenTogetherAreWholeAndStay(t *testing.T) {
	for seed := range uint64(40) {
		chance := rand.New(rand.NewPCG(seed, 2))
		m := NewMemory()
		disk := NewFaulty(m)
		var old, fresh []Whole
		for i := range 6 {
			dir := fmt.Sprintf("/d%d", i/2)
			if err := MakeFolder(m, dir); err != nil {
				t.Fatal(err)
			}
			name := path.Join(dir, fmt.Sprint(i))
			old, fresh = append(old, Whole{name, []byte("old")}), append(fresh, Whole{name, []byte("fresh")})
		}
		if err := WriteFiles(disk, old); err != nil {
			t.Fatal(err)
		}
		failing := seed%2 == 1
		if failing {
			disk.Add(Rule{Skip: chance.IntN(35), Times: 1, Err: syscall.EIO})
		}
		err := WriteFiles(disk, fresh)
		left := m.Crash(chance)
		for i, whole := range fresh {
			got := content(t, left, whole.Name)
			if got != "fresh" && (err == nil || got != string(old[i].Data)) {
				t.Fatalf("seed %d: %s is %q after WriteFiles has returned %v and the power was lost", seed, whole.Name, got, err)
			}
		}
	}
}
