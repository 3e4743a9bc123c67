package cgroups

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Tree remembers the paths of cgroups by their ID, the inode number, also of
// those that were removed since. It is not for concurrent use.
type Tree struct {
	// Mount is where the hierarchy that memory is on is mounted, "" for nowhere.
	Mount string
	// Max and PerOwner bound what is remembered, DefaultMax and DefaultPerOwner if 0.
	Max, PerOwner int
	// Parent returns the ID of the cgroup above another, from the ledger; may be
	// nil. It still knows of removed ones.
	Parent func(id uint64) (uint64, bool)
	// Kubelet says which cgroups are pods'; nil for its default.
	Kubelet *Kubelet

	paths   map[uint64]known
	notify  func(Known) // may be nil
	walks   int
	walked  time.Time // the newest walk's begin
	skipped int       // since the newest walk began
	rooms   rooms
}

// Known is one cgroup as it is kept over a restart of the agent.
type Known struct {
	ID   uint64 `json:"id"`
	Path string `json:"path"`
	// Gone is when it was found removed, zero while it is there.
	Gone time.Time `json:"gone,omitzero"`
}

type known struct {
	path, owner string
	// place is what the path says, nil until it was asked.
	place *Place
	walk  int       // in which it was last there
	gone  time.Time // when it was found removed
}

// Name is what is known of one cgroup.
type Name struct {
	ID uint64
	// Path below the mount, "" where the cgroup was gone before it was ever seen.
	Path string
	// Above are, where Path is "", the IDs of the cgroups above it, nearest first, as
	// far as known. Nearest is the path of the nearest of those that has one.
	Above   []uint64
	Nearest string

	// place is that of Path, nil where it has not been found out; kubelet says it then.
	place   *Place
	kubelet *Kubelet
}

// Place is the container and pod that the path names. Of a removed cgroup right
// below a pod's, the pod is known still.
func (n Name) Place() Place {
	switch {
	case n.place != nil:
		return *n.place
	case n.Path != "":
		return n.kubelet.Locate(n.Path)
	case n.Nearest == "":
		return Place{}
	}
	p := n.kubelet.Locate(n.Nearest)
	if !p.sure() {
		return Place{}
	}
	return p
}

// Name names the cgroup that a record of the time at has. A cgroup that was not
// there at a walk that began after that is gone: no other walk finds it.
func (t *Tree) Name(id uint64, at time.Time) (Name, error) {
	if id == 0 {
		return Name{}, nil
	}
	_, ok := t.paths[id]
	if !ok && !t.walked.After(at) {
		if err := t.Refresh(); err != nil {
			return Name{ID: id}, err
		}
	}
	return t.nameOf(id), nil
}

// nameOf is what is known already.
func (t *Tree) nameOf(id uint64) Name {
	n := Name{ID: id, kubelet: t.Kubelet}
	if id == 0 {
		return n
	}
	if k, ok := t.paths[id]; ok {
		if k.place == nil {
			k.place = new(t.Kubelet.Locate(k.path))
			t.paths[id] = k
		}
		n.Path, n.place = k.path, k.place
		return n
	}
	n.Above = t.above(id)
	for _, above := range n.Above {
		if n.Nearest == "" {
			n.Nearest = t.paths[above].path
		}
	}
	return n
}

// maxDepth bounds the way up: cgroups are never nested so deep.
const maxDepth = 64

func (t *Tree) above(id uint64) []uint64 {
	var ids []uint64
	for t.Parent != nil && len(ids) < maxDepth {
		parent, ok := t.Parent(id)
		if !ok || parent == 0 {
			break
		}
		ids = append(ids, parent)
		id = parent
	}
	return ids
}

// Refresh walks the tree, so that cgroups have a name when they are removed.
func (t *Tree) Refresh() error {
	begin := time.Now()
	t.begin()
	if t.Mount == "" {
		return nil
	}
	err := filepath.WalkDir(t.Mount, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == t.Mount:
			return err
		case err != nil:
			t.skip(err) // of what is in it; the cgroup itself is known
			return nil
		case !d.IsDir():
			return nil
		}
		id, err := inode(d)
		if err != nil {
			t.skip(err)
			return fs.SkipDir
		}
		if !t.add(id, t.below(name)) {
			t.skipped++
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk the cgroups at %s: %w", t.Mount, err)
	}
	t.walked = begin
	t.missing(begin)
	return nil
}

// begin begins a walk.
func (t *Tree) begin() {
	if t.paths == nil {
		t.paths = map[uint64]known{}
	}
	t.walks++
	t.skipped = 0
}

// add notes a cgroup that is there, and reports whether there was room for it.
func (t *Tree) add(id uint64, path string) bool {
	before, ok := t.paths[id]
	owner := before.owner
	if !ok || before.path != path {
		if ok {
			t.forget(id) // it was moved
		}
		owner = t.Kubelet.owner(path)
		if !t.take(owner, path) {
			return false
		}
	}
	t.paths[id] = known{path: path, owner: owner, walk: t.walks}
	if !ok || before.path != path || !before.gone.IsZero() {
		t.notifyOf(Known{ID: id, Path: path})
	}
	return true
}

// left notes a cgroup that was removed.
func (t *Tree) left(id uint64, at time.Time) {
	k, ok := t.paths[id]
	if ok && k.gone.IsZero() {
		t.gone(id, k, at)
		t.notifyOf(Known{ID: id, Path: k.path, Gone: at})
	}
}

func (t *Tree) notifyOf(k Known) {
	if t.notify != nil {
		t.notify(k)
	}
}

// restore takes what another Tree knew in this boot. The walk after it finds which
// of those that were there are gone.
func (t *Tree) restore(list []Known) {
	if t.paths == nil {
		t.paths = map[uint64]known{}
	}
	for _, k := range slices.SortedFunc(slices.Values(list), func(a, b Known) int { return a.Gone.Compare(b.Gone) }) {
		owner := t.Kubelet.owner(k.Path)
		if _, ok := t.paths[k.ID]; ok || !t.take(owner, k.Path) {
			continue
		}
		t.paths[k.ID] = known{path: k.Path, owner: owner}
		if !k.Gone.IsZero() {
			t.gone(k.ID, t.paths[k.ID], k.Gone)
		}
	}
}

// all returns all known cgroups, those that only kubelet and root make first.
func (t *Tree) all() []Known {
	list := make([]Known, 0, len(t.paths))
	for _, others := range []bool{false, true} {
		for id, k := range t.paths {
			if (k.owner != "") == others {
				list = append(list, Known{ID: id, Path: k.path, Gone: k.gone})
			}
		}
	}
	return list
}

// missing notes as removed what the walk that ends has not met.
func (t *Tree) missing(at time.Time) {
	for id, k := range t.paths {
		if k.gone.IsZero() && k.walk != t.walks {
			t.left(id, at)
		}
	}
}

// below is the path as /proc/PID/cgroup has it.
func (t *Tree) below(name string) string {
	rel, err := filepath.Rel(t.Mount, name)
	if err != nil {
		return name
	}
	return filepath.Join("/", rel)
}

func inode(d fs.DirEntry) (uint64, error) {
	info, err := d.Info()
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s: no inode number", d.Name())
	}
	return st.Ino, nil
}
