//go:build linux

package scenario

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// withoutKill are ways to end in which the OOM killer has no part.
func withoutKill() (all []mix.Case) {
	for _, status := range []uint32{0, 1, 3, 137, 143, 255} {
		all = append(all, mix.Case{
			Name:      fmt.Sprintf("exit-%d", status),
			Container: mix.Container{Args: []string{"exit", fmt.Sprint(status)}, Limit: limit},
			Want:      mix.Want{Status: status},
		})
	}
	idle := mix.Container{Args: []string{"trap-term", "7"}, Limit: limit, Output: true}
	for name, c := range map[string]struct {
		act    act
		status uint32
	}{
		"asked-term":   {mix.ClientKill(syscall.SIGTERM), 7},
		"asked-kill":   {mix.ClientKill(syscall.SIGKILL), 137},
		"host-term":    {mix.KillFromHost(syscall.SIGTERM), 7},
		"host-kill":    {mix.KillFromHost(syscall.SIGKILL), 137},
		"exec-fails":   {steps(mix.ExecEnds(9, "exit", "9"), mix.KillFromHost(syscall.SIGTERM)), 7},
		"exec-137":     {steps(mix.ExecEnds(137, "exit", "137"), mix.KillFromHost(syscall.SIGTERM)), 7},
		"near-a-limit": {steps(mix.ExecEnds(0, "exit"), mix.KillFromHost(syscall.SIGKILL)), 137},
	} {
		all = append(all, mix.Case{Name: name, Container: idle, Act: mix.Then(c.act), Want: mix.Want{Status: c.status}})
	}
	return all
}

// TestNoKill makes many mixed exits without any kill: none may be called an OOM.
func TestNoKill(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	cases, n := withoutKill(), counts.FromEnv(t, "NOKILL_RUNS", 42)
	var (
		mu    sync.Mutex
		wrong []string
		wg    sync.WaitGroup
		next  = make(chan int, n)
	)
	for i := range n {
		next <- i
	}
	close(next)
	for range 3 {
		wg.Go(func() {
			for i := range next {
				c := cases[i%len(cases)]
				o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
				faults := c.Faults(o)
				mu.Lock()
				if err != nil || len(faults) > 0 {
					wrong = append(wrong, fmt.Sprintf("%s: %v %v verdict %+v", c.Name, err, faults, o.Verdict))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	keep(t, fmt.Sprintf("no-kill driver=%s n=%d wrong=%d\n", r.Driver, n, len(wrong)))
	require.Empty(t, wrong)
	require.Zero(t, meta(t).Victims, "the control: nothing was killed")
}
