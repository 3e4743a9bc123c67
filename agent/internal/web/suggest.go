package web

import (
	"cmp"
	"maps"
	"slices"

	"github.com/oomwitness/oomwitness/oom/exits"
)

// maxSuggestions bounds the suggestions of one field.
const maxSuggestions = 200

// suggestions are the names that a field of the filter offers.
type suggestions struct {
	ID    string
	Names []string
}

// suggest returns the names of pods that are kept: the newest, in the order of the alphabet.
// A field offers what goes with the other fields.
func suggest(q *query, list []*Entry, ended []exits.Exit) []suggestions {
	var fields [3]map[string]bool
	for i := range fields {
		fields[i] = map[string]bool{}
	}
	add := func(names [3]string) {
		asked := [3]string{q.namespace, q.pod, q.container}
		for i := range fields {
			fits := true
			for j := range asked {
				fits = fits && (i == j || asked[j] == "" || asked[j] == names[j])
			}
			if fits && names[i] != "" && len(fields[i]) < maxSuggestions {
				fields[i][names[i]] = true
			}
		}
	}
	for _, e := range list {
		for i := range e.Victims {
			if v := &e.Victims[i]; v.Pod != nil {
				names := [3]string{v.Pod.Namespace, v.Pod.Name}
				if v.Container != nil {
					names[2] = v.Container.Name
				}
				add(names)
			}
		}
	}
	for i := range slices.Backward(ended) {
		if p := ended[i].Pod; p != nil {
			add([3]string{p.Namespace, p.Name, p.Container})
		}
	}
	var all []suggestions
	for i, id := range []string{"namespaces", "pods", "containers"} {
		all = append(all, suggestions{id, slices.SortedFunc(maps.Keys(fields[i]), cmp.Compare[string])})
	}
	return all
}
