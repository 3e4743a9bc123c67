//go:build linux

package mix

import (
	"context"
	"fmt"
	"sync"

	"github.com/oomwitness/oomwitness/oom"
)

// Summary counts the outcomes of many runs of one case under one shim.
type Summary struct {
	Case   Case
	Driver Driver
	Shim   Shim

	N          int // runs
	OOM        int // runs with a TaskOOM
	BeforeExit int // runs whose TaskOOM was acked before the exit was seen
	Exits      int // runs with a TaskExit
	Dup        int // TaskOOMs and TaskExits beyond the first of a run
	WrongID    int // TaskOOMs for another container
	False      int // runs that were reported as OOM and were none
	Gone       int // runs whose cgroup was gone before the counters were read
	Statuses   map[uint32]int
	Causes     map[oom.Cause]int
	Failed     []error // runs that did not come to an end
}

// Add counts one outcome.
func (t *Summary) Add(o Outcome) {
	t.N++
	t.Statuses[o.Status]++
	if o.OOMs > 0 {
		t.OOM++
		if !t.Case.Want.OOM {
			t.False++
		}
	}
	if o.BeforeExit {
		t.BeforeExit++
	}
	if o.Exits > 0 {
		t.Exits++
	}
	t.Dup += max(o.OOMs-1, 0) + max(o.Exits-1, 0)
	t.WrongID += o.WrongID
	if v := o.Verdict; v != nil {
		if v.Gone {
			t.Gone++
		}
		if v.OOMKilled {
			t.Causes[v.Cause]++
		}
	}
}

// Line returns the summary in a form for people and programs.
func (t *Summary) Line() string {
	return fmt.Sprintf("case=%s driver=%s shim=%s n=%d oom=%d before_exit=%d exits=%d dup=%d wrong_id=%d false=%d gone=%d",
		t.Case.Name, t.Driver, t.Shim.Name, t.N, t.OOM, t.BeforeExit, t.Exits, t.Dup, t.WrongID, t.False, t.Gone)
}

// Lost counts the runs that the OOM killer ended and for which no TaskOOM came in time.
func (t *Summary) Lost() int {
	if !t.Case.Want.OOM {
		return 0
	}
	return t.N - t.BeforeExit
}

// Right reports whether every run was reported as it should be.
func (t *Summary) Right() bool {
	return t.N > 0 && len(t.Failed) == 0 && t.Lost() == 0 && t.False == 0 && t.Dup == 0 &&
		t.WrongID == 0 && t.Exits == t.N && t.Statuses[t.Case.Want.Status] == t.N
}

// Many runs each case n times under each shim, interleaved, with parallel runs at the same
// time. It returns a summary for each case and shim, in their order. It calls progress after
// every run.
func (r *Runner) Many(ctx context.Context, cases []Case, shims []Shim, n, parallel int, progress func(done, all int)) []*Summary {
	var (
		summaries []*Summary
		mu        sync.Mutex
		wg        sync.WaitGroup
		done      int
	)
	for _, c := range cases {
		for _, s := range shims {
			summaries = append(summaries, &Summary{
				Case: c, Driver: r.Driver, Shim: s,
				Statuses: map[uint32]int{}, Causes: map[oom.Cause]int{},
			})
		}
	}
	work := make(chan *Summary)
	for range parallel {
		wg.Go(func() {
			for t := range work {
				o, err := r.Run(ctx, t.Shim, t.Case, ByWait)
				mu.Lock()
				if err != nil {
					t.Failed = append(t.Failed, err)
				} else {
					t.Add(o)
				}
				done++
				progress(done, n*len(summaries))
				mu.Unlock()
			}
		})
	}
	for range n {
		for _, t := range summaries {
			work <- t
		}
	}
	close(work)
	wg.Wait()
	return summaries
}
