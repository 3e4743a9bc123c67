package deliver

import (
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// ownerOf is whose tasks share the room of a lane: those of one pod, or of a unit or user
// of the node.
func ownerOf(lane Lane) events.Owner {
	if lane.Target.Node() {
		return events.Owner{Name: lane.Owner}
	}
	return events.Owner{Group: lane.Target.Namespace, Name: lane.Target.UID}
}

// dropLocked drops the newest task of the heaviest owner that has one which is not
// being done.
func (q *Queue) dropLocked() (Item, bool) {
	left := map[events.Owner]bool{}
	for {
		o, ok := q.waiting.Heaviest(left)
		if !ok {
			return Item{}, false
		}
		if lane, at, ok := q.newestLocked(o); ok {
			item := Item{lane, q.lanes[lane][at]}
			q.lanes[lane] = slices.Delete(q.lanes[lane], at, at+1)
			if len(q.lanes[lane]) == 0 {
				delete(q.lanes, lane)
			}
			q.waiting.Add(o, -1)
			return item, true
		}
		left[o] = true
	}
}

// newestLocked finds an owner's newest task that is not being done.
func (q *Queue) newestLocked(o events.Owner) (newest Lane, at int, ok bool) {
	var queued time.Time
	for lane, tasks := range q.lanes {
		i := len(tasks) - 1
		if i < q.busy[lane] || ownerOf(lane) != o {
			continue
		}
		if !ok || tasks[i].Queued.After(queued) {
			newest, at, queued, ok = lane, i, tasks[i].Queued, true
		}
	}
	return newest, at, ok
}
