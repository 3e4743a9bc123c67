//go:build linux

package agent

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// TestKilled ends the agent by SIGKILL at random moments of a storm in a pod: all
// kills are counted once, by metrics and Events.
func TestKilled(t *testing.T) {
	n := setUp(t)
	lives, kills := 5, 100
	if n.full {
		lives, kills = 50, 1000
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	before := n.caughtUp(t)
	m := n.pod(t, "storm", func(pod *corev1.Pod) {
		// One process after the other: kubelet has the first kill end all of them.
		pod.Annotations = map[string]string{"oomwitness.io/oom-group": "false"}
	})
	began := time.Now()
	m.run(t, fmt.Sprintf("storm %d wait", kills)) // a container that lives on: see agentstorm for one that does not
	for range lives {
		require.NoError(t, faultkit.Pause(t.Context(), time.Duration(random.IntN(2000))*time.Millisecond))
		require.NoError(t, n.agent.End(syscall.SIGKILL))
		n.start(t)
	}
	var counted float64
	require.NoError(t, faultkit.Until(t.Context(), "all kills to be counted", func() error {
		var err error
		if counted, err = Counted(t.Context(), `pod="`+m.pod+`"`); err == nil && counted < float64(kills) {
			err = fmt.Errorf("%v of %d", counted, kills)
		}
		return err
	}))
	require.EqualValues(t, kills, counted)
	all, err := Metric(t.Context(), "oomwitness_oom_victims_total", `cause="container"`)
	require.NoError(t, err)
	require.EqualValues(t, kills, all-before)
	var reported int32
	require.NoError(t, faultkit.Until(t.Context(), "all kills to be reported", func() error {
		var err error
		if reported, err = n.EventCount(t.Context(), m.pod, "OOMKilling"); err == nil && reported < int32(kills) {
			err = fmt.Errorf("%d of %d", reported, kills)
		}
		return err
	}))
	require.EqualValues(t, kills, reported)
	faultkit.Keep(t, fmt.Sprintf("agent killed lives=%d kills=%d counted=%v reported=%d ms=%d seed=%d", lives, kills, counted, reported, took(began), seed))
}

// caughtUp waits until the agent has read the victims of the tests before, and returns how
// many of them a container's own limit had killed.
func (n *node) caughtUp(t *testing.T) (victims float64) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "the agent to have read the ledger", func() error {
		all, err := Metric(t.Context(), "oomwitness_ledger_victims_total")
		if err != nil {
			return err
		}
		read, err := Metric(t.Context(), "oomwitness_events_total", `stage="observed"`)
		if err == nil && read != all {
			err = fmt.Errorf("%v of %v", read, all)
		}
		return err
	}))
	victims, err := Metric(t.Context(), "oomwitness_oom_victims_total", `cause="container"`)
	require.NoError(t, err)
	return victims
}

// TestNodeExhausted fills the node's memory over and over: the agent is never the
// victim, and misses none.
func TestNodeExhausted(t *testing.T) {
	n := setUp(t)
	require.NoError(t, withoutEviction())
	times := 2
	if n.full {
		times = 20
	}
	for i := range times {
		m := n.pod(t, "full", bestEffort)
		m.run(t, "gulp")
		line, err := n.agent.Find(t.Context(), m.pod, of(m.pod))
		require.NoError(t, err)
		require.Equal(t, "node", line.Cause)
		require.NoError(t, syscall.Kill(n.agent.PID(), 0), "after %d", i+1)
		require.NoError(t, n.Delete(t.Context(), m.pod, 0))
	}
	for _, line := range n.agent.Lines() {
		for _, v := range line.Victims {
			require.NotEqual(t, n.agent.PID(), int(v.PID))
		}
	}
	faultkit.Keep(t, fmt.Sprintf("agent exhausted=%d rss=%s", times, rss(t, n.agent.PID())))
}

// rss is VmRSS of a process, as the kernel writes it.
func rss(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(data), "VmRSS:")
	require.True(t, ok)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.ReplaceAll(strings.TrimSpace(line), " ", "")
}

// TestAPIServerAway: log and metrics go on, and the Events come when it is back.
func TestAPIServerAway(t *testing.T) {
	n := setUp(t)
	away := 20 * time.Second
	if n.full {
		away = 5 * time.Minute
	}
	m := n.pod(t, "away", func(*corev1.Pod) {})
	require.NoError(t, faultkit.Run(t.Context(), "systemctl", "stop", "kube-apiserver"))
	stopped := time.Now()
	m.run(t, "hog")
	line, err := n.agent.Find(t.Context(), m.pod, of(m.pod))
	require.NoError(t, err)
	require.Equal(t, "app", line.Victims[0].Container.Name)
	require.NoError(t, n.agent.End(syscall.SIGKILL), "and the agent dies meanwhile")
	n.start(t)
	require.NoError(t, faultkit.Pause(t.Context(), away-time.Since(stopped)))
	// The unit starts when the server is ready. The server takes connections sooner.
	require.NoError(t, faultkit.Run(t.Context(), "systemctl", "start", "--no-block", "kube-apiserver"))
	n.event(t, m.pod, "workload (pid ")
	reported, err := n.EventCount(t.Context(), m.pod, "OOMKilling")
	require.NoError(t, err)
	require.EqualValues(t, 1, reported)
}
