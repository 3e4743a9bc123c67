package events

import (
	"cmp"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// Owner is whose an OOM event is, so that what is bounded has room for each: a flood of
// kills costs its owner alone. Owner is a pod, or a unit or user of the node. Group is the pod's namespace, so that
// a tenant with many pods has no more room than one with few; "" for the node's.
type Owner struct{ Group, Name string }

// OwnerOf returns whose an OOM event is: that of its first victim.
func OwnerOf(in *OOMEvent) Owner {
	if len(in.Victims) == 0 {
		return Owner{}
	}
	return OwnerOfVictim(&in.Victims[0])
}

// OwnerOfVictim returns whose a victim is.
func OwnerOfVictim(v *Victim) Owner {
	if v.Pod != nil && v.Pod.UID != "" {
		return Owner{v.Pod.Namespace, v.Pod.UID}
	}
	return Owner{Name: cgroups.Owner(cmp.Or(v.Cgroup.Path, v.Cgroup.Ancestor))}
}

// Room counts what owners have. The zero value is empty.
type Room struct {
	all    int
	groups map[string]int
	owners map[Owner]int
}

// All is the number of all.
func (r *Room) All() int { return r.all }

// Add counts n more of an owner's, or less.
func (r *Room) Add(o Owner, n int) {
	if r.owners == nil {
		r.groups, r.owners = map[string]int{}, map[Owner]int{}
	}
	r.all += n
	r.groups[o.Group] += n
	r.owners[o] += n
	if r.owners[o] == 0 {
		delete(r.owners, o)
	}
	if r.groups[o.Group] == 0 {
		delete(r.groups, o.Group)
	}
}

// Heaviest returns the owner with the most, of the group with the most: none of those
// that are left out.
func (r *Room) Heaviest(left map[Owner]bool) (o Owner, ok bool) {
	for other, n := range r.owners {
		if left[other] {
			continue
		}
		more := cmp.Or(r.groups[other.Group]-r.groups[o.Group], cmp.Compare(other.Group, o.Group), n-r.owners[o], cmp.Compare(other.Name, o.Name))
		if !ok || more > 0 {
			o, ok = other, true
		}
	}
	return o, ok
}

// Drop returns the place, of n that are there, oldest first, of the one that is to make
// room: the oldest of an owner who has as much as the heaviest. of says whose one is.
func (r *Room) Drop(n int, of func(i int) Owner) int {
	heaviest, _ := r.Heaviest(nil)
	for i := range n {
		if o := of(i); o.Group == heaviest.Group && r.owners[o] >= r.owners[heaviest] {
			return i
		}
	}
	return 0
}

// Heaviest returns the key with the most, "" if there is none. Of some with as many it is the
// first by name.
func Heaviest(counts map[string]int) (heaviest string) {
	most := 0
	for key, n := range counts {
		if n > most || n == most && key < heaviest {
			heaviest, most = key, n
		}
	}
	return heaviest
}
