package streams

import (
	"io"

	"github.com/gregorhq/gregor/streams/internal/store"
)

// KeepOnDisk keeps all stores of a topology on disk, those of joins included, as [KVStore.OnDisk] does with one (Java's
// dsl.store.suppliers.class, whose default is RocksDB). Global stores and the buffers of suppressions stay in memory.
func KeepOnDisk() BuilderOption { return func(b *Builder) { b.onDisk = true } }

func (t *Task) keptOnDisk(n *storeNode) bool { return n.onDisk && !n.global }

// folder is the task's disk. It is opened when the first store needs it.
func (t *Task) folder() *store.Disk {
	if t.disk == nil {
		d, err := store.OpenDisk(t.config.StateDir)
		must(err)
		t.disk = d
	}
	return t.disk
}

func (t *Task) keyValues(n *storeNode) store.KeyValue {
	if t.keptOnDisk(n) {
		return t.folder().KeyValue(n.name)
	}
	return store.NewKeyValue()
}

// customRows opens a store of a user's.
func (t *Task) customRows(n *storeNode, open func(TaskID, string) (RowStore, error)) store.KeyValue {
	rows, err := open(t.id, n.name)
	must(err)
	if closer, ok := rows.(io.Closer); ok {
		t.closes = append(t.closes, closer.Close)
	}
	return rows
}

func (t *Task) versions(n *storeNode, history int64) store.Versioned {
	if t.keptOnDisk(n) {
		return t.folder().Versioned(n.name, history)
	}
	return store.NewVersioned(history)
}

func (t *Task) windows(n *storeNode, e store.Expiry, timeIndex bool) store.Window {
	if t.keptOnDisk(n) {
		return t.folder().Window(n.name, e, timeIndex)
	}
	return store.NewWindow(e, timeIndex)
}

func (t *Task) sessions(n *storeNode, e store.Expiry, timeIndex bool) store.Session {
	if t.keptOnDisk(n) {
		return t.folder().Session(n.name, e, timeIndex)
	}
	return store.NewSession(e, timeIndex)
}

// form is how a store keeps its rows. Where rows on disk are kept otherwise the task does not start.
func (t *Task) form(n *storeNode, headers bool) rowForm {
	if t.keptOnDisk(n) {
		form := int64(0)
		if headers {
			form = 1
		}
		must(t.folder().Form(n.name, form))
	}
	return rowForm{headers}
}

// number is a number that a store keeps beside its rows.
func (t *Task) number(n *storeNode, what string, initial int64) *int64 {
	if t.keptOnDisk(n) {
		return t.folder().Number(n.name, what, initial)
	}
	return &initial
}

// Save writes what stores on disk hold, with the offsets up to which changelogs have it: by changelog topic, the offset after
// its last record. Whoever drives the task calls it after each commit. Without stores on disk it does nothing.
func (t *Task) Save(offsets map[string]int64) (err error) {
	defer t.caught(&err)
	if t.disk == nil {
		return nil
	}
	return t.disk.Commit(offsets)
}

// Saved returns the offset from which a changelog has to be restored: what is before it is on disk. ok is false where all of
// it has to be.
func (t *Task) Saved(changelog string) (offset int64, ok bool) {
	if t.disk == nil || !t.onDisk[changelog] {
		return 0, false
	}
	return t.disk.Offset(changelog)
}

// restoring says that rows come from changelogs until the next Save.
func (t *Task) restoring() error {
	if t.disk == nil {
		return nil
	}
	return t.disk.Restoring()
}

// hasDisk reports whether any store of these sub-topologies is kept on disk.
func (t *Topology) hasDisk() bool {
	for _, s := range t.stores {
		if s.onDisk && !s.global {
			return true
		}
	}
	return false
}
