package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// cgroupEnv has the command enter a cgroup first, by its directory.
const cgroupEnv = "OOMWITNESS_TEST_CGROUP"

func TestMain(m *testing.M) {
	clitest.Main(m, func() {
		if dir := os.Getenv(cgroupEnv); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil { // 0 is the writer
				fmt.Fprintln(os.Stderr, err)
				os.Exit(2)
			}
		}
		if caps, ok := os.LookupEnv(capsEnv); ok {
			fmt.Fprintln(os.Stderr, confined(caps)) // it comes back with an error alone
			os.Exit(2)
		}
		main()
	})
}

// loaded returns the flags of a ledger of the test's own, loaded.
func loaded(t *testing.T) []string {
	t.Helper()
	pins := pinned(t)
	_, err := execute(t, append([]string{"load"}, pins...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = execute(t, append([]string{"unload"}, pins...)...) })
	return pins
}

// TestAgentReportsOnce: kills before, while and after an agent runs are reported once.
func TestAgentReportsOnce(t *testing.T) {
	s := newScene(t)
	args := append(loaded(t), "--state-dir", filepath.Join(t.TempDir(), "state"), "--kubelet-cgroup-root", s.root)
	ours := func(line logLine) bool {
		return line.Victims[0].Container != nil && line.Victims[0].Container.ID == s.id
	}
	nextOf := func(a *agentProcess) logLine {
		for {
			line, ok := a.next(t)
			require.True(t, ok, "the log has ended")
			if ours(line) {
				return line
			}
		}
	}
	first := s.kill(t)
	a := startAgent(t, args...)
	line := nextOf(a)
	require.EqualValues(t, first, line.Victims[0].PID, "of the time before")
	second := s.kill(t)
	line = nextOf(a)
	require.EqualValues(t, second, line.Victims[0].PID)
	require.Equal(t, s.uid, line.Victims[0].Pod.UID)
	require.True(t, line.Victims[0].Init)
	if line.Tier == "C" {
		require.Equal(t, string(oom.CauseUnknown), line.Cause)
	} else {
		require.Equal(t, string(oom.CauseContainer), line.Cause)
	}
	a.end(t, syscall.SIGTERM)
	third := s.kill(t)
	a = startAgent(t, args...)
	line = nextOf(a)
	require.EqualValues(t, third, line.Victims[0].PID, "of the time between, and none again")
	for _, line := range a.end(t, syscall.SIGTERM) {
		require.False(t, ours(line), "%v", line)
	}
}

// TestAgentKilled ends the agent by SIGKILL at random moments of a storm of
// kills: each kill is counted once, and none is reported twice.
func TestAgentKilled(t *testing.T) {
	const (
		kills = 200
		lives = 50
	)
	state := filepath.Join(t.TempDir(), "state")
	args := append(loaded(t), "--state-dir", state)
	storm := startStorm(t, kills)
	reported := map[uint32]int{}
	note := func(lines []logLine) {
		for _, line := range lines {
			for _, v := range line.Victims {
				if storm.own[v.Cgroup.ID] {
					reported[v.PID]++
				}
			}
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range lives {
		a := startAgent(t, args...)
		for range kills / lives {
			time.AfterFunc(time.Duration(random.IntN(400))*time.Millisecond, storm.step)
		}
		time.AfterFunc(time.Duration(random.IntN(400))*time.Millisecond, func() { _ = a.cmd.Process.Kill() })
		for {
			line, ok := a.next(t)
			if !ok {
				break
			}
			note([]logLine{line})
		}
		_ = a.cmd.Wait()
	}
	pids := storm.wait(t)
	a := startAgent(t, args...)
	deadline := time.AfterFunc(30*time.Second, func() { _ = a.cmd.Process.Kill() })
	last := oomtest.KillIn(t, storm.dirs[0], nil) // the last that it reports
	for {
		line, ok := a.next(t)
		require.True(t, ok, "the last kill was not reported")
		note([]logLine{line})
		if reported[uint32(last)] > 0 {
			break
		}
	}
	require.True(t, deadline.Stop())
	note(a.end(t, syscall.SIGTERM))

	counted := countedIn(t, state, storm.own)
	for _, pid := range append(pids, last) {
		require.Equal(t, 1, counted[uint32(pid)], "victim %d", pid)
		require.LessOrEqual(t, reported[uint32(pid)], 1, "victim %d", pid)
		delete(counted, uint32(pid))
	}
	require.Empty(t, counted)
	t.Logf("metric=agent-killed lives=%d kills=%d reported=%d", lives, len(pids)+1, len(reported))
}

// countedIn returns how often each victim in cgroups of the test is in the journal.
func countedIn(t *testing.T, state string, own map[uint64]bool) map[uint32]int {
	t.Helper()
	past, damaged, err := agenttest.Journal(state)
	require.NoError(t, err)
	require.Zero(t, damaged)
	counted := map[uint32]int{}
	for _, in := range past {
		for _, v := range in.Victims {
			if own[v.Cgroup.ID] {
				counted[v.PID]++
			}
		}
	}
	return counted
}

// storm is kills in a few cgroups at once.
type storm struct {
	dirs  []string
	own   map[uint64]bool
	steps chan struct{} // one for each kill that there is to be
	pids  chan int
	n     int
}

func startStorm(t *testing.T, n int) *storm {
	t.Helper()
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	s := &storm{own: map[uint64]bool{}, steps: make(chan struct{}, n), pids: make(chan int, n), n: n}
	parent := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-storm-%d", time.Now().UnixNano()))
	oomtest.MakeCgroup(t, h, parent, 0)
	for i := range 4 {
		dir := filepath.Join(parent, strconv.Itoa(i))
		oomtest.MakeCgroup(t, h, dir, 4<<20)
		id, err := bpf.CgroupID(dir)
		require.NoError(t, err)
		s.dirs, s.own[id] = append(s.dirs, dir), true
	}
	var workers sync.WaitGroup
	for _, dir := range s.dirs {
		workers.Go(func() {
			for {
				select {
				case <-s.steps:
					s.pids <- oomtest.KillSmallIn(t, dir)
				case <-t.Context().Done():
					return
				}
			}
		})
	}
	t.Cleanup(workers.Wait)
	return s
}

// step has one more process killed.
func (s *storm) step() { s.steps <- struct{}{} }

func (s *storm) wait(t *testing.T) []int {
	t.Helper()
	var pids []int
	for range s.n {
		select {
		case pid := <-s.pids:
			pids = append(pids, pid)
		case <-time.After(time.Minute):
			t.Fatalf("%d kills of %d", len(pids), s.n)
		}
	}
	return pids
}
