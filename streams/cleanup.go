package streams

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// cleanFolders deletes now and then the state folders of tasks that have been elsewhere for long: what they hold is older the longer
// they lie there, and they take space.
func (a *App) cleanFolders(ctx context.Context) {
	if a.config.StateDir == "" || a.config.StateCleanupDelay < 0 {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(a.config.StateCleanupDelay, time.Minute)):
		}
		folders, err := os.ReadDir(filepath.Join(a.config.StateDir, a.config.AppID))
		if err != nil {
			continue // no task has made it yet
		}
		for _, f := range folders {
			if id, ok := parseTaskID(f.Name()); ok && f.IsDir() {
				a.cleanFolder(id)
			}
		}
	}
}

func (a *App) cleanFolder(id TaskID) {
	folder := a.stateDir(id)
	changed, err := lastChange(folder)
	if err != nil || time.Since(changed) < a.config.StateCleanupDelay {
		return
	}
	a.mu.Lock()
	_, starting := a.starting[id]
	free := a.folders[id]
	if free == nil {
		free = make(chan struct{}, 1)
		a.folders[id] = free
	}
	a.mu.Unlock()
	if starting {
		return
	}
	select {
	case free <- struct{}{}: // nobody has it, and nobody gets it meanwhile
		defer func() { <-free }()
		_ = os.RemoveAll(folder) // what is left is tried again
	default:
	}
}

// lastChange is when a file in the folder last changed.
func lastChange(folder string) (last time.Time, err error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return last, err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// parseTaskID reads what [TaskID.String] writes.
func parseTaskID(name string) (id TaskID, ok bool) {
	n, err := fmt.Sscanf(name, "%d_%d", &id.Group, &id.Partition)
	return id, err == nil && n == 2 && id.String() == name
}
