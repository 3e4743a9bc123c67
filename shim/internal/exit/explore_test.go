package exit

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"
)

// explore visits every world that the rules allow. It returns how many there are,
// and what is wrong with one of them, "" for nothing.
func explore(r rules) (worlds int, found string) {
	seed := maphash.MakeSeed()
	seen := map[uint64]struct{}{} // two worlds of ten million share a hash once in a million runs
	todo := []world{first(r)}
	defer func() {
		worlds = len(seen)
		switch w := recover().(type) {
		case nil:
		case wrong:
			found = w.what
		default:
			panic(w)
		}
	}()
	for len(todo) > 0 {
		w := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		internal := w.next(r, func(n world) {
			hash := maphash.Comparable(seed, n)
			if _, ok := seen[hash]; !ok {
				seen[hash] = struct{}{}
				todo = append(todo, n)
			}
		})
		if !internal {
			w.settled()
		}
	}
	return len(seen), ""
}

// TestEveryOrder takes a State through every order of events that the rules allow. A
// State has no concurrency for the race detector to look at: with that, which takes
// ten times as long, only the smaller worlds are visited.
func TestEveryOrder(t *testing.T) {
	for _, r := range []rules{
		{instances: 3, calls: 2, each: 2, waited: true},
		{instances: 3, calls: 2, each: 2, waited: true, late: true},
		{instances: 3, calls: 2, each: 2, late: true},
		{instances: 2, calls: 2, each: 2, waited: true, late: true, live: true},
		{instances: 2, calls: 2, each: 2, waited: true, late: true, status: true},
		{instances: 2, calls: 2, each: 3, waited: true, deletes: true},
		{instances: 2, calls: 1, each: 3, waited: true, deletes: true, late: true},
		{instances: 3, calls: 1, each: 2, waited: true, deletes: true},
		{instances: 2, calls: 2, each: 2, waited: true, late: true, dies: true, disk: true},
	} {
		if raceDetector && r.late {
			continue
		}
		t.Run(fmt.Sprintf("%+v", r), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			n, found := explore(r)
			t.Logf("%d worlds in %v", n, time.Since(began))
			if found != "" {
				worlds, found := path(r)
				for i := 1; i < len(worlds); i++ {
					t.Logf("%2d: %s", i, difference(worlds[i-1], worlds[i]))
				}
				t.Error(found)
			}
		})
	}
}

// path returns the worlds that lead to one in which something is wrong.
func path(r rules) (all []world, found string) {
	begin := first(r)
	from := map[world]world{}
	todo := []world{begin}
	w := begin
	defer func() {
		if e, ok := recover().(wrong); ok {
			found = e.what
		}
		for ; w != begin; w = from[w] {
			all = append(all, w)
		}
		slices.Reverse(all)
	}()
	for len(todo) > 0 {
		w = todo[0]
		todo = todo[1:]
		internal := w.next(r, func(n world) {
			if _, ok := from[n]; !ok && n != begin {
				from[n] = w
				todo = append(todo, n)
			}
		})
		if !internal {
			w.settled()
		}
	}
	return nil, ""
}

// difference returns the fields in which two worlds differ.
func difference(a, b world) string {
	left, right := strings.Fields(fmt.Sprintf("%+v", a)), strings.Fields(fmt.Sprintf("%+v", b))
	var all []string
	for i := range right {
		if i < len(left) && left[i] != right[i] {
			all = append(all, right[i])
		}
	}
	return strings.Join(all, " ")
}
