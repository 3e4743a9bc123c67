package why

import "slices"

// Bound returns at most MaxRuns of sorted runs, in their order, and how many are left out.
// Each container keeps its newest runs: the runs of one container do not take the room of
// another's.
func Bound(runs []Run) (kept []Run, omitted int) {
	if len(runs) <= MaxRuns {
		return runs, 0
	}
	ranks := map[string]int{} // how many newer runs the container has
	byRank := make([][]int, len(runs))
	for i := range runs {
		key := runs[i].key()
		byRank[ranks[key]] = append(byRank[ranks[key]], i)
		ranks[key]++
	}
	chosen := slices.Concat(byRank...)[:MaxRuns]
	slices.Sort(chosen)
	for _, i := range chosen {
		kept = append(kept, runs[i])
	}
	return kept, len(runs) - MaxRuns
}
