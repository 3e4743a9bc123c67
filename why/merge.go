package why

import (
	"maps"
	"slices"
	"strings"
)

// Merge returns one document of the answers of several nodes to the same question, the newest
// run first. Each run has the name of its node. A run that is in two answers is taken once: two
// agents are on a node while their DaemonSet is updated. The source is that of the first
// document. Bound bounds the runs.
func Merge(documents []*Document) *Document {
	if len(documents) == 1 {
		return documents[0]
	}
	all := &Document{Schema: Schema, Source: documents[0].Source}
	nodes := map[string]bool{}
	known := map[sameRun]bool{}
	for _, d := range documents {
		if d.Time.After(all.Time) {
			all.Time = d.Time
		}
		if d.Node != "" {
			nodes[d.Node] = true
		}
		for _, note := range d.Notes {
			all.Notes = append(all.Notes, "node "+d.Node+": "+note)
		}
		all.Omitted += d.Omitted
		for _, r := range d.Runs {
			key := sameRun{r.Container.ID, r.end().UnixNano()}
			if known[key] && key.id != "" {
				continue
			}
			known[key] = true
			r.Node = d.Node
			all.Runs = append(all.Runs, r)
		}
	}
	all.Node = strings.Join(slices.Sorted(maps.Keys(nodes)), ", ")
	addRecent(all.Runs)
	Sort(all.Runs)
	bounded, omitted := Bound(all.Runs)
	all.Runs, all.Omitted = bounded, all.Omitted+omitted
	return all
}

// sameRun is equal for equal runs: one container has an ID at a time.
type sameRun struct {
	id    string
	ended int64
}

// addRecent adds the counts of the nodes up, for each container. All runs of a container on one
// node have the same counts.
func addRecent(runs []Run) {
	byNode := map[[2]string]*Recent{}
	sums := map[string]*Recent{}
	for i := range runs {
		r := &runs[i]
		on := [2]string{r.key(), r.Node}
		if r.Recent == nil || byNode[on] != nil {
			continue
		}
		byNode[on] = r.Recent
		if sums[r.key()] == nil {
			sums[r.key()] = &Recent{Hours: r.Recent.Hours}
		}
		sum := sums[r.key()]
		sum.Runs, sum.OOM = sum.Runs+r.Recent.Runs, sum.OOM+r.Recent.OOM
	}
	for i := range runs {
		if runs[i].Recent != nil {
			runs[i].Recent = sums[runs[i].key()]
		}
	}
}
