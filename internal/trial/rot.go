package trial

import (
	"path"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// rot turns bits over in files of a host that is down, starts it, lets it go on for some seconds with what it has now, and then gives it
// an empty disk. Nothing else strikes meanwhile: what two disks lose of three may be lost. The node may notice when it opens a file, when it
// reads it for somebody, when a follower complains, or never; it may refuse to start. What nobody may ever see is a record that is
// not what was acknowledged.
func (n *nemesis) rot() {
	if n.t.absent == nil && n.t.rotten == nil && !n.t.healing {
		n.t.rotten = n.one()
		n.rotWhenCalm(80)
	}
}

// rotWhenCalm waits until what struck before is over, and every host has everything.
func (n *nemesis) rotWhenCalm(patience int) {
	t, h := n.t, n.t.rotten
	switch {
	case t.healing || patience == 0:
		t.rotten = nil
		return
	case !t.calm() || !t.quorumWithout(h):
		for _, other := range t.hosts {
			other.disk.powerAt, other.disk.failing = 0, nil
		}
		t.after(100*time.Millisecond, func() { n.rotWhenCalm(patience - 1) })
		return
	}
	t.absent = h // so that it is not started before its time
	h.kill("to find bits turned over")
	h.disk.rotten = true
	for range 1 + t.chance.IntN(4) {
		n.turnBit(h)
	}
	t.after(t.between(time.Millisecond, time.Second), func() {
		t.absent = nil
		h.start()
		t.after(t.between(500*time.Millisecond, 5*time.Second), func() {
			t.absent = h
			h.kill("to be replaced, for its disk rots")
			n.replaceRotten(h)
		})
	})
}

// replaceRotten waits for the others to do without a host, however long that takes, and brings it back on an empty disk.
func (n *nemesis) replaceRotten(h *host) {
	t := n.t
	if !t.spared(h) {
		t.after(100*time.Millisecond, func() { n.replaceRotten(h) })
		return
	}
	t.fault("empty disk", "on host %d, which rotted", h.number)
	h.memory, h.disk, h.joins = vfs.NewMemory(), trouble{}, true
	t.absent = nil
	h.start()
	n.wholeAgain(h)
}

// wholeAgain ends the calm when everything is on all disks again.
func (n *nemesis) wholeAgain(h *host) {
	if h.serves() && n.t.outOfSync() == "" {
		n.t.rotten = nil
		return
	}
	n.t.after(100*time.Millisecond, func() { n.wholeAgain(h) })
}

// calm reports whether nothing is wrong with any host or any way between two, and every replica is in sync.
func (t *trial) calm() bool {
	for _, h := range t.hosts {
		if !h.serves() || h.life.paused || h.life.ending || h.slow != 1 || h.disk.full != "" || h.disk.powerAt > 0 || len(h.disk.failing) > 0 {
			return false
		}
	}
	return len(t.cut) == 0 && len(t.delayed) == 0 && t.absent == nil && t.outOfSync() == "" && t.waiting() == "" && t.soundQuorum()
}

// quorumWithout reports whether most of those who vote are other hosts.
func (t *trial) quorumWithout(gone *host) bool {
	for _, h := range t.hosts {
		if q := h.life.node.Quorum(); q.Leads {
			voters, others := 0, 0
			for _, m := range q.Members {
				if m.Voter {
					voters++
					if int(m.Node) != gone.number {
						others++
					}
				}
			}
			return others > voters/2
		}
	}
	return false
}

// turnBit turns one bit over in a file of a host that does not run.
func (n *nemesis) turnBit(h *host) {
	t := n.t
	files := filesIn(h.memory, dir)
	if t.chance.IntN(4) > 0 {
		// Most of what a disk holds, and what has most to lose.
		files = filesIn(h.memory, dir+"/logs")
	}
	if len(files) == 0 {
		return
	}
	name := files[t.chance.IntN(len(files))]
	f, err := h.memory.Open(name)
	t.expect(err == nil, "host %d: %v", h.number, err)
	size, err := h.memory.Size(name)
	t.expect(err == nil, "host %d: %v", h.number, err)
	at, b := t.chance.Int64N(size), []byte{0}
	_, err = f.ReadAt(b, at)
	t.expect(err == nil, "host %d: %s at %d: %v", h.number, name, at, err)
	b[0] ^= 1 << t.chance.IntN(8)
	_, err = f.WriteAt(b, at)
	t.expect(err == nil, "host %d: %s at %d: %v", h.number, name, at, err)
	t.expect(f.Sync() == nil && f.Release() == nil, "host %d: %s cannot be written", h.number, name)
	t.fault("flipped bit", "at %d of %d of %s on host %d", at, size, name, h.number)
}

// filesIn are the files below a folder that have something in them.
func filesIn(fs vfs.FS, folder string) (all []string) {
	names, _ := fs.List(folder)
	for _, name := range names {
		full := path.Join(folder, name)
		if strings.HasSuffix(name, "/") {
			all = append(all, filesIn(fs, full)...)
		} else if size, err := fs.Size(full); err == nil && size > 0 {
			all = append(all, full)
		}
	}
	return all
}
