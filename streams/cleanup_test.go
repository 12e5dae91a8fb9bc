package streams_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gregorhq/gregor/streams"
)

// Folders of tasks that are elsewhere are deleted after a while; those of tasks that are here, and what is not ours, stay.
func TestFoldersOfTasksElsewhereAreDeleted(t *testing.T) {
	c := startCluster(t, map[string]int32{"lines": 1, "counts": 1})
	dir := t.TempDir()
	folder := func(name string, age time.Duration) string {
		path := filepath.Join(dir, "app", name)
		file := filepath.Join(path, "000001.sst")
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("rows"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Now(), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, fresh, foreign := folder("1_7", 2*time.Hour), folder("1_8", -time.Hour), folder("notes", 2*time.Hour)
	there := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	config := streams.Config{StateDir: dir, StateCleanupDelay: 20 * time.Millisecond}
	c.run(config, wordCountOnDisk)
	c.send("lines", "k", "a", 1)
	c.flush()
	c.table("counts", map[string]string{"a": "1"})
	for deadline := time.Now().Add(20 * time.Second); there(old); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the old folder is there still")
		}
	}
	time.Sleep(100 * time.Millisecond) // several rounds, in which the app's own folder is older than the delay
	if !there(fresh) || !there(foreign) || !there(filepath.Join(dir, "app", "1_0")) {
		t.Errorf("deleted: fresh %v, foreign %v, our own %v", !there(fresh), !there(foreign), !there(filepath.Join(dir, "app", "1_0")))
	}
	c.send("lines", "k", "a", 1)
	c.flush()
	c.table("counts", map[string]string{"a": "2"})
}
