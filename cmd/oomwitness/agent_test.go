package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent"
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

// agentProcess is the agent in a process of its own.
type agentProcess struct {
	cmd *exec.Cmd
	log *bufio.Scanner
}

func startAgent(t *testing.T, args ...string) *agentProcess {
	t.Helper()
	return startAgentIn(t, nil, args...)
}

// startAgentIn starts it with more environment variables.
func startAgentIn(t *testing.T, env []string, args ...string) *agentProcess {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, append([]string{
		"agent", "--kubernetes=false", "--metrics-address", "", "--address", "", "--log-format", "json",
	}, args...)...)
	cmd.Env = append(append(os.Environ(), clitest.AsProgram+"=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID} // as in a pod
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &agentProcess{cmd: cmd, log: bufio.NewScanner(out)}
}

// logLine is what the tests read of the agent's log.
type logLine struct {
	Msg, Cause, Tier, ID string
	Victims              []agent.Victim
}

// next returns the next OOM event of the log, false at the log's end.
func (a *agentProcess) next(t *testing.T) (logLine, bool) {
	t.Helper()
	for a.log.Scan() {
		var line logLine
		require.NoError(t, json.Unmarshal(a.log.Bytes(), &line), "%s", a.log.Bytes())
		if line.Msg == agenttest.LogMessage {
			return line, true
		}
	}
	return logLine{}, false
}

// end ends it by a signal, reads its log to the end and waits.
func (a *agentProcess) end(t *testing.T, s syscall.Signal) (rest []logLine) {
	t.Helper()
	require.NoError(t, a.cmd.Process.Signal(s))
	for {
		line, ok := a.next(t)
		if !ok {
			break
		}
		rest = append(rest, line)
	}
	err := a.cmd.Wait()
	if s == syscall.SIGTERM {
		require.NoError(t, err)
	}
	return rest
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
