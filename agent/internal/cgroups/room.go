package cgroups

import (
	"cmp"
	"slices"
	"time"
)

const (
	// DefaultMax bounds what a Tree knows of kubelet's own cgroups and the node's: many
	// times what a node has. It bounds what it knows of all others as well.
	DefaultMax = 1 << 14
	// DefaultPerOwner bounds what a Tree knows of one owner's: of one pod's below its
	// containers, of one user's slice, of one service or scope.
	DefaultPerOwner = 1 << 10
	// leastPerOwner is what each owner has where the others together have taken all.
	leastPerOwner = 16
	// unit is how long a path may be that takes the room of one, in bytes.
	unit = 256
)

// rooms count what a Tree knows by owner, so that nobody's cgroups take the room of
// another's. The owner "" has what only kubelet and root make.
type rooms struct {
	owned map[string]int
	// others is the sum of all but that of "".
	others int
	// removed are those that were removed, oldest first. One that is there again is
	// left among them.
	removed map[string][]removal
}

type removal struct {
	id uint64
	at time.Time
}

// owner is whose room a cgroup takes.
func (k *Kubelet) owner(path string) string {
	switch p := k.Locate(path); {
	case p.PodUID == "" && k.Owns(path), p.PodUID != "" && (path == p.Pod || path == p.Path):
		return ""
	case p.PodUID == "":
		return Owner(path)
	default:
		return cmp.Or(p.Pod, p.Path)
	}
}

// take takes the room of a cgroup, and reports whether there was any.
func (t *Tree) take(owner, path string) bool {
	if !t.makeRoom(owner) {
		return false
	}
	t.count(owner, 1+len(path)/unit)
	return true
}

// makeRoom has room for one more of an owner's: the owner's that was removed first is
// forgotten for it. It reports whether there is room.
func (t *Tree) makeRoom(owner string) bool {
	for t.rooms.owned[owner] >= t.roomOf(owner) {
		if !t.forgetRemoved(owner) {
			return false
		}
	}
	return true
}

// roomOf is how much room an owner has.
func (t *Tree) roomOf(owner string) int {
	most := cmp.Or(t.Max, DefaultMax)
	switch {
	case owner == "":
		return most
	case t.rooms.others < most:
		return min(cmp.Or(t.PerOwner, DefaultPerOwner), most)
	default:
		return leastPerOwner
	}
}

func (t *Tree) count(owner string, n int) {
	if t.rooms.owned == nil {
		t.rooms.owned, t.rooms.removed = map[string]int{}, map[string][]removal{}
	}
	t.rooms.owned[owner] += n
	if owner != "" {
		t.rooms.others += n
	}
	if t.rooms.owned[owner] == 0 {
		delete(t.rooms.owned, owner)
	}
}

// forget forgets a cgroup.
func (t *Tree) forget(id uint64) {
	k := t.paths[id]
	delete(t.paths, id)
	t.count(k.owner, -1-len(k.path)/unit)
}

// forgetRemoved forgets the cgroup of an owner that was removed first, and reports
// whether there was one.
func (t *Tree) forgetRemoved(owner string) bool {
	for list := t.rooms.removed[owner]; len(list) > 0; {
		first := list[0]
		list = list[1:]
		t.setRemoved(owner, list)
		if k, ok := t.paths[first.id]; ok && k.gone.Equal(first.at) && k.owner == owner {
			t.forget(first.id)
			return true
		}
	}
	return false
}

func (t *Tree) setRemoved(owner string, list []removal) {
	if len(list) == 0 {
		delete(t.rooms.removed, owner)
		return
	}
	t.rooms.removed[owner] = list
}

// gone notes that a cgroup was removed.
func (t *Tree) gone(id uint64, k known, at time.Time) {
	k.gone = at
	t.paths[id] = k
	t.rooms.removed[k.owner] = append(t.rooms.removed[k.owner], removal{id, at})
}

// expire forgets what was removed before a time.
func (t *Tree) expire(before time.Time) {
	for owner, list := range t.rooms.removed {
		for len(list) > 0 {
			first := list[0]
			k, ok := t.paths[first.id]
			same := ok && k.gone.Equal(first.at) && k.owner == owner
			if same && !first.at.Before(before) {
				break
			}
			if same {
				t.forget(first.id)
			}
			list = list[1:]
		}
		t.setRemoved(owner, slices.Clip(list))
	}
}
