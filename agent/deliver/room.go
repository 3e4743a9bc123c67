package deliver

import (
	"cmp"
	"slices"
	"time"
)

// owner is whose tasks share their room: those of one pod, or of a unit or user of the
// node. group is the pod's namespace, so that a tenant with many pods has no more room
// than one with few.
type owner struct{ group, name string }

func ownerOf(lane Lane, t *Task) owner {
	if lane.Target.Node() {
		return owner{name: t.Owner}
	}
	return owner{group: lane.Target.Namespace, name: lane.Target.UID}
}

// room counts tasks.
type room struct {
	all    int
	groups map[string]int
	owners map[owner]int
}

func newRoom() room { return room{groups: map[string]int{}, owners: map[owner]int{}} }

// add counts n more tasks of an owner, or less.
func (r *room) add(o owner, n int) {
	r.all += n
	r.groups[o.group] += n
	r.owners[o] += n
	if r.owners[o] == 0 {
		delete(r.owners, o)
	}
	if r.groups[o.group] == 0 {
		delete(r.groups, o.group)
	}
}

// heaviest returns the owner with the most tasks, of the group with the most: none of
// those that are left out.
func (r *room) heaviest(left map[owner]bool) (o owner, ok bool) {
	for other, n := range r.owners {
		if left[other] {
			continue
		}
		more := cmp.Or(r.groups[other.group]-r.groups[o.group], cmp.Compare(other.group, o.group), n-r.owners[o], cmp.Compare(other.name, o.name))
		if !ok || more > 0 {
			o, ok = other, true
		}
	}
	return o, ok
}

// dropLocked drops the newest task of the heaviest owner that has one which is not
// being done.
func (q *Queue) dropLocked() (Item, bool) {
	left := map[owner]bool{}
	for {
		o, ok := q.waiting.heaviest(left)
		if !ok {
			return Item{}, false
		}
		if lane, at, ok := q.newestLocked(o); ok {
			item := Item{lane, q.lanes[lane][at]}
			q.lanes[lane] = slices.Delete(q.lanes[lane], at, at+1)
			if len(q.lanes[lane]) == 0 {
				delete(q.lanes, lane)
			}
			q.waiting.add(o, -1)
			return item, true
		}
		left[o] = true
	}
}

// newestLocked finds an owner's newest task that is not being done.
func (q *Queue) newestLocked(o owner) (newest Lane, at int, ok bool) {
	var queued time.Time
	for lane, tasks := range q.lanes {
		if !lane.Target.Node() && ownerOf(lane, nil) != o {
			continue
		}
		for i := len(tasks) - 1; i >= q.busy[lane]; i-- {
			if ownerOf(lane, &tasks[i]) != o {
				continue
			}
			if !ok || tasks[i].Queued.After(queued) {
				newest, at, queued, ok = lane, i, tasks[i].Queued, true
			}
			break
		}
	}
	return newest, at, ok
}
