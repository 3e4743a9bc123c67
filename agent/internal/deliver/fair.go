package deliver

import "k8s.io/client-go/util/workqueue"

// fair holds the lanes that are ready. Groups of owners take turns, so that the requests for
// many lanes of one namespace hold up no other by more than one request.
type fair struct {
	groups map[string][]Lane // none is empty
	turns  []string          // the keys of groups, the next one first
}

var _ workqueue.Queue[Lane] = (*fair)(nil)

// Touch has no meaning here.
func (*fair) Touch(Lane) {}

// Push adds a lane.
func (f *fair) Push(lane Lane) {
	group := ownerOf(lane).Group
	if len(f.groups[group]) == 0 {
		f.turns = append(f.turns, group)
	}
	f.groups[group] = append(f.groups[group], lane)
}

// Len returns the number of lanes.
func (f *fair) Len() (n int) {
	for _, lanes := range f.groups {
		n += len(lanes)
	}
	return n
}

// Pop returns the oldest lane of the group whose turn it is, and removes the lane.
func (f *fair) Pop() Lane {
	group := f.turns[0]
	lanes := f.groups[group]
	f.turns = f.turns[1:]
	if len(lanes) == 1 {
		delete(f.groups, group)
		return lanes[0]
	}
	f.groups[group] = lanes[1:]
	f.turns = append(f.turns, group)
	return lanes[0]
}
